// What all scenarios share: how long, what must hold, and the result as JSON.
//
// What k6 measures: `http_req_duration` runs from the first byte sent to the last byte received, so
// it contains the time to send the body; `http_req_waiting` runs from the last byte handed to the
// kernel to the first byte of the answer. The promise of the relay, an answer within 1 s of the last byte,
// is about the second; the first is held to the same bound, since sending on loopback takes
// milliseconds. Both contain the time that k6 itself waits for a processor.
import http from 'k6/http';

/** How long new batches are posted. */
export const SECONDS = Number(__ENV.DURATION_SECONDS || 20);

/** What must hold everywhere. */
const ALWAYS = {
  http_req_duration: ['max<1000'],
  http_req_waiting: ['max<1000'],
  lost_batches: ['count==0'],
  refused_5xx: ['count==0'],
  broken: ['count==0'],
  acked_events: ['count>0'],
};

function options(executor, thresholds) {
  return {
    scenarios: {
      load: { duration: `${SECONDS}s`, gracefulStop: '35s', ...executor },
    },
    thresholds: { ...ALWAYS, ...thresholds },
    discardResponseBodies: true,
    summaryTrendStats: ['med', 'p(99)', 'max'],
  };
}

/**
 * So many batches a second, whatever the answers take: what an API server does. There are `users` to
 * post them, so that as many may wait for their answer at a time.
 */
export function offered(perSecond, thresholds = {}, users = 30) {
  const executor = {
    executor: 'constant-arrival-rate',
    rate: perSecond,
    timeUnit: '1s',
    preAllocatedVUs: users,
    maxVUs: users,
  };
  // What was not offered proves nothing.
  return options(executor, {
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    ...thresholds,
  });
}

/** As many batches as it accepts: each of so many users posts its next when the last is accepted. */
export function closedLoop(users, thresholds = {}) {
  const executor = { executor: 'constant-vus', vus: users };
  return options(executor, { http_req_failed: ['rate==0'], ...thresholds });
}

/** For scenarios that make the relay refuse: 429 is an answer like any other. */
export function refusalsAreFine() {
  http.setResponseCallback(http.expectedStatuses(200, 429));
}

/** The numbers that loadtest/scenarios.sh judges and shows; to the file RESULT names, or shown. */
export function handleSummary(data) {
  const values = (metric) => (data.metrics[metric] ? data.metrics[metric].values : {});
  const count = (metric) => values(metric).count || 0;
  const milliseconds = (metric) => ({
    p50: values(metric).med,
    p99: values(metric)['p(99)'],
    max: values(metric).max,
  });
  const failed = [];
  for (const [name, metric] of Object.entries(data.metrics)) {
    for (const [threshold, outcome] of Object.entries(metric.thresholds || {})) {
      if (!outcome.ok) failed.push(`${name} ${threshold}`);
    }
  }
  const result = JSON.stringify({
    seconds: data.state.testRunDurationMs / 1000,
    requests: count('http_reqs'),
    acked_events: count('acked_events'),
    repeated_events: count('repeated_events'),
    events_per_second: count('acked_events') / (data.state.testRunDurationMs / 1000),
    answer_milliseconds: milliseconds('http_req_duration'),
    waiting_milliseconds: milliseconds('http_req_waiting'),
    refused_429: count('refused_429'),
    refused_5xx: count('refused_5xx'),
    broken: count('broken'),
    lost_batches: count('lost_batches'),
    not_offered: count('dropped_iterations'),
    failed_thresholds: failed,
  });
  return { [__ENV.RESULT || 'stdout']: `${result}\n` };
}

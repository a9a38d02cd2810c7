// Posting as the API server does, and counting what was answered.
//
// What is counted, for the ledger to be held against:
//   acked_events      events in answers 200, each time they were acknowledged
//   repeated_events   of these, acknowledgements beyond the first of the same bytes
//   refused_429       answers 429
//   refused_5xx       answers 500 to 599
//   broken            requests without an answer
//   lost_batches      given up: not accepted within one try
//
// A 429 or 5xx with `Retry-After: <seconds>` is posted again, unchanged, after that time, within 30 s:
// the loop inside one of the API server's five tries. The other four (it rests 10 s and more between
// them) are left out: a batch that needs them counts as lost here.
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

const WEBHOOK = __ENV.WEBHOOK;
if (!WEBHOOK) throw new Error('WEBHOOK is not set: run loadtest/scenarios.sh, which sets it');
const TRY_MS = 30000;

const ackedEvents = new Counter('acked_events');
const repeatedEvents = new Counter('repeated_events');
const refused429 = new Counter('refused_429');
const refused5xx = new Counter('refused_5xx');
const broken = new Counter('broken');
const lostBatches = new Counter('lost_batches');

const params = {
  headers: {
    'Content-Type': 'application/json',
    Accept: 'application/json, */*',
    'User-Agent': 'Go-http-client/1.1',
  },
  // One name for all clusters, or k6 keeps numbers of its own for each URL.
  tags: { name: 'webhook' },
  timeout: `${TRY_MS}ms`,
};

const url = (cluster) => `${WEBHOOK}/${cluster}?timeout=30s`;

/** Whether it was accepted; counts it if not. */
function accepted(response) {
  if (response.status === 200) return true;
  if (response.status === 429) refused429.add(1);
  else if (response.status >= 500) refused5xx.add(1);
  else if (response.status === 0) broken.add(1);
  return false;
}

/** After how many seconds the API server would post again within this try; NaN: not at all. */
function retryAfter(response) {
  const isAsked = response.status === 429 || response.status >= 500;
  return isAsked ? parseInt(response.headers['Retry-After'], 10) : NaN;
}

/** Posts `body` until it is accepted or the try is over; true if it was accepted. */
function deliver(request, response, deadlineMs) {
  let last = response;
  while (!accepted(last)) {
    const seconds = retryAfter(last);
    if (!(Date.now() + seconds * 1000 < deadlineMs)) {
      lostBatches.add(1);
      return false;
    }
    sleep(seconds);
    last = http.post(request.url, request.body, params);
  }
  return true;
}

/**
 * Posts a batch of `events` events. `times` greater than 1 posts the same bytes so often, at once:
 * repetitions that overtake each other are the hardest to recognise.
 */
export function post(body, events, { cluster = 'load', times = 1 } = {}) {
  const request = { method: 'POST', url: url(cluster), body, params };
  const deadlineMs = Date.now() + TRY_MS;
  const responses =
    times === 1
      ? [http.post(request.url, body, params)]
      : http.batch(Array.from({ length: times }, () => request));
  const acks = responses.filter((response) => deliver(request, response, deadlineMs)).length;
  ackedEvents.add(acks * events);
  if (acks > 1) repeatedEvents.add((acks - 1) * events);
}

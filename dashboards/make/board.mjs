// What the three dashboards share: variables, annotations, links to each other, and how panels are laid out.

import { SOURCE } from "./panels.mjs";

/** Every query names the job, so that a data source with several relays, or none, shows what was asked for. */
export const JOB = 'job=~"$job"';

/**
 * An expression of what the queue holds, 0 where its metric has no series yet, but only while a relay leads: the others
 * know nothing of it, and where nobody leads nobody does.
 */
export const orZero = (expr) => `${expr} or 0 * max(auditrelay_leader{${JOB}} == 1)`;

/** The same of what each relay counts for itself: 0 only while one is scraped. */
export const orZeroAtTheDoor = (expr) => `${expr} or 0 * max(auditrelay_build_info{${JOB}})`;

/** What of the inbox is used, by queue; each relay says the same. Nothing where the queue is on a disk. */
const INBOX = `auditrelay_inbox_bytes{${JOB}} / auditrelay_inbox_bytes_max{${JOB}}`;

/** -1 where the queue is on a disk and has no inbox. */
export const INBOX_USED = `max(${INBOX}) or 0 * max(auditrelay_leader{${JOB}, queue=""}) - 1`;

/** 0 where one of the queues has nobody that leads, else 1. */
export const LED = `min(max by (job, namespace, queue) (auditrelay_leader{${JOB}}))`;

/**
 * What the door does: 2 while a relay cannot reach its queue, 1 while there is no room, in the queue or in the inbox before
 * it, else 0. Of several relays on one queue only the one that leads has `auditrelay_queue_refusing`, and without a leader none.
 */
export const DOOR_STATE = `2 * max(1 - auditrelay_queue_reachable{${JOB}}) > 0 or max(auditrelay_queue_refusing{${JOB}} == 1) ` +
  `or max(${INBOX} > bool 0.95) or 0 * max(auditrelay_queue_reachable{${JOB}})`;

/** `rate` of a counter, summed by these labels ("" for all). */
export const perSecond = (by, selector) => `sum ${by === "" ? "" : `by (${by}) `}(rate(${selector}[$__rate_interval]))`;

/** How much a counter of each relay's own rose in the last hour. */
export const lastHour = (by, selector) => `sum ${by === "" ? "" : `by (${by}) `}(increase(${selector}[1h]))`;

/**
 * The last hour of what the queue holds, by queue and whoever led, as the rules record it. Only the relay that leads has such
 * series: by instance a second term of the same relay would tell again what the one in between did. One on its disk is by itself.
 */
const queuesLastHour = (selector) => {
  const led = `auditrelay_leader{${JOB}, queue!=""}`;
  const rest = "ignoring (channel, fate, reason, queue)";
  return `(max without (instance, pod, container, endpoint, node) (${selector} + ${rest} group_left (queue) 0 * ${led}) ` +
    `or ${selector} unless ${rest} ${led})[1h:15s]`;
};

/** How much a counter of the queue's rose in the last hour. */
export const queueLastHour = (by, selector) => `sum ${by === "" ? "" : `by (${by}) `}(increase(${queuesLastHour(selector)}))`;

/** Dead letters that were added: their number falls again when they are redriven or dropped, so it is read as a gauge. */
const addedDead = (by, change) => `sum ${by === "" ? "" : `by (${by}) `}(clamp_min(${change}, 0))`;
export const deadLastHour = (by, selector) => addedDead(by, `delta(${queuesLastHour(selector)})`);
export const deadPerSecond = (by, selector) => addedDead(by, `deriv(${selector}[$__rate_interval])`);

/** A quantile of a histogram. */
export const quantile = (q, by, metric, selector) =>
  `histogram_quantile(${q}, sum by (le${by === "" ? "" : `, ${by}`}) (rate(${metric}_bucket{${selector}}[$__rate_interval])))`;

function query(name, label, says, expr, more) {
  return {
    type: "query", name, label, description: says, datasource: SOURCE, definition: expr,
    query: { query: expr, refId: name }, regex: "", refresh: 2, sort: 1, hide: 0, skipUrlSync: false,
    ...more,
  };
}

const SEVERAL = { multi: true, includeAll: true, current: { selected: true, text: ["All"], value: ["$__all"] } };
const MANY = { ...SEVERAL, allValue: ".*" };
const ONE = { multi: false, includeAll: false };

const DATASOURCE = {
  type: "datasource", name: "datasource", label: "Data source", query: "prometheus", regex: "", refresh: 1,
  multi: false, includeAll: false, hide: 0, skipUrlSync: false, description: "The Prometheus that scrapes the relay.",
};

const RUNBOOKS = {
  type: "constant", name: "runbooks", label: "Runbooks", query: "https://runbooks.example/auditrelay",
  current: { selected: true, text: "https://runbooks.example/auditrelay", value: "https://runbooks.example/auditrelay" },
  hide: 2, skipUrlSync: true, description: "Where the pages of docs/runbooks are served.",
};

const VARIABLES = {
  // "All" are those that are in the list: other jobs have `up` and `process_*` too.
  job: query("job", "Job", "Relays, by the job that scrapes them.", "label_values(auditrelay_build_info, job)", SEVERAL),
  cluster: query(
    "cluster", "Cluster", "Clusters whose events are shown.",
    `label_values(auditrelay_cluster_events_total{${JOB}}, cluster)`, MANY,
  ),
  channel: query(
    "channel", "Channel", "Channels that are shown.",
    `label_values(auditrelay_lane_state{${JOB}}, channel)`, MANY,
  ),
  oneChannel: query(
    "channel", "Channel", "The channel that the page is about.",
    `label_values(auditrelay_lane_state{${JOB}}, channel)`, ONE,
  ),
};

function annotation(name, iconColor, metric, text) {
  return {
    name, datasource: SOURCE, enable: true, hide: false, iconColor,
    // The value is the moment, so a mark stands where it happened and not at the first scrape after it.
    expr: `${metric}{${JOB}} * 1000`, useValueForTime: true,
    titleFormat: name, textFormat: text, tagKeys: "instance", step: "15s",
  };
}

const ANNOTATIONS = [
  annotation("Relay started", "purple", "auditrelay_start_time_seconds", "{{instance}} started"),
  annotation(
    "Configuration loaded", "blue", "auditrelay_config_last_reload_success_timestamp_seconds",
    "{{instance}} took its configuration",
  ),
];

const OTHERS = {
  type: "dashboards", title: "Audit relay", icon: "external link", tooltip: "The relay's other pages", tags: ["auditrelay"],
  asDropdown: false, targetBlank: false, includeVars: true, keepTime: true, url: "",
};

/** Puts panels beside each other until 24 columns are full, each row under a heading of its own. */
function laidOut(rows) {
  const panels = [];
  let [id, y] = [0, 0];
  for (const { title, panels: own } of rows) {
    panels.push({ type: "row", id: (id += 1), title, collapsed: false, gridPos: { h: 1, w: 24, x: 0, y }, panels: [] });
    y += 1;
    let [x, height] = [0, 0];
    for (const one of own) {
      if (x + one.gridPos.w > 24) {
        y += height;
        [x, height] = [0, 0];
      }
      panels.push({ id: (id += 1), ...one, gridPos: { ...one.gridPos, x, y } });
      x += one.gridPos.w;
      height = Math.max(height, one.gridPos.h);
    }
    y += height;
  }
  return panels;
}

/** A whole dashboard: `variables` are names of those above. */
export function board({ uid, title, says, variables, rows, from = "now-3h" }) {
  return {
    uid, title, description: says,
    tags: ["auditrelay"],
    timezone: "browser", editable: true, graphTooltip: 1, schemaVersion: 39, version: 1,
    refresh: "30s", time: { from, to: "now" },
    timepicker: { refresh_intervals: ["10s", "30s", "1m", "5m", "15m"] },
    links: [OTHERS],
    annotations: { list: ANNOTATIONS },
    templating: { list: [DATASOURCE, ...variables.map((name) => VARIABLES[name]), RUNBOOKS] },
    panels: laidOut(rows),
  };
}

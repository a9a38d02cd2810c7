// The page of one channel: what waits for it, what Slack says, and what became of everything that went to it.

import { JOB, board, deadLastHour, deadPerSecond, orZero, perSecond, quantile, queueLastHour } from "./board.mjs";
import { SEVERITIES, bars, colours, series, stat, states, words } from "./panels.mjs";

const CHANNEL = `${JOB}, channel="$channel"`;
const STATE = `max by (channel) (auditrelay_lane_state{${CHANNEL}, state="holding"} or 2 * auditrelay_lane_state{${CHANNEL}, state="parked"})`;
const LANE = words({ 0: ["open", "green"], 1: ["holding", "yellow"], 2: ["parked", "red"] });
const BEHIND = ["AuditRelayDeliveryBehind"];

const NOW = {
  title: "Does $channel hear what it should?",
  panels: [
    stat({
      title: "Lane", unit: "none", steps: ["green", 1, "yellow", 2, "red"], mappings: LANE, runbook: ["AuditRelayChannelParked"],
      says: "Open: it posts. Holding: it waits before the next try. Parked: Slack refuses the channel or its token, and a person is needed.",
      queries: [[STATE]],
    }),
    stat({
      title: "Waiting", unit: "short", decimals: 0, steps: ["green", 1000, "yellow", 100000, "orange"], runbook: BEHIND,
      says: "Events, notices and copies that wait for this channel.",
      queries: [[orZero(`sum(auditrelay_backlog_events{${CHANNEL}})`)]],
    }),
    stat({
      title: "Oldest waiting", unit: "s", decimals: 0, steps: ["green", 120, "yellow", 300, "red"], runbook: BEHIND,
      says: "How long the oldest of them has waited since it was received. 0: nothing waits.",
      queries: [[orZero(`max(auditrelay_backlog_oldest_age_seconds{${CHANNEL}})`)]],
    }),
    stat({
      title: "Last delivered", unit: "s", decimals: 0, steps: ["green", 3600, "yellow"], none: "not known",
      says: "How long ago the destination took a message. Long is fine while nothing waits.",
      runbook: ["AuditRelayChannelNotDelivering"],
      queries: [[`time() - max(auditrelay_channel_last_delivered_timestamp_seconds{${CHANNEL}} > 0)`]],
    }),
    stat({
      title: "Dead letters, 1 h", unit: "short", decimals: 0, steps: ["green", 1, "red"], runbook: ["AuditRelayDeadLetters"],
      says: "Deliveries of the last hour that Slack will never take. They are kept: auditrelay dead list.",
      queries: [[orZero(deadLastHour("", `auditrelay_channel_dead_events{${CHANNEL}}`))]],
    }),
    stat({
      title: "Dropped, 1 h", unit: "short", decimals: 0, steps: ["green", 1, "red"], runbook: ["AuditRelayEventsDropped"],
      says: "Deliveries given up in the last hour: over a quota, or by command.",
      queries: [[orZero(queueLastHour("", `auditrelay_channel_dropped_events_total{${CHANNEL}}`))]],
    }),
  ],
};

const WAITING = {
  title: "What waits, and for how long?",
  panels: [
    series({
      title: "Waiting, by severity", unit: "short", steps: ["green", 10000, "yellow"], stack: true, overrides: SEVERITIES,
      says: "Events, notices and copies that wait. Critical ones go first.", runbook: BEHIND,
      queries: [[`sum by (severity) (auditrelay_backlog_events{${CHANNEL}})`, "{{severity}}"]],
    }),
    series({
      title: "Oldest waiting, by severity", unit: "s", steps: ["green", 120, "yellow", 300, "red"], lines: true,
      overrides: SEVERITIES, runbook: BEHIND,
      says: "Age of the oldest of each severity, since it was received. A line that rises by a second a second: nothing of it goes out.",
      queries: [[`max by (severity) (auditrelay_backlog_oldest_age_seconds{${CHANNEL}})`, "{{severity}}"]],
    }),
    series({
      title: "Delay from stage time to Slack", unit: "s", steps: ["green", 60, "yellow", 300, "red"], lines: true, runbook: BEHIND,
      says: "From an event's own time to the time that Slack gives its message, of what was delivered just now.",
      overrides: colours({ "half of them": "green", "9 of 10": "yellow", "99 of 100": "orange" }),
      queries: [
        [quantile(0.5, "", "auditrelay_delivery_delay_seconds", CHANNEL), "half of them"],
        [quantile(0.9, "", "auditrelay_delivery_delay_seconds", CHANNEL), "9 of 10"],
        [quantile(0.99, "", "auditrelay_delivery_delay_seconds", CHANNEL), "99 of 100"],
      ],
    }),
    series({
      title: "What becomes of deliveries", unit: "eps", steps: ["green"],
      says: "Deliveries a second: what was routed to the channel, and what became of it. Routed is delivered, dead or dropped in the end, or waits.",
      runbook: ["AuditRelayDeadLetters", "AuditRelayEventsDropped"],
      overrides: colours({ routed: "blue", delivered: "green", dead: "purple", dropped: "red", muted: "text" }),
      queries: [
        [orZero(perSecond("", `auditrelay_channel_events_total{${CHANNEL}, fate="routed"}`)), "routed"],
        [orZero(perSecond("", `auditrelay_channel_events_total{${CHANNEL}, fate="delivered"}`)), "delivered"],
        [orZero(deadPerSecond("", `auditrelay_channel_dead_events{${CHANNEL}}`)), "dead"],
        [orZero(perSecond("", `auditrelay_channel_dropped_events_total{${CHANNEL}}`)), "dropped"],
        [orZero(perSecond("", `auditrelay_events_muted_total{${CHANNEL}}`)), "muted"],
      ],
    }),
  ],
};

const SLACK = {
  title: "What does Slack say?",
  panels: [
    states({
      title: "Lane over time", w: 24, h: 5, unit: "none", steps: ["green", 1, "yellow", 2, "red"], mappings: LANE,
      runbook: ["AuditRelayChannelParked", "AuditRelayChannelHolding"],
      says: "The state of the channel's lane. Holding now and then is Slack's rate limit; parked needs a person.",
      queries: [[STATE, "{{channel}}"]],
    }),
    series({
      title: "Attempts to post, by outcome", w: 8, unit: "reqps", steps: ["green", 0.1, "yellow"], stack: true,
      runbook: ["AuditRelaySlackFailing"],
      says: "Later: certainly not posted, tried again. Park: channel or token broken. Never: refused content. Unknown: looked for before it is repeated.",
      overrides: colours({ accepted: "green", later: "yellow", park: "red", never: "purple", unknown: "orange" }),
      queries: [[perSecond("outcome", `auditrelay_posts_total{${CHANNEL}}`), "{{outcome}}"]],
    }),
    series({
      title: "Messages a minute, by form", w: 8, unit: "short", steps: ["green"], stack: true,
      says: "Accepted messages: sentences tell events one by one, a digest tells many, details are its replies and files.",
      overrides: colours({ sentences: "green", digest: "yellow", details: "blue" }),
      queries: [[`60 * ${perSecond("form", `auditrelay_messages_total{${CHANNEL}}`)}`, "{{form}}"]],
    }),
    series({
      title: "Events a message", w: 8, unit: "short", decimals: 1, steps: ["green", 50, "yellow"],
      says: "How many events an accepted message tells of, replies and files left out. Large: more comes than the pace lets out.",
      overrides: colours({ "events a message": "blue" }),
      queries: [[
        `${perSecond("", `auditrelay_channel_events_total{${CHANNEL}, fate="delivered"}`)} ` +
          `/ (${perSecond("", `auditrelay_messages_total{${CHANNEL}, form!="details"}`)} > 0)`,
        "events a message",
      ]],
    }),
    series({
      title: "How long Slack takes", w: 8, unit: "s", steps: ["green", 1, "yellow", 5, "red"],
      says: "99 of 100 requests are answered within this, by method, of all channels of these relays. Slow answers hold the lanes.",
      runbook: ["AuditRelaySlackFailing"],
      queries: [[quantile(0.99, "method", "auditrelay_slack_request_duration_seconds", JOB), "{{method}}"]],
    }),
    series({
      title: "Retry-After", w: 8, unit: "s", steps: ["green", 30, "yellow"],
      says: "The last Retry-After that Slack gave the channel; it stays until the next one. 0: none since the start.",
      runbook: ["AuditRelayChannelHolding"],
      queries: [[`max by (channel) (auditrelay_retry_after_seconds{${CHANNEL}})`, "{{channel}}"]],
    }),
    series({
      title: "Look-ups, by outcome", w: 8, unit: "cps", steps: ["green", 0.01, "yellow"],
      says: "Messages that may have been posted and are looked for. Found: not repeated. Absent: posted. Unknowable: repeated and marked.",
      overrides: colours({ found: "green", absent: "blue", unknowable: "orange", failed: "red" }),
      queries: [[perSecond("outcome", `auditrelay_lookups_total{${CHANNEL}}`), "{{outcome}}"]],
    }),
    bars({
      title: "Budget used, by workspace", unit: "percentunit", min: 0, max: 1, steps: ["green", 0.7, "yellow", 0.95, "orange"],
      says: "Messages a minute now, of slack.messages_per_minute, which the channels of a workspace share.",
      queries: [[
        `sum by (workspace) (rate(auditrelay_workspace_messages_total{${JOB}}[$__rate_interval])) * 60 ` +
          `/ max by (workspace) (auditrelay_workspace_messages_per_minute_max{${JOB}})`,
        "{{workspace}}",
      ]],
    }),
    series({
      title: "Notices and copies", w: 8, unit: "eps", steps: ["green", 1, "yellow"],
      says: "Beside events: the relay's own notices, and copies made by a replay or for a channel that is parked.",
      queries: [
        [orZero(perSecond("", `auditrelay_notices_total{${CHANNEL}, fate="queued"}`)), "notices"],
        [orZero(perSecond("", `auditrelay_copies_total{${CHANNEL}, fate="queued"}`)), "copies"],
      ],
    }),
    series({
      title: "Parked, and lists given up", w: 8, unit: "short", decimals: 0, steps: ["green", 1, "red"],
      runbook: ["AuditRelayChannelParked", "AuditRelayDetailsGivenUp"],
      says: "Since the start: how often the channel was parked, and how many digests were left without their complete list.",
      queries: [
        [`sum(auditrelay_parked_total{${CHANNEL}})`, "parked"],
        [`sum(auditrelay_details_given_up_total{${CHANNEL}})`, "lists given up"],
      ],
    }),
  ],
};

export const delivery = board({
  uid: "auditrelay-delivery", title: "Audit relay: delivery",
  says: "One channel: what waits for it, how late it is told, what Slack answers, and what became of everything that went to it.",
  variables: ["job", "oneChannel"], rows: [NOW, WAITING, SLACK],
});

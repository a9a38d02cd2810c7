// The overview: what somebody looks at first, on a bad day above all.

import {
  DOOR_STATE, INBOX_USED, JOB, LED, board, deadLastHour, deadPerSecond, lastHour, orZero, orZeroAtTheDoor, perSecond, quantile,
  queueLastHour,
} from "./board.mjs";
import { SEVERITIES, bars, colours, series, stat, states, table, words } from "./panels.mjs";

const CHANNEL = `${JOB}, channel=~"$channel"`;
const CLUSTER = `${JOB}, cluster=~"$cluster"`;
const OPEN = `/d/auditrelay-delivery?var-channel=\${__data.fields["Channel"]}&\${datasource:queryparam}&\${job:queryparam}`;

/**
 * Seconds since a cluster's last event at any relay, or since the first of them was started where none has come yet. `other` is no
 * cluster of ours.
 */
const SILENCE = `time() - (max by (cluster) (auditrelay_cluster_last_event_timestamp_seconds{${CLUSTER}, cluster!="other"} > 0) ` +
  `or min by (cluster) (0 * auditrelay_cluster_last_event_timestamp_seconds{${CLUSTER}, cluster!="other"} ` +
  `+ on (job, instance) group_left () auditrelay_start_time_seconds{${JOB}}))`;

/** What a workspace's messages use of what it may post. */
const BUDGET = `sum by (workspace) (rate(auditrelay_workspace_messages_total{${JOB}}[$__rate_interval])) * 60 ` +
  `/ max by (workspace) (auditrelay_workspace_messages_per_minute_max{${JOB}})`;

/** Only the relay that leads has a watchdog: that it is 0 on all of them says nothing while nobody leads. */
const WATCHDOG = `(max(auditrelay_watchdog_interval_seconds{${JOB}}) == 0 and max(auditrelay_leader{${JOB}}) == 1) - 1 ` +
  `or time() - max(auditrelay_watchdog_last_delivered_timestamp_seconds{${JOB}} > 0) ` +
  `or time() - max(auditrelay_leader_since_timestamp_seconds{${JOB}} > 0)`;

const NOW = {
  title: "Is it healthy?",
  panels: [
    stat({
      title: "Relay", w: 6, unit: "none", steps: ["red", 1, "green"], none: "not scraped", runbook: ["AuditRelayDown"],
      says: "Whether Prometheus reaches every relay of this job. Down: API servers repeat a batch for 90 s to 245 s, then lose it.",
      mappings: words({ 0: ["down", "red"], 1: ["up", "green"] }),
      queries: [[`min(up{${JOB}})`]],
    }),
    stat({
      title: "Door", w: 6, unit: "none", steps: ["green", 1, "red"], runbook: ["AuditRelayRefusingEvents", "AuditRelayQueueUnreachable"],
      says: "Whether new batches are taken, refused as the queue, its inbox or the disk is full, or a relay cannot reach NATS. Refusing for longer than 90 s loses events.",
      mappings: words({ 0: ["accepting", "green"], 1: ["refusing", "red"], 2: ["unreachable", "red"] }),
      queries: [[DOOR_STATE]],
    }),
    stat({
      title: "Leader", w: 6, unit: "none", steps: ["red", 1, "green"], none: "not scraped", runbook: ["AuditRelayNoLeader"],
      says: "Whether one of the relays leads. While nobody does, batches are taken, and nothing is routed, posted or known of the queue.",
      mappings: words({ 0: ["nobody leads", "red"], 1: ["one leads", "green"] }),
      queries: [[LED]],
    }),
    stat({
      title: "Inbox used", w: 6, unit: "percentunit", decimals: 0, steps: ["green", 0.1, "yellow", 0.5, "red"], none: "not known",
      runbook: ["AuditRelayInboxFilling"],
      says: "Batches that were acknowledged and wait in NATS for the relay that leads, of inbox_bytes_max. At 100 % batches are refused.",
      mappings: words({ "-1": ["on a disk", "text"] }), queries: [[INBOX_USED]],
    }),
    stat({
      title: "Oldest waiting", w: 5, unit: "s", decimals: 0, steps: ["green", 120, "yellow", 300, "red"],
      runbook: ["AuditRelayDeliveryBehind"],
      says: "How long the oldest event that nobody has been told has waited since it was received. 0: nothing waits.",
      queries: [[orZero(`max(auditrelay_backlog_oldest_age_seconds{${CHANNEL}})`)]],
    }),
    stat({
      title: "Parked channels", w: 5, unit: "none", steps: ["green", 1, "red"], runbook: ["AuditRelayChannelParked"],
      says: "Channels that Slack refuses. They need a person: invite the bot, replace the token, unarchive the channel.",
      queries: [[`sum(auditrelay_lane_state{${CHANNEL}, state="parked"})`]],
    }),
    stat({
      title: "Quietest cluster", w: 5, unit: "s", decimals: 0, steps: ["green", 300, "yellow", 900, "red"], none: "none known",
      runbook: ["AuditRelayClusterSilent"],
      says: "The longest time that a cluster has sent nothing, counted from the first relay's start where none has come yet. Silence may be an attack.",
      queries: [[`max(${SILENCE})`]],
    }),
    stat({
      title: "Disk left", unit: "bytes", decimals: 1, steps: ["red", 1073741824, "yellow", 5368709120, "green"],
      runbook: ["AuditRelayDiskLow"],
      says: "Free space above queue.disk_free_bytes_min, below which batches are refused.",
      queries: [[`min(auditrelay_disk_free_bytes{${JOB}} - auditrelay_disk_free_bytes_min{${JOB}})`]],
    }),
    stat({
      title: "Dropped, 1 h", w: 5, unit: "short", decimals: 0, steps: ["green", 1, "red"], runbook: ["AuditRelayEventsDropped"],
      says: "Deliveries given up in the last hour: over a quota, or by command. Nobody is told of them but as a count.",
      queries: [[orZero(queueLastHour("", `auditrelay_channel_dropped_events_total{${CHANNEL}}`))]],
    }),
    stat({
      title: "Dead letters, 1 h", w: 5, unit: "short", decimals: 0, steps: ["green", 1, "red"], runbook: ["AuditRelayDeadLetters"],
      says: "Deliveries of the last hour that Slack will never take. They are kept: auditrelay dead list.",
      queries: [[orZero(deadLastHour("", `auditrelay_channel_dead_events{${CHANNEL}}`))]],
    }),
    stat({
      title: "Quarantined, 1 h", w: 5, unit: "short", decimals: 0, steps: ["green", 1, "yellow", 100, "red"],
      runbook: ["AuditRelayQuarantineRising"],
      says: "Items of the last hour that could not be read as events. They are kept: auditrelay quarantine list.",
      queries: [[orZero(queueLastHour("", `auditrelay_ledger_events_total{${JOB}, fate="quarantined"}`))]],
    }),
    stat({
      title: "Refused, 1 h", unit: "short", decimals: 0, steps: ["green", 1, "yellow", 100, "red"],
      runbook: ["AuditRelayRefusingEvents"],
      says: "Requests and connections turned away in the last hour, for any reason. A refused batch is repeated for 90 s, then lost.",
      queries: [[orZeroAtTheDoor(lastHour("", `auditrelay_ingest_refused_total{${JOB}}`))]],
    }),
    stat({
      title: "Slack budget used", w: 5, unit: "percentunit", decimals: 0, steps: ["green", 0.7, "yellow", 0.95, "orange"],
      runbook: ["AuditRelayDeliveryBehind"],
      says: "The busiest workspace's messages, of slack.messages_per_minute. At 100 % what comes becomes digests, and waits.",
      queries: [[`max(${BUDGET})`]],
    }),
    stat({
      title: "Watchdog heard", w: 5, unit: "s", decimals: 0, steps: ["green", 600, "yellow", 900, "red"],
      runbook: ["AuditRelayWatchdogMissing"],
      says: "How long ago the last synthetic event came through the whole path. Off: watchdog.interval_seconds is 0.",
      mappings: words({ "-1": ["off", "text"] }), queries: [[WATCHDOG]],
    }),
  ],
};

const BEHIND = {
  title: "How far behind?",
  panels: [
    series({
      title: "Oldest waiting, by channel", unit: "s", steps: ["green", 120, "yellow", 300, "red"], lines: true,
      runbook: ["AuditRelayDeliveryBehind"],
      says: "How long the oldest event has waited for each channel. A steady rise is a channel that takes nothing.",
      queries: [[`max by (channel) (auditrelay_backlog_oldest_age_seconds{${CHANNEL}})`, "{{channel}}"]],
    }),
    series({
      title: "Waiting, by severity", unit: "short", steps: ["green", 10000, "yellow"], stack: true,
      says: "Events, notices and copies that wait for the channels. Critical ones go first.",
      overrides: SEVERITIES,
      queries: [[`sum by (severity) (auditrelay_backlog_events{${CHANNEL}})`, "{{severity}}"]],
    }),
    series({
      title: "In and out", unit: "eps", steps: ["green"],
      says: "Events made durable at the door, and deliveries that a destination took. Out may exceed in: one event, several channels.",
      overrides: colours({ received: "blue", delivered: "green", "waiting to be routed": "yellow" }),
      queries: [
        [perSecond("", `auditrelay_ledger_events_total{${JOB}, fate="received"}`), "received"],
        [orZero(perSecond("", `auditrelay_channel_events_total{${CHANNEL}, fate="delivered"}`)), "delivered"],
      ],
    }),
    series({
      title: "Delay from stage time to Slack", unit: "s", steps: ["green", 60, "yellow", 300, "red"], lines: true,
      says: "From an event's own time to the time that Slack gives its message, of what was delivered just now. Repeats of old backlog count with their age.",
      runbook: ["AuditRelayDeliveryBehind"],
      overrides: colours({ "half of them": "green", "99 of 100": "orange" }),
      queries: [
        [quantile(0.5, "", "auditrelay_delivery_delay_seconds", CHANNEL), "half of them"],
        [quantile(0.99, "", "auditrelay_delivery_delay_seconds", CHANNEL), "99 of 100"],
      ],
    }),
  ],
};

const GIVEN_UP = {
  title: "What is refused, parked or dropped?",
  panels: [
    states({
      title: "Lanes", unit: "none", steps: ["green", 1, "yellow", 2, "red"], runbook: ["AuditRelayChannelParked"],
      says: "Open: it posts. Holding: it waits before the next try. Parked: Slack refuses the channel or its token.",
      mappings: words({ 0: ["open", "green"], 1: ["holding", "yellow"], 2: ["parked", "red"] }),
      queries: [[
        `max by (channel) (auditrelay_lane_state{${CHANNEL}, state="holding"} or 2 * auditrelay_lane_state{${CHANNEL}, state="parked"})`,
        "{{channel}}",
      ]],
    }),
    series({
      title: "Not told as they came", unit: "eps", steps: ["green", 0.001, "yellow"],
      says: "Dropped and dead are losses of a delivery. Quarantined could not be read. Muted was held back because somebody said so.",
      runbook: ["AuditRelayEventsDropped", "AuditRelayDeadLetters", "AuditRelayQuarantineRising"],
      overrides: colours({ dropped: "red", dead: "purple", quarantined: "orange", muted: "blue" }),
      queries: [
        [orZero(perSecond("", `auditrelay_channel_dropped_events_total{${CHANNEL}}`)), "dropped"],
        [orZero(deadPerSecond("", `auditrelay_channel_dead_events{${CHANNEL}}`)), "dead"],
        [orZero(perSecond("", `auditrelay_ledger_events_total{${JOB}, fate="quarantined"}`)), "quarantined"],
        [orZero(perSecond("", `auditrelay_events_muted_total{${CHANNEL}}`)), "muted"],
      ],
    }),
  ],
};

const HEADROOM = {
  title: "How much headroom to Slack's budget?",
  panels: [
    bars({
      title: "Budget used, by workspace", w: 6, unit: "percentunit", min: 0, max: 1, steps: ["green", 0.7, "yellow", 0.95, "orange"],
      says: "Messages a minute now, of slack.messages_per_minute. A workspace has the name of the first channel that uses its token.",
      queries: [[BUDGET, "{{workspace}}"]],
    }),
    series({
      title: "Messages a minute, by form", w: 9, unit: "short", steps: ["green"], stack: true,
      says: "Messages that were accepted. Many digests: more comes than the pace lets out, so a message tells of many events.",
      overrides: colours({ sentences: "green", digest: "yellow", details: "blue" }),
      queries: [[`60 * ${perSecond("form", `auditrelay_messages_total{${CHANNEL}}`)}`, "{{form}}"]],
    }),
    series({
      title: "Slack's answers", w: 9, unit: "reqps", steps: ["green", 0.1, "yellow"], stack: true,
      runbook: ["AuditRelaySlackFailing"],
      says: "Attempts to post by outcome. Later: certainly not posted, tried again. Unknown: looked for before it is repeated. Never: refused content.",
      overrides: colours({ accepted: "green", later: "yellow", park: "red", never: "purple", unknown: "orange" }),
      queries: [[perSecond("outcome", `auditrelay_posts_total{${CHANNEL}}`), "{{outcome}}"]],
    }),
  ],
};

const BY_CLUSTER = `auditrelay_cluster_events_total{${CLUSTER}}`;
const WHO = {
  title: "Who talks most?",
  panels: [
    table({
      title: "Clusters", w: 13, says: "Events by the cluster they are from. A large share of duplicates: answers are late or lost, and batches come again. Unfinished: a request was seen to begin, and its end never came.",
      steps: ["green"], by: { label: "cluster", name: "Cluster", width: 130 }, sort: "Events/s",
      runbook: ["AuditRelayClusterSilent", "AuditRelayDuplicatesHigh", "AuditRelayRequestsUnfinished"],
      columns: [
        { name: "Events/s", unit: "short", decimals: 1, expr: perSecond("cluster", BY_CLUSTER) },
        {
          name: "Share", unit: "percentunit", decimals: 0,
          expr: `${perSecond("cluster", BY_CLUSTER)} / on () group_left () (${perSecond("", BY_CLUSTER)} > 0)`,
        },
        {
          name: "Duplicates", unit: "percentunit", decimals: 1, steps: ["transparent", 0.05, "yellow", 0.2, "orange"],
          expr: `${perSecond("cluster", `auditrelay_cluster_events_total{${CLUSTER}, outcome="duplicate"}`)} / (${perSecond("cluster", BY_CLUSTER)} > 0)`,
        },
        { name: "Silent for", unit: "s", decimals: 0, steps: ["transparent", 300, "yellow", 900, "red"], expr: SILENCE },
        {
          name: "Unfinished, 1 h", unit: "short", decimals: 0, steps: ["transparent", 1, "yellow"],
          expr: lastHour("cluster", `auditrelay_requests_unfinished_total{${CLUSTER}}`),
        },
      ],
    }),
    series({
      title: "Events, by cluster", w: 11, unit: "eps", steps: ["green"], stack: true,
      says: "Events received a second, duplicates included. A line that stops is a cluster that fell silent.",
      runbook: ["AuditRelayClusterSilent"],
      queries: [[perSecond("cluster", BY_CLUSTER), "{{cluster}}"]],
    }),
    table({
      title: "Channels", w: 24, says: "One row a channel; its name leads to its page.", steps: ["green"],
      by: { label: "channel", name: "Channel", width: 170, url: OPEN, says: "Open the page of this channel" }, sort: "Waiting",
      columns: [
        {
          name: "State", unit: "none", steps: ["green", 1, "yellow", 2, "red"],
          mappings: words({ 0: ["open", "green"], 1: ["holding", "yellow"], 2: ["parked", "red"] }),
          expr: `max by (channel) (auditrelay_lane_state{${CHANNEL}, state="holding"} or 2 * auditrelay_lane_state{${CHANNEL}, state="parked"})`,
        },
        { name: "Waiting", unit: "short", decimals: 0, expr: `sum by (channel) (auditrelay_backlog_events{${CHANNEL}})` },
        {
          name: "Oldest", unit: "s", decimals: 0, steps: ["transparent", 120, "yellow", 300, "red"],
          expr: `max by (channel) (auditrelay_backlog_oldest_age_seconds{${CHANNEL}})`,
        },
        {
          name: "Delivered/s", unit: "short", decimals: 1,
          expr: perSecond("channel", `auditrelay_channel_events_total{${CHANNEL}, fate="delivered"}`),
        },
        {
          name: "Last delivered", unit: "s", decimals: 0,
          expr: `time() - max by (channel) (auditrelay_channel_last_delivered_timestamp_seconds{${CHANNEL}} > 0)`,
        },
        {
          name: "Dead, 1 h", unit: "short", decimals: 0, steps: ["transparent", 1, "red"],
          expr: deadLastHour("channel", `auditrelay_channel_dead_events{${CHANNEL}}`),
        },
        {
          name: "Dropped, 1 h", unit: "short", decimals: 0, steps: ["transparent", 1, "red"],
          expr: queueLastHour("channel", `auditrelay_channel_dropped_events_total{${CHANNEL}}`),
        },
      ],
    }),
  ],
};

export const overview = board({
  uid: "auditrelay-overview", title: "Audit relay: overview",
  says: "Is it healthy, how far behind is it, what is refused, parked or dropped, how much of Slack's budget is left, who talks most.",
  variables: ["job", "cluster", "channel"], rows: [NOW, BEHIND, GIVEN_UP, HEADROOM, WHO],
});

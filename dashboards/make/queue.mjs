// The page of the queue and its disk, and of the door that fills it.

import { DOOR_STATE, JOB, board, lastHour, orZeroAtTheDoor, perSecond, quantile } from "./board.mjs";
import { SEVERITIES, colours, series, stat, table, words } from "./panels.mjs";

const REFUSING = ["AuditRelayRefusingEvents"];
const FILLING = ["AuditRelayQueueFilling"];
const DISK = ["AuditRelayDiskLow"];
const DAYS = 86400;

const DOOR = {
  title: "Is the door open, and how fast does it answer?",
  panels: [
    stat({
      title: "Door", unit: "none", steps: ["green", 1, "red"], runbook: [...REFUSING, "AuditRelayQueueUnreachable"],
      says: "Whether new batches are taken, refused as the queue, its inbox or the disk is full, or a relay cannot reach NATS.",
      mappings: words({ 0: ["accepting", "green"], 1: ["refusing", "red"], 2: ["unreachable", "red"] }),
      queries: [[DOOR_STATE]],
    }),
    stat({
      title: "Refused, 1 h", unit: "short", decimals: 0, steps: ["green", 1, "yellow", 100, "red"], runbook: REFUSING,
      says: "Requests and connections turned away in the last hour, for any reason. A refused batch is repeated for 90 s, then lost.",
      queries: [[orZeroAtTheDoor(lastHour("", `auditrelay_ingest_refused_total{${JOB}}`))]],
    }),
    stat({
      title: "Answered within", unit: "s", decimals: 1, steps: ["green", 0.5, "yellow", 1, "red"],
      mappings: words({ nan: "no request" }), runbook: ["AuditRelayCommitSlow"],
      says: "99 of 100 requests are answered within this. The promise is one second from the last byte.",
      queries: [[quantile(0.99, "", "auditrelay_ingest_request_duration_seconds", JOB)]],
    }),
    stat({
      title: "Durable within", unit: "s", decimals: 1, steps: ["green", 0.1, "yellow", 0.25, "red"],
      mappings: words({ nan: "no batch" }), runbook: ["AuditRelayCommitSlow"],
      says: "99 of 100 batches are on disk within this, fdatasync included. Above 0.25 s the disk is too slow or the processor is throttled.",
      queries: [[quantile(0.99, "", "auditrelay_ingest_commit_duration_seconds", JOB)]],
    }),
    stat({
      title: "Connections", unit: "short", decimals: 0, steps: ["green", 500, "yellow"],
      says: "Connections that are open. At ingest.connections_max the one that kept the relay waiting longest gives way.",
      queries: [[`sum(auditrelay_ingest_connections{${JOB}})`]],
    }),
    stat({
      title: "Certificate ends in", unit: "s", decimals: 0, steps: ["red", DAYS, "orange", 7 * DAYS, "yellow", 14 * DAYS, "green"],
      none: "none known", runbook: ["AuditRelayCertificateExpiring"],
      says: "Until the first certificate of the port or of its clients' CA ends. API servers refuse an expired one and lose their events.",
      queries: [[`min(auditrelay_tls_certificate_not_after_timestamp_seconds{${JOB}} - time())`]],
    }),
    series({
      title: "Requests, by code", unit: "reqps", steps: ["green"], stack: true, runbook: REFUSING,
      says: "Requests answered. Everything but 200 is a batch that the API server repeats (429, 503) or gives up (4xx).",
      overrides: colours({ 200: "green", 404: "yellow", 429: "orange", 503: "red", 400: "purple", 413: "blue" }),
      queries: [[`${perSecond("code", `auditrelay_ingest_requests_total{${JOB}}`)} > 0`, "{{code}}"]],
    }),
    series({
      title: "Refused, by reason", unit: "cps", steps: ["green", 0.01, "yellow"], stack: true,
      runbook: ["AuditRelayRefusingEvents", "AuditRelayBatchTooLarge", "AuditRelayClientRejected"],
      says: "Requests and connections turned away. docs/metrics.md has a row for each reason, with what to do about it.",
      queries: [[`${perSecond("reason", `auditrelay_ingest_refused_total{${JOB}}`)} > 0 ` +
        `or on () label_replace(0 * max(auditrelay_build_info{${JOB}}), "reason", "none", "", "")`, "{{reason}}"]],
    }),
    series({
      title: "Time to answer", w: 12, unit: "s", steps: ["green", 1, "red"], lines: true, runbook: ["AuditRelayCommitSlow"],
      says: "From the first byte of a request to its answer, refusals included.",
      overrides: colours({ "half of them": "green", "99 of 100": "orange" }),
      queries: [
        [quantile(0.5, "", "auditrelay_ingest_request_duration_seconds", JOB), "half of them"],
        [quantile(0.99, "", "auditrelay_ingest_request_duration_seconds", JOB), "99 of 100"],
      ],
    }),
    series({
      title: "Time to commit", w: 12, unit: "s", steps: ["green", 0.1, "yellow", 0.25, "red"], lines: true,
      runbook: ["AuditRelayCommitSlow", "AuditRelayStorageError"],
      says: "Making one batch durable: waiting for the commit under way, then one write and one fdatasync shared by all that waited.",
      overrides: colours({ "half of them": "green", "99 of 100": "orange" }),
      queries: [
        [quantile(0.5, "", "auditrelay_ingest_commit_duration_seconds", JOB), "half of them"],
        [quantile(0.99, "", "auditrelay_ingest_commit_duration_seconds", JOB), "99 of 100"],
      ],
    }),
    series({
      title: "Items made durable", w: 8, unit: "eps", steps: ["green"], runbook: ["AuditRelayQuarantineRising"],
      says: "Items of lists that were made durable: read as an event, or unreadable and to be quarantined.",
      overrides: colours({ stored: "green", unreadable: "orange" }),
      queries: [[perSecond("outcome", `auditrelay_ingest_events_total{${JOB}}`), "{{outcome}}"]],
    }),
    series({
      title: "Bytes in, and stored", w: 8, unit: "Bps", steps: ["green"],
      says: "Bytes of request bodies, and what was appended for them after compression.",
      overrides: colours({ received: "blue", stored: "green" }),
      queries: [
        [perSecond("", `auditrelay_ingest_received_bytes_total{${JOB}}`), "received"],
        [perSecond("", `auditrelay_ingest_stored_bytes_total{${JOB}}`), "stored"],
      ],
    }),
    series({
      title: "Bodies in memory", w: 8, unit: "bytes", steps: ["green", 67108864, "yellow"],
      says: "Memory reserved for request bodies, at most ingest.bytes_in_flight_max. At the limit batches are refused with 429.",
      queries: [[`sum by (instance) (auditrelay_ingest_bytes_in_flight{${JOB}})`, "{{instance}}"]],
    }),
  ],
};

const QUEUE = {
  title: "How full are the queue and its disk?",
  panels: [
    stat({
      title: "Queue used", w: 6, unit: "percentunit", decimals: 1, steps: ["green", 0.5, "yellow", 0.85, "red"], runbook: FILLING,
      says: "What the queue keeps on disk, of queue.bytes_max. At 100 % batches are refused.",
      queries: [[`max(auditrelay_queue_bytes{${JOB}} / auditrelay_queue_bytes_max{${JOB}})`]],
    }),
    stat({
      title: "Full in four hours", w: 6, unit: "percentunit", decimals: 0, steps: ["green", 0.85, "yellow", 1, "red"], runbook: FILLING,
      says: "How full the queue will be in four hours if it grows as it did in the last one. 100 % and more: batches will be refused.",
      queries: [[`clamp_min(max(predict_linear(auditrelay_queue_bytes{${JOB}}[1h], 4 * 3600) / auditrelay_queue_bytes_max{${JOB}}), 0)`]],
    }),
    stat({
      title: "Disk left", w: 6, unit: "bytes", decimals: 1, steps: ["red", 1073741824, "yellow", 5368709120, "green"], runbook: DISK,
      says: "Free space above queue.disk_free_bytes_min, below which batches are refused.",
      queries: [[`min(auditrelay_disk_free_bytes{${JOB}} - auditrelay_disk_free_bytes_min{${JOB}})`]],
    }),
    stat({
      title: "Waiting to be routed", w: 6, unit: "short", decimals: 0, steps: ["green", 10000, "yellow", 100000, "red"],
      says: "Acknowledged to an API server and not yet routed. More than a moment's worth: the router does not keep up.",
      runbook: ["AuditRelayCommitSlow"],
      queries: [[`sum(auditrelay_ledger_waiting_events{${JOB}})`]],
    }),
    series({
      title: "Queue on disk, and its limit", unit: "bytes", steps: ["green"], runbook: FILLING,
      says: "Everything that the queue keeps on disk, and queue.bytes_max.",
      overrides: colours({ used: "blue", limit: "red" }),
      queries: [
        [`sum(auditrelay_queue_bytes{${JOB}})`, "used"],
        [`sum(auditrelay_queue_bytes_max{${JOB}})`, "limit"],
      ],
    }),
    series({
      title: "Free space, and its limit", unit: "bytes", steps: ["green"], runbook: DISK,
      says: "Free space of the file system of data_dir, and queue.disk_free_bytes_min, below which batches are refused.",
      overrides: colours({ free: "blue", limit: "red" }),
      queries: [
        [`min(auditrelay_disk_free_bytes{${JOB}})`, "free"],
        [`max(auditrelay_disk_free_bytes_min{${JOB}})`, "limit"],
      ],
    }),
    series({
      title: "What fills the queue", unit: "bytes", steps: ["green"], stack: true, runbook: FILLING,
      says: "What waits for channels, and what is kept beside it: dead letters, quarantine, what digests stood for, events kept for a replay.",
      queries: [
        [`sum(auditrelay_channel_waiting_bytes{${JOB}})`, "waiting"],
        [`sum(auditrelay_dead_bytes{${JOB}})`, "dead letters"],
        [`sum(auditrelay_quarantine_bytes{${JOB}})`, "quarantine"],
        [`sum(auditrelay_detail_bytes{${JOB}})`, "details of digests"],
        [`sum(auditrelay_retained_bytes{${JOB}})`, "kept for a replay"],
      ],
    }),
    series({
      title: "Fullest channel, of its quota", unit: "percentunit", steps: ["green", 0.5, "yellow", 0.85, "red"], lines: true,
      runbook: ["AuditRelayEventsDropped"],
      says: "What waits for each channel, of queue.channel_bytes_max. At 100 % its least severe events are dropped and told as a count.",
      queries: [[
        `max by (channel) (auditrelay_channel_waiting_bytes{${JOB}} / on (job, instance) group_left () auditrelay_channel_bytes_max{${JOB}})`,
        "{{channel}}",
      ]],
    }),
    series({
      title: "Waiting bytes, by severity", unit: "bytes", steps: ["green"], stack: true, overrides: SEVERITIES, runbook: FILLING,
      says: "Bytes that wait for all channels, by how severe the event is.",
      queries: [[`sum by (severity) (auditrelay_backlog_bytes{${JOB}})`, "{{severity}}"]],
    }),
    series({
      title: "Where events went", unit: "eps", steps: ["green"], stack: true,
      says: "Events by fate: each has one. Their sum is what was received.",
      overrides: colours({ routed: "green", duplicates: "yellow", filtered: "text", muted: "blue", quarantined: "orange" }),
      queries: [[perSecond("fate", `auditrelay_ledger_events_total{${JOB}, fate!="received"}`), "{{fate}}"]],
    }),
  ],
};

const REPETITIONS = {
  title: "Are repetitions recognised?",
  panels: [
    series({
      title: "Dedup window", w: 8, unit: "s", steps: ["red", 245, "green"], lines: true, runbook: ["AuditRelayDedupWindowShort"],
      says: "How long ago the oldest remembered event came. With a full memory it has to stay above 245 s, an API server's last try. It starts at 0.",
      queries: [[`min by (instance) (auditrelay_dedup_window_seconds{${JOB}} and on (job, instance) auditrelay_leader{${JOB}} == 1)`, "{{instance}}"]],
    }),
    series({
      title: "Remembered events", w: 8, unit: "short", steps: ["green"],
      says: "Events that the dedup window holds, at most about dedup.entries_max.",
      queries: [[`sum by (instance) (auditrelay_dedup_entries{${JOB}})`, "{{instance}}"]],
    }),
    series({
      title: "Reused and forgotten", w: 8, unit: "cps", steps: ["green", 0.001, "yellow"],
      runbook: ["AuditRelayAuditIDReuse", "AuditRelayDedupWindowShort", "AuditRelayRateKeysForgotten"],
      says: "Audit IDs seen again with other content, events forgotten before their time, and keys of rates forgotten before theirs.",
      queries: [
        [perSecond("", `auditrelay_audit_id_reuse_total{${JOB}}`), "audit IDs reused"],
        [perSecond("", `auditrelay_dedup_forgotten_early_total{${JOB}}`), "events forgotten early"],
        [perSecond("", `auditrelay_rate_forgotten_total{${JOB}}`), "rate keys forgotten"],
      ],
    }),
  ],
};

const FILES = {
  title: "Log files, where inputs.log_file names any",
  panels: [
    series({
      title: "Lines read", w: 8, unit: "cps", steps: ["green"], runbook: ["AuditRelayLogFileNotFollowed"],
      says: "Lines made durable, by the path as it is configured. Empty without inputs.log_file.",
      queries: [[perSecond("path", `auditrelay_log_file_lines_total{${JOB}}`), "{{path}}"]],
    }),
    series({
      title: "Not read yet", w: 8, unit: "bytes", steps: ["green", 10485760, "yellow"], runbook: ["AuditRelayLogFileBehind"],
      says: "Bytes that are not read yet. If it grows while reading does not rest, the relay is slower than the API server.",
      queries: [[`sum by (path) (auditrelay_log_file_lag_bytes{${JOB}})`, "{{path}}"]],
    }),
    series({
      title: "Files in trouble", w: 8, unit: "short", decimals: 0, steps: ["green", 1, "red"],
      runbook: ["AuditRelayLogFileFailing", "AuditRelayLogFileResting"],
      says: "Files that cannot be read, files that wait because they look like copies, and whether reading rests for want of space.",
      overrides: colours({ failing: "red", waiting: "yellow", resting: "orange" }),
      queries: [
        [`sum(auditrelay_log_file_failing_files{${JOB}})`, "failing"],
        [`sum(auditrelay_log_file_waiting_files{${JOB}})`, "waiting"],
        [`sum(auditrelay_log_file_resting{${JOB}})`, "resting"],
      ],
    }),
  ],
};

const PROCESS = {
  title: "How is the process?",
  panels: [
    table({
      title: "Relays", w: 24, h: 4, steps: ["green"], by: { label: "instance", name: "Relay", width: 190 },
      says: "One row a relay. Changed keys that wait for a restart count only after one. Files: certificates, keys and tokens. A store that was damaged was moved aside at this start.",
      runbook: ["AuditRelayReloadFailed", "AuditRelayRestartPending", "AuditRelayFilesNotCurrent", "AuditRelayMuteActiveLong"],
      columns: [
        { name: "Up for", unit: "s", decimals: 0, expr: `time() - max by (instance) (auditrelay_start_time_seconds{${JOB}})` },
        {
          name: "Configuration", unit: "none", steps: ["red", 1, "green"], mappings: words({ 0: ["refused", "red"], 1: ["in use", "green"] }),
          expr: `min by (instance) (auditrelay_config_last_reload_successful{${JOB}})`,
        },
        {
          name: "Loaded", unit: "s", decimals: 0,
          expr: `time() - max by (instance) (auditrelay_config_last_reload_success_timestamp_seconds{${JOB}})`,
        },
        {
          name: "Wait for a restart", unit: "short", decimals: 0, steps: ["transparent", 1, "yellow"],
          expr: `max by (instance) (auditrelay_config_restart_pending{${JOB}})`,
        },
        {
          name: "Files", unit: "none", steps: ["red", 1, "green"], mappings: words({ 0: ["cannot be used", "red"], 1: ["current", "green"] }),
          expr: `min by (instance) (auditrelay_ingest_files_current{${JOB}})`,
        },
        {
          name: "Mutes", unit: "short", decimals: 0, steps: ["transparent", 1, "yellow"],
          expr: `max by (instance) (auditrelay_mutes_active{${JOB}})`,
        },
        {
          name: "Store", unit: "none", steps: ["green", 1, "red"], mappings: words({ 0: ["whole", "green"], 1: ["moved aside", "red"] }),
          expr: `max by (instance) (auditrelay_store_moved_aside{${JOB}})`,
        },
        {
          name: "Not salvaged", unit: "short", decimals: 0, steps: ["transparent", 1, "red"],
          expr: `max by (instance) (auditrelay_ledger_lost_events{${JOB}})`,
        },
      ],
    }),
    series({
      title: "Processor", w: 6, unit: "short", decimals: 2, steps: ["green", 1, "yellow"],
      says: "Processors in use. At the container's limit commits and answers become slow.",
      queries: [[perSecond("instance", `process_cpu_seconds_total{${JOB}}`), "{{instance}}"]],
    }),
    series({
      title: "Memory", w: 6, unit: "bytes", steps: ["green", 536870912, "yellow"],
      says: "Resident memory. It is bounded by the bytes in flight and the dedup window.",
      queries: [[`sum by (instance) (process_resident_memory_bytes{${JOB}})`, "{{instance}}"]],
    }),
    series({
      title: "Open files, of limit", w: 6, unit: "percentunit", steps: ["green", 0.7, "yellow", 0.9, "red"],
      says: "File descriptors in use, of the process's limit.",
      queries: [[`max by (instance) (process_open_fds{${JOB}} / process_max_fds{${JOB}})`, "{{instance}}"]],
    }),
    series({
      title: "Log lines, by level", w: 6, unit: "cps", steps: ["green", 0.1, "yellow"], runbook: ["AuditRelayLogErrors"],
      says: "Lines written to the log. Errors need a person: each says what happened and what to do.",
      overrides: colours({ error: "red", warn: "orange", info: "blue", debug: "text", trace: "text" }),
      queries: [
        [perSecond("level", `auditrelay_log_lines_total{${JOB}}`), "{{level}}"],
        [perSecond("", `auditrelay_log_lines_suppressed_total{${JOB}}`), "suppressed"],
      ],
    }),
  ],
};

export const queue = board({
  uid: "auditrelay-queue", title: "Audit relay: queue and disk",
  says: "The door and its answers, the queue and what fills it, the disk, repetitions, log files, the process.",
  variables: ["job"], rows: [DOOR, QUEUE, REPETITIONS, FILES, PROCESS],
});

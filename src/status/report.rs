//! What `/status` says: the contract with scripts, `auditrelay status` and `auditrelay top`.
//!
//! Contract (docs/admin.md): keys are added and never change their meaning; times are Unix times in milliseconds; what
//! is not known is null or left out. Who reads takes what it does not find for the default, so that a command may be of
//! another version than the relay.

use std::collections::BTreeMap;

use auditrelay_dispatch::board::{Incident, LaneView};
use auditrelay_store::jetstream::InboxHolds;
use serde::{Deserialize, Serialize};

/// How the relay is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) version: String,
    /// False where a command read the store of a relay that is stopped.
    pub(crate) running: bool,
    /// What this relay is called among those that are one with it; None where its queue is on a disk.
    pub(crate) replica: Option<String>,
    /// Who of them leads; None where nobody does, and where there is one relay.
    pub(crate) leader: Option<String>,
    /// This one does: the only relay always.
    pub(crate) leads: bool,
    /// Why nothing is known of the queue, where the relay that leads said nothing.
    pub(crate) no_leader: Option<String>,
    pub(crate) now_unix_ms: i64,
    pub(crate) started_unix_ms: Option<i64>,
    /// Nothing needs a person.
    pub(crate) healthy: bool,
    pub(crate) attention: Vec<Attention>,
    /// As `/readyz`.
    pub(crate) ready: bool,
    /// Why new batches are refused, if they are.
    pub(crate) refusing: Option<String>,
    /// None while nobody leads, as `disk`: nothing is known then, which is no zero.
    pub(crate) ledger: Option<Totals>,
    pub(crate) rates: Option<Rates>,
    pub(crate) disk: Option<Disk>,
    /// None where the queue is on a disk, and while it is not known.
    pub(crate) inbox: Option<Inbox>,
    pub(crate) channels: BTreeMap<String, Channel>,
    /// What each token may post, and does.
    pub(crate) slack: Vec<Budget>,
    /// None where a command read the store.
    pub(crate) lately: Option<Lately>,
    /// Whether what is in use is what certificate, key, token and password files hold; None without a webhook.
    pub(crate) files_current: Option<bool>,
    pub(crate) certificates: Vec<Certificate>,
    /// By path.
    pub(crate) log_files: BTreeMap<String, LogFile>,
    /// None where a command read the store.
    pub(crate) reload: Option<Reload>,
    /// None where there is no watchdog.
    pub(crate) watchdog: Option<Watchdog>,
    /// Those that are active.
    pub(crate) mutes: Vec<ActiveMute>,
    /// What went wrong lately, the latest first.
    pub(crate) errors: Vec<Incident>,
}

/// Something that needs a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attention {
    /// A word for it, of a closed set.
    pub(crate) kind: String,
    pub(crate) channel: Option<String>,
    pub(crate) what: String,
    #[serde(rename = "do")]
    pub(crate) todo: String,
}

/// The ledger's sums.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) filtered: u64,
    pub(crate) muted: u64,
    pub(crate) quarantined: u64,
    pub(crate) routed: u64,
    /// Not routed yet.
    pub(crate) waiting: u64,
    pub(crate) lost: u64,
    pub(crate) balanced: bool,
    /// Of all channels: events, not notices and copies.
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    pub(crate) dropped: u64,
}

/// Over the last minute, or since the start where that was less ago.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rates {
    pub(crate) over_seconds: f64,
    pub(crate) received_per_second: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) messages_per_minute: f64,
}

/// What relays that are one took, and the one that leads has not taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Inbox {
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
    pub(crate) messages: u64,
    pub(crate) oldest_age_seconds: f64,
}

impl From<InboxHolds> for Inbox {
    fn from(holds: InboxHolds) -> Self {
        Self {
            bytes: holds.bytes,
            bytes_max: holds.bytes_max,
            messages: holds.messages,
            oldest_age_seconds: holds.oldest_age.as_secs_f64(),
        }
    }
}

/// Space, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Disk {
    pub(crate) queue_bytes: u64,
    /// None where a command looked: the limit is the relay's.
    pub(crate) queue_bytes_max: Option<u64>,
    pub(crate) free_bytes: Option<u64>,
    pub(crate) free_bytes_min: u64,
    pub(crate) dead_bytes: u64,
    pub(crate) quarantine_bytes: u64,
    pub(crate) detail_bytes: u64,
    pub(crate) retained_bytes: u64,
}

/// One channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Channel {
    /// False: something waits for a channel that the configuration does not have.
    pub(crate) configured: bool,
    pub(crate) lane: Option<LaneView>,
    /// Events, notices and copies.
    pub(crate) waiting: u64,
    pub(crate) waiting_bytes: u64,
    /// How long the oldest of them waits since it was received.
    pub(crate) oldest_age_seconds: Option<u64>,
    /// The same by severity, where something waits.
    pub(crate) backlog: BTreeMap<String, Backlog>,
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    pub(crate) dropped: u64,
    /// Deliveries that mutes held back.
    pub(crate) muted: u64,
}

/// What waits of one severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Backlog {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_age_seconds: u64,
}

/// What one token may post, all of its channels together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Budget {
    pub(crate) channels: Vec<String>,
    /// Calls that post, in the last minute.
    pub(crate) posts_last_minute: u64,
    pub(crate) messages_per_minute_max: u64,
}

/// Which configuration is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reload {
    /// The configuration that was loaded last is the one in use.
    pub(crate) last_successful: bool,
    /// When the one in use was loaded.
    pub(crate) loaded_unix_ms: i64,
    /// Changed keys that count only after a restart.
    pub(crate) restart_pending: u64,
    /// Why the one that was loaded last cannot be used; None where it can.
    pub(crate) last_failure: Option<String>,
}

/// What came in wrong within the last minutes, or since the start where that was less ago.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lately {
    pub(crate) over_seconds: f64,
    /// By reason, as `auditrelay_ingest_refused_total` has it; those that happened.
    pub(crate) refused: BTreeMap<String, Refused>,
    /// Requests whose end never came, by cluster; those that happened.
    pub(crate) unfinished: BTreeMap<String, u64>,
}

/// Requests and connections that were refused for one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Refused {
    pub(crate) times: u64,
    /// In several half-minutes: no burst that was over at once.
    pub(crate) lasting: bool,
}

/// A certificate that API servers, or the relay, rely on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Certificate {
    /// `server`, `client_ca` or `client`.
    pub(crate) kind: String,
    /// Whose it is, where it is a client's.
    pub(crate) client: Option<String>,
    pub(crate) not_after_unix_ms: i64,
}

/// A log file that is read, with what it is rotated into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LogFile {
    pub(crate) files: u64,
    pub(crate) failing_files: u64,
    pub(crate) lag_bytes: u64,
    /// Reading rests, as the queue has no room.
    pub(crate) resting: bool,
    /// When a line was made durable last; None before the first since the start.
    pub(crate) last_read_unix_ms: Option<i64>,
}

/// The dead man's switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Watchdog {
    pub(crate) interval_seconds: u64,
    /// None before the first since the start.
    pub(crate) last_delivered_unix_ms: Option<i64>,
    /// Since when the relay that sends them leads.
    pub(crate) leads_since_unix_ms: Option<i64>,
}

/// A mute that holds something back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ActiveMute {
    pub(crate) id: u64,
    pub(crate) until_unix_ms: i64,
    pub(crate) author: String,
    pub(crate) reason: String,
    /// Deliveries so far.
    pub(crate) held: u64,
}

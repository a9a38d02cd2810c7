//! What waits for whom, and for how long: a view of the queue that costs no look at what is stored.

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize};

/// What waits for one channel in one severity: events, notices and copies, leased ones too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// The channel.
    pub channel: String,
    /// The severity.
    pub severity: Severity,
    /// Deliveries.
    pub events: u64,
    /// Their records, in bytes as stored. One that is delivered in part counts whole.
    pub bytes: u64,
    /// Since when that waits which is told next, Unix time in milliseconds: when the relay received the oldest event
    /// of its record, for a dead letter that was sent again or a copy for a fallback too, or when a notice or a
    /// replay's copy was made. `None` while nothing waits.
    pub oldest_unix_ms: Option<i64>,
}

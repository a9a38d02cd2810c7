//! How much the queue may hold, and who may have how much of it.
//!
//! Invariants:
//! * only the global marks refuse a batch; a channel, the dead letters, the quarantine and what is kept
//!   to be looked at have quotas, and give up their own when they are over them;
//! * a batch is admitted only if it fits with everything that is admitted already and with what routing
//!   will write a second time, so that neither mark is met by writing;
//! * who was refused once is admitted again below the low-water mark, not at the mark, so that the
//!   answer does not change with every batch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

/// Limits on what is kept on disk, in bytes as stored unless the name says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Everything together.
    pub bytes_max: u64,
    /// Free space that the file system keeps.
    pub disk_free_bytes_min: u64,
    /// What waits for one channel.
    pub channel_bytes_max: u64,
    /// Dead letters.
    pub dead_bytes_max: u64,
    /// Quarantined items.
    pub quarantine_bytes_max: u64,
    /// Quarantined items, by number.
    pub quarantine_entries_max: u64,
    /// How long what a message stood for stays readable.
    pub detail_ms: i64,
    /// What messages stood for.
    pub detail_bytes_max: u64,
    /// How long routed batches are kept for a replay.
    pub retain_ms: i64,
    /// Routed batches.
    pub retain_bytes_max: u64,
}

impl Default for Limits {
    /// Enough for anything, and nothing kept to be looked at.
    fn default() -> Self {
        Self {
            bytes_max: u64::MAX,
            disk_free_bytes_min: 0,
            channel_bytes_max: u64::MAX,
            dead_bytes_max: u64::MAX,
            quarantine_bytes_max: u64::MAX,
            quarantine_entries_max: u64::MAX,
            detail_ms: 0,
            detail_bytes_max: 0,
            retain_ms: 0,
            retain_bytes_max: 0,
        }
    }
}

/// Space that is reserved for a batch until it is dropped.
#[derive(Debug, Default)]
pub struct Admitted {
    pub(crate) reserved: Arc<AtomicU64>,
    pub(crate) bytes: u64,
}

impl Admitted {
    /// Adds these bytes to a counter until it is dropped.
    pub fn new(reserved: Arc<AtomicU64>, bytes: u64) -> Self {
        reserved.fetch_add(bytes, Ordering::Relaxed);
        Self { reserved, bytes }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why there is no space for a batch; in one line, for a log and for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Full(pub String);

/// How much space there is and who has it, in bytes as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Everything together.
    pub used_bytes: u64,
    /// Its limit.
    pub bytes_max: u64,
    /// Free on the file system; `None` if it does not say.
    pub disk_free_bytes: Option<u64>,
    /// Its limit.
    pub disk_free_bytes_min: u64,
    /// Why new batches are refused, if they are.
    pub refusing: Option<String>,
    /// What waits, by channel.
    pub waiting_bytes: BTreeMap<String, u64>,
    /// Its limit, for each.
    pub channel_bytes_max: u64,
    /// Dead letters.
    pub dead_bytes: u64,
    /// Quarantined items.
    pub quarantine_bytes: u64,
    /// What messages stood for.
    pub detail_bytes: u64,
    /// Routed batches that are kept for a replay.
    pub retained_bytes: u64,
}

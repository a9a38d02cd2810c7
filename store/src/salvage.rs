//! Carving what is whole out of a store that was moved aside.

use serde::{Deserialize, Serialize};

/// What a salvage brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvaged {
    /// Events that had not been routed: they are routed now.
    pub unrouted_events: u64,
    /// Deliveries that waited: they wait again, marked as possibly repeated.
    pub waiting_events: u64,
    /// Dead letters.
    pub dead_events: u64,
    /// Bytes that belong to no whole record.
    pub damaged_bytes: u64,
    /// Events that the store's own ledger counted and that are not among these; `None` if its ledger
    /// cannot be read, or if an earlier salvage brought a part of it.
    pub lost_events: Option<u64>,
}

/// Why a store cannot be salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The folder is no moved-aside store, or cannot be read.
    #[error("cannot salvage {path}: {reason}")]
    Unreadable {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no room for more of it.
    #[error(
        "there is no room for more of it: {0}; what was brought stays, and the same command goes on from there"
    )]
    Full(String),
    /// The queue that it should go to.
    #[error("{0}")]
    Queue(#[from] crate::QueueError),
}

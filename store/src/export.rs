//! A queue as JSON lines: for moving it between backends and versions.

use std::io;

use serde::{Deserialize, Serialize};

/// How much was exported or imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Lines.
    pub lines: u64,
    /// Events not yet routed.
    pub unrouted_events: u64,
    /// Deliveries that wait, copies and notices included.
    pub waiting_events: u64,
    /// Deliveries that are dead letters.
    pub dead_events: u64,
    /// Keys of the dedup window.
    pub keys: u64,
}

/// Why a queue cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The file.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The queue.
    #[error("{0}")]
    Queue(#[from] crate::QueueError),
    /// An import into a queue that holds something.
    #[error("the queue is not empty; import into a data directory that was never used")]
    NotEmpty,
    /// A line of an import.
    #[error("line {line}: {reason}; nothing of this file can be trusted, remove the new queue")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

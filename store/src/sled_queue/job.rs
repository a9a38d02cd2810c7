//! What the writer is asked to do, and the small records that it keeps beside events.

use std::sync::mpsc;

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::{
    Counts, QueueError, Routed,
    codec::{self, Packed},
    frame::{self, Damaged, Kind},
    log::{Place, Position},
};

const JOBS_PER_COMMIT_MAX: usize = 1_024;
const BYTES_PER_COMMIT_MAX: usize = 16 * 1024 * 1024;

/// What a lease stands for, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    pub(super) id: u64,
    pub(super) slices: Vec<Slice>,
}

/// Deliveries `from..to` of a block that holds `of`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slice {
    pub(super) severity: Severity,
    pub(super) seq: u64,
    pub(super) notices: bool,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) of: u32,
}

/// Where a record of deliveries is, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivered {
    pub(super) place: Place,
    pub(super) items: u32,
    pub(super) plain_bytes: u32,
    pub(super) notices: bool,
    /// The first so many of them are settled.
    pub(super) settled: u32,
}

impl Delivered {
    pub(super) fn stored(&self, seq: u64) -> Vec<u8> {
        frame::single(Kind::Delivery, seq, &codec::plain(self))
    }
}

pub(super) enum Fate {
    Delivered,
    Waits,
    Dead(Packed),
}

pub(super) enum Op {
    Append {
        blocks: Vec<Packed>,
    },
    Route(Routed),
    ForgetSeen {
        seq: u64,
    },
    Seal {
        channel: String,
        slices: Vec<Slice>,
    },
    Settle {
        channel: String,
        lease: u64,
        fate: Fate,
    },
}

pub(super) struct Job {
    pub(super) op: Op,
    /// Answered with the new lease's ID for a seal, 0 otherwise.
    pub(super) reply: oneshot::Sender<Result<u64, QueueError>>,
}

/// The fixed part of the ledger and what else must survive with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) next_seq: u64,
    pub(super) counts: Counts,
    pub(super) quarantine_entries: u64,
    /// Blocks before it are routed.
    pub(super) routed_end: Position,
    /// Where the logs of deliveries and of seen keys end; what is behind it belongs to a commit that
    /// was never completed.
    pub(super) deliveries_end: Position,
    pub(super) seen_end: Position,
    /// The log of appended events goes at least so far.
    pub(super) events_end: Position,
    /// Keys of blocks up to this one are forgotten.
    pub(super) seen_forgotten: u64,
}

/// Every log begins with this segment.
pub(super) const START: Position = Position {
    segment: 1,
    offset: 0,
};

impl Totals {
    pub(super) const EMPTY: Self = Self {
        next_seq: 1,
        counts: Counts {
            duplicates: 0,
            filtered: 0,
            muted: 0,
            quarantined: 0,
            routed: 0,
        },
        quarantine_entries: 0,
        routed_end: START,
        deliveries_end: START,
        seen_end: START,
        events_end: START,
        seen_forgotten: 0,
    };

    pub(super) fn stored(&self) -> Vec<u8> {
        frame::single(Kind::Totals, 0, &codec::plain(self))
    }
}

/// Reads a record that fits one frame and is not compressed.
pub(super) fn small<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    codec::from_plain(frame::decode(bytes)?.1)
}

/// Takes what waits, up to one commit's bounds.
pub(super) fn gather(first: Job, jobs: &mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.op.payload_bytes();
    let mut gathered = vec![first];
    while gathered.len() < JOBS_PER_COMMIT_MAX && bytes < BYTES_PER_COMMIT_MAX {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.op.payload_bytes();
        gathered.push(job);
    }
    gathered
}

impl Op {
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Append { blocks, .. } => blocks.iter().map(|block| block.payload.len()).sum(),
            Self::Route(routed) => routed
                .deliveries
                .iter()
                .flat_map(|block| block.deliveries.events.iter())
                .map(|packed| packed.payload.len())
                .sum(),
            _ => 0,
        }
    }
}

//! What the writer is asked to do.

use std::sync::mpsc;

use auditrelay_audit::Severity;
use tokio::sync::oneshot;

use super::{fall_back::Copies, records::Slice};
use crate::{
    Accepted, Burial, DeliveryBlock, InputPosition, Limits, Mute, MuteEnd, NewMute, QueueError,
    Routed,
    codec::{Class, Packed},
};

const JOBS_PER_COMMIT_MAX: usize = 1_024;
const BYTES_PER_COMMIT_MAX: usize = 16 * 1024 * 1024;

/// What becomes of a lease.
pub(super) enum Fate {
    Delivered(Accepted),
    Waits,
    Dead(Burial),
}

pub(super) enum Op {
    Append {
        blocks: Vec<Packed>,
        /// How far some of them bring an input, by the block's number.
        reached: Vec<(usize, InputPosition)>,
    },
    Route(Routed),
    Copies(Vec<DeliveryBlock>),
    ForgetSeen {
        seq: u64,
    },
    Seal {
        channel: String,
        slices: Vec<Slice>,
        now_unix_ms: i64,
    },
    Settle {
        channel: String,
        lease: u64,
        fate: Fate,
    },
    FallBack(Copies),
    NoteInputs(Vec<InputPosition>),
    AddMute(Box<NewMuteJob>),
    EndMute {
        id: u64,
        end: MuteEnd,
        tell: Vec<String>,
    },
    RestoreMute(Box<Mute>),
    NoteThread {
        channel: String,
        message: u64,
        done: Option<u32>,
    },
    Redrive {
        messages: Vec<u64>,
    },
    DropDead {
        messages: Vec<u64>,
    },
    Restore(Restored),
    /// Other limits count from now on.
    SetLimits(Box<Limits>),
    /// The writer ends; what comes after it is answered with an error.
    Finish,
}

/// A mute that begins, and what is said of it where.
pub(super) struct NewMuteJob {
    pub(super) mute: NewMute,
    pub(super) announcement: String,
    pub(super) tell: Vec<String>,
}

/// Something that comes from another store, with what it changes in the ledger.
#[derive(Default)]
pub(super) struct Restored {
    /// Deliveries of one record each; with a burial they are dead letters.
    pub(super) deliveries: Vec<RestoredDelivery>,
    /// The moved-aside store it comes from, and how far that is done now.
    pub(super) salvaged: Option<(String, u64)>,
    /// Whether they count as received and routed here. If not, the counters come by themselves.
    pub(super) counted: bool,
    /// How many events are not lost any more.
    pub(super) found: u64,
    /// Counters of another queue, in place of the own ones.
    pub(super) counters: Option<Box<super::import::Counters>>,
    /// Quarantined items.
    pub(super) quarantine: Vec<crate::QuarantineRecord>,
    /// Keys of the dedup window.
    pub(super) seen: Vec<crate::SeenBlock>,
}

/// Deliveries of one record.
pub(super) struct RestoredDelivery {
    pub(super) channel: String,
    pub(super) severity: Severity,
    pub(super) class: Class,
    pub(super) packed: Packed,
    pub(super) burial: Option<Burial>,
}

/// What the writer answers.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Done,
    /// The new lease's ID.
    Leased(u64),
    /// What was to be leased or copied is not as it was: look again.
    Stale,
    /// The message whose thread had to give way.
    GaveWay(Option<u64>),
    /// Whether the thread was noted before.
    Noted(bool),
    /// The mute that began or ended, if one did.
    Mute(Option<Box<Mute>>),
    /// Those messages that were there.
    Messages(Vec<u64>),
}

pub(super) type Reply = oneshot::Sender<Result<Answer, QueueError>>;

pub(super) struct Job {
    pub(super) op: Op,
    pub(super) reply: Reply,
}

/// What waits, up to a bound, so that a commit stays short.
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
            Self::Route(Routed { deliveries, .. }) | Self::Copies(deliveries) => deliveries
                .iter()
                .flat_map(|block| block.deliveries.events.iter())
                .map(|packed| packed.payload.len())
                .sum(),
            Self::FallBack(copies) => copies.records.iter().map(|one| one.payload.len()).sum(),
            _ => 0,
        }
    }
}

//! The queue: what stands between an acknowledged event and the channel it goes to.
//!
//! # Contract of [`Queue`]
//! * [`Queue::append`] returns `Ok` only when the batch survives power loss (P1). On an error nothing
//!   may be assumed, and the queue is finished: storage errors are sticky, the process has to end.
//! * Blocks are routed in the order in which they were appended. [`Queue::route`] commits what was
//!   seen, what goes to which channel, what was quarantined, the ledger, and that the blocks are done,
//!   all or nothing (P2, P4).
//! * A channel's deliveries are leased most severe first, oldest first within a severity. A lease is
//!   durable *before* it is handed out: after a crash the same members come back under the same ID,
//!   marked as resumed, since they may have been posted (P2).
//! * One router and one lane per channel: a channel has at most one lease.
//! * Counters are committed with the work they count; nothing scans to answer [`Queue::ledger`].
//!
//! Times are arguments. Names of channels are 1 to 64 bytes.

mod backlog;
mod codec;
mod engine;
mod export;
mod frame;
mod inputs;
pub mod jetstream;
mod ledger;
mod log;
mod model;
mod mutes;
mod operate;
mod routed;
mod salvage;
mod space;
mod tenure;
mod trace;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use backlog::Backlog;
pub use codec::{
    BLOCK_ITEMS_MAX, BLOCK_PLAIN_BYTES, BatchEncoder, DamagedTexts, DeliveriesEncoder,
    EncodedBatch, EncodedDeliveries, EventToDeliver, Texts,
};
pub use engine::{Engine, MovedAside, OpenError, Opened, SLICES_MAX, SledOptions, StreamOptions};
pub use export::{MoveError, Moved};
pub use inputs::{INPUT_BYTES_MAX, INPUTS_MAX, InputPosition, TooLong};
pub use ledger::{ChannelCounts, Counts, Dropped, Ledger, OtherCounts};
pub use model::{
    Accepted, Batch, Block, BlockItem, Content, Delivery, Entry, EventDelivery, FellBack, Hint,
    ItemKind, Lease, LeaseId, LeaseLimit, Marks, Notice, Posted, QuarantineRecord, Sealed,
    SeenBlock, Source, Thread, Unreadable,
};
pub use mutes::{
    MUTE_AUTHOR_BYTES_MAX, MUTE_MATCH_BYTES_MAX, MUTE_NAMES_MAX, MUTE_REASON_BYTES_MAX,
    MUTE_WORDS_BYTES_MAX, MUTES_ENDED_MAX, MUTES_MAX, Mute, MuteEnd, MuteTooLong, NewMute,
};
pub use operate::{Burial, Cursor, DeadFilter, DeadLetter, Members, Quarantined, Retained, Told};
pub use routed::{
    DeliveryBlock, FilteredCount, MutedCount, RateCount, RatesCounted, Routed, RoutedBlock,
};
pub use salvage::{SalvageError, Salvaged};
pub use space::{Admitted, Full, Limits, Space};
pub use tenure::{Tenure, TenureHolder};
pub use trace::{
    Appended, Note, Noted, Queued, QueuedPage, SeenKey, SeenPage, ToldKept, Whereabouts,
};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; if it did, plain counters and tables are still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the queue did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// Storage failed; the queue accepts nothing any more and the process must end.
    #[error("the queue's storage failed: {0}")]
    Storage(Arc<str>),
    /// There is no room for this batch now; nothing of it is stored.
    #[error("{0}")]
    Full(Full),
    /// The queue cannot be reached now, or did not answer in time: the batch may be stored or not.
    #[error("the queue cannot be reached: {0}")]
    Unavailable(Arc<str>),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
    /// Something that is kept to be looked at is damaged; what waits is not touched by it.
    #[error("what is kept cannot be read: {0}")]
    Unreadable(Arc<str>),
    /// The lease is not the channel's current one.
    #[error("lease {lease} of channel {channel} is not held")]
    NotHeld {
        /// The channel.
        channel: String,
        /// The lease.
        lease: u64,
    },
}

/// The way into a queue: what a door needs, also on a replica that does not lead.
///
/// [`Intake::append`] returns `Ok` only when the batch survives power loss (P1). [`QueueError::Full`] and
/// [`QueueError::Unavailable`] are of the moment: the batch may be sent again, here or to another replica.
pub trait Intake: Clone + Send + Sync + 'static {
    /// Stores a batch; `Ok` means that it is durable.
    fn append(&self, batch: EncodedBatch) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Reserves space for a request's body, or says that there is none; see [`Queue::admit`].
    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full>;

    /// Waits until [`Intake::inputs`] says all that is stored; who reads an input asks for it first.
    fn learn_inputs(&self) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// How far inputs other than the webhook have been read; see [`Queue::inputs`].
    fn inputs(&self) -> Vec<InputPosition>;

    /// Remembers how far inputs were read, without a batch; see [`Queue::note_inputs`].
    fn note_inputs(
        &self,
        positions: Vec<InputPosition>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;
}

impl<Q: Queue> Intake for Q {
    fn append(&self, batch: EncodedBatch) -> impl Future<Output = Result<(), QueueError>> + Send {
        Queue::append(self, batch)
    }

    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full> {
        Queue::admit(self, body_bytes)
    }

    async fn learn_inputs(&self) -> Result<(), QueueError> {
        Ok(())
    }

    fn inputs(&self) -> Vec<InputPosition> {
        Queue::inputs(self)
    }

    fn note_inputs(
        &self,
        positions: Vec<InputPosition>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        Queue::note_inputs(self, positions)
    }
}

/// The durable queue; see the module's head for its contract.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Stores a batch; `Ok` means that it is durable.
    fn append(&self, batch: EncodedBatch) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// The oldest unrouted blocks, up to `blocks_max` and about 16 MiB; waits until there is one.
    fn unrouted(
        &self,
        blocks_max: usize,
    ) -> impl Future<Output = Result<Vec<Block>, QueueError>> + Send;

    /// Commits what became of some blocks, and what was counted meanwhile.
    fn route(&self, routed: Routed) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Every remembered block of keys, oldest first, for a router that starts.
    fn seen(&self) -> impl Future<Output = Result<Vec<SeenBlock>, QueueError>> + Send;

    /// Forgets keys of blocks up to and including this sequence.
    fn forget_seen(&self, seq: u64) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// What rates counted, for a router that starts; of one key and slot the counts add up.
    fn rates(&self) -> impl Future<Output = Result<Vec<RateCount>, QueueError>> + Send;

    /// Waits until the channel has something to lease.
    fn wait_waiting(&self, channel: &str) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Seals what the channel's next message stands for, at a Unix time in milliseconds; `None` when
    /// nothing waits.
    fn lease(
        &self,
        channel: &str,
        limit: LeaseLimit,
        now_unix_ms: i64,
    ) -> impl Future<Output = Result<Option<Lease>, QueueError>> + Send;

    /// The lease's members were delivered. They stay readable by the lease's ID for a while, see
    /// [`Queue::told`]. A thread is noted in the same commit, see [`Queue::threads`]; if that is one too
    /// many, the channel's oldest gives way, and its message is what is returned.
    fn ack(
        &self,
        lease: &LeaseId,
        accepted: Accepted,
    ) -> impl Future<Output = Result<Option<u64>, QueueError>> + Send;

    /// The lease's members were certainly not delivered and wait again.
    fn release(&self, lease: &LeaseId) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// The lease's members can never be delivered: they become dead letters.
    fn bury(
        &self,
        lease: &LeaseId,
        burial: Burial,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Delivers copies of events that were routed before (a replay). They are counted apart.
    fn deliver_copies(
        &self,
        deliveries: Vec<DeliveryBlock>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Copies critical events that wait for channel `from`, leased ones too, to channel `to`, oldest first
    /// and a bounded piece at a time. Each is copied once, whatever happens in between: how far it has come
    /// is committed with the copies. What waits stays where it is. Copies are counted apart like those of a
    /// replay, and know for whom they were meant; they are not copied once more, and notices never are.
    /// Asking when there is nothing new costs a look-up and no commit.
    fn fall_back(
        &self,
        from: &str,
        to: &str,
    ) -> impl Future<Output = Result<FellBack, QueueError>> + Send;

    /// The channel's messages of which details are still to be posted, oldest first.
    fn threads(
        &self,
        channel: &str,
    ) -> impl Future<Output = Result<Vec<Thread>, QueueError>> + Send;

    /// So many parts of a message's details are posted; with `None` it is finished, or given up, and
    /// forgotten. Says whether it was noted at all: it may have given way.
    fn note_thread(
        &self,
        channel: &str,
        message: u64,
        done: Option<u32>,
    ) -> impl Future<Output = Result<bool, QueueError>> + Send;

    /// Dead letters that match, oldest first, with an ID above `after`, at most `max`.
    fn dead(
        &self,
        filter: DeadFilter,
        after: u64,
        max: usize,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, QueueError>> + Send;

    /// What a dead letter stands for; `None` where there is none of that ID.
    fn dead_members(
        &self,
        id: u64,
    ) -> impl Future<Output = Result<Option<Members>, QueueError>> + Send;

    /// Lets dead letters wait for their channels again; returns those that were there. Doing it twice
    /// does it once.
    fn redrive(&self, ids: Vec<u64>) -> impl Future<Output = Result<Vec<u64>, QueueError>> + Send;

    /// Gives dead letters up for good; returns those that were there.
    fn drop_dead(&self, ids: Vec<u64>)
    -> impl Future<Output = Result<Vec<u64>, QueueError>> + Send;

    /// What a delivered message stood for; `None` if it is not known, or not any more.
    fn told(&self, id: u64) -> impl Future<Output = Result<Option<Told>, QueueError>> + Send;

    /// Quarantined items, oldest first, with an ID above `after`, at most `max`.
    fn quarantined(
        &self,
        after: u64,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Quarantined>, QueueError>> + Send;

    /// Routed blocks that are still kept, from a cursor on, in the order of appending.
    fn retained(&self, from: Cursor) -> impl Future<Output = Result<Retained, QueueError>> + Send;

    /// How far inputs other than the webhook have been read: what came with a batch counts once the batch is
    /// durable.
    fn inputs(&self) -> Vec<InputPosition>;

    /// Remembers how far inputs were read, without a batch. It counts more than batches before it.
    fn note_inputs(
        &self,
        positions: Vec<InputPosition>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Begins a mute; `None` when [`MUTES_MAX`] are active. Channels in `tell` get a notice with the announcement,
    /// in the same commit. What is too long ([`NewMute::check`]) is an error and harms nothing.
    fn add_mute(
        &self,
        mute: NewMute,
        announcement: String,
        tell: Vec<String>,
    ) -> impl Future<Output = Result<Option<Mute>, QueueError>> + Send;

    /// Ends a mute, in one commit with a notice to each channel that it held something back from, with the exact
    /// count, and to those in `tell`. `None` where none of that ID is active: ending it twice ends it once.
    fn end_mute(
        &self,
        id: u64,
        end: MuteEnd,
        tell: Vec<String>,
    ) -> impl Future<Output = Result<Option<Mute>, QueueError>> + Send;

    /// Mutes that are active and those that ended last, by ID; as of the last commit.
    fn mutes(&self) -> Vec<Mute>;

    /// Counts up whenever a mute began or ended, after [`Queue::mutes`] says so and before its caller knows.
    fn mutes_changes(&self) -> tokio::sync::watch::Receiver<u64>;

    /// Reserves space for a request's body, or says that there is none: the caller refuses it then, and
    /// its client comes back. The space is free again when the answer is dropped.
    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full>;

    /// How much space there is and who has it.
    fn space(&self) -> Space;

    /// What waits for every channel that is known, by severity; nothing is read for it.
    fn backlog(&self) -> Vec<Backlog>;

    /// Where every event is.
    fn ledger(&self) -> Ledger;

    /// Waits until storage has failed, and says how.
    fn failed(&self) -> impl Future<Output = QueueError> + Send;
}

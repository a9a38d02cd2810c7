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

mod codec;
mod frame;
mod ledger;
mod log;
mod model;
mod sled_queue;

use std::{future::Future, sync::Arc};

pub use codec::{
    BatchEncoder, DamagedTexts, DeliveriesEncoder, EncodedBatch, EncodedDeliveries, EventToDeliver,
    Texts,
};
pub use ledger::{ChannelCounts, Counts, Ledger, NoticeCounts};
pub use model::{
    Batch, Block, BlockItem, Content, Delivery, DeliveryBlock, Entry, EventDelivery, Hint,
    ItemKind, Lease, LeaseId, LeaseLimit, Notice, QuarantineRecord, Routed, RoutedBlock, SeenBlock,
    Unreadable,
};
pub use sled_queue::{MovedAside, OpenError, Opened, SledOptions, SledQueue};

/// Why the queue did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// Storage failed; the queue accepts nothing any more and the process must end.
    #[error("the queue's storage failed: {0}")]
    Storage(Arc<str>),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
    /// The lease is not the channel's current one.
    #[error("lease {lease} of channel {channel} is not held")]
    NotHeld {
        /// The channel.
        channel: String,
        /// The lease.
        lease: u64,
    },
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

    /// Commits what became of some blocks.
    fn route(&self, routed: Routed) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Every remembered block of keys, oldest first, for a router that starts.
    fn seen(&self) -> impl Future<Output = Result<Vec<SeenBlock>, QueueError>> + Send;

    /// Forgets keys of blocks up to and including this sequence.
    fn forget_seen(&self, seq: u64) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Waits until the channel has something to lease.
    fn wait_waiting(&self, channel: &str) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Seals what the channel's next message stands for; `None` when nothing waits.
    fn lease(
        &self,
        channel: &str,
        limit: LeaseLimit,
    ) -> impl Future<Output = Result<Option<Lease>, QueueError>> + Send;

    /// The lease's members were delivered.
    fn ack(&self, lease: &LeaseId) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// The lease's members were certainly not delivered and wait again.
    fn release(&self, lease: &LeaseId) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// The lease's members can never be delivered: they become dead letters, with the reason.
    fn bury(
        &self,
        lease: &LeaseId,
        reason: &str,
        now_unix_ms: i64,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Where every event is.
    fn ledger(&self) -> Ledger;

    /// Waits until storage has failed, and says how.
    fn failed(&self) -> impl Future<Output = QueueError> + Send;
}

//! A queue for what a sled queue cannot be made to do.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use auditrelay_store::{
    Accepted, Admitted, Backlog, Block, Burial, Cursor, DeadFilter, DeadLetter, DeliveryBlock,
    EncodedBatch, FellBack, Full, InputPosition, Lease, LeaseId, LeaseLimit, Ledger, Members, Mute,
    MuteEnd, NewMute, Quarantined, Queue, QueueError, RateCount, Retained, Routed, SeenBlock,
    Space, Thread, Told,
};
use tokio::sync::Semaphore;

/// A queue that stores when it is let, or fails.
#[derive(Clone)]
pub struct GatedQueue {
    pub entered: Arc<Semaphore>,
    pub gate: Arc<Semaphore>,
    pub appended: Arc<Semaphore>,
    pub fails: bool,
    /// What it says to the next appends, in place of storing them.
    pub says: Arc<Mutex<VecDeque<QueueError>>>,
    /// How much it has space for; with none it admits nothing, however little.
    pub space_bytes: Arc<AtomicU64>,
    pub reserved_bytes: Arc<AtomicU64>,
}

impl GatedQueue {
    pub fn new(fails: bool) -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self {
            entered: closed(),
            gate: closed(),
            appended: closed(),
            fails,
            says: Arc::default(),
            space_bytes: Arc::new(AtomicU64::new(u64::MAX)),
            reserved_bytes: Arc::default(),
        }
    }
}

impl Queue for GatedQueue {
    async fn append(&self, _: EncodedBatch) -> Result<(), QueueError> {
        if self.fails {
            return Err(QueueError::Storage("the disk is gone".into()));
        }
        if let Some(error) = self.says.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.entered.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        self.appended.add_permits(1);
        Ok(())
    }

    async fn unrouted(&self, _: usize) -> Result<Vec<Block>, QueueError> {
        unreachable!()
    }
    async fn route(&self, _: Routed) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn seen(&self) -> Result<Vec<SeenBlock>, QueueError> {
        unreachable!()
    }

    async fn rates(&self) -> Result<Vec<RateCount>, QueueError> {
        unreachable!()
    }
    async fn forget_seen(&self, _: u64) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn wait_waiting(&self, _: &str) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn lease(&self, _: &str, _: LeaseLimit, _: i64) -> Result<Option<Lease>, QueueError> {
        unreachable!()
    }
    async fn ack(&self, _: &LeaseId, _: Accepted) -> Result<Option<u64>, QueueError> {
        unreachable!()
    }
    async fn release(&self, _: &LeaseId) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn bury(&self, _: &LeaseId, _: Burial) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn deliver_copies(&self, _: Vec<DeliveryBlock>) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn fall_back(&self, _: &str, _: &str) -> Result<FellBack, QueueError> {
        unreachable!()
    }
    async fn threads(&self, _: &str) -> Result<Vec<Thread>, QueueError> {
        unreachable!()
    }
    async fn note_thread(&self, _: &str, _: u64, _: Option<u32>) -> Result<bool, QueueError> {
        unreachable!()
    }
    async fn dead(&self, _: DeadFilter, _: u64, _: usize) -> Result<Vec<DeadLetter>, QueueError> {
        unreachable!()
    }
    async fn dead_members(&self, _: u64) -> Result<Option<Members>, QueueError> {
        unreachable!()
    }
    async fn redrive(&self, _: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        unreachable!()
    }
    async fn drop_dead(&self, _: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        unreachable!()
    }
    async fn told(&self, _: u64) -> Result<Option<Told>, QueueError> {
        unreachable!()
    }
    async fn quarantined(&self, _: u64, _: usize) -> Result<Vec<Quarantined>, QueueError> {
        unreachable!()
    }
    async fn retained(&self, _: Cursor) -> Result<Retained, QueueError> {
        unreachable!()
    }
    fn inputs(&self) -> Vec<InputPosition> {
        unreachable!()
    }
    async fn note_inputs(&self, _: Vec<InputPosition>) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn add_mute(
        &self,
        _: NewMute,
        _: String,
        _: Vec<String>,
    ) -> Result<Option<Mute>, QueueError> {
        unreachable!()
    }
    async fn end_mute(
        &self,
        _: u64,
        _: MuteEnd,
        _: Vec<String>,
    ) -> Result<Option<Mute>, QueueError> {
        unreachable!()
    }
    fn mutes(&self) -> Vec<Mute> {
        unreachable!()
    }
    fn mutes_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        unreachable!()
    }
    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full> {
        let space_bytes = self.space_bytes.load(Ordering::Relaxed);
        let wanted = self.reserved_bytes.load(Ordering::Relaxed) + body_bytes;
        if space_bytes == 0 || wanted > space_bytes {
            return Err(Full("the queue has no space; it says so itself".into()));
        }
        Ok(Admitted::new(Arc::clone(&self.reserved_bytes), body_bytes))
    }
    fn space(&self) -> Space {
        unreachable!()
    }
    fn backlog(&self) -> Vec<Backlog> {
        unreachable!()
    }
    fn ledger(&self) -> Ledger {
        unreachable!()
    }
    async fn failed(&self) -> QueueError {
        unreachable!()
    }
}

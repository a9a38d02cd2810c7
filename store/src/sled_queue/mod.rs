//! [`Queue`] on an embedded sled database and three append-only logs.
//!
//! The logs ([`crate::log`]) hold what is large: appended batches, deliveries, seen keys. sled holds the
//! index of it, leases, dead letters and the ledger, all that has to change at once. A batch is durable
//! when the log of appended events is synced; the index is not touched for it, and finds it again by
//! reading the log from where routing had come to.
//!
//! Writes go through one owner thread ([`owner`]), reads run beside it. Facts about sled 0.34.7 that
//! shape this (each measured or read in its source): `flush` does not reach the disk, so an
//! `fdatasync` follows it ([`files`]); a leaf of up to 16 values is written anew every tenth change, so
//! values are small; larger values become blob files that are never synced and never deleted, so no
//! value is above 6 KiB ([`crate::frame`]); its file never shrinks, so it is replaced ([`index`]); `len` scans,
//! so counters are kept; its cache defaults to 1 GiB, so it is set; one tree, as `apply_batch` is atomic
//! per tree ([`keys`]).

mod carve;
mod closed;
mod compact;
mod export;
mod files;
mod holdings;
mod import;
mod index;
mod job;
mod keys;
mod look;
mod owner;
mod read;
mod records;
mod recover;
mod remains;
mod room;
mod salvage;
mod settle;
mod shared;
mod shed;
mod stage;
mod tidy;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use files::{Database, LogNames};
pub use files::{MovedAside, OpenError};
use index::Index;
use job::{Answer, Fate, Job, Op};
use owner::Owner;
use shared::{Shared, locked};

use crate::{
    Admitted, Block, Burial, Cursor, DeadFilter, DeadLetter, DeliveryBlock, EncodedBatch, Full,
    Lease, LeaseId, LeaseLimit, Ledger, Limits, Members, Queue, QueueError, Retained, Routed,
    SeenBlock, Space, Told, frame::Damaged,
};

/// How to open a queue.
#[derive(Debug, Clone)]
pub struct SledOptions {
    /// The relay's data directory; the database is in `queue/` inside it.
    pub data_dir: PathBuf,
    /// sled's page cache, in bytes.
    pub cache_bytes_max: u64,
    /// A log goes on in a new file beyond this size, in bytes.
    pub segment_bytes: u64,
    /// What may be kept on disk.
    pub limits: Limits,
    /// Now, Unix time in milliseconds; names a store that has to be moved aside.
    pub now_unix_ms: i64,
    /// Whether a damaged store is moved aside; if not it is an error and stays.
    pub move_damaged_aside: bool,
}

impl SledOptions {
    /// The queue of a data directory, with 8 MiB of cache and without limits; a damaged store is left
    /// where it is.
    pub fn new(data_dir: &std::path::Path, now_unix_ms: i64) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            cache_bytes_max: 8 << 20,
            segment_bytes: crate::log::SEGMENT_BYTES,
            limits: Limits::default(),
            now_unix_ms,
            move_damaged_aside: false,
        }
    }
}

/// An open queue.
#[derive(Debug)]
pub struct Opened {
    /// The queue.
    pub queue: SledQueue,
    /// A store that could not be opened and was moved away; the queue is empty then.
    pub moved_aside: Option<MovedAside>,
}

/// A handle on the queue; the database closes with the last one.
#[derive(Clone)]
pub struct SledQueue(Arc<Inner>);

impl std::fmt::Debug for SledQueue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SledQueue")
    }
}

struct Inner {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    index: Arc<Index>,
    logs: LogNames,
    shared: Arc<Shared>,
    data_dir: PathBuf,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the queue's writer panicked");
        }
    }
}

impl SledQueue {
    /// Opens the queue, or creates it. Blocks while sled recovers.
    ///
    /// # Errors
    /// See [`OpenError`]. A store that is damaged is no error: it is moved aside, see [`Opened`].
    pub fn open(options: &SledOptions) -> Result<Opened, OpenError> {
        let (database, counters, moved_aside) = Database::open(options)?;
        let shared = Arc::new(Shared::new(&options.data_dir, &options.limits));
        let index = Arc::clone(&database.index);
        let owner = Owner::new(
            database,
            Arc::clone(&shared),
            counters,
            options.limits.clone(),
            options.now_unix_ms,
        );
        let (jobs, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || owner.run(&received))
            .map_err(|error| OpenError::Unusable {
                path: options.data_dir.clone(),
                reason: error.to_string(),
            })?;
        let inner = Inner {
            jobs: Some(jobs),
            thread: Some(thread),
            index,
            logs: LogNames::new(&options.data_dir.join("queue")),
            shared,
            data_dir: options.data_dir.clone(),
        };
        Ok(Opened {
            queue: Self(Arc::new(inner)),
            moved_aside,
        })
    }

    /// Compares the counters with what a scan of every record finds. Slow; for a queue at rest.
    ///
    /// # Errors
    /// The storage's error, or the first counter that disagrees.
    pub async fn verify(&self) -> Result<(), String> {
        let ledger = self.ledger();
        let counted = self
            .read(|inner| read::count(&inner.index, &inner.logs))
            .await;
        let mut counted = counted.map_err(|error| error.to_string())?;
        if counted.waiting != ledger.waiting {
            return Err(format!(
                "the ledger counts {} events not yet routed, the store holds {}",
                ledger.waiting, counted.waiting
            ));
        }
        for (channel, counts) in &ledger.channels {
            let found = counted.channels.remove(channel).unwrap_or_default();
            let told = read::CountedChannel {
                waiting: counts.waiting,
                dead: counts.dead,
            };
            if told != found {
                return Err(format!(
                    "the ledger counts {told:?} for channel {channel}, the store holds {found:?}"
                ));
            }
        }
        match counted.channels.first_key_value() {
            Some((channel, found)) => Err(format!(
                "the store holds {found:?} for channel {channel}, which the ledger does not know"
            )),
            None => Ok(()),
        }
    }

    /// Whether the queue still commits.
    ///
    /// # Errors
    /// The storage's first failure.
    pub fn check(&self) -> Result<(), QueueError> {
        self.0.shared.check()
    }

    async fn write(&self, op: Op) -> Result<Answer, QueueError> {
        self.0.shared.check()?;
        let (reply, answer) = oneshot::channel();
        let jobs = self.0.jobs.as_ref().ok_or(QueueError::Closed)?;
        jobs.send(Job { op, reply })
            .map_err(|_| QueueError::Closed)?;
        answer.await.map_err(|_| QueueError::Closed)?
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Inner) -> Result<T, read::ReadError> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.0.shared.check()?;
        let inner = Arc::clone(&self.0);
        let outcome = tokio::task::spawn_blocking(move || read(&inner)).await;
        let (reason, is_damage) = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => (error.to_string(), error.is_damage()),
            // sled panics on some damage; a runtime that shuts down cancels.
            Err(error) => (format!("reading ended: {error}"), error.is_panic()),
        };
        // Behind a failed write sled fails and panics on everything, whatever is on disk.
        if is_damage && self.0.shared.check().is_ok() {
            files::mark_damaged(&self.0.data_dir, &reason);
        }
        Err(self.0.shared.fail(&reason))
    }

    /// Reads what only somebody who asks needs: damage there is no failure of the queue.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Inner) -> Result<T, read::ReadError> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.0.shared.check()?;
        let inner = Arc::clone(&self.0);
        let outcome = tokio::task::spawn_blocking(move || look(&inner)).await;
        let reason = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(QueueError::Unreadable(reason.into()))
    }

    async fn messages(&self, op: Op) -> Result<Vec<u64>, QueueError> {
        match self.write(op).await? {
            Answer::Messages(messages) => Ok(messages),
            _ => Ok(Vec::new()),
        }
    }

    async fn settle(&self, lease: &LeaseId, fate: Fate) -> Result<(), QueueError> {
        let op = Op::Settle {
            channel: lease.channel.clone(),
            lease: lease.id,
            fate,
        };
        self.write(op).await.map(drop)
    }
}

impl Queue for SledQueue {
    async fn append(&self, batch: EncodedBatch) -> Result<(), QueueError> {
        self.write(Op::Append {
            blocks: batch.blocks,
        })
        .await
        .map(drop)
    }

    async fn unrouted(&self, blocks_max: usize) -> Result<Vec<Block>, QueueError> {
        loop {
            self.0.shared.check()?;
            let places: Vec<_> = {
                let unrouted = locked(&self.0.shared.unrouted);
                let some = read::some_of(&unrouted, blocks_max);
                unrouted.iter().take(some).copied().collect()
            };
            if !places.is_empty() {
                return self
                    .read(move |inner| read::blocks(&inner.logs.events, &places))
                    .await;
            }
            self.0.shared.appended.notified().await;
        }
    }

    async fn route(&self, routed: Routed) -> Result<(), QueueError> {
        self.write(Op::Route(routed)).await.map(drop)
    }

    async fn seen(&self) -> Result<Vec<SeenBlock>, QueueError> {
        self.read(|inner| read::seen(&inner.index.db(), &inner.logs.seen))
            .await
    }

    async fn forget_seen(&self, seq: u64) -> Result<(), QueueError> {
        self.write(Op::ForgetSeen { seq }).await.map(drop)
    }

    async fn wait_waiting(&self, channel: &str) -> Result<(), QueueError> {
        let notify = self.0.shared.channel(channel);
        loop {
            self.0.shared.check()?;
            let waits = {
                let ledger = locked(&self.0.shared.ledger);
                let events = ledger.channels.get(channel).map(|counts| counts.waiting);
                let others = [&ledger.notices, &ledger.copies];
                let others = others.map(|of| of.get(channel).map(|counts| counts.waiting));
                events > Some(0) || others.iter().any(|waiting| *waiting > Some(0))
            };
            if waits {
                return Ok(());
            }
            notify.notified().await;
        }
    }

    async fn lease(&self, channel: &str, limit: LeaseLimit) -> Result<Option<Lease>, QueueError> {
        loop {
            let name = channel.to_owned();
            let found = self
                .read(move |inner| find_lease(inner, &name, limit))
                .await?;
            // What was about to be leased was dropped for its channel's quota: look again.
            let Some((held, slices, members)) = found else {
                continue;
            };
            if members.is_empty() {
                return Ok(None);
            }
            let id = match held {
                Some(id) => id,
                None => {
                    let channel = channel.to_owned();
                    match self.write(Op::Seal { channel, slices }).await? {
                        Answer::Leased(id) => id,
                        _ => continue,
                    }
                }
            };
            return Ok(Some(Lease {
                id: LeaseId {
                    channel: channel.to_owned(),
                    id,
                },
                members,
                resumed: held.is_some(),
            }));
        }
    }

    async fn ack(&self, lease: &LeaseId, now_unix_ms: i64) -> Result<(), QueueError> {
        self.settle(lease, Fate::Delivered { now_unix_ms }).await
    }

    async fn release(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.settle(lease, Fate::Waits).await
    }

    async fn bury(&self, lease: &LeaseId, burial: Burial) -> Result<(), QueueError> {
        self.settle(lease, Fate::Dead(burial)).await
    }

    async fn deliver_copies(&self, deliveries: Vec<DeliveryBlock>) -> Result<(), QueueError> {
        self.write(Op::Copies(deliveries)).await.map(drop)
    }

    async fn dead(
        &self,
        filter: DeadFilter,
        after: u64,
        max: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        self.look(move |inner| look::dead(inner, &filter, after, max))
            .await
    }

    async fn dead_members(&self, id: u64) -> Result<Option<Members>, QueueError> {
        self.look(move |inner| look::dead_members(inner, id)).await
    }

    async fn redrive(&self, messages: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        self.messages(Op::Redrive { messages }).await
    }

    async fn drop_dead(&self, messages: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        self.messages(Op::DropDead { messages }).await
    }

    async fn told(&self, id: u64) -> Result<Option<Told>, QueueError> {
        self.look(move |inner| look::told(inner, id)).await
    }

    async fn retained(&self, from: Cursor) -> Result<Retained, QueueError> {
        self.look(move |inner| look::retained(inner, from)).await
    }

    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full> {
        self.0.shared.room.admit(body_bytes)
    }

    fn space(&self) -> Space {
        let room = &self.0.shared.room;
        Space {
            used_bytes: room.used(),
            disk_free_bytes: room.disk_free(),
            refusing: room.refusing(),
            ..locked(&self.0.shared.space).clone()
        }
    }

    fn ledger(&self) -> Ledger {
        locked(&self.0.shared.ledger).clone()
    }

    async fn failed(&self) -> QueueError {
        let mut failure = self.0.shared.failure.subscribe();
        loop {
            if let Err(error) = self.0.shared.check() {
                return error;
            }
            if failure.changed().await.is_err() {
                return QueueError::Closed;
            }
        }
    }
}

/// A lease's ID if it is held, what it stands for and that in words.
type Found = (Option<u64>, Vec<records::Slice>, Members);

/// The lease that is held, or what the next one would stand for; `None` if that changed meanwhile.
fn find_lease(
    inner: &Inner,
    channel: &str,
    limit: LeaseLimit,
) -> Result<Option<Found>, read::ReadError> {
    let db = inner.index.db();
    let sealed = read::seal(&db, channel)?;
    let slices = match &sealed {
        Some(seal) => seal.slices.clone(),
        None => read::next_slices(&db, channel, limit)?,
    };
    match read::members(&inner.index, &inner.logs.deliveries, channel, &slices)? {
        Some(members) => Ok(Some((sealed.map(|seal| seal.id), slices, members))),
        None if sealed.is_some() => Err(Damaged("a leased block is missing").into()),
        None => Ok(None),
    }
}

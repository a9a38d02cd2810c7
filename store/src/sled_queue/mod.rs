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
//! values are small; larger values become blob files that are never synced and never deleted, so dead
//! letters are cut into parts under 7 KiB ([`crate::frame`]); `len` scans, so counters are kept; its
//! cache defaults to 1 GiB, so it is set; one tree, as `apply_batch` is atomic per tree ([`keys`]).

mod compact;
mod files;
mod job;
mod keys;
mod owner;
mod read;
mod recover;
mod shared;
mod stage;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use files::{Database, LogNames};
pub use files::{MovedAside, OpenError};
use job::{Fate, Job, Op};
use owner::Owner;
use shared::{Shared, locked};

use crate::{
    Admitted, Block, Burial, Cursor, DeadFilter, DeadLetter, DeliveryBlock, EncodedBatch, Full,
    Lease, LeaseId, LeaseLimit, Ledger, Limits, Members, MoveError, Moved, Queue, QueueError,
    Retained, Routed, SalvageError, Salvaged, SeenBlock, Space, Told,
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
    db: sled::Db,
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
        let shared = Arc::new(Shared::new());
        let db = database.db.clone();
        let owner = Owner::new(
            database,
            Arc::clone(&shared),
            counters,
            options.limits.quarantine_entries_max,
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
            db,
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
        let channels: Vec<String> = ledger.channels.keys().cloned().collect();
        let counted = self
            .read(move |inner| read::count(&inner.db, &inner.logs, &channels))
            .await;
        let counted = counted.map_err(|error| error.to_string())?;
        if counted.waiting != ledger.waiting {
            return Err(format!(
                "the ledger counts {} events not yet routed, the store holds {}",
                ledger.waiting, counted.waiting
            ));
        }
        for (channel, waiting) in counted.channels {
            let told = ledger.channels[&channel].waiting;
            if told != waiting {
                return Err(format!(
                    "the ledger counts {told} events waiting for channel {channel}, the store holds {waiting}"
                ));
            }
        }
        Ok(())
    }

    /// Whether the queue still commits.
    ///
    /// # Errors
    /// The storage's first failure.
    pub fn check(&self) -> Result<(), QueueError> {
        self.0.shared.check()
    }

    /// Brings what is whole in a store that was moved aside into this queue. `progress` is told how many
    /// of how many bytes are done.
    ///
    /// # Errors
    /// See [`SalvageError`]. What was brought before an error stays, and is not brought twice.
    pub async fn salvage(
        &self,
        _dir: &std::path::Path,
        _progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<Salvaged, SalvageError> {
        Err(QueueError::Closed.into())
    }

    /// Writes everything that a queue at rest holds as JSON lines.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub async fn export(
        &self,
        _out: impl std::io::Write + Send + 'static,
        _progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<Moved, MoveError> {
        Err(QueueError::Closed.into())
    }

    /// Reads what [`SledQueue::export`] wrote into this queue, which must never have held anything.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub async fn import(
        &self,
        _lines: impl std::io::BufRead + Send + 'static,
        _progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Moved, MoveError> {
        Err(QueueError::Closed.into())
    }

    async fn write(&self, op: Op) -> Result<u64, QueueError> {
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
        self.read(|inner| read::seen(&inner.db, &inner.logs.seen))
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
                ledger
                    .channels
                    .get(channel)
                    .is_some_and(|counts| counts.waiting > 0)
                    || ledger
                        .notices
                        .get(channel)
                        .is_some_and(|notices| notices.waiting > 0)
            };
            if waits {
                return Ok(());
            }
            notify.notified().await;
        }
    }

    async fn lease(&self, channel: &str, limit: LeaseLimit) -> Result<Option<Lease>, QueueError> {
        let name = channel.to_owned();
        let found = self
            .read(move |inner| {
                let db = &inner.db;
                let sealed = read::seal(db, &name)?;
                let slices = match &sealed {
                    Some(seal) => seal.slices.clone(),
                    None => read::next_slices(db, &name, limit)?,
                };
                let members = read::members(db, &inner.logs.deliveries, &name, &slices)?;
                Ok((sealed.map(|seal| seal.id), slices, members))
            })
            .await?;
        let (held, slices, members) = found;
        if members.is_empty() {
            return Ok(None);
        }
        let id = match held {
            Some(id) => id,
            None => {
                self.write(Op::Seal {
                    channel: channel.to_owned(),
                    slices,
                })
                .await?
            }
        };
        let id = LeaseId {
            channel: channel.to_owned(),
            id,
        };
        Ok(Some(Lease {
            id,
            members,
            resumed: held.is_some(),
        }))
    }

    async fn ack(&self, lease: &LeaseId, _now_unix_ms: i64) -> Result<(), QueueError> {
        self.settle(lease, Fate::Delivered).await
    }

    async fn release(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.settle(lease, Fate::Waits).await
    }

    async fn bury(&self, _lease: &LeaseId, _burial: Burial) -> Result<(), QueueError> {
        Err(QueueError::Closed)
    }

    async fn deliver_copies(&self, _deliveries: Vec<DeliveryBlock>) -> Result<(), QueueError> {
        Err(QueueError::Closed)
    }

    async fn dead(
        &self,
        _filter: DeadFilter,
        _after: u64,
        _max: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        Err(QueueError::Closed)
    }

    async fn dead_members(&self, _id: u64) -> Result<Option<Members>, QueueError> {
        Err(QueueError::Closed)
    }

    async fn redrive(&self, _ids: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        Err(QueueError::Closed)
    }

    async fn drop_dead(&self, _ids: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        Err(QueueError::Closed)
    }

    async fn told(&self, _id: u64) -> Result<Option<Told>, QueueError> {
        Err(QueueError::Closed)
    }

    async fn retained(&self, _from: Cursor) -> Result<Retained, QueueError> {
        Err(QueueError::Closed)
    }

    fn admit(&self, bytes: u64) -> Result<Admitted, Full> {
        let reserved = Arc::new(std::sync::atomic::AtomicU64::new(bytes));
        Ok(Admitted { reserved, bytes })
    }

    fn space(&self) -> Space {
        Space::default()
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

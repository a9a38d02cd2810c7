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

mod aside;
mod carve;
mod closed;
mod compact;
mod db;
mod export;
mod fall_back;
mod files;
mod filtered;
mod flush;
mod holdings;
mod import;
mod index;
mod inputs;
mod job;
mod keys;
mod look;
mod mute_words;
mod mutes;
mod notes;
mod owner;
mod queue;
mod rates;
mod read;
mod records;
mod recover;
mod remains;
mod room;
mod salvage;
mod settle;
mod shared;
mod shed;
mod snapshot;
mod stage;
mod stream;
mod stream_index;
mod threads;
mod tidy;
mod trace;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::oneshot;

use files::{Database, LogNames};
pub use files::{MovedAside, OpenError};
use index::Index;
use job::{Answer, Fate, Job, Op};
use owner::Owner;
pub use read::SLICES_MAX;
use recover::Counters;
use shared::{Shared, locked};
pub use stream::StreamOptions;

use crate::{LeaseId, Limits, Mute, Queue, QueueError, codec::Class};

/// How to open a queue.
#[derive(Debug, Clone)]
pub struct SledOptions {
    /// The relay's data directory; the database is in `queue/` inside it.
    pub data_dir: PathBuf,
    /// sled's page cache, in bytes.
    pub cache_bytes_max: u64,
    /// A log goes on in a new file beyond this size, in bytes.
    pub segment_bytes: u64,
    /// An index of which little is of use is replaced beyond this size, in bytes.
    pub index_bytes: u64,
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
            index_bytes: index::BYTES,
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
    pub queue: Engine,
    /// A store that could not be opened and was moved away; the queue is empty then.
    pub moved_aside: Option<MovedAside>,
}

/// A handle on the queue; the database closes with the last one.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Engine")
    }
}

struct Inner {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    index: Arc<Index>,
    logs: LogNames,
    shared: Arc<Shared>,
    /// Where it lies on a disk.
    data_dir: Option<PathBuf>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        // On a stream it ends by itself, when the servers have answered what it asked last; whoever opens the store
        // next does not have to wait for that.
        if let Some(thread) = self.thread.take()
            && self.data_dir.is_some()
            && thread.join().is_err()
        {
            tracing::error!(
                "the queue's writer panicked: nothing is acknowledged any more; report it, and start the relay again"
            );
        }
    }
}

impl Engine {
    /// Opens the queue, or creates it. Blocks while sled recovers.
    ///
    /// # Errors
    /// See [`OpenError`]. A store that is damaged is no error: it is moved aside, see [`Opened`].
    pub fn open(options: &SledOptions) -> Result<Opened, OpenError> {
        let (database, counters, moved_aside) = Database::open(options)?;
        let logs = LogNames::new(&options.data_dir.join("queue"));
        let queue = Self::start(
            (database, counters),
            logs,
            Some(options.data_dir.clone()),
            (&options.limits, options.now_unix_ms),
        )?;
        Ok(Opened { queue, moved_aside })
    }

    /// Starts the writer of an open store.
    fn start(
        (database, counters): (Database, Counters),
        logs: LogNames,
        data_dir: Option<PathBuf>,
        (limits, now_unix_ms): (&Limits, i64),
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared::new(data_dir.as_deref(), limits, now_unix_ms));
        let index = Arc::clone(&database.index);
        let unusable = |error: std::io::Error| OpenError::Unusable {
            path: data_dir.clone().unwrap_or_default(),
            reason: error.to_string(),
        };
        database.tell(&shared).map_err(unusable)?;
        let owner = Owner::new(
            database,
            Arc::clone(&shared),
            counters,
            limits.clone(),
            now_unix_ms,
        );
        let (jobs, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || owner.run(&received))
            .map_err(unusable)?;
        Ok(Self(Arc::new(Inner {
            jobs: Some(jobs),
            thread: Some(thread),
            index,
            logs,
            shared,
            data_dir,
        })))
    }

    /// Compares the counters with what a scan of every record finds. Slow; for a queue at rest, though it may
    /// still tidy up: what is found wrong is looked at again until nothing changes any more.
    ///
    /// # Errors
    /// The storage's error, or the first counter that disagrees.
    pub async fn verify(&self) -> Result<(), String> {
        let mut before = None;
        loop {
            let commits = self
                .read(|inner| Ok(read::totals(&inner.index.db())?.commits))
                .await;
            let commits = commits.map_err(|error| error.to_string())?;
            let compared = self.compare().await;
            let found = Some((commits, compared.clone()));
            if compared.is_ok() || found == before {
                return compared;
            }
            before = found;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn compare(&self) -> Result<(), String> {
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
        let events = ledger.channels.iter().map(|(name, counts)| {
            let told = (counts.waiting, counts.dead);
            ((name.clone(), Class::Events), told)
        });
        let others = [
            (Class::Notices, &ledger.notices),
            (Class::Copies, &ledger.copies),
        ];
        let others = others.into_iter().flat_map(|(class, counts)| {
            let told = counts
                .iter()
                .map(|(name, counts)| (name, counts.waiting, counts.dead));
            told.map(move |(name, waiting, dead)| ((name.clone(), class), (waiting, dead)))
        });
        for (key, (waiting, dead)) in events.chain(others) {
            let found = counted.channels.remove(&key).unwrap_or_default();
            let told = read::CountedChannel { waiting, dead };
            if told != found {
                let (channel, class) = key;
                return Err(format!(
                    "the ledger counts {told:?} for channel {channel}, the store holds {found:?} ({class:?})"
                ));
            }
        }
        if let Some(((channel, class), found)) = counted.channels.first_key_value() {
            return Err(format!(
                "the store holds {found:?} for channel {channel}, which the ledger does not know ({class:?})"
            ));
        }
        let space = self.space();
        let waiting = space.waiting_bytes.iter().filter(|(_, bytes)| **bytes > 0);
        let told = (
            space.dead_bytes,
            space.detail_bytes,
            waiting.collect::<BTreeMap<_, _>>(),
        );
        let found = &counted.waiting_bytes;
        let found = (
            counted.dead_bytes,
            counted.told_bytes,
            found.iter().collect(),
        );
        if told != found {
            return Err(format!(
                "of dead letters, told messages and channels {told:?} bytes are counted, the store holds {found:?}"
            ));
        }
        self.0.shared.compare_backlog(&counted.backlogs)
    }

    /// Whether the queue still commits.
    ///
    /// # Errors
    /// The storage's first failure.
    pub fn check(&self) -> Result<(), QueueError> {
        self.0.shared.check()
    }

    /// Ends the queue of a process that ends: what was begun is committed, and how the store was left is
    /// noted. Its files stay open, since sled panics when it closes them on a disk that fails; of a queue on a stream
    /// nothing stays, as its process goes on.
    ///
    /// # Errors
    /// The storage's first failure.
    pub async fn finish(self) -> Result<(), QueueError> {
        let finished = self.write(Op::Finish).await;
        if self.0.data_dir.is_some() {
            std::mem::forget(self);
        }
        finished.map(drop)
    }

    async fn write(&self, op: Op) -> Result<Answer, QueueError> {
        self.send(op)?.await.map_err(|_| QueueError::Closed)?
    }

    /// Gives the writer something to do; what it is given is done in this order.
    fn send(&self, op: Op) -> Result<oneshot::Receiver<Result<Answer, QueueError>>, QueueError> {
        self.0.shared.check()?;
        let (reply, answer) = oneshot::channel();
        let jobs = self.0.jobs.as_ref().ok_or(QueueError::Closed)?;
        jobs.send(Job { op, reply })
            .map_err(|_| QueueError::Closed)?;
        Ok(answer)
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
            Err(error) => (read::unread(&error), error.is_panic()),
        };
        // Behind a failed write sled fails and panics on everything, whatever is on disk.
        if is_damage
            && self.0.shared.check().is_ok()
            && let Some(data_dir) = &self.0.data_dir
        {
            files::mark_damaged(data_dir, &reason);
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
            Err(error) => read::unread(&error),
        };
        Err(QueueError::Unreadable(reason.into()))
    }

    async fn messages(&self, op: Op) -> Result<Vec<u64>, QueueError> {
        match self.write(op).await? {
            Answer::Messages(messages) => Ok(messages),
            _ => Ok(Vec::new()),
        }
    }

    async fn mute(&self, op: Op) -> Result<Option<Mute>, QueueError> {
        match self.write(op).await? {
            Answer::Mute(mute) => Ok(mute.map(|mute| *mute)),
            _ => Ok(None),
        }
    }

    async fn settle(&self, lease: &LeaseId, fate: Fate) -> Result<Answer, QueueError> {
        let op = Op::Settle {
            channel: lease.channel.clone(),
            lease: lease.id,
            fate,
        };
        self.write(op).await
    }
}

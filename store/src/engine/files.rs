//! The queue's files: opening, moving a broken store aside, and the one way of making writes durable.
//!
//! `<data_dir>/lock` is held while the queue is open. `<data_dir>/queue/` holds the three logs
//! ([`crate::log`]: appended events, deliveries, seen keys) and sled's files ([`super::index`]).
//! Nothing here removes data that was acknowledged: a store that cannot be opened is renamed.

use std::{
    fs::{self, File, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    SledOptions,
    aside::{move_aside, newest_aside},
    db::{Changes, Db},
    flush::Flushes,
    index::{self, Index},
    keys,
    records::{START, Totals},
    recover::{Counters, Unsound, open_sound},
    remains::Remains,
    shared::Shared,
    snapshot,
    stream_index::StreamIndex,
};
use crate::log::{Log, LogFiles};

/// sled's default. It fills a segment with zeroes whenever it is opened or closed, so larger ones cost;
/// a leaf of up to 17 values stays out of blob files if it is below a quarter of this.
const SEGMENT_BYTES: usize = 512 * 1024;
/// Beside the store, since what is in its folder is sled's.
pub(super) const DAMAGED_MARK: &str = "queue.damaged";
/// How the name of a store begins that was moved aside.
pub(super) const CORRUPT: &str = "queue.corrupt-";
/// The first index of a store.
const FIRST_INDEX: u64 = 1;

/// Why there is no queue.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error(
        "the queue in {0} is in use by another process; one relay owns a data directory at a time"
    )]
    InUse(PathBuf),
    /// The file system refuses.
    #[error("cannot {what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The store is damaged, and was not to be moved aside.
    #[error("the store in {path} is damaged: {reason}; the next `serve` moves it aside")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A stream's store is damaged. It stays as it is.
    #[error(
        "the ledger stream {stream} is damaged: {reason}; nothing was taken out of it. Batches go on to be accepted into the \
         inbox. Bring a backup of the stream back; or give up what it holds: back it up and report it, `nats stream rm \
         {stream}`, start one relay again, and the inbox is read on"
    )]
    DamagedStream {
        /// Its name.
        stream: String,
        /// What is wrong.
        reason: String,
    },
    /// A later version wrote the store.
    #[error(
        "the store in {path} has format {format}, which this version does not know; start the version that \
         wrote it, or move the queue with its `auditrelay export`"
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The servers that hold the store do not answer, or another relay took it over.
    #[error("the ledger stream {stream} cannot be opened: {error}")]
    Unreachable {
        /// Its name.
        stream: String,
        /// Why.
        error: io::Error,
    },
    /// Even an empty store does not open.
    #[error("cannot create a queue in {path}: {reason}")]
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { what, path, error }
}

/// The logs of a store.
#[derive(Debug, Clone)]
pub(super) struct LogNames {
    /// Batches as they were appended, until they are routed.
    pub(super) events: LogFiles,
    /// What goes to channels, until it is settled.
    pub(super) deliveries: LogFiles,
    /// Keys of the dedup window.
    pub(super) seen: LogFiles,
}

impl LogNames {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            events: LogFiles::new(dir, "events"),
            deliveries: LogFiles::new(dir, "deliveries"),
            seen: LogFiles::new(dir, "seen"),
        }
    }
}

/// An open store.
pub(super) struct Database {
    pub(super) index: Arc<Index>,
    pub(super) logs: Logs,
    pub(super) medium: Medium,
}

/// What a store lies on.
pub(super) enum Medium {
    Disk(Disk),
    Stream(StreamIndex),
}

/// A store's folder and what belongs to it.
pub(super) struct Disk {
    pub(super) index_number: u64,
    /// A smaller index is not replaced.
    pub(super) index_bytes_min: u64,
    pub(super) cache_bytes_max: u64,
    pub(super) data_dir: PathBuf,
    /// sled's file, to be synced.
    pub(super) file: File,
    pub(super) flushes: Flushes,
    _lock: File,
}

/// The logs' writing ends.
pub(super) struct Logs {
    pub(super) events: Log,
    pub(super) deliveries: Log,
    pub(super) seen: Log,
}

/// A store that was moved away because it could not be opened.
#[derive(Debug, Clone)]
pub struct MovedAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
    /// How many deliveries and events it still held, as its own ledger says; `None` if that cannot be read.
    pub kept_events: Option<u64>,
}

impl Database {
    pub(super) fn open(
        options: &SledOptions,
    ) -> Result<(Self, Counters, Option<MovedAside>), OpenError> {
        let data_dir = &options.data_dir;
        fs::create_dir_all(data_dir).map_err(io_error("create", data_dir))?;
        let lock = lock(data_dir)?;
        let flushes = Flushes::new().map_err(io_error("start a thread for", data_dir))?;
        let dir = data_dir.join("queue");
        let mut moved = None;
        if !dir.exists() {
            moved = newest_aside(data_dir).map(|path| MovedAside {
                kept_events: Remains::of(&path).map(|remains| remains.kept),
                path,
                reason: "the start that moved it ended before it could say so".to_owned(),
            });
            remove_mark(data_dir)?;
            create(options, &dir, moved.as_ref(), &flushes)?;
        }
        let (store, moved) = match open_sound(options, &dir) {
            Ok(store) => (store, moved),
            Err(Unsound::Unreachable(error)) => return Err(io_error("open", &dir)(error)),
            Err(Unsound::Newer(format)) => return Err(OpenError::Newer { path: dir, format }),
            Err(Unsound::Damaged(reason)) if !options.move_damaged_aside => {
                return Err(OpenError::Damaged { path: dir, reason });
            }
            Err(Unsound::Damaged(reason)) => move_aside(options, &dir, reason, &flushes)?,
        };
        let index = index::dir_of(&dir, store.index_number);
        let file = sync_index(&index).map_err(io_error("sync", &index))?;
        snapshot::after_open(&dir).map_err(io_error("remove a file of", &dir))?;
        let parent = data_dir
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        for made in [&dir, data_dir, parent.unwrap_or(Path::new("."))] {
            File::open(made)
                .and_then(|made| made.sync_all())
                .map_err(io_error("sync", made))?;
        }
        Ok((
            Self {
                index: Arc::new(Index::new(Db::Sled(store.db))),
                logs: store.logs,
                medium: Medium::Disk(Disk {
                    index_number: store.index_number,
                    index_bytes_min: options.index_bytes,
                    cache_bytes_max: options.cache_bytes_max,
                    data_dir: data_dir.clone(),
                    file,
                    flushes,
                    _lock: lock,
                }),
            },
            store.counters,
            moved,
        ))
    }

    /// Commits changes of the index: durable when it returns, and only then seen by readers. The only way that this
    /// crate ever does.
    pub(super) fn commit(&mut self, changes: Changes, commits: u64) -> Result<(), String> {
        match (&mut self.medium, self.index.db()) {
            (Medium::Stream(stream), _) => {
                let committed = stream.commit(changes, commits);
                committed.map_err(|error| error.to_string())
            }
            (Medium::Disk(disk), Db::Sled(db)) => disk.commit(&db, changes),
            // An index on a disk is sled's.
            (Medium::Disk(_), Db::Memory(_)) => Err("the index is not on the disk".to_owned()),
        }
    }

    pub(super) fn index_bytes_min(&self) -> u64 {
        match &self.medium {
            Medium::Disk(disk) => disk.index_bytes_min,
            Medium::Stream(_) => u64::MAX,
        }
    }

    /// Somebody is told when a flush does not end.
    pub(super) fn tell(&self, shared: &Arc<Shared>) -> io::Result<()> {
        match &self.medium {
            Medium::Disk(disk) => disk.flushes.tell(&disk.file, shared),
            Medium::Stream(_) => Ok(()),
        }
    }

    /// Notes that a record was found damaged while the store was in use; see [`mark_damaged`].
    pub(super) fn mark_damaged(&self, reason: &str) {
        if let Medium::Disk(disk) = &self.medium {
            mark_damaged(&disk.data_dir, reason);
        }
    }
}

impl Disk {
    pub(super) fn store_dir(&self) -> PathBuf {
        self.data_dir.join("queue")
    }

    /// sled 0.34's `flush` ends in `sync_file_range` on Linux, which does not reach the disk, hence
    /// the `fdatasync` of the same inode behind it.
    fn commit(&self, db: &sled::Db, changes: Changes) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| {
            let applied = db.apply_batch(changes.into_sled());
            applied.map_err(|error| error.to_string())?;
            let flushed = self.flushes.flush(db);
            flushed.map_err(|error| error.to_string())?;
            self.file.sync_data().map_err(|error| error.to_string())
        }))
        .unwrap_or_else(|_| Err("sled panicked".to_owned()))
    }
}

/// Makes an index's files durable, and opens the one that is written to. sled itself never syncs its
/// `conf`, and does not open without it.
pub(super) fn sync_index(index: &Path) -> io::Result<File> {
    for entry in fs::read_dir(index)? {
        let path = entry?.path();
        if path.is_file() {
            File::open(path)?.sync_all()?;
        }
    }
    File::open(index)?.sync_all()?;
    File::open(index.join("db"))
}

/// What can go wrong where both sled and files are used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SledOrIo {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let path = data_dir.join("lock");
    let lock = File::create(&path).map_err(io_error("create", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
    }
}

/// Makes an empty store beside its place and renames it when it is whole, so that a store without
/// totals is always a damaged one: sled opens a file of noise as an empty database. What a store held
/// that was moved aside is lost, from the first moment on and until it is salvaged.
pub(super) fn create(
    options: &SledOptions,
    dir: &Path,
    instead_of: Option<&MovedAside>,
    flushes: &Flushes,
) -> Result<(), OpenError> {
    let (data_dir, cache_bytes_max) = (&options.data_dir, options.cache_bytes_max);
    let remains = instead_of.and_then(|aside| Remains::of(&aside.path));
    let totals = Totals {
        lost: remains.map_or(0, |remains| remains.kept + remains.lost),
        ..Totals::EMPTY
    };
    let unusable = |error: sled::Error| OpenError::Unusable {
        path: dir.to_owned(),
        reason: error.to_string(),
    };
    let new = data_dir.join("queue.new");
    if new.exists() {
        // Left by a process that ended in here; nothing was ever acknowledged out of it.
        fs::remove_dir_all(&new).map_err(io_error("remove", &new))?;
    }
    let index = index::dir_of(&new, FIRST_INDEX);
    let db = config(&index, cache_bytes_max).open().map_err(unusable)?;
    db.insert(keys::TOTALS, totals.stored()).map_err(unusable)?;
    flushes.flush(&db).map_err(unusable)?;
    drop(db);
    sync_index(&index).map_err(io_error("sync", &index))?;
    index::name(&new, FIRST_INDEX).map_err(io_error("name the index in", &new))?;
    let LogNames {
        events,
        deliveries,
        seen,
    } = LogNames::new(&new);
    for log in [events, deliveries, seen] {
        log.create(START.segment)
            .map_err(io_error("create a log in", &new))?;
    }
    fs::rename(&new, dir).map_err(io_error("rename", &new))
}

pub(super) fn config(dir: &Path, cache_bytes_max: u64) -> sled::Config {
    sled::Config::new()
        .path(dir)
        .cache_capacity(cache_bytes_max)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None)
}

/// Notes that a record was found damaged while the store was in use, so that the next start moves
/// the store aside instead of ending at the same record again.
pub(super) fn mark_damaged(data_dir: &Path, reason: &str) {
    let mark = data_dir.join(DAMAGED_MARK);
    if let Err(error) = fs::write(&mark, reason) {
        tracing::error!(%error, mark = %mark.display(), "cannot note that the store is damaged: the next start may end at the same place; move the queue's folder aside \
             then, `auditrelay salvage` brings back what is whole in it");
    }
}

pub(super) fn remove_mark(data_dir: &Path) -> Result<(), OpenError> {
    let mark = data_dir.join(DAMAGED_MARK);
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", &mark)(error))
        }
        _ => Ok(()),
    }
}

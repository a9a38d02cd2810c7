//! The queue's files: opening, moving a broken store aside, and the one way of making writes durable.
//!
//! `<data_dir>/lock` is held while the queue is open, `<data_dir>/queue/` is sled's directory.
//! Nothing here removes data: a store that cannot be opened is renamed, never deleted.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    SledOptions,
    job::{Totals, small},
    keys,
};
use crate::{ChannelCounts, NoticeCounts, frame::Damaged};

/// With segments of this size sled keeps values of 64 KiB out of blob files (measured).
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// Beside the store, since what is in its folder is sled's.
const DAMAGED_MARK: &str = "queue.damaged";

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
    /// Even an empty store does not open.
    #[error("cannot create a queue in {path}: {reason}")]
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { what, path, error }
}

/// An open database.
pub(super) struct Database {
    pub(super) db: sled::Db,
    disk: File,
    _lock: File,
}

/// A store that was moved away because it could not be opened.
#[derive(Debug, Clone)]
pub struct MovedAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

impl Database {
    pub(super) fn open(
        options: &SledOptions,
    ) -> Result<(Self, Counters, Option<MovedAside>), OpenError> {
        let data_dir = &options.data_dir;
        fs::create_dir_all(data_dir).map_err(io_error("create", data_dir))?;
        let lock = lock(data_dir)?;
        let dir = data_dir.join("queue");
        if !dir.exists() {
            create(data_dir, &dir, options.cache_bytes_max)?;
        }
        let (db, counters, moved) =
            match open_sound(data_dir, &dir, options.cache_bytes_max) {
                Ok((db, counters)) => (db, counters, None),
                Err(Unsound::Unreachable(error)) => return Err(io_error("open", &dir)(error)),
                Err(Unsound::Damaged(reason)) if !options.move_damaged_aside => {
                    return Err(OpenError::Damaged { path: dir, reason });
                }
                Err(Unsound::Damaged(reason)) => {
                    let aside = data_dir.join(format!("queue.corrupt-{}", options.now_unix_ms));
                    fs::rename(&dir, &aside).map_err(io_error("move aside", &dir))?;
                    remove_mark(data_dir)?;
                    create(data_dir, &dir, options.cache_bytes_max)?;
                    let (db, counters) = open_sound(data_dir, &dir, options.cache_bytes_max)
                        .map_err(|unsound| OpenError::Unusable {
                            path: dir.clone(),
                            reason: unsound.to_string(),
                        })?;
                    (
                        db,
                        counters,
                        Some(MovedAside {
                            path: aside,
                            reason,
                        }),
                    )
                }
            };
        let file = dir.join("db");
        let disk = File::open(&file).map_err(io_error("open", &file))?;
        disk.sync_all().map_err(io_error("sync", &file))?;
        let parent = data_dir
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        for made in [dir.as_path(), data_dir, parent.unwrap_or(Path::new("."))] {
            File::open(made)
                .and_then(|made| made.sync_all())
                .map_err(io_error("sync", made))?;
        }
        Ok((
            Self {
                db,
                disk,
                _lock: lock,
            },
            counters,
            moved,
        ))
    }

    /// Makes all that was applied before durable: the only way this crate ever does.
    ///
    /// sled 0.34's `flush` ends in `sync_file_range` on Linux, which does not reach the disk, hence
    /// the `fdatasync` of the same inode behind it.
    pub(super) fn sync(&self) -> Result<(), String> {
        self.db.flush().map_err(|error| error.to_string())?;
        self.disk.sync_data().map_err(|error| error.to_string())
    }
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
/// totals is always a damaged one: sled opens a file of noise as an empty database.
fn create(data_dir: &Path, dir: &Path, cache_bytes_max: u64) -> Result<(), OpenError> {
    let unusable = |error: sled::Error| OpenError::Unusable {
        path: dir.to_owned(),
        reason: error.to_string(),
    };
    let new = data_dir.join("queue.new");
    if new.exists() {
        // Left by a process that ended in here; nothing was ever acknowledged out of it.
        fs::remove_dir_all(&new).map_err(io_error("remove", &new))?;
    }
    let db = config(&new, cache_bytes_max).open().map_err(unusable)?;
    db.insert(keys::TOTALS, Totals::EMPTY.stored())
        .map_err(unusable)?;
    db.flush().map_err(unusable)?;
    drop(db);
    let file = new.join("db");
    File::open(&file)
        .and_then(|file| file.sync_all())
        .map_err(io_error("sync", &file))?;
    fs::rename(&new, dir).map_err(io_error("rename", &new))
}

fn config(dir: &Path, cache_bytes_max: u64) -> sled::Config {
    sled::Config::new()
        .path(dir)
        .cache_capacity(cache_bytes_max)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None)
}

/// What is counted beside the events, as read at the start.
pub(super) struct Counters {
    pub(super) totals: Totals,
    pub(super) channels: BTreeMap<String, (ChannelCounts, NoticeCounts)>,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unsound {
    /// The file system refuses: nothing is known of the store, and it must stay where it is.
    #[error("{0}")]
    Unreachable(io::Error),
    #[error("{0}")]
    Damaged(String),
}

impl From<sled::Error> for Unsound {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if !is_truncation(&error) => Self::Unreachable(error),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<Damaged> for Unsound {
    fn from(error: Damaged) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Whether the error says that what is stored is wrong, not that the way to it failed.
pub(super) fn is_damage(error: &sled::Error) -> bool {
    !matches!(error, sled::Error::Io(error) if !is_truncation(error))
}

fn is_truncation(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
    )
}

/// Opens a store and reads its counters; a damaged file makes sled return an error or panic.
fn open_sound(
    data_dir: &Path,
    dir: &Path,
    cache_bytes_max: u64,
) -> Result<(sled::Db, Counters), Unsound> {
    if let Ok(reason) = fs::read_to_string(data_dir.join(DAMAGED_MARK)) {
        return Err(Unsound::Damaged(format!(
            "while it was used: {}",
            reason.trim()
        )));
    }
    remove_unfinished_snapshots(dir).map_err(Unsound::Unreachable)?;
    let open = || -> Result<(sled::Db, Counters), Unsound> {
        let db = open_unlocked(&config(dir, cache_bytes_max))?;
        let totals = db.get(keys::TOTALS)?;
        let totals = totals.ok_or_else(|| Unsound::Damaged("its ledger is missing".to_owned()))?;
        let totals = small(&totals)?;
        let mut channels = BTreeMap::new();
        for row in db.scan_prefix(keys::CHANNELS) {
            let (key, value) = row?;
            let name = String::from_utf8_lossy(&key[keys::CHANNELS.len()..]).into_owned();
            channels.insert(name, small(&value)?);
        }
        Ok((db, Counters { totals, channels }))
    };
    catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(Unsound::Damaged("sled panicked on it".to_owned())))
}

/// sled writes a snapshot of its index beside the log and renames it when it is whole. One that was not
/// finished (the disk was full, the process was killed) makes the next start fail, though all that it
/// stood for is in the log.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Opens sled's files. Their lock may outlive a queue of this same process for a moment, since sled's
/// own threads still hold it; no other process can have it while this one holds `<data_dir>/lock`.
fn open_unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                std::thread::park_timeout(PAUSE);
            }
            outcome => return outcome,
        }
    }
    config.open()
}

/// Notes that a record was found damaged while the store was in use, so that the next start moves
/// the store aside instead of ending at the same record again.
pub(super) fn mark_damaged(data_dir: &Path, reason: &str) {
    let mark = data_dir.join(DAMAGED_MARK);
    if let Err(error) = fs::write(&mark, reason) {
        tracing::error!(%error, mark = %mark.display(), "cannot note that the store is damaged");
    }
}

fn remove_mark(data_dir: &Path) -> Result<(), OpenError> {
    let mark = data_dir.join(DAMAGED_MARK);
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", &mark)(error))
        }
        _ => Ok(()),
    }
}

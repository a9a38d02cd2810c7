//! The queue's files: opening, moving a broken store aside, and the one way of making writes durable.
//!
//! `<data_dir>/lock` is held while the queue is open, `<data_dir>/queue/` is sled's directory.
//! Nothing here removes data: a store that cannot be opened is renamed, never deleted.

use std::{
    fs::{self, File, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::{
    SledOptions, keys,
    owner::{Totals, small},
};

/// With segments of this size sled keeps values of 64 KiB out of blob files (measured).
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;

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
    pub(super) fn open(options: &SledOptions) -> Result<(Self, Option<MovedAside>), OpenError> {
        let data_dir = &options.data_dir;
        fs::create_dir_all(data_dir).map_err(io_error("create", data_dir))?;
        let lock = lock(data_dir)?;
        let dir = data_dir.join("queue");
        if !dir.exists() {
            create(data_dir, &dir, options.cache_bytes_max)?;
        }
        let (db, moved) = match open_sound(&dir, options.cache_bytes_max) {
            Ok(db) => (db, None),
            Err(reason) => {
                let aside = data_dir.join(format!("queue.corrupt-{}", options.now_unix_ms));
                fs::rename(&dir, &aside).map_err(io_error("move aside", &dir))?;
                create(data_dir, &dir, options.cache_bytes_max)?;
                let db = open_sound(&dir, options.cache_bytes_max).map_err(|reason| {
                    OpenError::Unusable {
                        path: dir.clone(),
                        reason,
                    }
                })?;
                (
                    db,
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
        for made in [dir.as_path(), data_dir] {
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

/// Opens a store and reads its totals; a damaged file makes sled return an error or panic.
fn open_sound(dir: &Path, cache_bytes_max: u64) -> Result<sled::Db, String> {
    let open = || -> Result<sled::Db, String> {
        let db = config(dir, cache_bytes_max)
            .open()
            .map_err(|error| error.to_string())?;
        let totals = db.get(keys::TOTALS).map_err(|error| error.to_string())?;
        let totals = totals.ok_or("its ledger is missing")?;
        small::<Totals>(&totals).map_err(|error| error.to_string())?;
        Ok(db)
    };
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err("sled panicked on it".to_owned()))
}

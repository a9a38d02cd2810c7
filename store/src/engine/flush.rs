//! sled's flush, which ends also when the disk has failed.
//!
//! sled 0.34 writes some of its buffers on threads of its own. When such a write fails it notes the error and
//! wakes nobody (`pagecache/logger.rs`), so a flush that waits for that write waits for ever. Whoever calls flush
//! after that finds the error, and wakes the others (`pagecache/iobuf.rs`). So somebody else calls it as
//! well when a flush takes long; on a disk that is slow and not broken that changes nothing. Where that does
//! not help either, the disk is asked directly: if it fails, or if it answers and the flush still does not end for
//! very long, the queue has failed, and the process ends and leaves the flush where it is.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use super::shared::{Shared, locked};

/// How often a flush under way is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// After so many looks the disk is asked.
const LOOKS_BEFORE_ASKING: u32 = 3;
/// After so many looks, about 30 s, the flush is given up although the disk answers.
const LOOKS_MAX: u32 = 100;

/// The flush under way, and how many there were before it.
#[derive(Default)]
struct UnderWay {
    db: Option<sled::Db>,
    number: u64,
    /// The file that it writes, and who has to know that it failed.
    told: Option<(File, Arc<Shared>)>,
}

/// Flushes, and the thread that looks after them; it ends with this.
pub(super) struct Flushes {
    under_way: Arc<Mutex<UnderWay>>,
    _alive: mpsc::Sender<()>,
}

impl Flushes {
    /// # Errors
    /// There are no more threads.
    pub(super) fn new() -> std::io::Result<Self> {
        let under_way = Arc::<Mutex<UnderWay>>::default();
        let (alive, ends) = mpsc::channel();
        let seen = Arc::clone(&under_way);
        std::thread::Builder::new()
            .name("queue-flush".to_owned())
            .spawn(move || look_after(&seen, &ends))?;
        Ok(Self {
            under_way,
            _alive: alive,
        })
    }

    /// From now on `shared` is told when a flush cannot end; `disk` is the file that is flushed.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub(super) fn tell(&self, disk: &File, shared: &Arc<Shared>) -> std::io::Result<()> {
        locked(&self.under_way).told = Some((disk.try_clone()?, Arc::clone(shared)));
        Ok(())
    }

    pub(super) fn flush(&self, db: &sled::Db) -> sled::Result<()> {
        {
            let mut under_way = locked(&self.under_way);
            under_way.number += 1;
            under_way.db = Some(db.clone());
        }
        let flushed = db.flush();
        locked(&self.under_way).db = None;
        flushed.map(drop)
    }
}

fn look_after(under_way: &Mutex<UnderWay>, ends: &mpsc::Receiver<()>) {
    let (mut seen, mut looks) = (0, 0);
    while ends.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let under_way = locked(under_way);
        let is_same = under_way.number == seen && under_way.db.is_some();
        (seen, looks) = (under_way.number, if is_same { looks + 1 } else { 0 });
        if looks == 1
            && let Some(db) = under_way.db.clone()
        {
            wake_with(db);
        }
        let Some((disk, shared)) = under_way
            .told
            .as_ref()
            .filter(|_| looks >= LOOKS_BEFORE_ASKING)
        else {
            continue;
        };
        let (disk, shared) = (disk.try_clone(), Arc::clone(shared));
        // Nobody waits for this lock for as long as the disk may take.
        drop(under_way);
        if let Err(error) = disk.and_then(|disk| disk.sync_data()) {
            shared.fail(&error.to_string());
        } else if looks >= LOOKS_MAX {
            shared.fail("the index's flush does not end");
        }
    }
}

/// Flushes on another thread, only to wake who waits: what this returns, or panics with, is told by the
/// other flush.
fn wake_with(db: sled::Db) {
    let wake = move || {
        let flushed = catch_unwind(AssertUnwindSafe(|| db.flush()));
        if !matches!(flushed, Ok(Ok(_))) {
            // sled panics when the last of these goes on a disk that fails. The process ends anyway.
            std::mem::forget(db);
        }
    };
    let woken = std::thread::Builder::new()
        .name("queue-wake".to_owned())
        .spawn(wake);
    if let Err(error) = woken {
        tracing::warn!(%error, "a slow flush of the index cannot be looked after, as no thread can be started: a disk that hangs is noticed \
             later; raise the limit of processes (TasksMax, ulimit -u)");
    }
}

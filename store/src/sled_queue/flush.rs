//! sled's flush, which ends also when the disk has failed.
//!
//! sled 0.34 writes some of its buffers on threads of its own. When such a write fails it notes the error and
//! wakes nobody (`pagecache/logger.rs`), so a flush that waits for that write waits for ever. Whoever calls flush
//! after that finds the error, and wakes the others (`pagecache/iobuf.rs`). So somebody else calls it as
//! well when a flush takes long; on a disk that is slow and not broken that changes nothing.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use super::shared::locked;

/// A flush that takes longer is looked after.
const PATIENCE: Duration = Duration::from_millis(300);

/// The flush under way, and how many there were before it.
#[derive(Default)]
struct UnderWay {
    db: Option<sled::Db>,
    number: u64,
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
    let mut seen = 0;
    while ends.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        let slow = {
            let under_way = locked(under_way);
            let is_slow = under_way.number == seen;
            seen = under_way.number;
            under_way.db.clone().filter(|_| is_slow)
        };
        let Some(db) = slow else { continue };
        // Only to wake who waits: what this returns, or panics with, is told by the other flush.
        let flushed = catch_unwind(AssertUnwindSafe(|| db.flush()));
        if !matches!(flushed, Ok(Ok(_))) {
            // sled panics when the last of these goes on a disk that fails. The process ends anyway.
            std::mem::forget(db);
        }
    }
}

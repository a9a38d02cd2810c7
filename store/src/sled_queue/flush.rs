//! sled's flush, which ends also when the disk has failed.
//!
//! sled 0.34 writes some of its buffers on threads of its own. When such a write fails it notes the error and
//! wakes nobody (`pagecache/logger.rs`), so a flush that waits for that write waits for ever. Whoever calls flush
//! after that finds the error, and wakes the others (`pagecache/iobuf.rs`). So somebody else calls it as
//! well when a flush takes long; on a disk that is slow and not broken that changes nothing.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

/// A flush that takes longer is looked after.
const PATIENCE: Duration = Duration::from_millis(500);

enum Word {
    Began(sled::Db),
    Ended,
}

/// Flushes, and the thread that looks after them; it ends with this.
pub(super) struct Flushes(mpsc::Sender<Word>);

impl Flushes {
    /// # Errors
    /// There are no more threads.
    pub(super) fn new() -> std::io::Result<Self> {
        let (words, heard) = mpsc::channel();
        std::thread::Builder::new()
            .name("queue-flush".to_owned())
            .spawn(move || look_after(&heard))?;
        Ok(Self(words))
    }

    pub(super) fn flush(&self, db: &sled::Db) -> sled::Result<()> {
        // The thread ends only after this has; a flush without it is a flush all the same.
        let _ = self.0.send(Word::Began(db.clone()));
        let flushed = db.flush();
        let _ = self.0.send(Word::Ended);
        flushed.map(drop)
    }
}

fn look_after(heard: &mpsc::Receiver<Word>) {
    while let Ok(word) = heard.recv() {
        let Word::Began(db) = word else { continue };
        loop {
            match heard.recv_timeout(PATIENCE) {
                // Only to wake who waits: what this returns, or panics with, is told by the other flush.
                Err(RecvTimeoutError::Timeout) => {
                    drop(catch_unwind(AssertUnwindSafe(|| db.flush())))
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(_) => break,
            }
        }
    }
}

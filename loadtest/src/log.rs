//! A plain file that is appended to and synced: the least that a durable acknowledgement can cost.
//!
//! Contract: [`Log::append`] returns after an `fdatasync` that covers its bytes; all that wait are
//! written and synced together (group commit), as the relay does.

use std::{fs::File, io::Write, path::Path, sync::mpsc};

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::oneshot;

/// Like the relay's own bound on one commit.
const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

struct Job {
    bytes: Bytes,
    done: oneshot::Sender<()>,
}

/// An append-only file with a writer thread of its own.
#[derive(Debug)]
pub struct Log {
    jobs: mpsc::Sender<Job>,
}

impl Log {
    /// Creates the file.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let (jobs, waiting) = mpsc::channel();
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || write(file, &waiting))?;
        Ok(Self { jobs })
    }

    /// Appends; returns when the bytes would survive a power loss.
    ///
    /// # Errors
    /// The writer has failed; its error is not known here, only that nothing is durable any more.
    pub async fn append(&self, bytes: Bytes) -> anyhow::Result<()> {
        let (done, written) = oneshot::channel();
        self.jobs
            .send(Job { bytes, done })
            .ok()
            .context("the log's writer has ended")?;
        written.await.context("the log's file failed")
    }
}

/// Ends at the first error: whoever waits sees the channel close.
fn write(mut file: File, waiting: &mpsc::Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut bytes = first.bytes.len();
        let mut jobs = vec![first];
        while bytes < COMMIT_BYTES_MAX
            && let Ok(job) = waiting.try_recv()
        {
            bytes += job.bytes.len();
            jobs.push(job);
        }
        let written = jobs.iter().try_for_each(|job| file.write_all(&job.bytes));
        if written.and_then(|()| file.sync_data()).is_err() {
            return;
        }
        for job in jobs {
            // A client that has gone needs no answer.
            let _gone = job.done.send(());
        }
    }
}

//! Follows the files of one configured path until it is told to stop.
//!
//! Invariants:
//! * a line counts as read when the block that holds it is durable, and how far the file is read is in that block;
//! * a queue without space, or out of reach, makes reading rest: what is in the files stays there;
//! * what could not be stored is given to the queue again as it is, the same blocks with the same positions, and nothing
//!   of the file is read meanwhile: so a queue that stored it all the same knows it again;
//! * reading and looking at files happens on threads that may block.

use std::{
    future::Future,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use auditrelay_audit::HashKey;
use auditrelay_store::{Admitted, InputPosition, Intake, QueueError};
use tokio::sync::watch;

use super::{
    files::{Files, Id, Turn},
    in_use::InUse,
    metrics::LogFileMetrics,
};
use crate::prepare::InForce;

/// How often files are looked at while nothing is behind.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How soon a queue without space is asked again.
const REST_INTERVAL: Duration = Duration::from_secs(1);
/// Read of one file before the next one has its turn, in bytes.
const TURN_BYTES: u64 = 4 << 20;

/// What is needed to follow a path.
pub struct Follow<Q> {
    /// Where lines go.
    pub queue: Q,
    /// How they get there.
    pub preparation: InForce,
    /// Keys what tells files apart.
    pub hash_key: HashKey,
    /// The path as configured, perhaps a pattern.
    pub path: PathBuf,
    /// The cluster whose API server writes there.
    pub cluster: String,
    /// What is counted.
    pub metrics: LogFileMetrics,
    /// Where it is told which files are followed.
    pub in_use: InUse,
    /// Nothing is known of what was read before: files that were rotated already are read too.
    pub nothing_is_old: bool,
    /// The same as of the webhook.
    pub ingest_metrics: crate::Metrics,
}

impl<Q: Intake> Follow<Q> {
    /// Follows the path until `stop` says so.
    ///
    /// # Errors
    /// The queue failed.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), QueueError> {
        let label = self.path.display().to_string();
        self.metrics.create(&label);
        let mut files = Files::new(
            self.path.clone(),
            self.hash_key.clone(),
            self.in_use.clone(),
            self.nothing_is_old,
        );
        let is_known = self.insist(&label, &mut stop, || self.queue.learn_inputs());
        if !is_known.await? {
            return Ok(());
        }
        while !*stop.borrow() {
            let queue = self.queue.clone();
            let notes;
            (files, notes) = blocking(move || {
                let notes = files.look(&|| queue.inputs(), now_unix_ms());
                (files, notes)
            })
            .await;
            if !notes.is_empty() && !self.noted(notes, &label, &mut stop).await? {
                break;
            }
            self.show(&label, &files);
            let behind = files.behind(now_unix_ms());
            if behind.is_empty() {
                pause(POLL_INTERVAL, &mut stop).await;
                continue;
            }
            for id in behind {
                let Some((admitted, has_waited)) = self.space(&label, &mut stop).await else {
                    break;
                };
                if has_waited {
                    // Much may have happened to the files meanwhile: they are looked at again.
                    break;
                }
                files = self.turn(files, id, &label, admitted, &mut stop).await?;
            }
            self.show(&label, &files);
        }
        Ok(())
    }

    /// Waits until the queue has space, and says whether it had to; `None` if it is to stop before.
    async fn space(
        &self,
        label: &str,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<(Admitted, bool)> {
        let mut rest = Rest::new(&self.metrics, label);
        while !*stop.borrow() {
            match self.queue.admit(TURN_BYTES) {
                Ok(admitted) => return Some((admitted, rest.end())),
                Err(full) => rest.take(&QueueError::Full(full), stop).await,
            }
        }
        None
    }

    /// Asks the queue until it does it, unless it failed for good; false if it is to stop before.
    async fn insist<F: Future<Output = Result<(), QueueError>>>(
        &self,
        label: &str,
        stop: &mut watch::Receiver<bool>,
        ask: impl Fn() -> F,
    ) -> Result<bool, QueueError> {
        let mut rest = Rest::new(&self.metrics, label);
        while !*stop.borrow() {
            match ask().await {
                Ok(()) => {
                    rest.end();
                    return Ok(true);
                }
                Err(error @ (QueueError::Full(_) | QueueError::Unavailable(_))) => {
                    rest.take(&error, stop).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn noted(
        &self,
        notes: Vec<InputPosition>,
        label: &str,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, QueueError> {
        let note = || self.queue.note_inputs(notes.clone());
        self.insist(label, stop, note).await
    }

    /// Reads lines of one file and makes them durable.
    async fn turn(
        &self,
        mut files: Files,
        id: Id,
        label: &str,
        admitted: Admitted,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Files, QueueError> {
        let (preparation, cluster) = (self.preparation.load(), self.cluster.clone());
        let turn: Turn;
        (files, turn) = blocking(move || {
            let now = now_unix_ms();
            let turn = files.read(id, &preparation, &cluster, TURN_BYTES, now);
            (files, turn)
        })
        .await;
        if let Some(batch) = turn.batch {
            let bytes = batch.stored_bytes();
            let append = || self.queue.append(batch.clone());
            if !self.insist(label, stop, append).await? {
                // It ends: the next start goes on where the queue says that it is.
                return Ok(files);
            }
            self.ingest_metrics
                .stored(&self.cluster, &turn.stored, bytes);
            let last_read = self.metrics.last_read.with_label_values(&[label]);
            last_read.set(now_unix_ms() / 1_000);
        }
        drop(admitted);
        for (counter, count) in [
            (&self.metrics.lines, turn.lines),
            (&self.metrics.bytes, turn.bytes),
            (&self.metrics.unreadable, turn.stored.unreadable),
        ] {
            counter.with_label_values(&[label]).inc_by(count);
        }
        if let Some(note) = turn.note {
            self.noted(vec![note], label, stop).await?;
        }
        Ok(files)
    }

    fn show(&self, label: &str, files: &Files) {
        for (gauge, value) in [
            (&self.metrics.files, files.followed() as i64),
            (&self.metrics.failing_files, files.failing() as i64),
            (&self.metrics.waiting_files, files.waiting() as i64),
            (
                &self.metrics.lag_bytes,
                i64::try_from(files.lag_bytes()).unwrap_or(i64::MAX),
            ),
        ] {
            gauge.with_label_values(&[label]).set(value);
        }
    }
}

/// That reading rests, said once and shown by a metric.
struct Rest<'f> {
    metrics: &'f LogFileMetrics,
    label: &'f str,
    is_said: bool,
}

impl<'f> Rest<'f> {
    fn new(metrics: &'f LogFileMetrics, label: &'f str) -> Self {
        Self {
            metrics,
            label,
            is_said: false,
        }
    }

    async fn take(&mut self, why: &QueueError, stop: &mut watch::Receiver<bool>) {
        self.metrics.resting.with_label_values(&[self.label]).set(1);
        if !std::mem::replace(&mut self.is_said, true) {
            let path = self.label;
            if let QueueError::Full(full) = why {
                tracing::warn!(
                    path, reason = %full.0,
                    "reading of log files rests until the queue has room; their lines wait in them: make room before \
                     the API server removes the oldest file"
                );
            } else {
                tracing::warn!(
                    path, reason = %why,
                    "reading of log files rests until the queue can be reached; their lines wait in them: mend it before \
                     the API server removes the oldest file"
                );
            }
        }
        pause(REST_INTERVAL, stop).await;
    }

    /// Says whether there was any.
    fn end(&self) -> bool {
        self.metrics.resting.with_label_values(&[self.label]).set(0);
        if self.is_said {
            tracing::info!(
                path = self.label,
                "there is room again: log files are read on"
            );
        }
        self.is_said
    }
}

/// Waits, or ends at once when it is to stop.
async fn pause(time: Duration, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// A panic goes on here; a runtime that ends waits for nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

fn now_unix_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |since| since.as_millis() as i64)
}

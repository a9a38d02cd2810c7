//! The configuration, loaded again while the relay runs: on SIGHUP, when the content of its files changes, and on
//! `POST /-/reload`.
//!
//! Invariants:
//! * one reload at a time, and it is brought to its end whoever asked for it has gone;
//! * everything is loaded and made before anything is exchanged: a configuration that cannot be used changes nothing;
//! * what counts only after a restart is left as it is, named, and counted; the rest counts;
//! * files are looked at by content: the same content has to be there twice, [`POLL_INTERVAL`] apart, so that one
//!   that is being written is not taken. Whoever asks in so many words is taken at their word, unless it changes just then;
//! * a content is tried once by itself: what is wrong with it is said once;
//! * what is valid and surely not meant is not taken ([`guard`]): an emptied file, and by itself one that was cut.

mod command;
mod difference;
mod guard;
mod metrics;
mod port;
mod source;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use auditrelay_config::Loaded;
use auditrelay_dispatch::{Board, board::TEXT_CHARS_MAX, escape::clean};
use auditrelay_store::QueueError;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, mpsc},
    time::{MissedTickBehavior, interval},
};

use crate::parts::{Next, Parts};
use difference::{Change, as_far_as_possible, changes};

pub(crate) use command::{ReloadArgs, run};
pub(crate) use metrics::ReloadMetrics;
pub(crate) use port::{PATH, answer};
pub(crate) use source::Source;
use source::Text;

/// How often files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Keys that a line of the log names.
const KEYS_MAX: usize = 20;

/// Who asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Signal,
    /// A file whose content is this one.
    File(u64),
    Request,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::File(_) => "file",
            Self::Request => "request",
        }
    }
}

/// What a reload came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What counts now.
    changed: Vec<Change>,
    /// What counts only after a restart.
    restart_needed: Vec<Change>,
    /// What is allowed but may not be meant.
    notes: Vec<String>,
}

/// Why there was none.
#[derive(Debug)]
enum NotLoaded {
    /// It cannot be used, in one line.
    Invalid(String),
    /// It changed while it was loaded.
    Moving,
    Storage(QueueError),
}

/// Loads the configuration again.
pub(crate) struct Reloader {
    source: Arc<Source>,
    parts: Arc<Parts>,
    metrics: ReloadMetrics,
    /// The content that was tried last.
    tried: Mutex<u64>,
    /// What the file said that is in use.
    in_use: Mutex<Arc<Text>>,
    board: Board,
    /// Why the configuration that was tried last cannot be used, if it cannot.
    failure: std::sync::Mutex<Option<String>>,
}

/// A configuration that may count.
struct Made {
    next: Next,
    report: Report,
    text: Text,
}

impl Reloader {
    pub(crate) fn new(
        mut source: Source,
        parts: Arc<Parts>,
        metrics: ReloadMetrics,
        board: Board,
    ) -> Self {
        Self {
            board,
            failure: std::sync::Mutex::default(),
            tried: Mutex::new(source.began_with()),
            in_use: Mutex::new(Arc::new(source.take_first_text())),
            source: Arc::new(source),
            parts,
            metrics,
        }
    }

    /// Reloads on each of `hangups`, and whenever the content of files has changed.
    pub(crate) async fn watch(self: Arc<Self>, mut hangups: mpsc::Receiver<()>) {
        let mut polls = interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = Looks::default();
        loop {
            let trigger = tokio::select! {
                Some(()) = hangups.recv() => Some(Trigger::Signal),
                _ = polls.tick() => self.look(&mut looks).await,
            };
            if let Some(trigger) = trigger {
                // The log and the metrics tell what came of it.
                let _ = Arc::clone(&self).reload(trigger).await;
            }
        }
    }

    /// Whether there is a content that was not tried, and is the same as at the last look.
    async fn look(&self, looks: &mut Looks) -> Option<Trigger> {
        let source = Arc::clone(&self.source);
        let now = blocking(move || source.fingerprint()).await?;
        let tried = *self.tried.lock().await;
        looks.is_settled(now, tried).then_some(Trigger::File(now))
    }

    /// One reload. It goes on if nobody waits for it any more.
    async fn reload(self: Arc<Self>, trigger: Trigger) -> Result<Report, NotLoaded> {
        let metrics = self.metrics.clone();
        let work = tokio::spawn(async move { self.one(trigger).await });
        work.await.unwrap_or_else(|ended| {
            // Its place is in the log.
            if ended.is_panic() {
                metrics.failure();
            }
            Err(NotLoaded::Storage(QueueError::Closed))
        })
    }

    async fn one(&self, trigger: Trigger) -> Result<Report, NotLoaded> {
        let mut tried = self.tried.lock().await;
        let outcome = self.load_and_exchange(trigger, &mut tried).await;
        match &outcome {
            Ok(report) => {
                self.metrics.success(report.restart_needed.len());
                self.tell(None);
                report.log(trigger);
            }
            Err(NotLoaded::Invalid(reason)) => {
                self.metrics.failure();
                self.tell(Some(reason));
                tracing::error!(
                    trigger = trigger.as_str(),
                    reason,
                    "the new configuration cannot be used; the relay goes on with the one before. Correct it: it is \
                     loaded again when its content changes"
                );
            }
            Err(NotLoaded::Moving) => {
                tracing::debug!("the configuration changed while it was loaded; looked at again");
            }
            // Whoever has the queue tells.
            Err(NotLoaded::Storage(_)) => {}
        }
        outcome
    }

    /// Why the configuration that was tried last cannot be used, if it cannot.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.failure().clone()
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        let locked = self.failure.lock();
        locked.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What `status` says of it.
    fn tell(&self, now: Option<&str>) {
        let before = std::mem::replace(
            &mut *self.failure(),
            now.map(|why| clean(why, TEXT_CHARS_MAX)),
        );
        let text = match (now, before) {
            (Some(reason), _) => format!("the new configuration cannot be used: {reason}"),
            (None, Some(_)) => "the configuration can be used again".to_owned(),
            (None, None) => return,
        };
        self.board.incident("configuration", None, &text);
    }

    async fn load_and_exchange(
        &self,
        trigger: Trigger,
        tried: &mut u64,
    ) -> Result<Report, NotLoaded> {
        let (source, parts) = (Arc::clone(&self.source), Arc::clone(&self.parts));
        let said = Arc::clone(&*self.in_use.lock().await);
        let by_itself = matches!(trigger, Trigger::File(_));
        let made = blocking(move || {
            let content = source.fingerprint();
            let made = caught(|| make(&source, &parts, &said, by_itself));
            (content, source.fingerprint(), made)
        });
        let Some((content, after, made)) = made.await else {
            return Err(NotLoaded::Storage(QueueError::Closed));
        };
        if content != after || matches!(trigger, Trigger::File(seen) if seen != content) {
            return Err(NotLoaded::Moving);
        }
        *tried = content;
        let Made { next, report, text } = made.map_err(NotLoaded::Invalid)?;
        self.parts
            .exchange(next)
            .await
            .map_err(NotLoaded::Storage)?;
        *self.in_use.lock().await = Arc::new(text);
        Ok(report)
    }
}

/// Loads and makes all there is to it, and changes nothing. `said` is what the file said that is in use.
fn make(source: &Source, parts: &Parts, said: &Text, by_itself: bool) -> Result<Made, String> {
    let named = |problem| format!("{}: {problem}", source.name());
    let (Loaded { config, notes }, text) = source.again(said)?;
    let in_use = parts.current.load();
    if let Some(problem) = guard::silenced(&in_use, &config) {
        return Err(named(problem));
    }
    let counts = as_far_as_possible(config.clone(), &in_use);
    let report = Report {
        changed: changes(&in_use, &counts),
        restart_needed: changes(&counts, &config),
        notes,
    };
    let is_other = !report.changed.is_empty() || !report.restart_needed.is_empty();
    if by_itself && is_other && guard::is_cut(text.expose_secret(), said.expose_secret()) {
        let problem = "it is what it was with its end cut off, as a full disk leaves a file, so it is not taken by \
                       itself; if that is meant, `auditrelay reload` takes it";
        return Err(named(problem.to_owned()));
    }
    let next = parts.prepare(counts).map_err(named)?;
    Ok(Made { next, report, text })
}

/// A panic is a reason, without its words: they may quote what was worked on.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panicked| {
        let reason = "loading it panicked, which is a fault of the relay; please report it with the place that the \
                      line before this one names";
        Err(reason.to_owned())
    })
}

/// What was seen at the last look, if it was not tried.
#[derive(Debug, Default)]
struct Looks(Option<u64>);

impl Looks {
    /// Whether a content is to be tried that is there now: it is new, and was there at the last look.
    fn is_settled(&mut self, now: u64, tried: u64) -> bool {
        let is_new = now != tried;
        let before = std::mem::replace(&mut self.0, is_new.then_some(now));
        is_new && before == Some(now)
    }
}

impl Report {
    fn log(&self, trigger: Trigger) {
        let trigger = trigger.as_str();
        for note in &self.notes {
            tracing::info!("{note}");
        }
        if self.changed.is_empty() {
            tracing::info!(
                trigger,
                "the configuration was loaded again: nothing changed"
            );
        } else {
            let changed = keys(&self.changed);
            tracing::info!(
                trigger,
                changed,
                "the configuration was loaded again: what changed counts from now on"
            );
        }
        if !self.restart_needed.is_empty() {
            let keys = keys(&self.restart_needed);
            tracing::warn!(
                keys,
                "these keys are other ones than at the start of the relay, and count only after a restart"
            );
        }
    }
}

/// Keys in one line.
fn keys(changes: &[Change]) -> String {
    let named = changes.iter().take(KEYS_MAX);
    let named = named.map(|one| format!("{} {}", one.key, one.change.as_str()));
    let mut named: Vec<String> = named.collect();
    let more = changes.len().saturating_sub(KEYS_MAX);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

/// None when the process ends meanwhile, or the work panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_tried_when_it_was_there_twice_and_never_again() {
        let mut looks = Looks::default();
        let mut tried = 0;
        let mut taken = Vec::new();
        // A write that is seen half-way (3), one that is taken back (5), and what is wrong and stays (7).
        for (look, now) in [0, 3, 4, 4, 4, 5, 4, 7, 7, 7, 7, 4, 4]
            .into_iter()
            .enumerate()
        {
            if looks.is_settled(now, tried) {
                tried = now;
                taken.push((look, now));
            }
        }
        assert_eq!(taken, [(3, 4), (8, 7), (12, 4)]);
    }

    #[test]
    fn a_load_that_panics_is_a_failure_with_a_reason_that_quotes_nothing() {
        let reason = caught::<()>(|| panic!("xoxb-secret")).expect_err("it panicked");
        assert!(
            reason.contains("panicked") && !reason.contains("xoxb"),
            "{reason}"
        );
        assert_eq!(caught(|| Ok(1)), Ok(1));
    }

    #[test]
    fn a_line_of_the_log_names_some_keys_and_counts_the_rest() {
        let change = |number: usize| Change {
            key: format!("channels.c{number}"),
            change: difference::What::Added,
        };
        let changes: Vec<_> = (0..KEYS_MAX + 7).map(change).collect();
        let named = keys(&changes);
        assert!(named.ends_with("channels.c19 added, and 7 more"), "{named}");
    }
}

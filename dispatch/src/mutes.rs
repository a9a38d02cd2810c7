//! Which deliveries are held back for a while, since an operator asked for it.
//!
//! Invariants:
//! * a mute is in force for all that is decided after its command was answered, and so is its end;
//! * it ends when its time has come by the wall clock, or when as much time has passed as it was to last:
//!   a wall clock that is set back does not make it longer, and one that jumps ahead ends it early. Better told
//!   than silent;
//! * a delivery that several routes ask for is held back only if each of them is muted: whoever can have a route
//!   match in addition must not silence the others by it;
//! * of several that match, the one that began first holds a delivery back, and counts it;
//! * one whose match cannot be read holds nothing back and is ended, with a notice;
//! * the relay's own notices, and what cannot be read, are no events and never held back.

use std::time::Duration;

use auditrelay_audit::{Event, Matcher};
use auditrelay_config::MatchConfig;
use auditrelay_store::{Mute, MuteEnd, Queue, QueueError};
use tokio::{sync::watch, time::Instant};

use crate::{router::now_unix_ms, routes::Target};

/// How often the wall clock is looked at while mutes are active: tokio's does not tell that it was set.
const WALL_INTERVAL: Duration = Duration::from_secs(10);

/// The mutes that are in force.
pub struct Mutes {
    /// Where the end of each is told.
    default_channel: String,
    active: Vec<Active>,
    changes: watch::Receiver<u64>,
}

struct Active {
    id: u64,
    matcher: Matcher,
    channels: Vec<String>,
    routes: Vec<String>,
    until_unix_ms: i64,
    ends: Instant,
}

impl Mutes {
    /// Those of a queue, as far as they can be read; [`Mutes::keep`] ends the others. The default channel is told of
    /// every end.
    pub fn new(queue: &impl Queue, default_channel: &str) -> Self {
        let mut changes = queue.mutes_changes();
        changes.mark_changed();
        Self {
            default_channel: default_channel.to_owned(),
            active: Vec::new(),
            changes,
        }
    }

    /// Ends are told there from now on.
    pub fn set_default_channel(&mut self, default_channel: &str) {
        default_channel.clone_into(&mut self.default_channel);
    }

    /// Whether nothing is held back.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// The mute that holds back the delivery of an event, if each of the routes that ask for it is muted: the one
    /// that holds what the route asks for whose name it has.
    pub fn holds(&self, event: &Event<'_>, target: &Target<'_>) -> Option<u64> {
        let names = |list: &[String], name| list.is_empty() || list.iter().any(|one| one == name);
        let by = |route| {
            let mute = self.active.iter().find(|mute| {
                names(&mute.channels, target.channel)
                    && names(&mute.routes, route)
                    && mute.matcher.matches(event)
            });
            mute.map(|mute| mute.id)
        };
        let held = by(target.route)?;
        target
            .also
            .iter()
            .all(|route| by(route).is_some())
            .then_some(held)
    }

    /// Takes in what began or ended since the last time, and ends what is over. Costs nothing where nothing has
    /// changed.
    ///
    /// # Errors
    /// The queue's.
    pub async fn keep(&mut self, queue: &impl Queue) -> Result<(), QueueError> {
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.mark_unchanged();
            self.take_in(queue).await?;
        }
        let now = (Instant::now(), now_unix_ms());
        let is_over = |mute: &mut Active| now.0 >= mute.ends || now.1 >= mute.until_unix_ms;
        for mute in self.active.extract_if(.., is_over).collect::<Vec<_>>() {
            let end = MuteEnd {
                at_unix_ms: mute.until_unix_ms,
                by: None,
                reason: String::new(),
            };
            self.end(queue, mute.id, end).await?;
        }
        Ok(())
    }

    async fn take_in(&mut self, queue: &impl Queue) -> Result<(), QueueError> {
        let mut before = std::mem::take(&mut self.active);
        for mute in queue.mutes().into_iter().filter(Mute::is_active) {
            // One that is known keeps its end: the wall clock may have been set since.
            if let Some(known) = before.extract_if(.., |one| one.id == mute.id).next() {
                self.active.push(known);
                continue;
            }
            match Active::new(&mute) {
                Ok(active) => self.active.push(active),
                Err(problem) => {
                    let end = MuteEnd {
                        at_unix_ms: now_unix_ms(),
                        by: Some("auditrelay".to_owned()),
                        reason: format!("this version cannot read what it matches: {problem}"),
                    };
                    self.end(queue, mute.id, end).await?;
                }
            }
        }
        Ok(())
    }

    async fn end(&self, queue: &impl Queue, id: u64, end: MuteEnd) -> Result<(), QueueError> {
        let ended = queue
            .end_mute(id, end, vec![self.default_channel.clone()])
            .await?;
        if let Some(mute) = ended {
            tracing::info!(mute = id, held = mute.held_total(), "a mute ended");
        }
        Ok(())
    }

    /// Waits until [`Mutes::keep`] has something to do.
    pub async fn due(&mut self) {
        let next = self.active.iter().map(|mute| mute.ends).min();
        let next = next.map(|ends| ends.min(Instant::now() + WALL_INTERVAL));
        let passed = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.changes.changed() => match changed {
                // For `keep`, which asks again.
                Ok(()) => self.changes.mark_changed(),
                // The queue is gone, which others tell.
                Err(_) => std::future::pending().await,
            },
            () = passed => {}
        }
    }
}

impl Active {
    fn new(mute: &Mute) -> Result<Self, String> {
        let asked = &mute.asked;
        let matches = MatchConfig::parse(&asked.matches, "the store");
        let matches = matches.map_err(|error| error.to_string())?;
        Ok(Self {
            id: mute.id,
            matcher: matches.matcher(),
            channels: asked.channels.clone(),
            routes: asked.routes.clone(),
            until_unix_ms: asked.until_unix_ms,
            ends: Instant::now() + left(asked.begun_unix_ms, asked.until_unix_ms, now_unix_ms()),
        })
    }
}

/// How long a mute still lasts: never longer than it was to last in all, however late it is by the wall clock.
fn left(begun_unix_ms: i64, until_unix_ms: i64, now_unix_ms: i64) -> Duration {
    let lasts = until_unix_ms.saturating_sub(begun_unix_ms);
    let left = until_unix_ms.saturating_sub(now_unix_ms).min(lasts);
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

//! What all lanes of one token share: Slack counts calls by method, app and workspace, whatever the channel.
//!
//! Contract: turns are given in the order in which lanes ask. A rate limit that names no channel holds
//! only the channel that met it (Slack does not say whether it is meant for one channel or for all); when
//! another channel of the token meets one within [`WINDOW`], all of them are held, until the last hold is over.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::IntCounter;
use tokio::time::{Instant, sleep_until};

use crate::{
    holds::{HoldBook, HoldKey, WorkspaceLimits},
    limiter::Limited as Pacer,
};

/// Names under which holds of one budget are noted: of the token before too, where one was exchanged.
const NAMES_MAX: usize = 2;

/// Slack counts calls by the minute.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The budget of one token; clones share it.
#[derive(Debug, Clone)]
pub struct Workspace {
    counted: Arc<Counted>,
    /// IDs of channels by name.
    channels: Arc<Mutex<HashMap<String, String>>>,
}

/// What Slack counts by app.
#[derive(Debug)]
struct Counted {
    posting: Turns,
    lookups_per_minute: AtomicU64,
    /// By method: Slack counts each by itself.
    looking: Mutex<HashMap<&'static str, Arc<Turns>>>,
    limited: Mutex<Limited>,
    /// When somebody else may have used it last.
    emptied: Mutex<Option<Instant>>,
    /// Where holds are noted for who comes next.
    noted: Mutex<Vec<(HoldBook, HoldKey)>>,
    /// Messages that were accepted.
    accepted: AtomicU64,
    /// Calls that post, for metrics.
    posts: Mutex<Option<IntCounter>>,
}

#[derive(Debug, Clone, Default)]
struct Limited {
    /// The channel that met a rate limit last, and when.
    last: Option<(String, Instant)>,
    /// Until when any of the token's channels is held for a rate limit.
    holds_end: Option<Instant>,
    /// Until when all of them are.
    all_held_until: Option<Instant>,
}

/// One method's calls, first come, first served.
#[derive(Debug)]
struct Turns {
    limiter: Pacer,
    /// Tokio's mutex is fair: two hundred lanes take their turns one after another.
    queue: tokio::sync::Mutex<()>,
}

impl Turns {
    /// So many a minute, of which a second's worth may come at once.
    fn new(per_minute: u64) -> Self {
        let (interval, burst) = quota(per_minute);
        Self {
            limiter: Pacer::new(interval, burst),
            queue: tokio::sync::Mutex::default(),
        }
    }

    /// The same, where somebody else may have used it until then.
    fn since(per_minute: u64, emptied: Option<Instant>) -> Self {
        let turns = Self::new(per_minute);
        let (interval, burst) = quota(per_minute);
        let fills_in = interval.saturating_mul(burst.get());
        if emptied.is_some_and(|emptied| emptied.elapsed() < fills_in) {
            turns.limiter.empty();
        }
        turns
    }

    fn exchange(&self, per_minute: u64) {
        let (interval, burst) = quota(per_minute);
        self.limiter.exchange(interval, burst);
    }
}

fn quota(per_minute: u64) -> (Duration, NonZeroU32) {
    let per_minute = per_minute.max(1);
    let burst = u32::try_from(per_minute / 60).unwrap_or(u32::MAX);
    let interval = Duration::from_secs(60).div_f64(per_minute as f64);
    (interval, NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
}

/// Of a method, where all that read have so many.
fn of_method(method: &str, lookups_per_minute: u64) -> u64 {
    match method {
        // Slack: tier 2, all others here are in tier 3.
        "conversations.list" => lookups_per_minute.min(20),
        _ => lookups_per_minute,
    }
}

impl Workspace {
    /// So many messages a minute, and so many calls of each method that reads.
    pub fn new(messages_per_minute: u64, lookups_per_minute: u64) -> Self {
        Self::counted(messages_per_minute, lookups_per_minute, Limited::default())
    }

    fn counted(messages_per_minute: u64, lookups_per_minute: u64, limited: Limited) -> Self {
        let counted = Counted {
            posting: Turns::new(messages_per_minute),
            lookups_per_minute: AtomicU64::new(lookups_per_minute),
            looking: Mutex::default(),
            limited: Mutex::new(limited),
            emptied: Mutex::default(),
            noted: Mutex::default(),
            accepted: AtomicU64::new(0),
            posts: Mutex::default(),
        };
        Self {
            counted: Arc::new(counted),
            channels: Arc::default(),
        }
    }

    /// Somebody else may have used the token until now: nothing of what may come at once is left.
    #[must_use]
    pub fn emptied(self) -> Self {
        self.counted.posting.limiter.empty();
        *locked(&self.counted.emptied) = Some(Instant::now());
        self
    }

    /// Notes holds in a book, and is held as it stands there.
    #[must_use]
    pub fn noted_in(self, book: &HoldBook, key: HoldKey) -> Self {
        if let Some(limits) = book.workspace(&key) {
            let mut limited = locked(&self.counted.limited);
            limited.last = Some((limits.last, Instant::now()));
            limited.holds_end = limited.holds_end.max(Some(limits.any_until));
            limited.all_held_until = limited.all_held_until.max(limits.all_until);
        }
        let mut noted = locked(&self.counted.noted);
        noted.push((book.clone(), key));
        if noted.len() > NAMES_MAX {
            noted.remove(0);
        }
        drop(noted);
        self.note();
        self
    }

    /// Notes what limits were met, if one still holds.
    fn note(&self) {
        let limited = locked(&self.counted.limited).clone();
        let now = Instant::now();
        let (Some((last, _)), Some(any_until)) = (limited.last, limited.holds_end) else {
            return;
        };
        if any_until <= now {
            return;
        }
        let limits = WorkspaceLimits {
            last,
            any_until,
            all_until: limited.all_held_until.filter(|until| *until > now),
        };
        for (book, key) in locked(&self.counted.noted).iter() {
            book.note_workspace(key, &limits);
        }
    }

    /// Of a token that takes this one's place: the same app, so Slack counts on.
    #[must_use]
    pub fn rotated(&self) -> Self {
        Self {
            counted: Arc::clone(&self.counted),
            // It may see other channels.
            channels: Arc::default(),
        }
    }

    /// Of a token that some of this one's channels go on with: perhaps another app, with a budget of its own. What
    /// they are held for until now they stay held for.
    #[must_use]
    pub fn parted(&self, messages_per_minute: u64, lookups_per_minute: u64) -> Self {
        let limited = locked(&self.counted.limited).clone();
        Self::counted(messages_per_minute, lookups_per_minute, limited)
    }

    /// Another budget from now on. What was called before counts, and so does every hold.
    pub fn set_budget(&self, messages_per_minute: u64, lookups_per_minute: u64) {
        self.counted.posting.exchange(messages_per_minute);
        let lookups = &self.counted.lookups_per_minute;
        lookups.store(lookups_per_minute, Ordering::Relaxed);
        for (method, turns) in locked(&self.counted.looking).iter() {
            turns.exchange(of_method(method, lookups_per_minute));
        }
    }

    /// Waits until one of the token's lanes may post, and it is this one's turn.
    pub async fn turn_to_post(&self) {
        let _turn = self.counted.posting.queue.lock().await;
        // A hold may have come, or grown, while this one was waiting.
        self.until_not_held().await;
        self.counted.posting.limiter.ready().await;
    }

    /// Waits while all of the token's channels are held.
    pub async fn until_not_held(&self) {
        while let Some(until) = self.all_held_until() {
            sleep_until(until).await;
        }
    }

    /// Waits until one of the token's lanes may call a method that reads, and it is this one's turn.
    pub async fn turn_to_look(&self, method: &'static str) {
        let lookups = self.counted.lookups_per_minute.load(Ordering::Relaxed);
        let per_minute = of_method(method, lookups);
        let emptied = *locked(&self.counted.emptied);
        let turns = Arc::clone(
            locked(&self.counted.looking)
                .entry(method)
                .or_insert_with(|| Arc::new(Turns::since(per_minute, emptied))),
        );
        let _turn = turns.queue.lock().await;
        turns.limiter.ready().await;
    }

    /// What counts the messages from now on.
    pub fn count_posts(&self, posts: IntCounter) {
        *locked(&self.counted.posts) = Some(posts);
    }

    /// Notes that a message is posted, whatever comes of it.
    pub fn note_post(&self) {
        if let Some(posts) = &*locked(&self.counted.posts) {
            posts.inc();
        }
    }

    /// Notes that a message was accepted.
    pub fn note_accepted(&self) {
        self.counted.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages were accepted: whether Slack works at all.
    pub fn accepted(&self) -> u64 {
        self.counted.accepted.load(Ordering::Relaxed)
    }

    /// The ID of a channel, where it is known.
    pub fn channel_id(&self, name: &str) -> Option<String> {
        locked(&self.channels).get(name).cloned()
    }

    /// Notes IDs of channels.
    pub fn learn_channels(&self, channels: impl IntoIterator<Item = (String, String)>) {
        locked(&self.channels).extend(channels);
    }

    /// A channel is not there any more: the list is read anew when it is needed.
    pub fn forget_channels(&self) {
        locked(&self.channels).clear();
    }

    /// A channel met a rate limit and is held for so long. Whether all channels of the token are now held.
    pub fn limited(&self, channel: &str, hold: Duration) -> bool {
        let now = Instant::now();
        let mut limited = locked(&self.counted.limited);
        let until = now.checked_add(hold).unwrap_or(now + WINDOW);
        let holds_end = limited.holds_end.filter(|end| *end > now);
        let is_another = limited.last.as_ref().is_some_and(|(last, at)| {
            last != channel && (*at + WINDOW > now || holds_end.is_some())
        });
        let end = holds_end.map_or(until, |end| end.max(until));
        limited.holds_end = Some(end);
        limited.last = Some((channel.to_owned(), now));
        if is_another {
            limited.all_held_until = Some(end);
        }
        drop(limited);
        self.note();
        is_another
    }

    /// Whether all of the token's channels are held.
    pub fn is_held(&self) -> bool {
        self.all_held_until().is_some()
    }

    pub(crate) fn all_held_until(&self) -> Option<Instant> {
        let limited = locked(&self.counted.limited);
        limited
            .all_held_until
            .filter(|until| *until > Instant::now())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "workspace_tests.rs"]
mod tests;

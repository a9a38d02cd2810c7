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

use crate::limiter::Limited as Pacer;

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
            accepted: AtomicU64::new(0),
            posts: Mutex::default(),
        };
        Self {
            counted: Arc::new(counted),
            channels: Arc::default(),
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
        let turns = Arc::clone(
            locked(&self.counted.looking)
                .entry(method)
                .or_insert_with(|| Arc::new(Turns::new(per_minute))),
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn all_lanes_share_the_workspace_and_none_is_passed_over() {
        let workspace = Workspace::new(60, 50);
        let start = Instant::now();
        let lanes = (0..10).map(|lane| {
            let workspace = workspace.clone();
            tokio::spawn(async move {
                let mut turns = Vec::new();
                for _ in 0..3 {
                    workspace.turn_to_post().await;
                    turns.push(Instant::now());
                }
                (lane, turns)
            })
        });
        let mut firsts = Vec::new();
        for lane in lanes.collect::<Vec<_>>() {
            let (_, turns) = lane.await.expect("no panic");
            firsts.push(turns[0] - start);
        }
        assert!(start.elapsed() >= SECOND * 29, "{:?}", start.elapsed());
        // The first one asked twice before the others had begun; nobody else had a second turn before all
        // had one.
        assert!(
            firsts.iter().all(|first| *first <= SECOND * 10),
            "{firsts:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_holds_its_channel_and_a_second_ones_holds_all() {
        let workspace = Workspace::new(600, 50);
        let start = Instant::now();
        assert!(!workspace.limited("a", SECOND * 5));
        assert!(
            !workspace.limited("a", SECOND * 7),
            "the same channel again"
        );
        workspace.turn_to_post().await;
        assert_eq!(
            start.elapsed(),
            Duration::ZERO,
            "another channel had to wait"
        );
        assert!(workspace.limited("b", SECOND * 3));
        workspace.turn_to_post().await;
        assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limits_that_are_far_apart_are_told_apart() {
        let workspace = Workspace::new(600, 50);
        assert!(!workspace.limited("a", SECOND));
        sleep_until(Instant::now() + WINDOW).await;
        assert!(!workspace.limited("b", SECOND));
        // A hold that lasts longer than the window still counts.
        assert!(!workspace.limited("b", WINDOW * 5));
        sleep_until(Instant::now() + WINDOW * 2).await;
        assert!(workspace.limited("c", SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn another_token_of_the_same_app_is_held_as_the_one_before_and_shares_its_budget() {
        let before = Workspace::new(60, 50);
        before.learn_channels([("a".to_owned(), "C1".to_owned())]);
        before.limited("a", SECOND * 5);
        assert!(before.limited("b", SECOND * 7));
        let (rotated, parted) = (before.rotated(), before.parted(60, 50));
        assert_eq!(rotated.channel_id("a"), None, "another token's look");
        assert!(rotated.is_held() && parted.is_held());
        let start = Instant::now();
        for one in [&rotated, &parted] {
            one.turn_to_post().await;
            assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
        }
        before.turn_to_post().await;
        assert!(start.elapsed() >= SECOND * 8, "two at once of one budget");
        // A message was under way when its token was exchanged.
        before.limited("a", SECOND);
        before.limited("b", SECOND * 9);
        assert!(rotated.is_held() && !parted.is_held());
    }
}

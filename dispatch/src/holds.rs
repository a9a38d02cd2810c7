//! What Slack asked to wait for, for whoever posts there next.
//!
//! Contract: who begins with the [`Holds`] of the one before waits for at least as long as Slack asked that one to, for a
//! channel and for all channels of a token; and a rate limit that one channel met counts when the next meets one.
//! Tokens and webhooks stand in it as keyed hashes alone. What is over is left out, so that it is bounded by the places
//! that are held at a time.
//!
//! Times are of the wall clock. Where the next one's clock is ahead by more than `CLOCKS_APART`, it waits for so much
//! less; where it is behind, for no longer than Slack asked for in the first place.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use auditrelay_audit::HashKey;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};

/// How far the clocks of relays may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// What is held, to be kept where the next one finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Holds {
    places: BTreeMap<String, Hold>,
    workspaces: BTreeMap<String, WorkspaceHold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    noted_unix_ms: i64,
    until_unix_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WorkspaceHold {
    /// The channel that met a rate limit last.
    last: String,
    /// Any of the token's channels.
    any: Hold,
    /// All of them.
    all: Option<Hold>,
}

/// What a workspace has to know of the limits that were met with its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkspaceLimits {
    pub(crate) last: String,
    pub(crate) any_until: Instant,
    pub(crate) all_until: Option<Instant>,
}

impl Hold {
    fn until(instant: Instant) -> Self {
        let now = now_unix_ms();
        let left = instant.saturating_duration_since(Instant::now());
        Self {
            noted_unix_ms: now,
            until_unix_ms: now.saturating_add(in_ms(left)),
        }
    }

    /// How long it still holds; `None` if it is over.
    fn left(self, now_unix_ms: i64) -> Option<Duration> {
        let whole = self.until_unix_ms.saturating_sub(self.noted_unix_ms);
        let left = self.until_unix_ms.saturating_sub(now_unix_ms);
        let left = left.saturating_add(in_ms(CLOCKS_APART)).min(whole);
        let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
        Some(Duration::from_millis(left))
    }

    fn instant(self, now_unix_ms: i64) -> Option<Instant> {
        Instant::now().checked_add(self.left(now_unix_ms)?)
    }
}

impl Holds {
    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.workspaces.is_empty()
    }

    fn forget_what_is_over(&mut self) {
        let now = now_unix_ms();
        self.places.retain(|_, hold| hold.left(now).is_some());
        self.workspaces
            .retain(|_, hold| hold.any.left(now).is_some());
    }
}

/// Where holds are noted as they come; clones are the same book.
#[derive(Debug, Clone, Default)]
pub struct HoldBook(Arc<watch::Sender<Holds>>);

/// The name of a place or a workspace in a book: nothing can be read from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldKey(String);

impl HoldKey {
    /// Of a place: the token or webhook, and the channel.
    pub fn place(key: &HashKey, who: &str, to: &str) -> Self {
        Self::of(key, [b"held place", who.as_bytes(), to.as_bytes()])
    }

    /// Of a workspace: the token, or what stands for it.
    pub fn workspace(key: &HashKey, who: &str) -> Self {
        Self::of(key, [b"held workspace", who.as_bytes(), b""])
    }

    fn of(key: &HashKey, parts: [&[u8]; 3]) -> Self {
        Self(format!("{:032x}", key.message(parts)))
    }
}

impl HoldBook {
    /// A book that begins with what the one before noted.
    pub fn new(holds: Holds) -> Self {
        Self(Arc::new(watch::Sender::new(holds)))
    }

    /// What is held, whenever that is another.
    pub fn subscribe(&self) -> watch::Receiver<Holds> {
        self.0.subscribe()
    }

    pub(crate) fn note_place(&self, key: &HoldKey, until: Instant) {
        self.0.send_modify(|holds| {
            holds.forget_what_is_over();
            holds.places.insert(key.0.clone(), Hold::until(until));
        });
    }

    pub(crate) fn note_workspace(&self, key: &HoldKey, limits: &WorkspaceLimits) {
        let hold = WorkspaceHold {
            last: limits.last.clone(),
            any: Hold::until(limits.any_until),
            all: limits.all_until.map(Hold::until),
        };
        self.0.send_modify(|holds| {
            holds.forget_what_is_over();
            holds.workspaces.insert(key.0.clone(), hold);
        });
    }

    /// Until when a place is held.
    pub(crate) fn place(&self, key: &HoldKey) -> Option<Instant> {
        let hold = self.0.borrow().places.get(&key.0).copied()?;
        hold.instant(now_unix_ms())
    }

    /// What limits were met with a token, if one still holds.
    pub(crate) fn workspace(&self, key: &HoldKey) -> Option<WorkspaceLimits> {
        let hold = self.0.borrow().workspaces.get(&key.0).cloned()?;
        let now = now_unix_ms();
        Some(WorkspaceLimits {
            last: hold.last,
            any_until: hold.any.instant(now)?,
            all_until: hold.all.and_then(|all| all.instant(now)),
        })
    }
}

fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    in_ms(since.unwrap_or_default())
}

fn in_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Workspace, pace::Place};

    const SECOND: Duration = Duration::from_secs(1);

    fn key() -> HashKey {
        HashKey::new([7; 32])
    }

    /// As it comes back from where it was kept.
    fn kept(book: &HoldBook) -> (String, HoldBook) {
        let json = serde_json::to_string(&*book.subscribe().borrow()).expect("written");
        let holds = serde_json::from_str(&json).expect("read");
        (json, HoldBook::new(holds))
    }

    fn place(book: &HoldBook, who: &str) -> Place {
        let key = HoldKey::place(&key(), who, "C1");
        Place::new("C1", SECOND, 1).noted_in(book, key)
    }

    fn workspace(book: &HoldBook, who: &str) -> Workspace {
        Workspace::new(600, 60).noted_in(book, HoldKey::workspace(&key(), who))
    }

    fn left(until: Option<Instant>) -> Duration {
        until.map_or(Duration::ZERO, |until| until - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_held_is_held_for_the_next_one_too() {
        let book = HoldBook::default();
        let before = place(&book, "xoxb-secret");
        let mut told = book.subscribe();
        before.hold_until(Instant::now() + 300 * SECOND);
        assert!(told.has_changed().expect("open"));
        told.mark_unchanged();
        let (json, book) = kept(&book);
        assert!(!json.contains("xoxb") && !json.contains("secret"), "{json}");
        let after = place(&book, "xoxb-secret");
        let held = left(after.asked_until());
        assert!(held > 298 * SECOND && held <= 300 * SECOND, "{held:?}");
        assert!(!place(&book, "xoxb-another").is_held());
        // And for the one after that.
        let (_, book) = kept(&book);
        assert!(place(&book, "xoxb-secret").is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_held_is_held_for_the_next_one_and_a_limit_that_was_met_counts() {
        let book = HoldBook::default();
        let before = workspace(&book, "xoxb-1");
        assert!(!before.limited("a", 60 * SECOND));
        let (_, second) = kept(&book);
        let second = workspace(&second, "xoxb-1");
        assert!(!second.is_held());
        assert!(second.limited("b", SECOND), "a second channel met one");
        assert!(left(second.all_held_until()) > 58 * SECOND);
        assert!(before.limited("b", 90 * SECOND));
        let (json, third) = kept(&book);
        assert!(!json.contains("xoxb"), "{json}");
        let third = workspace(&third, "xoxb-1");
        assert!(left(third.all_held_until()) > 88 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_takes_anothers_place_is_known_by_its_own_name_too() {
        let book = HoldBook::default();
        let before = workspace(&book, "xoxb-1");
        let held = place(&book, "xoxb-1");
        held.hold_until(Instant::now() + 60 * SECOND);
        before.limited("a", 60 * SECOND);
        before.limited("b", 60 * SECOND);
        let name = |who| HoldKey::workspace(&key(), who);
        let _rotated = before.rotated().noted_in(&book, name("xoxb-2"));
        let _parted = before.parted(60, 60).noted_in(&book, name("xoxb-3"));
        let _place = Place::new("C1", SECOND, 1)
            .held_as(&held)
            .noted_in(&book, HoldKey::place(&key(), "xoxb-2", "C1"));
        let (_, book) = kept(&book);
        for who in ["xoxb-1", "xoxb-2", "xoxb-3"] {
            assert!(workspace(&book, who).is_held(), "{who}");
        }
        assert!(place(&book, "xoxb-2").is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten_and_clocks_may_be_a_little_apart() {
        let hold = Hold {
            noted_unix_ms: 1_000_000,
            until_unix_ms: 1_060_000,
        };
        let left = |now| hold.left(now).unwrap_or_default();
        assert_eq!(left(1_030_000), 32 * SECOND);
        assert_eq!(left(1_061_000), SECOND);
        assert_eq!(left(1_062_000), Duration::ZERO);
        // A clock that is an hour behind.
        assert_eq!(left(1_000_000 - 3_600_000), 60 * SECOND);
        let book = HoldBook::default();
        let over = Hold {
            noted_unix_ms: 1,
            until_unix_ms: 2,
        };
        book.0.send_modify(|holds| {
            holds.places.insert("over".to_owned(), over);
        });
        place(&book, "a").hold_until(Instant::now() + SECOND);
        let holds = book.subscribe().borrow().clone();
        assert!(!holds.is_empty() && !holds.places.contains_key("over"));
        assert_eq!(holds.places.len(), 1);
    }
}

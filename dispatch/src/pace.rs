//! How fast a lane may post: its channel's interval, and any hold.
//!
//! Slack: one message a second and channel, in short bursts a little more. A lane waits here *before* it
//! leases, so that whatever gathers meanwhile goes out in the same message; but it begins to lease and
//! render a moment early ([`Pace::nearly_ready`]), as long before as that took lately, so that the message is there
//! when the channel takes it ([`Pace::ready`]). What may go may still be kept from leaving (a connection that takes seconds
//! to open, a commit): so the place counts when messages really leave (`Place::leaves`), and one that would leave too
//! soon after another does not. A hold is never shortened: `Retry-After` is the least a lane waits, and
//! it is the place's: no lane posts there before, whatever the channel is called in the configuration.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    holds::{HoldBook, HoldKey},
    limiter::Limited,
};

/// How much earlier than needed a message may be prepared at the most: what comes after is not in it.
const LEAD_MAX: Duration = Duration::from_millis(250);

/// What takes messages: one channel at Slack. Lanes that post to the same one share its pace; clones are the
/// same place.
#[derive(Debug, Clone)]
pub struct Place {
    name: String,
    limiter: Arc<Limited>,
    /// Until when Slack asked to wait, whichever lane it told.
    asked_until: Arc<Mutex<Option<Instant>>>,
    /// From when on its whole burst may leave at once, as far as messages that left are concerned.
    full_at: Arc<Mutex<Option<Instant>>>,
    /// When it takes the first message, where somebody else may have posted there before.
    first: Option<Instant>,
    /// Where holds are noted for who comes next.
    noted: Option<(HoldBook, HoldKey)>,
}

impl Place {
    /// One message per `interval`, `burst` of them at once after a pause. The name tells it from other places
    /// of the same token.
    pub fn new(name: &str, interval: Duration, burst: u64) -> Self {
        Self {
            name: name.to_owned(),
            limiter: Arc::new(Limited::new(interval, not_zero(burst))),
            asked_until: Arc::default(),
            full_at: Arc::default(),
            first: None,
            noted: None,
        }
    }

    /// Somebody else may have posted there until now: nothing goes there for an interval, and no burst.
    #[must_use]
    pub fn emptied(mut self, interval: Duration) -> Self {
        self.limiter.empty();
        self.first = Some(after(interval));
        self
    }

    /// Notes holds in a book, and is held as it stands there.
    #[must_use]
    pub fn noted_in(mut self, book: &HoldBook, key: HoldKey) -> Self {
        if let Some(until) = book.place(&key) {
            self.hold_until(until);
        }
        self.noted = Some((book.clone(), key));
        if let Some(until) = self.asked_until() {
            self.note(until);
        }
        self
    }

    fn note(&self, until: Instant) {
        if let Some((book, key)) = &self.noted {
            book.note_place(key, until);
        }
    }

    /// The same channel at Slack, reached by another token: what Slack asks of one is asked of the other, and what left for
    /// one has left for the other.
    #[must_use]
    pub fn held_as(mut self, other: &Self) -> Self {
        self.asked_until = Arc::clone(&other.asked_until);
        self.full_at = Arc::clone(&other.full_at);
        self
    }

    /// Whether Slack asked to wait, and that is not over.
    pub fn is_held(&self) -> bool {
        self.asked_until().is_some()
    }

    pub(crate) fn asked_until(&self) -> Option<Instant> {
        let asked = self.asked_until.lock();
        let asked = *asked.unwrap_or_else(PoisonError::into_inner);
        asked.filter(|until| *until > Instant::now())
    }

    pub(crate) fn hold_until(&self, until: Instant) {
        let asked = self.asked_until.lock();
        let mut asked = asked.unwrap_or_else(PoisonError::into_inner);
        let until = asked.map_or(until, |earlier| earlier.max(until));
        *asked = Some(until);
        self.note(until);
    }

    async fn until_not_held(&self) {
        // It may have grown meanwhile.
        while let Some(until) = self.asked_until() {
            sleep_until(until).await;
        }
    }

    /// A message leaves for it now; `false` if it must not, as another one left too short a time ago.
    pub(crate) fn leaves(&self) -> bool {
        self.count(false)
    }

    /// Counts a message that leaves now, unless it must not, or `anyway`; whether it did.
    fn count(&self, anyway: bool) -> bool {
        let now = Instant::now();
        let mut full_at = self.full_at();
        let (interval, burst) = self.limiter.quota();
        let full = full_at.map_or(now, |at| at.max(now));
        if !anyway && full - now > interval.saturating_mul(burst - 1) {
            return false;
        }
        *full_at = Some(full.checked_add(interval).unwrap_or(after(interval)));
        self.limiter.happens();
        true
    }

    /// When one more may leave, where that is not now.
    fn free_at(&self) -> Option<Instant> {
        let full_at = *self.full_at();
        let (interval, burst) = self.limiter.quota();
        let free_at = full_at?.checked_sub(interval.saturating_mul(burst - 1))?;
        (free_at > Instant::now()).then_some(free_at)
    }

    async fn until_free(&self) {
        // Of another lane one may leave meanwhile.
        while let Some(free_at) = self.free_at() {
            sleep_until(free_at).await;
        }
    }

    fn full_at(&self) -> MutexGuard<'_, Option<Instant>> {
        let full_at = self.full_at.lock();
        full_at.unwrap_or_else(PoisonError::into_inner)
    }

    /// Another pace from now on, for all lanes that post there.
    pub fn set_pace(&self, interval: Duration, burst: u64) {
        if self.limiter.exchange(interval, not_zero(burst)) {
            // The limiter knows when the last one left.
            *self.full_at() = None;
        }
    }
}

fn not_zero(burst: u64) -> NonZeroU32 {
    let burst = u32::try_from(burst).ok().and_then(NonZeroU32::new);
    burst.unwrap_or(NonZeroU32::MIN)
}

/// What the next lane of a channel has to know of the pace of the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rest {
    next: Option<Instant>,
    held_until: Option<Instant>,
    asked_until: Option<Instant>,
}

impl Rest {
    /// Whatever was wrong may be mended: only what Slack asked for stays.
    pub(crate) fn shorten(&mut self) {
        self.held_until = self.asked_until;
    }

    /// It posts to another place, perhaps the same by another name, or not if it is `elsewhere`.
    pub(crate) fn moved(&mut self, elsewhere: bool) {
        if elsewhere {
            *self = Self::default();
        }
        self.shorten();
    }

    /// How long it still keeps a lane from posting, if it does.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.held_until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// The pace of one lane.
#[derive(Debug)]
pub struct Pace {
    place: Place,
    interval: Duration,
    /// When the channel takes the next message, as far as its pace is concerned.
    next: Option<Instant>,
    held_until: Option<Instant>,
    /// Until when Slack asked for it.
    asked_until: Option<Instant>,
    /// How long it took lately to prepare a message.
    lead: Duration,
}

impl Pace {
    /// At the place's pace; `interval` is how long it takes until a lane that is alone there may post again.
    pub fn new(interval: Duration, place: Place) -> Self {
        Self {
            next: place.first,
            place,
            interval,
            held_until: None,
            asked_until: None,
            lead: Duration::ZERO,
        }
    }

    /// Waits until a message should be prepared.
    pub async fn nearly_ready(&mut self) {
        if let Some(until) = self.held_until {
            sleep_until(until).await;
            self.held_until = None;
        }
        self.place.until_not_held().await;
        if let Some(next) = self.next.max(self.place.free_at()) {
            sleep_until(next - self.lead).await;
        }
    }

    /// Waits until the prepared message may be posted, and counts it.
    pub async fn ready(&mut self) {
        self.place.until_not_held().await;
        let left = self.place.limiter.ready().await;
        self.place.until_free().await;
        self.next = (left == 0).then(|| Instant::now() + self.interval);
    }

    /// Counts something that has left, which the place was not asked for.
    pub(crate) fn left(&self) {
        self.place.count(true);
    }

    /// Notes how long it took to prepare a message.
    pub fn prepared(&mut self, took: Duration) {
        // A slow one raises it at once, quick ones lower it step by step.
        let decayed = self.lead.mul_f64(0.9);
        self.lead = took.max(decayed).min(LEAD_MAX).min(self.interval / 2);
    }

    /// Posts nothing for at least so long from now.
    pub fn hold(&mut self, duration: Duration) {
        let until = after(duration);
        self.held_until = Some(self.held_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// The same, since Slack asked for it: whatever becomes of the lane, nothing is posted before.
    pub fn hold_as_asked(&mut self, duration: Duration) {
        let until = after(duration);
        self.asked_until = self.asked_until.max(Some(until));
        self.place.hold_until(until);
        self.hold(duration);
    }

    /// For the next lane of the channel.
    pub(crate) fn rest(&self) -> Rest {
        Rest {
            next: self.next,
            held_until: self.held_until,
            asked_until: self.asked_until,
        }
    }

    /// Goes on as the lane before.
    pub(crate) fn resume(&mut self, rest: Rest) {
        self.next = rest.next;
        self.held_until = rest.held_until;
        self.asked_until = rest.asked_until;
    }

    /// How long a hold still keeps it from posting, if one does: its own, or one of its place.
    pub(crate) fn held(&self) -> Option<Duration> {
        let until = self.held_until.max(self.place.asked_until())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The name of the place.
    pub fn place(&self) -> &str {
        &self.place.name
    }
}

/// Beyond what the clock can count there is no difference to a year.
fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration)
        .unwrap_or(now + Duration::from_secs(31_536_000))
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;

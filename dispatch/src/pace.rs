//! How fast a lane may post: its channel's interval, and any hold.
//!
//! Slack: one message a second and channel, in short bursts a little more. A lane waits here *before* it
//! leases, so that whatever gathers meanwhile goes out in the same message; but it begins to lease and
//! render a moment early ([`Pace::nearly_ready`]), as long before as that took lately, so that the message is there
//! when the channel takes it ([`Pace::ready`]). A hold is never shortened: `Retry-After` is the least a lane waits, and
//! it is the place's: no lane posts there before, whatever the channel is called in the configuration.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::limiter::Limited;

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
}

impl Place {
    /// One message per `interval`, `burst` of them at once after a pause. The name tells it from other places
    /// of the same token.
    pub fn new(name: &str, interval: Duration, burst: u64) -> Self {
        Self {
            name: name.to_owned(),
            limiter: Arc::new(Limited::new(interval, not_zero(burst))),
            asked_until: Arc::default(),
        }
    }

    /// The same channel at Slack, reached by another token: what Slack asks of one is asked of the other.
    #[must_use]
    pub fn held_as(mut self, other: &Self) -> Self {
        self.asked_until = Arc::clone(&other.asked_until);
        self
    }

    /// Whether Slack asked to wait, and that is not over.
    pub fn is_held(&self) -> bool {
        self.asked_until().is_some()
    }

    fn asked_until(&self) -> Option<Instant> {
        let asked = self.asked_until.lock();
        let asked = *asked.unwrap_or_else(PoisonError::into_inner);
        asked.filter(|until| *until > Instant::now())
    }

    fn hold_until(&self, until: Instant) {
        let asked = self.asked_until.lock();
        let mut asked = asked.unwrap_or_else(PoisonError::into_inner);
        *asked = (*asked).max(Some(until));
    }

    async fn until_not_held(&self) {
        // It may have grown meanwhile.
        while let Some(until) = self.asked_until() {
            sleep_until(until).await;
        }
    }

    /// Another pace from now on, for all lanes that post there.
    pub fn set_pace(&self, interval: Duration, burst: u64) {
        self.limiter.exchange(interval, not_zero(burst));
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
            place,
            interval,
            next: None,
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
        if let Some(next) = self.next {
            sleep_until(next - self.lead).await;
        }
    }

    /// Waits until the prepared message may be posted, and counts it.
    pub async fn ready(&mut self) {
        self.place.until_not_held().await;
        let left = self.place.limiter.ready().await;
        self.next = (left == 0).then(|| Instant::now() + self.interval);
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
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn post(pace: &mut Pace, preparing: Duration) -> Instant {
        pace.nearly_ready().await;
        let start = Instant::now();
        sleep(preparing).await;
        pace.prepared(start.elapsed());
        pace.ready().await;
        Instant::now()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_message_an_interval_however_long_it_takes_to_prepare_one() {
        let preparing = Duration::from_millis(60);
        let mut pace = Pace::new(SECOND, Place::new("a", SECOND, 1));
        let mut sent = vec![post(&mut pace, preparing).await];
        for _ in 0..100 {
            sent.push(post(&mut pace, preparing).await);
        }
        for pair in sent.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap >= SECOND, "too early: {gap:?}");
        }
        // The first two tell how long it takes; from then on 98 % of what is allowed is used.
        let all = sent[100] - sent[2];
        assert!(
            all <= Duration::from_secs(98).mul_f64(1.0 / 0.98),
            "{all:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_after_a_pause_and_no_more_on_average() {
        let mut pace = Pace::new(SECOND, Place::new("a", SECOND, 3));
        let start = Instant::now();
        for _ in 0..3 {
            post(&mut pace, Duration::ZERO).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            post(&mut pace, Duration::ZERO).await;
        }
        assert!(start.elapsed() >= SECOND * 10, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_of_one_place_share_its_pace() {
        let place = Place::new("a", SECOND, 1);
        let mut lanes = [0, 1].map(|_| Pace::new(SECOND, place.clone()));
        let start = Instant::now();
        for _ in 0..3 {
            for lane in &mut lanes {
                post(lane, Duration::ZERO).await;
            }
        }
        assert!(start.elapsed() >= SECOND * 5, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_is_never_shortened() {
        let mut pace = Pace::new(SECOND, Place::new("a", SECOND, 1));
        pace.hold(SECOND * 7);
        pace.hold(SECOND * 2);
        let start = Instant::now();
        post(&mut pace, Duration::ZERO).await;
        assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
    }

    /// As after a channel was renamed, or a token exchanged.
    #[tokio::test(start_paused = true)]
    async fn what_slack_asked_for_holds_for_every_lane_of_the_place_also_for_one_that_is_ready() {
        let place = Place::new("a", SECOND, 9);
        let other_token = Place::new("a", SECOND, 9).held_as(&place);
        let mut asked = Pace::new(SECOND, place.clone());
        asked.hold(SECOND * 90);
        for place in [&place, &other_token] {
            let start = Instant::now();
            let mut lane = Pace::new(SECOND, place.clone());
            post(&mut lane, Duration::ZERO).await;
            assert_eq!(start.elapsed(), Duration::ZERO, "the relay's own hold");
            lane.nearly_ready().await;
            asked.hold_as_asked(SECOND * 7);
            let start = Instant::now();
            assert_eq!(lane.held(), Some(SECOND * 7));
            lane.ready().await;
            assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
            assert!(!place.is_held());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_pace_counts_at_once_also_for_who_waits_and_lets_nothing_through_early() {
        let place = Place::new("a", SECOND * 3600, 1);
        let mut pace = Pace::new(SECOND * 3600, place.clone());
        pace.ready().await;
        let start = Instant::now();
        let waiting = tokio::spawn(async move {
            pace.ready().await;
            pace
        });
        sleep(SECOND).await;
        place.set_pace(SECOND * 2, 5);
        let mut pace = waiting.await.expect("no panic");
        let waited = start.elapsed();
        assert!(
            waited >= SECOND * 3 && waited < SECOND * 4,
            "{waited:?}: a message of the old pace was within the new interval"
        );
        place.set_pace(SECOND * 9, 1);
        pace.ready().await;
        assert!(start.elapsed() >= waited + SECOND * 9);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_lane_rests_as_long_and_after_a_change_as_long_as_slack_asked() {
        let mut before = Pace::new(SECOND, Place::new("a", SECOND, 1));
        before.hold_as_asked(SECOND * 5);
        before.hold(SECOND * 60);
        for (shortened, least) in [(false, 60), (true, 5)] {
            let mut rest = before.rest();
            if shortened {
                rest.shorten();
            }
            let mut next = Pace::new(SECOND, Place::new("a", SECOND, 1));
            next.resume(rest);
            let start = Instant::now();
            post(&mut next, Duration::ZERO).await;
            let waited = start.elapsed();
            let least = SECOND * least;
            // Paused time goes on from one turn to the next, and with it what is left of the hold.
            assert!(shortened || waited >= least, "{waited:?}");
            assert!(waited <= least + SECOND, "{waited:?}");
        }
    }
}

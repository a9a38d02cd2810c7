//! How fast a lane may post: its channel's interval, and any hold.
//!
//! Slack: one message a second and channel, in short bursts a little more. A lane waits here *before* it
//! leases, so that whatever gathers meanwhile goes out in the same message; but it begins to lease and
//! render a moment early ([`Pace::nearly_ready`]), as long before as that took lately, so that the message is there
//! when the channel takes it ([`Pace::ready`]). A hold is never shortened: `Retry-After` is the least a lane waits.

use std::{num::NonZeroU32, ops::Add, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::{Instant, sleep, sleep_until};

/// Tokio's clock for governor, so that tests can pause it.
#[derive(Debug, Clone)]
pub(crate) struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(Instant);

impl Add<Nanos> for Tick {
    type Output = Self;
    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Clock for TokioClock {
    type Instant = Tick;
    fn now(&self) -> Tick {
        Tick(Instant::now())
    }
}

/// A limiter that says how much of its burst is left.
pub(crate) type Limiter =
    RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>;

pub(crate) fn limiter(interval: Duration, burst: NonZeroU32) -> Limiter {
    let quota = Quota::with_period(interval.max(Duration::from_millis(1)))
        .expect("the interval is not zero")
        .allow_burst(burst);
    RateLimiter::direct_with_clock(quota, TokioClock).with_middleware()
}

/// Waits until the limiter allows one more, and counts it; how many more it would allow at once.
pub(crate) async fn ready(limiter: &Limiter) -> u32 {
    loop {
        match limiter.check() {
            Ok(state) => return state.remaining_burst_capacity(),
            Err(not_yet) => sleep(not_yet.wait_time_from(TokioClock.now())).await,
        }
    }
}

/// How much earlier than needed a message may be prepared at the most: what comes after is not in it.
const LEAD_MAX: Duration = Duration::from_millis(250);

/// What takes messages: one channel at Slack. Lanes that post to the same one share its pace; clones are the
/// same place.
#[derive(Debug, Clone)]
pub struct Place {
    name: String,
    limiter: Arc<Limiter>,
}

impl Place {
    /// One message per `interval`, `burst` of them at once after a pause. The name tells it from other places
    /// of the same token.
    pub fn new(name: &str, interval: Duration, burst: u64) -> Self {
        let burst = u32::try_from(burst).ok().and_then(NonZeroU32::new);
        Self {
            name: name.to_owned(),
            limiter: Arc::new(limiter(interval, burst.unwrap_or(NonZeroU32::MIN))),
        }
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
            lead: Duration::ZERO,
        }
    }

    /// Waits until a message should be prepared.
    pub async fn nearly_ready(&mut self) {
        if let Some(until) = self.held_until {
            sleep_until(until).await;
            self.held_until = None;
        }
        if let Some(next) = self.next {
            sleep_until(next - self.lead).await;
        }
    }

    /// Waits until the prepared message may be posted, and counts it.
    pub async fn ready(&mut self) {
        let left = ready(&self.place.limiter).await;
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
        let now = Instant::now();
        // Beyond what the clock can count there is no difference to a year.
        let until = now
            .checked_add(duration)
            .unwrap_or(now + Duration::from_secs(31_536_000));
        self.held_until = Some(self.held_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// The name of the place.
    pub fn place(&self) -> &str {
        &self.place.name
    }
}

#[cfg(test)]
mod tests {
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
}

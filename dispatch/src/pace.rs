//! How fast a lane may post: its channel's interval, the workspace's budget, and any hold.
//!
//! Slack: one message a second and channel, "several hundred" a minute and workspace. A lane waits
//! here *before* it leases, so that whatever gathers meanwhile goes out in the same message. A hold is
//! never shortened: `Retry-After` is the least a lane waits.

use std::{num::NonZeroU32, ops::Add, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::{Instant, sleep, sleep_until};

/// Tokio's clock for governor, so that tests can pause it.
#[derive(Debug, Clone)]
struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(Instant);

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

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Tick>>;

fn limiter(interval: Duration, burst: NonZeroU32) -> Limiter {
    let quota = Quota::with_period(interval.max(Duration::from_millis(1)))
        .expect("the interval is not zero")
        .allow_burst(burst);
    RateLimiter::direct_with_clock(quota, TokioClock)
}

async fn ready(limiter: &Limiter) {
    while let Err(not_yet) = limiter.check() {
        sleep(not_yet.wait_time_from(TokioClock.now())).await;
    }
}

/// What all channels of one workspace may post together. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Limiter>);

impl Budget {
    /// So many messages a minute, of which a second's worth may come at once.
    pub fn new(messages_per_minute: u64) -> Self {
        let per_minute = messages_per_minute.max(1);
        let burst = u32::try_from(per_minute / 60).unwrap_or(u32::MAX).max(1);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Self(Arc::new(limiter(
            Duration::from_secs(60).div_f64(per_minute as f64),
            burst,
        )))
    }
}

/// The pace of one lane.
#[derive(Debug)]
pub struct Pace {
    channel: Limiter,
    workspace: Option<Budget>,
    interval: Duration,
    held_until: Option<Instant>,
}

impl Pace {
    /// One message per `interval`, within the workspace's budget where there is one.
    pub fn new(interval: Duration, workspace: Option<Budget>) -> Self {
        Self {
            channel: limiter(interval, NonZeroU32::MIN),
            workspace,
            interval,
            held_until: None,
        }
    }

    /// Waits until one message may be posted, and counts it.
    pub async fn ready(&mut self) {
        if let Some(until) = self.held_until {
            sleep_until(until).await;
            self.held_until = None;
        }
        ready(&self.channel).await;
        if let Some(Budget(workspace)) = &self.workspace {
            ready(workspace).await;
        }
    }

    /// Posts nothing for at least so long from now.
    pub fn hold(&mut self, duration: Duration) {
        let now = Instant::now();
        // Beyond what the clock can count there is no difference to a year.
        let until = now
            .checked_add(duration)
            .unwrap_or(now + Duration::from_secs(31_536_000));
        self.hold_until(until);
    }

    /// Counts the interval from when a message was sent, not from when it was allowed: leasing and
    /// rendering lie between.
    pub fn sent(&mut self, at: Instant) {
        self.hold_until(at + self.interval);
    }

    fn hold_until(&mut self, until: Instant) {
        self.held_until = Some(self.held_until.map_or(until, |earlier| earlier.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_an_interval() {
        let mut pace = Pace::new(Duration::from_secs(1), None);
        let start = Instant::now();
        for _ in 0..5 {
            pace.ready().await;
        }
        let elapsed = start.elapsed();
        assert!(
            elapsed >= Duration::from_secs(4) && elapsed < Duration::from_millis(4_100),
            "{elapsed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_lanes_share_the_workspace() {
        let budget = Budget::new(60);
        let start = Instant::now();
        let lanes = (0..10).map(|_| {
            let mut pace = Pace::new(Duration::from_millis(100), Some(budget.clone()));
            tokio::spawn(async move { pace.ready().await })
        });
        for lane in lanes.collect::<Vec<_>>() {
            lane.await.expect("no panic");
        }
        assert!(
            start.elapsed() >= Duration::from_secs(9),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_interval_counts_from_the_sending() {
        let mut pace = Pace::new(Duration::from_secs(1), None);
        pace.ready().await;
        sleep(Duration::from_millis(400)).await;
        let sent = Instant::now();
        pace.sent(sent);
        pace.ready().await;
        assert!(
            sent.elapsed() >= Duration::from_secs(1),
            "{:?}",
            sent.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_hold_is_no_panic() {
        Pace::new(Duration::from_secs(1), None).hold(Duration::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_is_never_shortened() {
        let mut pace = Pace::new(Duration::from_secs(1), None);
        pace.hold(Duration::from_secs(7));
        pace.hold(Duration::from_secs(2));
        let start = Instant::now();
        pace.ready().await;
        assert!(
            start.elapsed() >= Duration::from_secs(7),
            "{:?}",
            start.elapsed()
        );
    }
}

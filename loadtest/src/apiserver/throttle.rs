//! How fast batches are let go: the API server's token bucket, on tokio's clock.
//!
//! Contract: over any time `t` at most `burst + qps × t` batches pass; after a pause long enough
//! `burst` of them pass at once. One caller at a time, in order.
//!
//! Kubernetes: `flowcontrol.NewTokenBucketRateLimiter(qps, burst)` and its `Accept`, which takes a
//! token on credit and sleeps until it would have been there.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The bucket; it begins full.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Below zero while a caller sleeps off its credit.
    tokens: f64,
    counted: Instant,
    qps: f64,
    burst: f64,
}

impl Throttle {
    pub(super) fn new(qps: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            tokens: f64::from(burst.get()),
            counted: Instant::now(),
            qps: f64::from(qps.get()),
            burst: f64::from(burst.get()),
        }
    }

    /// Returns when the next batch may go.
    pub(super) async fn ready(&mut self) {
        let now = Instant::now();
        let gained = (now - self.counted).as_secs_f64() * self.qps;
        self.tokens = (self.tokens + gained).min(self.burst) - 1.0;
        self.counted = now;
        if self.tokens < 0.0 {
            sleep(Duration::from_secs_f64(-self.tokens / self.qps)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed_within(throttle: &mut Throttle, time: Duration) -> u32 {
        let mut passed = 0;
        let end = Instant::now() + time;
        while tokio::time::timeout_at(end, throttle.ready()).await.is_ok() {
            passed += 1;
        }
        passed
    }

    fn throttle() -> Throttle {
        let count = |value| NonZeroU32::new(value).expect("not zero");
        Throttle::new(count(10), count(15))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_ten_a_second() {
        let mut throttle = throttle();
        let begun = Instant::now();
        for _ in 0..15 {
            throttle.ready().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            throttle.ready().await;
        }
        // Tokio's timers have a resolution of one millisecond and round up.
        let slack = Duration::from_millis(200);
        assert!(begun.elapsed() >= Duration::from_secs(10), "{begun:?}");
        assert!(begun.elapsed() < Duration::from_secs(10) + slack);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_never_earns_more_than_one_burst() {
        let mut throttle = throttle();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(
            passed_within(&mut throttle, Duration::from_millis(50)).await,
            15
        );
    }
}

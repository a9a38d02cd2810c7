//! The pace of a place or a token as arithmetic, without waiting: when the next message may go.
//!
//! Contract: for the same requests at the same times it gives the times that the relay's own limiter gives
//! (`dispatch::pace`); a test holds the two against each other.

use std::time::Duration;

/// Microseconds of simulated time.
pub(super) type Micros = i64;

/// One message per interval, and so many at once after a pause.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    interval: Micros,
    /// How far ahead of its pace it may be.
    ahead: Micros,
    /// When the next message would be due if none came early.
    due: Option<Micros>,
}

impl Limit {
    pub(super) fn new(interval: Duration, burst: u64) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let interval = Micros::try_from(interval.as_micros()).unwrap_or(Micros::MAX / 64);
        let burst = Micros::try_from(burst.max(1)).unwrap_or(1);
        Self {
            interval,
            ahead: interval.saturating_mul(burst - 1),
            due: None,
        }
    }

    /// So many a minute, of which a second's worth may come at once: a token's messages.
    pub(super) fn per_minute(messages: u64) -> Self {
        let messages = messages.max(1);
        let interval = Duration::from_secs(60).div_f64(messages as f64);
        Self::new(interval, messages / 60)
    }

    /// When a message that is ready now may go, and how many more could follow it at once.
    pub(super) fn take(&mut self, now: Micros) -> (Micros, i64) {
        let due = self.due.unwrap_or(now);
        let at = now.max(due - self.ahead);
        let next = due.max(at) + self.interval;
        self.due = Some(next);
        let room = (at + self.ahead + self.interval - next).min(self.ahead + self.interval);
        (at, room.max(0) / self.interval)
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_dispatch::{
        Workspace,
        pace::{Pace, Place},
    };
    use proptest::prelude::*;
    use tokio::time::{Instant, sleep_until};

    use super::*;

    /// Tokio's timer has steps of a millisecond, and rounds up.
    const STEP: Micros = 1_000;

    async fn real_places(interval_ms: u64, burst: u64, gaps_ms: &[u64]) -> Vec<Micros> {
        let interval = Duration::from_millis(interval_ms);
        let mut pace = Pace::new(interval, Place::new("a", interval, burst));
        let start = Instant::now();
        let mut sent = Vec::new();
        for gap in gaps_ms {
            sleep_until(Instant::now() + Duration::from_millis(*gap)).await;
            pace.ready().await;
            sent.push(start.elapsed().as_micros() as Micros);
        }
        sent
    }

    async fn real_tokens(per_minute: u64, gaps_ms: &[u64]) -> Vec<Micros> {
        let workspace = Workspace::new(per_minute, 1);
        let start = Instant::now();
        let mut sent = Vec::new();
        for gap in gaps_ms {
            sleep_until(Instant::now() + Duration::from_millis(*gap)).await;
            workspace.turn_to_post().await;
            sent.push(start.elapsed().as_micros() as Micros);
        }
        sent
    }

    /// The same requests at the times at which the real one was asked.
    fn simulated(mut limit: Limit, gaps_ms: &[u64], real: &[Micros]) -> Vec<Micros> {
        let mut before = 0;
        let mut sent = Vec::new();
        for (gap, real) in gaps_ms.iter().zip(real) {
            sent.push(limit.take(before + (*gap as Micros) * 1_000).0);
            before = *real;
        }
        sent
    }

    fn paused<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn it_is_the_relays_own_pace(
            interval_ms in 100_u64..5_000,
            burst in 1_u64..6,
            per_minute in 1_u64..600,
            gaps_ms in prop::collection::vec(0_u64..4_000, 1..40),
        ) {
            let interval = Duration::from_millis(interval_ms);
            let places = paused(real_places(interval_ms, burst, &gaps_ms));
            let tokens = paused(real_tokens(per_minute, &gaps_ms));
            for (limit, real) in [
                (Limit::new(interval, burst), places),
                (Limit::per_minute(per_minute), tokens),
            ] {
                let simulated = simulated(limit, &gaps_ms, &real);
                for (number, (simulated, real)) in (0..).zip(simulated.iter().zip(&real)) {
                    let late = real - simulated;
                    // Its interval is of whole microseconds, so each message may bring it one closer.
                    prop_assert!((0..=2 * STEP + number).contains(&late), "{simulated} {real}");
                }
            }
        }
    }

    #[test]
    fn what_is_left_of_a_burst_is_told() {
        let mut limit = Limit::new(Duration::from_secs(1), 3);
        let all: Vec<_> = (0..4).map(|_| limit.take(0)).collect();
        assert_eq!(all, [(0, 2), (0, 1), (0, 0), (1_000_000, 0)]);
    }
}

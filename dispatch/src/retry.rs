//! How long to wait before another try: exponential, with jitter, without an end.
//!
//! The only user of the `backoff` crate (unmaintained, RUSTSEC-2025-0012), so that it can be replaced
//! in one place.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

/// Delays of one lane; starts over when something was accepted.
#[derive(Debug)]
pub struct Retry(ExponentialBackoff);

impl Retry {
    /// From one second, doubling, up to `delay_max`, each spread by 30 %.
    pub fn new(delay_max: Duration) -> Self {
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(Duration::from_secs(1).min(delay_max))
                .with_multiplier(2.0)
                .with_randomization_factor(0.3)
                .with_max_interval(delay_max)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_start_over() {
        let mut retry = Retry::new(Duration::from_secs(10));
        let delays: Vec<f64> = (0..50).map(|_| retry.next_delay().as_secs_f64()).collect();
        assert!((0.7..=1.3).contains(&delays[0]), "{delays:?}");
        assert!(
            delays[8..].iter().all(|delay| (7.0..=13.0).contains(delay)),
            "{delays:?}"
        );
        retry.reset();
        assert!(retry.next_delay().as_secs_f64() <= 1.3);
    }
}

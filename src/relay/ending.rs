//! What each step of a replica's shutdown may take of `ingest.shutdown_seconds`.
//!
//! Contract: a step has until its moment, counted from when the stop was seen first, so that one which ends early leaves its time
//! to those after it; the last moment is the end of all of it.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

/// Steps in their order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Lanes finish the post that is under way.
    Lanes,
    /// What Slack asked to wait for is kept.
    Holds,
    /// The queue is closed.
    Close,
    /// The lease is given up.
    Resign,
}

impl Step {
    /// Its moment, in twelfths of all of it.
    fn twelfths(self) -> u32 {
        match self {
            Self::Lanes => 8,
            Self::Holds => 9,
            Self::Close => 11,
            Self::Resign => 12,
        }
    }
}

/// When the stop was seen first.
#[derive(Debug, Default)]
pub(super) struct Ending(OnceLock<Instant>);

impl Ending {
    /// What is left for a step of a shutdown that takes so long in all. The first that asks begins it.
    pub(super) fn left(&self, step: Step, shutdown: Duration) -> Duration {
        let begun = *self.0.get_or_init(Instant::now);
        let until = shutdown * step.twelfths() / 12;
        until.saturating_sub(begun.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_a_step_does_not_need_is_left_to_those_after_it() {
        let ending = Ending::default();
        let all = 12 * SECOND;
        assert_eq!(ending.left(Step::Lanes, all), 8 * SECOND);
        // No post was under way.
        tokio::time::advance(SECOND).await;
        assert_eq!(ending.left(Step::Holds, all), 8 * SECOND);
        tokio::time::advance(8 * SECOND).await;
        assert_eq!(ending.left(Step::Close, all), 2 * SECOND);
        tokio::time::advance(3 * SECOND).await;
        assert_eq!(ending.left(Step::Close, all), Duration::ZERO);
        assert_eq!(ending.left(Step::Resign, all), Duration::ZERO);
    }
}

//! What the lease says of requests that were begun under it, for whoever leads next.
//!
//! The next one repeats what it does not find only when no request for it can be under way any more. How long that takes
//! is configured, and whoever led before may have been configured otherwise. So the lease says it, and goes on saying
//! what was said under the leases before, until that is over.

use std::{fmt, time::Duration};

use tokio::time::Instant;

/// The requests of one that leads.
pub struct Requests {
    last_at_most: Box<dyn Fn() -> Duration + Send + Sync>,
    begin_before: Duration,
}

impl Requests {
    /// Each lasts so long at the most, which may change, and begins no later than so long before the tenure runs out.
    pub fn new(
        last_at_most: impl Fn() -> Duration + Send + Sync + 'static,
        begin_before: Duration,
    ) -> Self {
        Self {
            last_at_most: Box::new(last_at_most),
            begin_before,
        }
    }

    /// Of one that asks nothing of anybody outside.
    pub(super) fn none() -> Self {
        Self::new(|| Duration::ZERO, Duration::ZERO)
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Requests");
        shown.field("last_at_most", &(self.last_at_most)());
        shown.field("begin_before", &self.begin_before).finish()
    }
}

/// What a lease says of requests.
#[derive(Debug)]
pub(super) struct Said {
    own: Requests,
    /// When those that were begun under leases before are over.
    others_until: Instant,
}

impl Said {
    pub(super) fn new(own: Requests) -> Self {
        Self {
            own,
            others_until: Instant::now(),
        }
    }

    /// Those begun before last so long from now on.
    pub(super) fn others_last(&mut self, last: Duration) {
        self.others_until = Instant::now() + last;
    }

    /// How long requests may last beyond the tenure, if it runs out.
    pub(super) fn while_held(&self) -> Duration {
        let own = (self.own.last_at_most)();
        self.at_least(own.saturating_sub(self.own.begin_before))
    }

    /// The same where it is given up: the last of them may have begun just before.
    pub(super) fn once_released(&self) -> Duration {
        self.at_least((self.own.last_at_most)())
    }

    fn at_least(&self, own: Duration) -> Duration {
        own.max(self.others_until.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_before_is_said_until_it_is_over() {
        let mut said = Said::new(Requests::new(|| 10 * SECOND, 2 * SECOND));
        assert_eq!(
            (said.while_held(), said.once_released()),
            (8 * SECOND, 10 * SECOND)
        );
        said.others_last(60 * SECOND);
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(
            (said.while_held(), said.once_released()),
            (55 * SECOND, 55 * SECOND)
        );
        tokio::time::advance(46 * SECOND).await;
        assert_eq!(
            (said.while_held(), said.once_released()),
            (9 * SECOND, 10 * SECOND)
        );
        tokio::time::advance(60 * SECOND).await;
        assert_eq!(
            (said.while_held(), said.once_released()),
            (8 * SECOND, 10 * SECOND)
        );
    }
}

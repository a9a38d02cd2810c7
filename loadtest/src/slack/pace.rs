//! Slack's pace: one message per second per workspace and channel, whichever door it
//! comes through.
//!
//! Contract: burst 1, measured from the last accepted message of the channel; a
//! request that is refused changes nothing, so it does not extend the wait. Besides,
//! a channel can be blocked until a moment (a fault's `Retry-After`); asking inside
//! the block does not extend it either, and it knows no tolerance: the client was
//! told the block's length after it began, so whoever obeys comes after its end.
//!
//! Pure: it is told the time and never looks at a clock.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// How much of the interval a message may come early, as a divisor: 2 %.
///
/// A client that paces its sends exactly one interval apart cannot make them *arrive*
/// so: its timer ticks in milliseconds, and the second request may be scheduled,
/// carried and read a little faster than the first. Refusing that would blame the
/// client for the clock; 2 % (20 ms of a second) covers it and hides no real fault.
const TOLERANCE_DIVISOR: u32 = 50;

/// Beyond this many channels those whose wait is over are forgotten, so that a client
/// which invents channel names does not fill the memory.
const CHANNELS_BEFORE_PRUNING: usize = 10_000;

/// Whether a channel takes a message now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Free,
    /// The last message is too recent.
    Early { wait: Duration },
    /// A fault keeps it blocked.
    Blocked { wait: Duration },
}

#[derive(Debug, Default)]
struct Channel {
    last_accepted: Option<Instant>,
    blocked_until: Option<Instant>,
}

/// The pace of all channels.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    channels: HashMap<String, Channel>,
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            channels: HashMap::new(),
        }
    }

    pub(super) fn standing(&self, channel: &str, now: Instant) -> Standing {
        let Some(channel) = self.channels.get(channel) else {
            return Standing::Free;
        };
        let until_free = channel.until_free(self.interval, now);
        if channel.blocked_until.is_some_and(|end| end > now) {
            return Standing::Blocked { wait: until_free };
        }
        if until_free > self.interval / TOLERANCE_DIVISOR {
            return Standing::Early { wait: until_free };
        }
        Standing::Free
    }

    pub(super) fn accepted(&mut self, channel: &str, now: Instant) {
        self.entry(channel, now).last_accepted = Some(now);
    }

    pub(super) fn block(&mut self, channel: &str, now: Instant, length: Duration) {
        self.entry(channel, now).blocked_until = Some(now + length);
    }

    fn entry(&mut self, channel: &str, now: Instant) -> &mut Channel {
        if self.channels.len() >= CHANNELS_BEFORE_PRUNING && !self.channels.contains_key(channel) {
            let interval = self.interval;
            self.channels
                .retain(|_, known| !known.until_free(interval, now).is_zero());
        }
        self.channels.entry(channel.to_owned()).or_default()
    }
}

impl Channel {
    /// The time until neither the last message nor a block stands in the way.
    fn until_free(&self, interval: Duration, now: Instant) -> Duration {
        let paced = self
            .last_accepted
            .map(|last| interval.saturating_sub(now - last));
        let blocked = self
            .blocked_until
            .map(|end| end.saturating_duration_since(now));
        paced.max(blocked).unwrap_or_default()
    }
}

/// A wait as Slack's `Retry-After` says it: whole seconds, rounded up, at least 1.
pub(super) fn retry_after_seconds(wait: Duration) -> u64 {
    let partial = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(partial).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[tokio::test]
    async fn one_message_per_interval_and_channel_with_two_percent_of_tolerance() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND);
        assert_eq!(pace.standing("a", start), Standing::Free);
        pace.accepted("a", start);
        assert_eq!(pace.standing("a", start), Standing::Early { wait: SECOND });
        assert_eq!(pace.standing("b", start), Standing::Free);
        let wait = Duration::from_millis(21);
        assert_eq!(
            pace.standing("a", after(start, 979)),
            Standing::Early { wait }
        );
        assert_eq!(pace.standing("a", after(start, 980)), Standing::Free);
    }

    #[tokio::test]
    async fn a_block_lasts_its_whole_length() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(10));
        pace.block("a", start, SECOND * 3);
        let wait = Duration::from_millis(1);
        assert_eq!(
            pace.standing("a", after(start, 2_999)),
            Standing::Blocked { wait }
        );
        assert_eq!(pace.standing("a", after(start, 3_000)), Standing::Free);
    }

    #[tokio::test]
    async fn a_block_says_the_longer_of_block_and_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND * 5);
        pace.accepted("a", start);
        pace.block("a", start, SECOND);
        assert_eq!(
            pace.standing("a", start),
            Standing::Blocked { wait: SECOND * 5 }
        );
    }

    #[tokio::test]
    async fn no_interval_is_no_limit() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::ZERO);
        pace.accepted("a", start);
        assert_eq!(pace.standing("a", start), Standing::Free);
    }

    #[tokio::test]
    async fn channels_whose_wait_is_over_are_forgotten_when_there_are_many() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND);
        for number in 0..CHANNELS_BEFORE_PRUNING {
            pace.accepted(&format!("old-{number}"), start);
        }
        pace.accepted("new", after(start, 5_000));
        assert_eq!(pace.channels.len(), 1);
    }

    #[test]
    fn retry_after_is_rounded_up_and_at_least_one() {
        let cases = [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (30_000, 30)];
        for (milliseconds, seconds) in cases {
            assert_eq!(
                retry_after_seconds(Duration::from_millis(milliseconds)),
                seconds
            );
        }
    }
}

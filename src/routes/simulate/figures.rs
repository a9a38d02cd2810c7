//! What a simulation counts of one channel: messages by the minute, delays, what waited.

use std::collections::BTreeMap;

use super::pace::Micros;

pub(super) const MINUTE: Micros = 60_000_000;

/// Delays by how often they came, with more exactness for short ones: 0.1 s below a minute, 1 s below an hour, a
/// minute beyond.
#[derive(Debug, Default, Clone)]
pub(super) struct Delays {
    by_tenth: BTreeMap<i64, u64>,
    count: u64,
    worst_ms: i64,
}

impl Delays {
    pub(super) fn add(&mut self, delay_ms: i64) {
        let delay_ms = delay_ms.max(0);
        let step = match delay_ms {
            ..60_000 => 1,
            60_000..3_600_000 => 10,
            _ => 600,
        };
        // Rounded up: what is told is never shorter than what was.
        let tenths = (delay_ms + 99) / 100;
        let tenths = (tenths + step - 1) / step * step;
        *self.by_tenth.entry(tenths).or_default() += 1;
        self.count += 1;
        self.worst_ms = self.worst_ms.max(delay_ms);
    }

    pub(super) fn worst_ms(&self) -> i64 {
        self.worst_ms
    }

    /// So many of a hundred were no longer than this.
    pub(super) fn percentile_ms(&self, percent: u64) -> i64 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (tenths, count) in &self.by_tenth {
            seen += count;
            if seen >= wanted {
                return (tenths * 100).min(self.worst_ms);
            }
        }
        self.worst_ms
    }
}

/// What was posted in one minute.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minute {
    pub(super) messages: u64,
    pub(super) digests: u64,
    pub(super) events: u64,
}

/// What one channel came to.
#[derive(Debug, Default, Clone)]
pub(super) struct Figures {
    pub(super) events: u64,
    pub(super) messages: u64,
    pub(super) digests: u64,
    pub(super) events_in_digests: u64,
    /// Critical, warning, info.
    pub(super) by_severity: [u64; 3],
    /// By the minute of Unix time.
    pub(super) minutes: BTreeMap<i64, Minute>,
    pub(super) delays: Delays,
    pub(super) backlog_peak: u64,
    pub(super) backlog_peak_at: Micros,
}

impl Figures {
    pub(super) fn note_backlog(&mut self, waiting: u64, at: Micros) {
        if waiting > self.backlog_peak {
            self.backlog_peak = waiting;
            self.backlog_peak_at = at;
        }
    }

    /// A message that was posted with events of these times, Unix milliseconds.
    pub(super) fn note_message(&mut self, at: Micros, times_ms: &[i64], is_digest: bool) {
        let events = times_ms.len() as u64;
        self.messages += 1;
        self.events += events;
        let minute = self.minutes.entry(at.div_euclid(MINUTE)).or_default();
        minute.messages += 1;
        minute.events += events;
        if is_digest {
            minute.digests += 1;
            self.digests += 1;
            self.events_in_digests += events;
        }
        for time in times_ms {
            self.delays.add(at.div_euclid(1_000) - time);
        }
    }

    /// The minute with the most messages; the first of several.
    pub(super) fn worst_minute(&self) -> Option<(i64, Minute)> {
        let most = self.minutes.values().map(|minute| minute.messages).max()?;
        let mut minutes = self.minutes.iter();
        minutes
            .find(|(_, minute)| minute.messages == most)
            .map(|(at, minute)| (*at, *minute))
    }

    /// Of the minutes in which something was posted, how many of a hundred had a digest.
    pub(super) fn digest_minutes_percent(&self) -> u64 {
        let digests = self.minutes.values().filter(|minute| minute.digests > 0);
        let digests = digests.count() as u64;
        match self.minutes.len() as u64 {
            0 => 0,
            all => (digests * 100).div_ceil(all),
        }
    }

    /// The longest run of minutes with digests, by events: its first and last minute, events and digests.
    pub(super) fn storm(&self) -> Option<Storm> {
        let mut worst: Option<Storm> = None;
        let mut run: Option<Storm> = None;
        for (at, minute) in self.minutes.iter().filter(|(_, one)| one.digests > 0) {
            let mut current = match run.take() {
                Some(run) if run.last + 1 >= *at => run,
                _ => Storm {
                    first: *at,
                    last: *at,
                    events: 0,
                    messages: 0,
                },
            };
            current.last = *at;
            current.events += minute.events;
            current.messages += minute.messages;
            if worst.is_none_or(|worst| current.events > worst.events) {
                worst = Some(current);
            }
            run = Some(current);
        }
        worst
    }
}

/// Minutes in a row in which digests were posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storm {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) events: u64,
    pub(super) messages: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_never_told_shorter_than_they_were() {
        let mut delays = Delays::default();
        assert_eq!(delays.percentile_ms(99), 0);
        for ms in [10, 20, 950, 59_999, 61_001, 4_000_000] {
            delays.add(ms);
        }
        assert_eq!(delays.worst_ms(), 4_000_000);
        assert_eq!(delays.percentile_ms(99), 4_000_000);
        assert_eq!(delays.percentile_ms(34), 1_000);
        assert_eq!(delays.percentile_ms(80), 62_000);
    }

    #[test]
    fn a_storm_is_the_run_of_digests_with_the_most_events() {
        let mut figures = Figures::default();
        let digest = [0; 20];
        for (minute, is_digest) in [(1, true), (5, true), (6, true), (7, false), (8, true)] {
            figures.note_message(minute * MINUTE, &digest, is_digest);
        }
        assert_eq!(
            figures.storm(),
            Some(Storm {
                first: 5,
                last: 6,
                events: 40,
                messages: 2
            })
        );
        assert_eq!(figures.digest_minutes_percent(), 80);
        assert_eq!(figures.worst_minute().map(|(at, _)| at), Some(1));
    }
}

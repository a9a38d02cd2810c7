//! What was refused, and what never came to its end, within the last minutes.
//!
//! Contract: a count is kept every [`EVERY`] over [`WINDOW`], whatever the load; the names are those of closed sets (reasons)
//! and of the configuration (clusters). Counters begin at 0 with the process, so the first minutes count whole.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::report::{Lately, Refused};
use crate::metrics::Readings;

const EVERY: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(600);
/// In how many of these times something is refused that is no burst.
const LASTING: usize = 3;

/// Counters at one time.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    at: Instant,
    refused: BTreeMap<String, u64>,
    unfinished: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn of(at: Instant, readings: &Readings) -> Self {
        let counters = |name: &str| {
            let values = readings.get(name).into_iter().flatten();
            let values = values.map(|(label, value)| (label.clone(), *value as u64));
            values.collect()
        };
        Self {
            at,
            refused: counters("auditrelay_ingest_refused_total"),
            unfinished: counters("auditrelay_requests_unfinished_total"),
        }
    }
}

/// The counts of some minutes; never empty.
#[derive(Debug)]
pub(super) struct Window(VecDeque<Counts>);

impl Window {
    /// Of a process that begins.
    pub(super) fn new(at: Instant) -> Self {
        Self(VecDeque::from([Counts::of(at, &Readings::new())]))
    }

    pub(super) fn note(&mut self, now: Counts) {
        let last = self.0.back();
        if last.is_some_and(|last| now.at - last.at < EVERY) {
            return;
        }
        while self
            .0
            .get(1)
            .is_some_and(|second| now.at - second.at >= WINDOW)
        {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    pub(super) fn until(&self, now: &Counts) -> Lately {
        let Some(first) = self.0.front() else {
            return Lately::default();
        };
        let refused = grown(&first.refused, &now.refused).map(|(reason, times)| {
            let lasting = self.times_grown(now, &reason) >= LASTING;
            (reason, Refused { times, lasting })
        });
        Lately {
            over_seconds: (now.at - first.at).as_secs_f64(),
            refused: refused.collect(),
            unfinished: grown(&first.unfinished, &now.unfinished).collect(),
        }
    }

    /// Between how many of the counts a reason's grew.
    fn times_grown(&self, now: &Counts, reason: &str) -> usize {
        let all = self.0.iter().chain([now]);
        let all = all.map(|counts| counts.refused.get(reason).copied().unwrap_or_default());
        let counts: Vec<u64> = all.collect();
        counts.windows(2).filter(|two| two[1] > two[0]).count()
    }
}

/// Those that grew, and by how much.
fn grown<'a>(
    before: &'a BTreeMap<String, u64>,
    now: &'a BTreeMap<String, u64>,
) -> impl Iterator<Item = (String, u64)> + 'a {
    now.iter().filter_map(|(name, value)| {
        let then = before.get(name).copied().unwrap_or_default();
        let more = value.saturating_sub(then);
        (more > 0).then(|| (name.clone(), more))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(at: Instant, refused: u64) -> Counts {
        let reasons = BTreeMap::from([("queue_full".to_owned(), refused as f64)]);
        let name = "auditrelay_ingest_refused_total".to_owned();
        Counts::of(at, &Readings::from([(name, reasons)]))
    }

    #[test]
    fn what_was_refused_is_counted_from_the_start_and_forgotten_after_some_minutes() {
        let start = Instant::now();
        let mut window = Window::new(start);
        // Before anything was noted.
        let burst = Refused {
            times: 5,
            lasting: false,
        };
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let lately = window.until(&counts(at(1), 5));
        assert_eq!(lately.refused["queue_full"], burst);
        for seconds in (0..3_600).step_by(5) {
            window.note(counts(at(seconds), 5));
            assert!(window.0.len() <= 22, "{}", window.0.len());
            if seconds == 300 {
                let lately = window.until(&counts(at(seconds), 5));
                assert_eq!(lately.refused["queue_full"], burst);
            }
        }
        let lately = window.until(&counts(at(3_600), 5));
        assert!(lately.refused.is_empty(), "{lately:?}");
        assert!((600.0..=630.0).contains(&lately.over_seconds));
    }

    #[test]
    fn what_goes_on_is_told_from_a_burst() {
        let start = Instant::now();
        let mut window = Window::new(start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for (seconds, refused) in [(30, 4), (60, 9), (90, 9)] {
            window.note(counts(at(seconds), refused));
        }
        let lately = window.until(&counts(at(95), 9));
        assert!(!lately.refused["queue_full"].lasting);
        let lately = window.until(&counts(at(95), 10));
        let lasting = Refused {
            times: 10,
            lasting: true,
        };
        assert_eq!(lately.refused["queue_full"], lasting);
    }
}

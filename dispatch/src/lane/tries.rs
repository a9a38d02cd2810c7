//! What a lane remembers of messages that were not accepted.

use auditrelay_store::Burial;

/// Posts since the last one that was accepted or buried.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tries {
    count: u32,
    first_unix_ms: i64,
}

impl Tries {
    pub(super) fn add(&mut self, now_unix_ms: i64) {
        if self.count == 0 {
            self.first_unix_ms = now_unix_ms;
        }
        self.count = self.count.saturating_add(1);
    }

    /// What a dead letter says of them; they begin anew.
    pub(super) fn bury(&mut self, reason: String, now_unix_ms: i64) -> Burial {
        let tries = std::mem::take(self);
        Burial {
            reason,
            attempts: tries.count,
            // A wall clock that was set back must not make the last try the earlier one.
            first_unix_ms: tries.first_unix_ms.min(now_unix_ms),
            last_unix_ms: now_unix_ms,
        }
    }
}

/// The search for what makes a message impossible: half of its events at a time, until one is left.
///
/// Nothing of it is stored: events that are released wait in their old order, so leasing half as many
/// halves the message. What arrives meanwhile only makes the search a little longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Search {
    /// Events of which at least one was refused.
    suspects: usize,
    events_max: usize,
    /// Events, from the first that waits, that were in a message which may have been posted before.
    repeated: usize,
}

impl Search {
    pub(super) fn is_on(&self) -> bool {
        self.suspects > 0
    }

    /// Events in the next message, where the lane would take so many.
    pub(super) fn limit(&self, events_max: usize) -> usize {
        match self.suspects {
            0 => events_max,
            _ => self.events_max.min(events_max).max(1),
        }
    }

    /// A message of so many events was refused.
    pub(super) fn refused(&mut self, events: usize, possibly_repeated: bool) {
        self.suspects = events;
        self.events_max = events.div_ceil(2);
        if possibly_repeated {
            self.repeated = self.repeated.max(events);
        }
    }

    /// Whether the next message holds events that may have been posted before.
    pub(super) fn repeats(&self) -> bool {
        self.repeated > 0
    }

    /// A message of so many events was accepted.
    pub(super) fn accepted(&mut self, events: usize) {
        self.repeated = self.repeated.saturating_sub(events);
        self.suspects = self.suspects.saturating_sub(events);
        self.events_max = self.events_max.min(self.suspects);
    }

    /// The one was found.
    pub(super) fn found(&mut self) {
        self.repeated = self.repeated.saturating_sub(1);
        self.suspects = 0;
        self.events_max = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burial_tells_every_try_since_the_last_success() {
        let mut tries = Tries::default();
        tries.add(1_000);
        tries.add(2_000);
        let burial = tries.bury("invalid_blocks".to_owned(), 2_500);
        assert_eq!(
            (burial.attempts, burial.first_unix_ms, burial.last_unix_ms),
            (2, 1_000, 2_500)
        );
        tries.add(9_000);
        assert_eq!(tries.bury(String::new(), 9_100).attempts, 1);
    }

    /// Messages until the culprit is alone, and what was told before.
    fn search(events: usize, culprit: usize) -> (usize, Vec<usize>, Vec<usize>) {
        let (mut search, mut waiting) = (Search::default(), (0..events).collect::<Vec<_>>());
        let (mut messages, mut told, mut buried) = (0, Vec::new(), Vec::new());
        while !waiting.is_empty() {
            messages += 1;
            let lease = waiting[..search.limit(10_000).min(waiting.len())].to_vec();
            if !lease.contains(&culprit) {
                search.accepted(lease.len());
                told.extend(&lease);
            } else if lease.len() > 1 {
                search.refused(lease.len(), false);
                continue;
            } else {
                search.found();
                buried.extend(&lease);
            }
            waiting.drain(..lease.len());
        }
        (messages, told, buried)
    }

    #[test]
    fn all_events_of_a_message_that_may_have_been_posted_are_marked_and_no_others() {
        let mut search = Search::default();
        search.refused(100, true);
        search.refused(50, false);
        search.refused(1, false);
        search.found();
        assert!(!search.is_on() && search.repeats());
        search.accepted(60);
        assert!(search.repeats(), "39 are left");
        search.accepted(39);
        assert!(!search.repeats());
    }

    #[test]
    fn only_the_culprit_is_left_over_and_soon() {
        for events in [1, 2, 3, 100, 10_000] {
            for culprit in [0, events / 2, events - 1] {
                let (messages, told, buried) = search(events, culprit);
                assert_eq!(buried, [culprit]);
                assert_eq!(told.len(), events - 1);
                assert!(told.is_sorted());
                let bound = 2 * (events.ilog2() as usize + 2);
                assert!(messages <= bound, "{messages} messages for {events} events");
            }
        }
    }
}

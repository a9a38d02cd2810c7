//! Which events were sent again lately, how often and when: a note for who asks what became of one.
//!
//! Contract: it is in memory alone and bounded, and nothing is decided by it. The events that were sent again last
//! are remembered: those of the last [`Duplicates::ENTRIES_MAX`] / 2 at least, about a megabyte of them at most.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use auditrelay_audit::EventKey;

/// Notes of duplicates; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Duplicates(Arc<Mutex<Notes>>);

/// Two halves: when the young one is full it is the old one, and what was in the old one is forgotten.
#[derive(Debug, Default)]
struct Notes {
    young: HashMap<EventKey, Repeated>,
    old: HashMap<EventKey, Repeated>,
}

/// How often an event was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    /// So often.
    pub times: u64,
    /// The first time that is remembered, Unix time in milliseconds.
    pub first_unix_ms: i64,
    /// The last time.
    pub last_unix_ms: i64,
}

impl Duplicates {
    /// So many events are remembered at most.
    pub const ENTRIES_MAX: usize = 10_000;

    /// Notes that an event was received again.
    pub fn note(&self, key: &EventKey, received_unix_ms: i64) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.young.remove(key).or_else(|| notes.old.remove(key));
        let before = known.unwrap_or(Repeated {
            times: 0,
            first_unix_ms: received_unix_ms,
            last_unix_ms: received_unix_ms,
        });
        if notes.young.len() >= Self::ENTRIES_MAX / 2 {
            notes.old = std::mem::take(&mut notes.young);
        }
        let now = Repeated {
            times: before.times + 1,
            last_unix_ms: received_unix_ms.max(before.last_unix_ms),
            ..before
        };
        notes.young.insert(*key, now);
    }

    /// What is remembered of an event.
    pub fn of(&self, key: &EventKey) -> Option<Repeated> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.young.get(key).or_else(|| notes.old.get(key)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> EventKey {
        EventKey {
            identity: n,
            fingerprint: u128::from(n).to_le_bytes(),
        }
    }

    #[test]
    fn it_counts_and_keeps_the_first_and_the_last_time() {
        let duplicates = Duplicates::default();
        assert_eq!(duplicates.of(&key(1)), None);
        for at in [5, 9, 7] {
            duplicates.note(&key(1), at);
        }
        let repeated = Repeated {
            times: 3,
            first_unix_ms: 5,
            last_unix_ms: 9,
        };
        assert_eq!(duplicates.of(&key(1)), Some(repeated));
    }

    #[test]
    fn it_is_bounded_and_what_was_sent_again_last_stays() {
        let duplicates = Duplicates::default();
        let half = Duplicates::ENTRIES_MAX as u64 / 2;
        for n in 0..4 * half {
            duplicates.note(&key(n), 1);
            // One that keeps coming is never forgotten.
            duplicates.note(&key(u64::MAX), 1);
            if n >= half {
                assert!(duplicates.of(&key(n - half + 2)).is_some(), "{n}");
            }
        }
        assert_eq!(duplicates.of(&key(0)), None);
        let always = duplicates.of(&key(u64::MAX)).expect("known");
        assert_eq!(always.times, 4 * half);
        let notes = duplicates.0.lock().expect("not poisoned");
        assert!(notes.young.len() + notes.old.len() <= Duplicates::ENTRIES_MAX);
    }
}

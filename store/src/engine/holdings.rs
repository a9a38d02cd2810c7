//! Who keeps how many bytes of the log of deliveries: counted in memory, from the index when it opens.
//!
//! A record that two keys point to counts for both, so a sum may be more than there is, never less.
//!
//! Of each channel and severity it is known besides how much waits, and since when that waits which comes first.
//! When that goes and others stay, the next one is looked for in the index after the commit, by one key.

use std::collections::BTreeMap;

use auditrelay_audit::Severity;

use super::records::{ChannelRow, Held, Waits};
use crate::codec::Class;

/// Who has a record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    /// It waits for a channel.
    Channel(Row<'a>),
    /// It is a dead letter.
    Dead,
    /// It was told, and can be looked at.
    Told,
}

/// A key of what waits, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) channel: &'a str,
    pub(super) severity: Severity,
    pub(super) seq: u64,
    pub(super) waits: Waits,
}

/// What waits for a channel in one severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    rows: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// The sequence of what comes first, and since when it waits.
    first: Option<(u64, i64)>,
}

impl Waiting {
    fn add(&mut self, row: Row<'_>, held: &Held) {
        // Keys rise: what is added to others comes behind them.
        if self.rows == 0 {
            self.first = Some((row.seq, row.waits.since_unix_ms));
        }
        self.rows += 1;
        self.events += held.count();
        self.bytes += u64::from(held.place.bytes);
    }

    fn remove(&mut self, row: Row<'_>, held: &Held) {
        if self.first.is_some_and(|(seq, _)| seq == row.seq) {
            self.first = None;
        }
        self.rows = self.rows.saturating_sub(1);
        self.events = self.events.saturating_sub(held.count());
        self.bytes = self.bytes.saturating_sub(u64::from(held.place.bytes));
    }

    /// Something waits, and it is not known which of it comes first.
    pub(super) fn lacks_first(&self) -> bool {
        self.rows > 0 && self.first.is_none()
    }

    pub(super) fn set_first(&mut self, seq: u64, waits: Waits) {
        self.first = Some((seq, waits.since_unix_ms));
    }

    /// Since when that waits which comes first; 0 where it is not known.
    pub(super) fn since_unix_ms(&self) -> Option<i64> {
        self.first.map(|(_, since_unix_ms)| since_unix_ms)
    }
}

/// By severity, most severe first.
pub(super) type BySeverity = [Waiting; 3];

/// Bytes by holder, and by segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Holdings {
    /// By segment; a segment that is not here or has 0 is of no use any more.
    pub(super) live: BTreeMap<u64, u64>,
    pub(super) channels: BTreeMap<String, u64>,
    pub(super) backlogs: BTreeMap<String, BySeverity>,
    pub(super) dead: u64,
    pub(super) told: u64,
    pub(super) told_rows: u64,
    /// Keys that point to records.
    pub(super) rows: u64,
}

impl Holdings {
    pub(super) fn add(&mut self, holder: Holder<'_>, held: &Held) {
        let bytes = u64::from(held.place.bytes);
        *self.live.entry(held.place.start.segment).or_default() += bytes;
        self.rows += 1;
        match holder {
            Holder::Channel(row) => {
                match self.channels.get_mut(row.channel) {
                    Some(sum) => *sum += bytes,
                    None => drop(self.channels.insert(row.channel.to_owned(), bytes)),
                }
                if !self.backlogs.contains_key(row.channel) {
                    let none = BySeverity::default();
                    self.backlogs.insert(row.channel.to_owned(), none);
                }
                if let Some(waiting) = self.of(row.channel, row.severity) {
                    waiting.add(row, held);
                }
            }
            Holder::Dead => self.dead += bytes,
            Holder::Told => {
                self.told += bytes;
                self.told_rows += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, holder: Holder<'_>, held: &Held) {
        let bytes = u64::from(held.place.bytes);
        let less = |sum: &mut u64| *sum = sum.saturating_sub(bytes);
        less(self.live.entry(held.place.start.segment).or_default());
        self.rows = self.rows.saturating_sub(1);
        match holder {
            Holder::Channel(row) => {
                if let Some(sum) = self.channels.get_mut(row.channel) {
                    less(sum);
                }
                if let Some(waiting) = self.of(row.channel, row.severity) {
                    waiting.remove(row, held);
                }
            }
            Holder::Dead => less(&mut self.dead),
            Holder::Told => {
                less(&mut self.told);
                self.told_rows = self.told_rows.saturating_sub(1);
            }
        }
    }

    /// Some deliveries of a key do not wait any more, and others of it do.
    pub(super) fn took(&mut self, channel: &str, severity: Severity, deliveries: u64) {
        if let Some(waiting) = self.of(channel, severity) {
            waiting.events = waiting.events.saturating_sub(deliveries);
        }
    }

    pub(super) fn of(&mut self, channel: &str, severity: Severity) -> Option<&mut Waiting> {
        let backlog = self.backlogs.get_mut(channel)?;
        backlog.get_mut(severity as usize)
    }

    /// What waits for a channel.
    pub(super) fn channel(&self, name: &str) -> u64 {
        self.channels.get(name).copied().unwrap_or_default()
    }

    /// What waits for all of them.
    pub(super) fn waiting(&self) -> u64 {
        self.channels.values().sum()
    }
}

/// What the ledger counts and the index was not found to hold: sled may lose records without a word.
pub(super) struct Counted {
    waiting: BTreeMap<Class, BTreeMap<String, u64>>,
    dead: u64,
    /// Whether something was found that is not counted.
    surplus: bool,
}

impl Counted {
    pub(super) fn new(channels: &BTreeMap<String, ChannelRow>) -> Self {
        let mut counted = Self {
            waiting: BTreeMap::new(),
            dead: 0,
            surplus: false,
        };
        for (name, row) in channels {
            for (class, waiting, dead) in row.kept() {
                let of_class = counted.waiting.entry(class).or_default();
                of_class.insert(name.clone(), waiting);
                counted.dead += dead;
            }
        }
        counted
    }

    pub(super) fn found_waiting(&mut self, channel: &str, held: &Held) {
        let of_class = self.waiting.get_mut(&held.class);
        let counted = of_class.and_then(|of_class| of_class.get_mut(channel));
        self.surplus |= !take(counted, held.count());
    }

    pub(super) fn found_dead(&mut self, held: &Held) {
        self.surplus |= !take(Some(&mut self.dead), held.count());
    }

    /// Whether all was found, and nothing else.
    pub(super) fn is_complete(&self) -> bool {
        let mut waiting = self.waiting.values().flat_map(BTreeMap::values);
        !self.surplus && self.dead == 0 && waiting.all(|left| *left == 0)
    }
}

fn take(counted: Option<&mut u64>, found: u64) -> bool {
    counted
        .and_then(|counted| {
            *counted = counted.checked_sub(found)?;
            Some(())
        })
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Place;

    fn held(count: u32) -> Held {
        Held {
            place: Place::default(),
            record_seq: 1,
            class: Class::Events,
            plain_bytes: 0,
            first: 0,
            from: 0,
            to: count,
        }
    }

    #[test]
    fn what_is_missing_or_too_much_in_the_index_is_told() {
        let mut row = ChannelRow::default();
        (row.counts.waiting, row.counts.dead) = (3, 2);
        let channels = BTreeMap::from([("ops".to_owned(), row)]);
        let found = |waiting: &[(&str, u32)], dead: u32| {
            let mut counted = Counted::new(&channels);
            for (channel, count) in waiting {
                counted.found_waiting(channel, &held(*count));
            }
            counted.found_dead(&held(dead));
            counted.is_complete()
        };
        assert!(found(&[("ops", 1), ("ops", 2)], 2));
        assert!(!found(&[("ops", 2)], 2), "one is missing");
        assert!(!found(&[("ops", 4)], 2), "one is too much");
        assert!(!found(&[("ops", 3)], 1), "a dead one is missing");
        assert!(!found(&[("ops", 3), ("dev", 1)], 2), "of no known channel");
    }
}

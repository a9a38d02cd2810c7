//! Who keeps how many bytes of the log of deliveries: counted in memory, from the index when it opens.
//!
//! A record that two keys point to counts for both, so a sum may be more than there is, never less.

use std::collections::BTreeMap;

use super::records::Held;

/// Who has a record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    /// It waits for a channel.
    Channel(&'a str),
    /// It is a dead letter.
    Dead,
    /// It was told, and can be looked at.
    Told,
}

/// Bytes by holder, and by segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Holdings {
    /// By segment; a segment that is not here or has 0 is of no use any more.
    pub(super) live: BTreeMap<u64, u64>,
    pub(super) channels: BTreeMap<String, u64>,
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
            Holder::Channel(name) => match self.channels.get_mut(name) {
                Some(sum) => *sum += bytes,
                None => drop(self.channels.insert(name.to_owned(), bytes)),
            },
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
            Holder::Channel(name) => {
                if let Some(sum) = self.channels.get_mut(name) {
                    less(sum);
                }
            }
            Holder::Dead => less(&mut self.dead),
            Holder::Told => {
                less(&mut self.told);
                self.told_rows = self.told_rows.saturating_sub(1);
            }
        }
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

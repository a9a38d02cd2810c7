//! Who and what makes most of a log, in bounded memory.
//!
//! Contract: exact for up to [`NAMES_MAX`] names. Beyond, the smallest half is forgotten; a name that comes back is
//! counted anew, so that each figure may be short by [`Names::short_by_bytes`] at most, which is told. The sums of
//! the whole are exact whatever is forgotten.

use std::collections::HashMap;

use serde::Serialize;

/// So many names are held.
pub(super) const NAMES_MAX: usize = 20_000;
/// A name is not held longer.
const NAME_CHARS_MAX: usize = 200;

/// How many events, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Counts {
    pub(super) fn add(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes += bytes;
    }

    pub(super) fn add_all(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// What something was, and what it becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) before: Counts,
    pub(super) after: Counts,
}

impl Change {
    /// Adds an event that takes so many bytes; `None` where it is not written.
    pub(super) fn add(&mut self, before: Option<u64>, after: Option<u64>) {
        if let Some(bytes) = before {
            self.before.add(bytes);
        }
        if let Some(bytes) = after {
            self.after.add(bytes);
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        self.before.add_all(other.before);
        self.after.add_all(other.after);
    }

    /// What the largest come first by.
    fn weight(&self) -> u64 {
        self.before.bytes.max(self.after.bytes)
    }
}

/// A name, and what was counted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) change: Change,
}

/// The largest of some names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Largest {
    pub(super) largest: Vec<Named>,
    /// How many others there are; where names were forgotten, at least.
    pub(super) others: u64,
    /// What all others are together.
    pub(super) rest: Change,
    /// How many bytes each figure may be short by.
    pub(super) short_by_bytes: u64,
}

/// Counts by name.
#[derive(Debug)]
pub(super) struct Names {
    names_max: usize,
    held: HashMap<String, Change>,
    forgotten: Change,
    short_by_bytes: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self::holding(NAMES_MAX)
    }
}

impl Names {
    pub(super) fn holding(names_max: usize) -> Self {
        Self {
            names_max,
            held: HashMap::new(),
            forgotten: Change::default(),
            short_by_bytes: 0,
        }
    }

    pub(super) fn add(&mut self, name: &str, before: Option<u64>, after: Option<u64>) {
        let name = beginning(name);
        if let Some(change) = self.held.get_mut(name) {
            change.add(before, after);
            return;
        }
        if self.held.len() >= self.names_max {
            self.forget();
        }
        let change = self.held.entry(name.to_owned()).or_default();
        change.add(before, after);
    }

    /// Forgets the smaller half.
    fn forget(&mut self) {
        let mut weights: Vec<u64> = self.held.values().map(Change::weight).collect();
        let middle = weights.len() / 2;
        let (_, limit, _) = weights.select_nth_unstable(middle);
        let limit = *limit;
        let mut largest_lost = 0;
        let mut keep = self.names_max / 2;
        let forgotten = &mut self.forgotten;
        self.held.retain(|_, change| {
            // Of many that are alike some must go, too.
            let stays = change.weight() >= limit && keep > 0;
            if stays {
                keep -= 1;
            } else {
                largest_lost = largest_lost.max(change.weight());
                forgotten.add_all(change);
            }
            stays
        });
        self.short_by_bytes += largest_lost;
    }

    /// The largest so many, by bytes.
    pub(super) fn largest(&self, count: usize) -> Largest {
        self.first(count, Change::weight)
    }

    /// The most frequent so many.
    pub(super) fn most(&self, count: usize) -> Largest {
        self.first(count, |change| change.before.events)
    }

    fn first(&self, count: usize, weight: impl Fn(&Change) -> u64) -> Largest {
        let mut all: Vec<(&String, &Change)> = self.held.iter().collect();
        all.sort_by(|(name, change), (other_name, other)| {
            let order = weight(other).cmp(&weight(change));
            order.then_with(|| name.cmp(other_name))
        });
        let (largest, others) = all.split_at(count.min(all.len()));
        let mut rest = self.forgotten;
        for (_, change) in others {
            rest.add_all(change);
        }
        let named = |(name, change): &(&String, &Change)| Named {
            name: (*name).clone(),
            change: **change,
        };
        Largest {
            largest: largest.iter().map(named).collect(),
            others: others.len() as u64,
            rest,
            short_by_bytes: self.short_by_bytes,
        }
    }
}

fn beginning(name: &str) -> &str {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_come_first_and_the_rest_is_summed() {
        let mut names = Names::default();
        for (name, before, after) in [
            ("a", Some(10), None),
            ("b", Some(30), Some(7)),
            ("a", Some(25), Some(25)),
            ("c", Some(1), Some(1)),
        ] {
            names.add(name, before, after);
        }
        let largest = names.largest(2);
        let names: Vec<_> = largest
            .largest
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        let a = largest.largest[0].change;
        assert_eq!((a.before.events, a.before.bytes), (2, 35));
        assert_eq!((a.after.events, a.after.bytes), (1, 25));
        assert_eq!((largest.others, largest.rest.before.bytes), (1, 1));
        assert_eq!(largest.short_by_bytes, 0);
    }

    #[test]
    fn a_name_without_end_takes_no_memory() {
        let mut names = Names::default();
        names.add(&"é".repeat(1_000_000), Some(1), None);
        assert_eq!(names.largest(1).largest[0].name, "é".repeat(NAME_CHARS_MAX));
    }

    proptest! {
        /// However many names there are: nothing is lost in the sum, none is overstated, and none is short by more
        /// than what is said.
        #[test]
        fn what_is_forgotten_is_told(adds in prop::collection::vec((0..60_u32, 1..1_000_u64), 1..600)) {
            let (mut names, mut exact) = (Names::holding(16), HashMap::<String, u64>::new());
            for (name, bytes) in &adds {
                // Some names are frequent.
                let name = format!("n{}", name * name / 60);
                names.add(&name, Some(*bytes), Some(1));
                *exact.entry(name).or_default() += bytes;
                prop_assert!(names.held.len() <= 16);
            }
            let largest = names.largest(usize::MAX);
            let mut sum = largest.rest;
            for one in &largest.largest {
                sum.add_all(&one.change);
                let (found, exact) = (one.change.before.bytes, exact[&one.name]);
                prop_assert!(found <= exact && exact <= found + largest.short_by_bytes);
            }
            for (name, exact) in &exact {
                let held = largest.largest.iter().any(|one| one.name == *name);
                prop_assert!(held || *exact <= largest.short_by_bytes, "{} of {}", name, exact);
            }
            prop_assert_eq!(sum.before.bytes, exact.values().sum::<u64>());
            prop_assert_eq!(sum.after.events, adds.len() as u64);
        }
    }
}

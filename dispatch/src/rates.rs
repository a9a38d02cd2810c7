//! Rates: a route for what happens too often.
//!
//! Contract: of the events that reach a route with a rate and match all else of it, it matches those beyond
//! `moreThan` within `withinSeconds` of one another, of one cluster and of one who or what. Time is the event's own
//! (its stage; where that cannot be read, when it was received), so a backlog that is routed at once is no burst, and
//! a replay of it says the same.
//!
//! Counted is by slots, a twelfth of the time each, and a window is 13 of them that follow each other and hold the
//! event. So:
//! * whatever order events come in, the one that makes `moreThan` + 1 within `withinSeconds` always matches, and so
//!   does each that follows within that time;
//! * one that makes `moreThan` + 1 within 13/12 of the time may match too.
//!
//! The first holds for an event that comes no later than `withinSeconds` behind the newest of its key: 26 slots of a
//! key are kept that have any event.
//!
//! Invariants:
//! * what is counted is committed with the routing of the events that were counted ([`Rates::take`]), so that a
//!   restart neither forgets nor counts one twice; the store holds what is here, no more;
//! * at most [`COUNTS_MAX`] slots are kept, of however many keys. Then the keys that were counted longest ago give
//!   way, an eighth at a time, and are counted ([`Rates::take_forgotten`]);
//! * a key is of one route as it is written (its name, what it matches, its rate): what another configuration
//!   counted counts for none of this one.

use std::hash::{DefaultHasher, Hash, Hasher};

use auditrelay_audit::{Envelope, Event};
use auditrelay_config::{RateBy, RouteConfig};
use auditrelay_store::{RateCount, RatesCounted};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::routes::{Conditions, Routes};

/// A window is so many slots, and the one that the event is in.
const SLOTS: i64 = 12;
/// Of a key: what any window can reach from the newest event and from one that is a window older.
const SLOTS_KEPT: usize = 26;
/// In all: about 10 MB.
pub const COUNTS_MAX: usize = 100_000;
/// So many counts are one row of the store.
const COUNTS_PER_ROW: usize = 240;
/// So many rows may come together before they are written anew as what they come to.
const ROWS_MAX: usize = 256;
/// An API server repeats a batch for 245 s at most, and its clock may differ from this one's.
const LATE_MS: i64 = 15 * 60 * 1_000;

/// What a route's rate asks for.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Tells the route from every other that there ever was.
    route: u64,
    more_than: u64,
    within_ms: i64,
    by: Vec<RateBy>,
}

impl Rate {
    /// The rate of a route, if it has one.
    pub(crate) fn of(route: &RouteConfig) -> Option<Self> {
        let rate = route.rate.as_ref()?;
        let mut id = DefaultHasher::new();
        let matcher = route.matcher();
        let reused = route.audit_id_reused;
        format!("{} {matcher:?} {rate:?} {reused}", route.name).hash(&mut id);
        Some(Self {
            route: id.finish(),
            more_than: rate.more_than.get(),
            // Bounded by a day.
            within_ms: rate.within_seconds.get() as i64 * 1_000,
            by: rate.by.clone(),
        })
    }

    /// Who or what an event is counted with.
    fn key(&self, event: &Event<'_>) -> u64 {
        let mut key = DefaultHasher::new();
        (self.route, event.cluster).hash(&mut key);
        let Envelope {
            user,
            impersonated_user,
            source_ips,
            object_ref,
            verb,
            ..
        } = event.envelope;
        let object = object_ref.as_ref();
        for by in &self.by {
            match by {
                // Behind a proxy that impersonates everybody is one user: who is meant counts.
                RateBy::User => {
                    let who = impersonated_user.as_ref().unwrap_or(user);
                    who.username.as_str().hash(&mut key);
                }
                RateBy::SourceIP => {
                    let nearest = source_ips.last().map_or("", |one| one.as_str());
                    nearest.hash(&mut key);
                }
                RateBy::Namespace => {
                    let namespace = object.map_or("", |one| one.namespace.as_str());
                    namespace.hash(&mut key);
                }
                RateBy::Resource => {
                    let resource = object.map(|one| {
                        (
                            one.api_group.as_str(),
                            one.resource.as_str(),
                            one.subresource.as_str(),
                        )
                    });
                    resource.hash(&mut key);
                }
                RateBy::Verb => verb.as_str().hash(&mut key),
            }
        }
        key.finish()
    }

    fn slot(&self, at_unix_ms: i64) -> i64 {
        // Rounded up: thirteen of them hold any window.
        at_unix_ms.div_euclid((self.within_ms + SLOTS - 1) / SLOTS)
    }

    /// How long a count may be of use, by the time at which it was counted.
    fn stays_ms(&self) -> i64 {
        2 * self.within_ms + LATE_MS
    }
}

/// What one key counted.
#[derive(Debug, Default)]
struct Counted {
    /// Slots that have events, and how many; oldest first.
    slots: SmallVec<[(i64, u32); 2]>,
    counted_unix_ms: i64,
    until_unix_ms: i64,
}

impl Counted {
    /// Adds events to a slot; says whether it is a new one.
    fn add(&mut self, slot: i64, events: u32) -> bool {
        match self.slots.binary_search_by_key(&slot, |(one, _)| *one) {
            Ok(place) => {
                let count = &mut self.slots[place].1;
                *count = count.saturating_add(events);
                false
            }
            Err(place) => {
                self.slots.insert(place, (slot, events));
                true
            }
        }
    }

    /// The most that a window holds in which this slot is.
    fn most_around(&self, slot: i64) -> u64 {
        let slots = self.slots.iter();
        let starts = slots.filter(|(start, _)| (slot.saturating_sub(SLOTS)..=slot).contains(start));
        let within = |start: i64| {
            let window = start..=start.saturating_add(SLOTS);
            let slots = self
                .slots
                .iter()
                .filter(move |(one, _)| window.contains(one));
            slots.map(|(_, events)| u64::from(*events)).sum()
        };
        starts.map(|(start, _)| within(*start)).max().unwrap_or(0)
    }
}

/// What all rates counted.
#[derive(Debug, Default)]
pub struct Rates {
    keys: HashMap<u64, Counted>,
    /// Slots of all keys.
    slots: usize,
    /// What was counted since it was last committed.
    new: HashMap<(u64, i64), u32>,
    /// Rows of the store.
    rows: usize,
    /// What the store holds is more than what counts.
    is_stale: bool,
    forgotten: u64,
}

impl Rates {
    /// What a store kept, for the routes of now.
    pub fn load(counts: &[RateCount], routes: &Routes, now_unix_ms: i64) -> Self {
        let mut rates = Self::default();
        let stays = routes.rates().map(Rate::stays_ms).max();
        let Some(stays_ms) = stays else {
            rates.is_stale = !counts.is_empty();
            return rates;
        };
        for RateCount { key, slot, events } in counts {
            rates.add(*key, *slot, *events, now_unix_ms, stays_ms);
            rates.trim(*key);
        }
        rates.rows = counts.len().div_ceil(COUNTS_PER_ROW);
        rates.forget_the_stalest(now_unix_ms);
        rates
    }

    /// Counts an event, and says whether it is beyond the rate.
    pub fn is_too_many(
        &mut self,
        rate: &Rate,
        event: &Event<'_>,
        received_unix_ms: i64,
        now_unix_ms: i64,
    ) -> bool {
        let time = event.envelope.stage_timestamp.parse::<jiff::Timestamp>();
        let at_unix_ms = time.map_or(received_unix_ms, |time| time.as_millisecond());
        let (key, slot) = (rate.key(event), rate.slot(at_unix_ms));
        let most = self
            .add(key, slot, 1, now_unix_ms, rate.stays_ms())
            .most_around(slot);
        let new = self.new.entry((key, slot)).or_default();
        *new = new.saturating_add(1);
        self.trim(key);
        self.forget_the_stalest(now_unix_ms);
        most > rate.more_than
    }

    fn add(
        &mut self,
        key: u64,
        slot: i64,
        events: u32,
        now_unix_ms: i64,
        stays_ms: i64,
    ) -> &Counted {
        let counted = self.keys.entry(key).or_default();
        counted.counted_unix_ms = now_unix_ms;
        counted.until_unix_ms = now_unix_ms.saturating_add(stays_ms);
        self.slots += usize::from(counted.add(slot, events));
        counted
    }

    /// The oldest slot of a key gives way.
    fn trim(&mut self, key: u64) {
        if let Some(counted) = self.keys.get_mut(&key)
            && counted.slots.len() > SLOTS_KEPT
        {
            counted.slots.remove(0);
            self.slots -= 1;
        }
    }

    fn forget_the_stalest(&mut self, now_unix_ms: i64) {
        if self.slots <= COUNTS_MAX {
            return;
        }
        self.forget_the_old(now_unix_ms);
        if self.slots <= COUNTS_MAX - COUNTS_MAX / 8 {
            return;
        }
        let mut stalest: Vec<(i64, u64)> = self
            .keys
            .iter()
            .map(|(key, counted)| (counted.counted_unix_ms, *key))
            .collect();
        stalest.sort_unstable();
        for (_, key) in stalest {
            if self.slots <= COUNTS_MAX - COUNTS_MAX / 8 {
                break;
            }
            if let Some(counted) = self.keys.remove(&key) {
                self.slots -= counted.slots.len();
                self.forgotten += 1;
            }
        }
        self.is_stale = true;
    }

    fn forget_the_old(&mut self, now_unix_ms: i64) {
        self.keys
            .retain(|_, counted| counted.until_unix_ms >= now_unix_ms);
        self.slots = self.keys.values().map(|counted| counted.slots.len()).sum();
    }

    /// What was counted since it was last asked, to be committed. Now and then it is all that counts.
    pub fn take(&mut self, now_unix_ms: i64) -> RatesCounted {
        let new = std::mem::take(&mut self.new);
        let rows = self.rows + new.len().div_ceil(COUNTS_PER_ROW);
        let all = self.slots.div_ceil(COUNTS_PER_ROW);
        if !self.is_stale && rows <= ROWS_MAX.max(2 * all) {
            self.rows = rows;
            let count = |((key, slot), events)| RateCount { key, slot, events };
            return RatesCounted {
                counts: new.into_iter().map(count).collect(),
                is_all: false,
            };
        }
        self.is_stale = false;
        self.forget_the_old(now_unix_ms);
        let of_key = |(key, counted): (&u64, &Counted)| {
            let key = *key;
            let slots = counted.slots.clone().into_iter();
            slots.map(move |(slot, events)| RateCount { key, slot, events })
        };
        let counts: Vec<RateCount> = self.keys.iter().flat_map(of_key).collect();
        self.rows = counts.len().div_ceil(COUNTS_PER_ROW);
        RatesCounted {
            counts,
            is_all: true,
        }
    }

    /// What was counted since it was last asked need not be committed: of one who only looks.
    pub fn pass_over(&mut self) {
        self.new.clear();
    }

    /// Keys that gave way since it was last asked, though they might still have counted.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }
}

/// An event, and what is known of it beside itself.
pub struct Occurrence<'a, 'e> {
    /// The event.
    pub event: &'a Event<'e>,
    /// When its batch came, Unix time in milliseconds.
    pub received_unix_ms: i64,
    /// Whether its audit ID and stage were another event's before.
    pub is_reused: bool,
    /// What was counted before it.
    pub rates: &'a mut Rates,
    /// Now, Unix time in milliseconds: what was counted long before gives way.
    pub now_unix_ms: i64,
}

impl Conditions for Occurrence<'_, '_> {
    fn is_reused(&self) -> bool {
        self.is_reused
    }

    fn is_too_many(&mut self, rate: &Rate) -> bool {
        let (received, now) = (self.received_unix_ms, self.now_unix_ms);
        self.rates.is_too_many(rate, self.event, received, now)
    }
}

#[cfg(test)]
#[path = "rates_tests.rs"]
mod tests;

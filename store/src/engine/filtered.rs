//! Which routes keep how many events from everybody: a row for each, beside the totals, as names are many and
//! long and the totals are written with every commit.
//!
//! Bounded: of more than [`FilteredCount::ROUTES_MAX`] routes the one that took none for the longest is
//! forgotten. Its events stay in the total.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{db::Db, keys, owner::Owner, recover::Unsound, stage::Round};
use crate::{
    FilteredCount, Ledger, codec,
    frame::{self, Kind},
};

/// By route: the last commit that counted for it, and how many events it has taken.
pub(super) type Filtered = BTreeMap<String, (u64, u64)>;

#[derive(Serialize, Deserialize)]
struct Row {
    route: String,
    events: u64,
}

/// What the index says.
pub(super) fn all(db: &Db) -> Result<Filtered, Unsound> {
    let mut filtered = Filtered::new();
    for row in db.scan_prefix(keys::FILTERED) {
        let (_, stored) = row?;
        let (header, payload) = frame::decode(&stored)?;
        let Row { route, events } = codec::from_plain(payload)?;
        filtered.insert(route, (header.seq, events));
    }
    Ok(filtered)
}

impl Owner {
    pub(super) fn count_filtered(&mut self, counts: Vec<FilteredCount>, round: &mut Round) {
        let commit = self.totals.commits + 1;
        for FilteredCount { route, events } in counts {
            let (counted_at, total) = self.filtered.entry(route.clone()).or_default();
            (*counted_at, *total) = (commit, *total + events);
            let events = *total;
            let row = codec::plain(&Row {
                route: route.clone(),
                events,
            });
            let stored = frame::single(Kind::Filtered, commit, &row);
            round.batch.insert(keys::filtered(&route), stored);
            round.filtered.insert(route);
            if self.filtered.len() > FilteredCount::ROUTES_MAX {
                self.forget_filtered(round);
            }
        }
    }

    fn forget_filtered(&mut self, round: &mut Round) {
        let stalest = self.filtered.iter().min_by_key(|(_, (at, _))| *at);
        let Some(route) = stalest.map(|(route, _)| route.clone()) else {
            return;
        };
        self.filtered.remove(&route);
        round.batch.remove(keys::filtered(&route));
        round.filtered.insert(route);
    }

    /// Together with the counts that they are a part of; what was counted is durable.
    pub(super) fn tell_filtered(&self, changed: BTreeSet<String>, ledger: &mut Ledger) {
        for route in changed {
            match self.filtered.get(&route) {
                Some((_, events)) => drop(ledger.filtered_by.insert(route, *events)),
                None => drop(ledger.filtered_by.remove(&route)),
            }
        }
    }
}

//! What follows a round: segments begin and go, quotas hold, the index gives its space back.
//!
//! Each does a bounded piece at a time, since appends wait for it. [`Owner::is_untidy`] says whether there
//! is more, so that it goes on while nobody asks for anything.

use std::collections::BTreeMap;

use super::{
    files::Logs,
    holdings::Holder,
    keys,
    owner::Owner,
    records::{DeadRow, SettledAs, ToldRow, Totals},
    settle::To,
    shed,
    stage::{Round, StageError},
};
use crate::log::{Log, Position};

/// Rows that one round gives up because they are too old or too many.
const ROWS_PER_ROUND: usize = 1_000;
/// How often, at the most, it is looked for what has become too old.
const BOUND_INTERVAL_MS: i64 = 1_000;
/// What was told is at most so many rows, whatever their bytes: about 40 MB of index.
const TOLD_ROWS_MAX: u64 = 200_000;

impl Owner {
    /// Does a piece of what is to be tidied up.
    pub(super) fn tidy_up(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("the logs' segments: {error}");
        if self.begin_segments().map_err(failed)? {
            // Only when the index says that the logs go on in the new ones can the old ones go.
            self.commit_index(&mut Round::default())?;
        }
        let settled = self.carry_notes()?;
        self.remove_segments(settled).map_err(failed)?;
        self.bound()?;
        self.shed().map_err(|error| self.reason(error))?;
        self.compact()?;
        self.renew_index()?;
        self.publish_space(&Default::default());
        Ok(())
    }

    /// Whether there is something left that time alone does not mend.
    pub(super) fn is_untidy(&self) -> bool {
        self.moving.is_some()
            || self.sparse_segment().is_some()
            || self.over_quota().is_some()
            || self.is_over_bounds()
            || self.more_to_bound
            || self.settled_segments().next().is_some()
    }

    /// Begins new segments where one is full, or of no use but for a little.
    fn begin_segments(&mut self) -> std::io::Result<bool> {
        let Logs {
            events,
            deliveries,
            seen,
        } = &mut self.database.logs;
        let routed_end = self.totals.routed_end;
        let retains = self.limits.retain_ms > 0;
        let (live, carried) = (&self.holdings.live, self.carried);
        let is_sparse =
            |at: Position| live_in(live, at.segment) + carried < at.offset / LIVE_FRACTION;
        let segment = events.end().segment;
        self.events_written.insert(segment, self.now_unix_ms);
        let mut begun = events.roll(|at| !retains && at == routed_end)?;
        if begun {
            self.events_written.insert(segment + 1, self.now_unix_ms);
        }
        if deliveries.roll(is_sparse)? {
            self.carried = 0;
            begun = true;
        }
        begun |= seen.roll(|_| false)?;
        Ok(begun)
    }

    /// Removes segments that nothing points to any more, and a `settled` one of deliveries.
    fn remove_segments(&mut self, settled: Option<u64>) -> std::io::Result<()> {
        // What the index says, not where the logs are by now: it may be read again as it is.
        let Totals {
            routed_end,
            seen_forgotten,
            seen_end,
            ..
        } = self.totals;
        let Logs {
            events,
            deliveries,
            seen,
        } = &mut self.database.logs;
        let retains = self.limits.retain_ms > 0;
        let retained_since = self.now_unix_ms.saturating_sub(self.limits.retain_ms);
        while let Some((segment, bytes)) = events.sizes().iter().next() {
            let written = self.events_written.get(segment).copied();
            let is_retained = retains
                && written.is_some_and(|at| at >= retained_since)
                && bytes_before(events, routed_end) <= self.limits.retain_bytes_max.max(*bytes);
            let segment = *segment;
            if segment >= routed_end.segment || is_retained {
                break;
            }
            events.remove(segment)?;
            self.events_written.remove(&segment);
        }
        if let Some(segment) = settled {
            deliveries.remove(segment)?;
            self.holdings.live.remove(&segment);
            self.moved_into.remove(&segment);
        }
        let is_forgotten = |segment: u64| {
            let last = self
                .seen_segments
                .get(&segment)
                .copied()
                .unwrap_or_default();
            segment < seen_end.segment && last <= seen_forgotten
        };
        for segment in segments(seen)
            .filter(|one| is_forgotten(*one))
            .collect::<Vec<_>>()
        {
            seen.remove(segment)?;
            self.seen_segments.remove(&segment);
        }
        Ok(())
    }

    /// Keeps within their bounds what is there only to be looked at, in a commit of its own: it looks at
    /// what is in the index, so nothing else may have been staged.
    fn bound(&mut self) -> Result<(), String> {
        let is_due = self.holdings.told_rows > 0
            && self.now_unix_ms - self.bounded_unix_ms >= BOUND_INTERVAL_MS;
        if !(is_due || self.more_to_bound || self.is_over_bounds()) {
            return Ok(());
        }
        self.bounded_unix_ms = self.now_unix_ms;
        let mut round = Round::default();
        let mut bounded = || -> Result<bool, StageError> {
            let quarantine = self.bound_quarantine(&mut round)?;
            let told = self.bound_told(&mut round)?;
            let dead = self.bound_dead(&mut round)?;
            Ok(quarantine | told | dead)
        };
        let more = bounded().map_err(|error| self.reason(error))?;
        self.more_to_bound = more;
        if round.indexed {
            self.commit_index(&mut round)?;
        }
        Ok(())
    }

    fn is_over_bounds(&self) -> bool {
        let (totals, limits) = (&self.totals, &self.limits);
        totals.quarantine_entries > limits.quarantine_entries_max
            || totals.quarantine_bytes > limits.quarantine_bytes_max
            || self.is_too_much_told(all_of)
            || self.holdings.dead > limits.dead_bytes_max
    }

    /// Keeps the newest; how many there ever were is in the ledger. Like the others it goes on until there
    /// is some room again, so that it is not needed with every commit, and says whether there is more to do.
    fn bound_quarantine(&mut self, round: &mut Round) -> Result<bool, StageError> {
        let db = self.database.index.db();
        let limits = &self.limits;
        for row in db.scan_prefix(keys::QUARANTINE).take(ROWS_PER_ROUND) {
            let totals = &mut self.totals;
            if totals.quarantine_entries <= with_room(limits.quarantine_entries_max)
                && totals.quarantine_bytes <= with_room(limits.quarantine_bytes_max)
            {
                return Ok(false);
            }
            round.indexed = true;
            let (key, stored) = row?;
            round.batch.remove(key);
            totals.quarantine_entries = totals.quarantine_entries.saturating_sub(1);
            totals.quarantine_bytes = totals.quarantine_bytes.saturating_sub(stored.len() as u64);
        }
        Ok(
            self.totals.quarantine_entries > self.limits.quarantine_entries_max
                || self.totals.quarantine_bytes > self.limits.quarantine_bytes_max,
        )
    }

    /// Whether more is kept of what was told than a part of what may be.
    fn is_too_much_told(&self, part: fn(u64) -> u64) -> bool {
        let bytes_max = match self.limits.keeps_detail() {
            true => self.limits.detail_bytes_max,
            false => 0,
        };
        self.holdings.told > part(bytes_max) || self.holdings.told_rows > part(TOLD_ROWS_MAX)
    }

    fn bound_told(&mut self, round: &mut Round) -> Result<bool, StageError> {
        let since = self.now_unix_ms.saturating_sub(self.limits.detail_ms);
        let was_too_much = self.is_too_much_told(all_of);
        let db = self.database.index.db();
        for row in db.scan_prefix(keys::TOLD).take(ROWS_PER_ROUND) {
            let (key, stored) = row?;
            let row = ToldRow::read(&stored)?;
            if row.told_unix_ms >= since && !(was_too_much && self.is_too_much_told(with_room)) {
                return Ok(false);
            }
            round.indexed = true;
            round.batch.remove(key);
            self.holdings.remove(Holder::Told, &row.held);
        }
        Ok(self.holdings.told_rows > 0)
    }

    /// Gives up the oldest dead letters when they are too many, and says so.
    fn bound_dead(&mut self, round: &mut Round) -> Result<bool, StageError> {
        if self.holdings.dead <= self.limits.dead_bytes_max {
            return Ok(false);
        }
        round.indexed = true;
        let db = self.database.index.db();
        let mut dropped: BTreeMap<String, shed::Counts> = BTreeMap::new();
        for row in db.scan_prefix(keys::DEAD).take(ROWS_PER_ROUND) {
            if self.holdings.dead <= with_room(self.limits.dead_bytes_max) {
                break;
            }
            let (key, stored) = row?;
            let message = keys::message(&key).unwrap_or_default();
            let DeadRow {
                held,
                channel,
                severity,
                ..
            } = DeadRow::read(&stored)?;
            round.batch.remove(key);
            self.holdings.remove(Holder::Dead, &held);
            let (count, to) = (held.count(), To::DroppedByQuota);
            self.count_as(&channel, held.class, count, To::Dead, to, round);
            let ranges = [(held.record_seq, held.from, held.to)];
            self.note_settled(message, SettledAs::Gone, &ranges);
            self.tally(severity, &held, dropped.entry(channel).or_default())?;
        }
        let why =
            "dead letters are over their quota (queue.dead_bytes_max), the oldest are given up";
        for (channel, counts) in dropped {
            self.announce(&channel, why, counts, round);
        }
        Ok(self.holdings.dead > self.limits.dead_bytes_max)
    }
}

fn all_of(most: u64) -> u64 {
    most
}

/// A bound, less a twentieth.
fn with_room(most: u64) -> u64 {
    most - most / 20
}

/// A segment of deliveries of which less than this part waits is given up.
pub(super) const LIVE_FRACTION: u64 = 4;

pub(super) fn live_in(live: &BTreeMap<u64, u64>, segment: u64) -> u64 {
    live.get(&segment).copied().unwrap_or_default()
}

fn segments(log: &Log) -> impl Iterator<Item = u64> {
    log.sizes().keys().copied()
}

/// Bytes of whole segments before a place.
pub(super) fn bytes_before(log: &Log, end: Position) -> u64 {
    let before = log.sizes().range(..end.segment);
    before.map(|(_, bytes)| bytes).sum()
}

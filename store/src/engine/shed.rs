//! A channel that is over its quota gives up its least severe waiting deliveries, oldest first, and is
//! told how many of what they were (promise P6: it harms only itself; P4: nothing disappears silently).
//!
//! A quota is over when what waits for one channel is more than `channel_bytes_max`, or when what waits
//! for all channels together is more than three quarters of `bytes_max`: then the largest backlog gives, so
//! that dead channels never bring the queue to the mark at which it refuses batches. It gives until a tenth
//! is free again, so that this does not happen with every batch. What is leased stays: it may have been
//! posted.
//!
//! What is dropped becomes exact counts by severity, cluster and route, in notices that wait among what is
//! critical. Notices of one channel that nobody has leased yet are put together, so a
//! channel that drops for weeks keeps one record of them.

use std::{collections::BTreeMap, time::Duration};

use auditrelay_audit::Severity;
use tokio::time::Instant;

use super::{
    holdings::{Holder, Row},
    keys,
    owner::Owner,
    read,
    records::{Held, SettledAs, Waits, small},
    settle::To,
    stage::{Round, StageError},
};
use crate::{
    DeliveriesEncoder, Notice,
    codec::{self, Class},
    log::Reader,
};

const ROWS_PER_ROUND: usize = 2_000;
const BYTES_PER_ROUND: u64 = 8 * 1024 * 1024;
/// Clusters and routes that are told apart; clients name clusters, so there may be any number.
const GROUPS_MAX: usize = 64;

/// Between two lines about deliveries that a channel gives up.
const SHED_LINES_INTERVAL: Duration = Duration::from_secs(600);

/// What the log was told of a channel that gives up deliveries.
#[derive(Debug, Default)]
pub(super) struct ShedTold {
    at: Option<Instant>,
    /// Dropped and not told yet.
    dropped: u64,
}

/// How many deliveries of which severity, cluster and route.
pub(super) type Counts = BTreeMap<(Severity, String, String), u64>;

/// Notices of what was dropped, as they wait in a channel.
pub(super) struct Tally {
    /// Their key's sequence.
    seq: u64,
    why: String,
    counts: Counts,
}

impl Owner {
    /// The channel that has to give, how much it may keep, and why.
    pub(super) fn over_quota(&self) -> Option<(&str, u64, String)> {
        if self.nothing_to_shed_at == Some(self.totals.commits) {
            return None;
        }
        let largest = self
            .holdings
            .channels
            .iter()
            .max_by_key(|(_, bytes)| **bytes);
        let (name, bytes) = largest?;
        let quota = self.limits.channel_bytes_max;
        if *bytes > quota {
            let why =
                format!("its backlog reached its quota of {quota} bytes (queue.channel_bytes_max)");
            return Some((name, quota - quota / 10, why));
        }
        let all_max = self.limits.bytes_max / 4 * 3;
        let all = self.holdings.waiting();
        if all > all_max {
            let why = "the backlogs of all channels reached three quarters of queue.bytes_max and this is \
                       the largest";
            let less = all - all_max + all_max / 10;
            return Some((name, bytes.saturating_sub(less), why.to_owned()));
        }
        None
    }

    /// Tells that a channel gives up deliveries: at once, and while it goes on every ten minutes what came to that.
    fn tell_of_shed(&mut self, channel: &str, dropped: u64, why: &str) {
        let now = Instant::now();
        let told = self.shed_told.entry(channel.to_owned()).or_default();
        told.dropped += dropped;
        let is_recent = |at: Instant| now.duration_since(at) < SHED_LINES_INTERVAL;
        if told.at.is_some_and(is_recent) {
            return;
        }
        told.at = Some(now);
        tracing::warn!(
            channel,
            dropped = std::mem::take(&mut told.dropped),
            reason = why,
            "deliveries are dropped, least severe and oldest first; they are counted and told in the channel, and \
             others are not touched: mend the channel, or raise what the reason names"
        );
    }

    /// Drops a piece of what has to be given up, in a commit of its own.
    pub(super) fn shed(&mut self) -> Result<(), StageError> {
        let Some((channel, keep, why)) = self.over_quota() else {
            return Ok(());
        };
        let channel = channel.to_owned();
        let mut round = Round::default();
        let mut counts = Counts::default();
        let dropped = self.drop_some(&channel, keep, &mut counts, &mut round)?;
        if dropped == 0 {
            // All of it is leased; looked at again after the next commit.
            self.nothing_to_shed_at = Some(self.totals.commits);
            return Ok(());
        }
        self.tell_of_shed(&channel, dropped, &why);
        self.announce(&channel, &why, counts, &mut round);
        self.commit_index(&mut round).map_err(StageError::Failed)
    }

    fn drop_some(
        &mut self,
        channel: &str,
        keep: u64,
        counts: &mut Counts,
        round: &mut Round,
    ) -> Result<u64, StageError> {
        let db = self.database.index.db();
        let leased = read::seal(&db, channel)?
            .map(|seal| seal.slices)
            .unwrap_or_default();
        let own = self.tallies.get(channel).map(|tally| tally.seq);
        let (mut rows, mut bytes, mut dropped) = (0, 0, 0);
        let mut ranges = Vec::new();
        let has_copies = self
            .channels
            .get(channel)
            .is_some_and(|row| row.copies.waiting > 0);
        // Copies were told before. Notices stay: they are what is told of what went.
        let copies = has_copies.then_some(Class::Copies);
        let turns = copies.into_iter().chain([Class::Events]).flat_map(|class| {
            let severities = Severity::ALL.into_iter().rev();
            severities.map(move |severity| (class, severity))
        });
        for (class, severity) in turns {
            for row in db.scan_prefix(keys::waiting_of_severity(channel, severity)) {
                let is_enough = self.holdings.channel(channel) <= keep
                    || rows == ROWS_PER_ROUND
                    || bytes >= BYTES_PER_ROUND;
                if is_enough {
                    break;
                }
                let (key, stored) = row?;
                let (_, _, seq) = keys::read_waiting(&key).unwrap_or(("", severity, 0));
                if leased.iter().any(|slice| slice.seq == seq) || own == Some(seq) {
                    continue;
                }
                let held: Held = small(&stored)?;
                if held.class != class {
                    continue;
                }
                rows += 1;
                bytes += u64::from(held.place.bytes);
                dropped += held.count();
                self.tally(severity, &held, counts)?;
                round.batch.remove(key);
                let row = Row {
                    channel,
                    severity,
                    seq,
                    waits: Waits::default(),
                };
                self.holdings.remove(Holder::Channel(row), &held);
                let (count, to) = (held.count(), To::DroppedByQuota);
                self.count_as(channel, held.class, count, To::Waiting, to, round);
                ranges.push((held.record_seq, held.from, held.to));
            }
        }
        if !ranges.is_empty() {
            self.note_settled(0, SettledAs::Gone, &ranges);
        }
        Ok(dropped)
    }

    /// Adds deliveries to counts. Of notices only the number is kept.
    pub(super) fn tally(
        &self,
        severity: Severity,
        held: &Held,
        counts: &mut Counts,
    ) -> Result<(), StageError> {
        if held.class == Class::Notices {
            add(counts, severity, "", "", held.count());
            return Ok(());
        }
        let mut reader = Reader::new(self.database.logs.deliveries.files().clone());
        let record = reader.read(held.place)?;
        let (_, rest) = codec::take_address(record.payload())?;
        let range = held.from - held.first..held.to - held.first;
        codec::told_by(rest, range, |cluster, route| {
            add(counts, severity, cluster, route, 1);
        })?;
        Ok(())
    }

    /// Tells the channel what was dropped, together with what was before and nobody has leased yet.
    pub(super) fn announce(
        &mut self,
        channel: &str,
        why: &str,
        mut counts: Counts,
        round: &mut Round,
    ) {
        if let Some(before) = self.tallies.remove(channel)
            && before.why == why
            && self.take_back(channel, &before, round)
        {
            for ((severity, cluster, route), events) in before.counts {
                add(&mut counts, severity, &cluster, &route, events);
            }
        }
        let mut notices = DeliveriesEncoder::default();
        for ((severity, cluster, route), events) in &counts {
            notices.push_notice(Notice {
                text: notice(*severity, route, why),
                events: *events,
                cluster: cluster.clone(),
            });
        }
        let Some(packed) = notices.finish().notices else {
            return;
        };
        // The next sequence is that of the record.
        let seq = self.totals.next_seq;
        let (class, since) = (Class::Notices, self.now_unix_ms);
        self.deliver(channel, Severity::Critical, class, &packed, since, round);
        let why = why.to_owned();
        let tally = Tally { seq, why, counts };
        self.tallies.insert(channel.to_owned(), tally);
    }

    /// Takes notices out again, if they wait and are not leased.
    fn take_back(&mut self, channel: &str, tally: &Tally, round: &mut Round) -> bool {
        let db = self.database.index.db();
        let key = keys::waiting(channel, Severity::Critical, tally.seq);
        let held = match db.get(&key) {
            Ok(Some(stored)) => small::<Held>(&stored).ok(),
            _ => None,
        };
        let is_leased = !matches!(
            read::seal(&db, channel).map(|seal| {
                seal.is_some_and(|seal| seal.slices.iter().any(|one| one.seq == tally.seq))
            }),
            Ok(false)
        );
        let Some(held) = held.filter(|held| !is_leased && held.from == 0) else {
            return false;
        };
        round.batch.remove(key);
        let row = Row {
            channel,
            severity: Severity::Critical,
            seq: tally.seq,
            waits: Waits::default(),
        };
        self.holdings.remove(Holder::Channel(row), &held);
        self.count(channel, Class::Notices, round, |mut counts| {
            counts.take_back(held.count());
        });
        self.note_settled(0, SettledAs::Gone, &[(held.record_seq, held.from, held.to)]);
        true
    }
}

fn add(counts: &mut Counts, severity: Severity, cluster: &str, route: &str, events: u64) {
    let key = (severity, cluster.to_owned(), route.to_owned());
    if counts.len() >= GROUPS_MAX && !counts.contains_key(&key) {
        let rest = (severity, "other clusters".to_owned(), String::new());
        *counts.entry(rest).or_default() += events;
    } else {
        *counts.entry(key).or_default() += events;
    }
}

fn notice(severity: Severity, route: &str, why: &str) -> String {
    let severity = severity.as_str();
    let route = if route.is_empty() {
        String::new()
    } else {
        format!(", route {route}")
    };
    format!("({severity}{route}) dropped and only counted: {why}")
}

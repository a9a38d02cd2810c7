//! What ends deliveries, or begins them again: a lease is sealed and settled, a dead letter is raised or
//! given up.

use auditrelay_audit::Severity;

use super::{
    holdings::{Holder, Row},
    job::{Answer, Fate},
    keys,
    owner::Owner,
    records::{DeadRow, Held, Seal, SettledAs, Slice, ToldRow, Waits, small},
    stage::{Counter, Round, StageError},
};
use crate::{Posted, QueueError, codec::Class, frame::Damaged};

/// A longer reason is cut.
const REASON_BYTES_MAX: usize = 500;

/// Where deliveries go in a channel's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Delivered,
    Waiting,
    Dead,
    DroppedByQuota,
    DroppedByCommand,
}

impl Owner {
    pub(super) fn settle(
        &mut self,
        channel: &str,
        lease: u64,
        fate: Fate,
        round: &mut Round,
    ) -> Result<Answer, StageError> {
        let seal = match self.database.index.db().get(keys::seal(channel))? {
            Some(stored) => Seal::read(&stored)?,
            None => return Err(not_held(channel, lease)),
        };
        if seal.id != lease {
            return Err(not_held(channel, lease));
        }
        round.batch.remove(keys::seal(channel));
        let (mut gave_way, mut posted) = (None, None);
        let (to, settled) = match fate {
            Fate::Waits => return Ok(Answer::Done),
            Fate::Delivered(accepted) => {
                self.now_unix_ms = self.now_unix_ms.max(accepted.now_unix_ms);
                if let Some(thread) = accepted.thread {
                    gave_way = self.begin_thread(channel, lease, thread, round);
                }
                posted = accepted.posted.filter(Posted::fits);
                (To::Delivered, SettledAs::Gone)
            }
            Fate::Dead(mut burial) => {
                shorten(&mut burial.reason);
                self.now_unix_ms = self.now_unix_ms.max(burial.last_unix_ms);
                (To::Dead, SettledAs::Dead(burial))
            }
        };
        round.settled.insert(channel.to_owned());
        let mut ranges = Vec::with_capacity(seal.slices.len());
        for (n, slice) in (0..).zip(&seal.slices) {
            let (held, waits) = self.take(channel, slice, round)?;
            ranges.push((held.record_seq, held.from, held.to));
            self.count_as(channel, held.class, held.count(), To::Waiting, to, round);
            let taken = (held, waits, posted.clone());
            self.keep(lease, n, channel, slice.severity, taken, &settled, round);
        }
        self.note_settled(lease, settled, &ranges);
        Ok(Answer::GaveWay(gave_way))
    }

    /// Seals a lease, if all of it waits as it did when it was read.
    pub(super) fn seal(
        &mut self,
        channel: &str,
        slices: Vec<Slice>,
        now_unix_ms: i64,
        round: &mut Round,
    ) -> Result<Answer, StageError> {
        for slice in &slices {
            let key = keys::waiting(channel, slice.severity, slice.seq);
            let Some(stored) = self.database.index.db().get(key)? else {
                return Ok(Answer::Stale);
            };
            let held: Held = small(&stored)?;
            if (held.from, held.to) != (slice.from, slice.of) {
                return Ok(Answer::Stale);
            }
        }
        let id = self.next_seq();
        let seal = Seal {
            id,
            slices,
            sealed_unix_ms: now_unix_ms,
        };
        round.batch.insert(keys::seal(channel), seal.stored());
        Ok(Answer::Leased(id))
    }

    /// Takes a slice from those that wait; says too how it waited.
    fn take(
        &mut self,
        channel: &str,
        slice: &Slice,
        round: &mut Round,
    ) -> Result<(Held, Waits), StageError> {
        let key = keys::waiting(channel, slice.severity, slice.seq);
        let stored = self.database.index.db().get(&key)?;
        let stored = stored.ok_or(Damaged("a leased block is missing"))?;
        let (held, mut waits) = Held::read_waiting(&stored)?;
        waits.passed |= self.has_passed(channel, slice.severity, slice.seq);
        if slice.to == slice.of {
            round.batch.remove(key);
            let row = Row {
                channel,
                severity: slice.severity,
                seq: slice.seq,
                waits,
            };
            self.holdings.remove(Holder::Channel(row), &held);
        } else {
            let taken = u64::from(slice.to - held.from);
            self.holdings.took(channel, slice.severity, taken);
            let rest = Held {
                from: slice.to,
                ..held.clone()
            };
            round.batch.insert(key, rest.put_into(&stored)?);
        }
        let taken = Held {
            from: slice.from,
            to: slice.to,
            ..held
        };
        Ok((taken, waits))
    }

    /// Keeps what was settled, as a dead letter or to be looked at.
    #[expect(clippy::too_many_arguments, reason = "a row has so many columns")]
    fn keep(
        &mut self,
        message: u64,
        n: u16,
        channel: &str,
        severity: Severity,
        (held, waits, posted): (Held, Waits, Option<Posted>),
        settled: &SettledAs,
        round: &mut Round,
    ) {
        let channel = channel.to_owned();
        match settled {
            SettledAs::Dead(burial) => {
                self.holdings.add(Holder::Dead, &held);
                let row = DeadRow {
                    held,
                    channel,
                    severity,
                    burial: burial.clone(),
                    waits,
                };
                round
                    .batch
                    .insert(keys::dead(message, n), row.stored(message));
            }
            SettledAs::Gone if self.limits.keeps_detail() => {
                self.holdings.add(Holder::Told, &held);
                let row = ToldRow {
                    held,
                    channel,
                    severity,
                    told_unix_ms: self.now_unix_ms,
                    posted,
                };
                round
                    .batch
                    .insert(keys::told(message, n), row.stored(message));
            }
            SettledAs::Gone | SettledAs::Waits => {}
        }
    }

    /// Moves deliveries of a channel from one count to another.
    pub(super) fn count_as(
        &mut self,
        channel: &str,
        class: Class,
        count: u64,
        from: To,
        to: To,
        round: &mut Round,
    ) {
        self.count(channel, class, round, |mut counts| {
            *counts.at(from) -= count;
            *counts.at(to) += count;
        });
    }

    /// Dead letters wait again; those that were there.
    pub(super) fn redrive(
        &mut self,
        messages: &[u64],
        round: &mut Round,
    ) -> Result<Answer, StageError> {
        self.raise(messages, round, |owner, row, round| {
            let DeadRow {
                held,
                channel,
                severity,
                waits,
                ..
            } = row;
            let row = Row {
                channel,
                severity: *severity,
                seq: owner.next_seq(),
                waits: *waits,
            };
            owner.wait(row, held, round);
            let count = held.count();
            owner.count_as(channel, held.class, count, To::Dead, To::Waiting, round);
            SettledAs::Waits
        })
    }

    /// Dead letters are given up; those that were there.
    pub(super) fn drop_dead(
        &mut self,
        messages: &[u64],
        round: &mut Round,
    ) -> Result<Answer, StageError> {
        self.raise(messages, round, |owner, row, round| {
            let (held, count) = (&row.held, row.held.count());
            let to = To::DroppedByCommand;
            owner.count_as(&row.channel, held.class, count, To::Dead, to, round);
            SettledAs::Gone
        })
    }

    /// Takes dead letters out, each once, and does something with each of their rows.
    fn raise(
        &mut self,
        messages: &[u64],
        round: &mut Round,
        mut each: impl FnMut(&mut Self, &DeadRow, &mut Round) -> SettledAs,
    ) -> Result<Answer, StageError> {
        let mut found = Vec::new();
        for message in messages {
            if !round.raised.insert(*message) {
                continue;
            }
            let rows = self
                .database
                .index
                .db()
                .scan_prefix(keys::dead_of(*message));
            let mut ranges = Vec::new();
            let mut fate = SettledAs::Gone;
            for row in rows {
                let (key, stored) = row?;
                let row = DeadRow::read(&stored)?;
                round.batch.remove(key);
                self.holdings.remove(Holder::Dead, &row.held);
                fate = each(self, &row, round);
                ranges.push((row.held.record_seq, row.held.from, row.held.to));
            }
            if !ranges.is_empty() {
                self.note_settled(*message, fate, &ranges);
                found.push(*message);
            }
        }
        Ok(Answer::Messages(found))
    }
}

impl Counter<'_> {
    /// Something that was queued and is put together with something else.
    pub(super) fn take_back(&mut self, count: u64) {
        if let Self::Others(counts) = self {
            counts.queued -= count;
            counts.waiting -= count;
        }
    }

    fn at(&mut self, to: To) -> &mut u64 {
        match (self, to) {
            (Self::Events(counts), To::Delivered) => &mut counts.delivered,
            (Self::Events(counts), To::Waiting) => &mut counts.waiting,
            (Self::Events(counts), To::Dead) => &mut counts.dead,
            (Self::Events(counts), To::DroppedByQuota) => &mut counts.dropped.quota,
            (Self::Events(counts), To::DroppedByCommand) => &mut counts.dropped.command,
            (Self::Others(counts), To::Delivered) => &mut counts.delivered,
            (Self::Others(counts), To::Waiting) => &mut counts.waiting,
            (Self::Others(counts), To::Dead) => &mut counts.dead,
            (Self::Others(counts), To::DroppedByQuota | To::DroppedByCommand) => {
                &mut counts.dropped
            }
        }
    }
}

fn shorten(reason: &mut String) {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason.truncate(end);
}

impl crate::Limits {
    /// Whether what a message stood for is kept at all.
    pub(super) fn keeps_detail(&self) -> bool {
        self.detail_ms > 0 && self.detail_bytes_max > 0
    }
}

fn not_held(channel: &str, lease: u64) -> StageError {
    StageError::Refused(QueueError::NotHeld {
        channel: channel.to_owned(),
        lease,
    })
}

//! The one writer: a thread that commits everything which waits, together.
//!
//! Invariants:
//! * all jobs of a round go into one `apply_batch`, then one flush and one `fdatasync`, and only then is
//!   anybody answered; a round under way is what lets the next one gather (group commit);
//! * the ledger's counters are part of the same batch;
//! * after the first failure nothing is ever committed again: sled's errors are sticky, and what is
//!   on disk is no longer known.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
};

use tokio::sync::oneshot;

use super::{
    files::{Counters, Database},
    job::{Fate, Job, Op, PackedRoute, Seal, Slice, Totals, gather, small},
    keys,
    shared::Shared,
};
use crate::{
    ChannelCounts, Ledger, NoticeCounts, QueueError,
    codec::{self, Packed},
    frame::{self, Damaged, Kind},
};

pub(super) struct Owner {
    database: Database,
    shared: Arc<Shared>,
    totals: Totals,
    channels: BTreeMap<String, (ChannelCounts, NoticeCounts)>,
    quarantine_entries_max: u64,
}

/// One round: what will be applied, and whom it touches.
#[derive(Default)]
struct Round {
    batch: sled::Batch,
    touched: BTreeSet<String>,
    appended: bool,
}

enum StageError {
    Refused(QueueError),
    Failed(String),
}

impl From<sled::Error> for StageError {
    fn from(error: sled::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Damaged> for StageError {
    fn from(error: Damaged) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Owner {
    pub(super) fn new(
        database: Database,
        shared: Arc<Shared>,
        counters: Counters,
        quarantine_entries_max: u64,
    ) -> Self {
        let Counters { totals, channels } = counters;
        let owner = Self {
            database,
            shared,
            totals,
            channels,
            quarantine_entries_max,
        };
        owner.publish(&owner.channels.keys().cloned().collect());
        owner
    }

    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let _ended = FailAtEnd(Arc::clone(&self.shared));
        while let Ok(first) = jobs.recv() {
            let gathered = gather(first, jobs);
            if let Err((reason, replies)) = self.round(gathered) {
                let error = self.shared.fail(&reason);
                for reply in replies {
                    // A caller that has gone needs no answer.
                    let _ = reply.send(Err(error.clone()));
                }
                while let Ok(job) = jobs.recv() {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
        }
    }

    #[expect(
        clippy::type_complexity,
        reason = "the error is what the caller has to answer"
    )]
    fn round(
        &mut self,
        jobs: Vec<Job>,
    ) -> Result<(), (String, Vec<oneshot::Sender<Result<u64, QueueError>>>)> {
        let mut round = Round::default();
        let mut answers = Vec::with_capacity(jobs.len());
        let mut failure = None;
        for Job { op, reply } in jobs {
            match self.stage(op, &mut round) {
                Ok(value) => answers.push((reply, value)),
                Err(StageError::Refused(error)) => drop(reply.send(Err(error))),
                Err(StageError::Failed(reason)) => {
                    answers.push((reply, 0));
                    failure.get_or_insert(reason);
                }
            }
        }
        let committed = match failure {
            Some(reason) => Err(reason),
            None => self.commit(&mut round),
        };
        if let Err(reason) = committed {
            return Err((
                reason,
                answers.into_iter().map(|(reply, _)| reply).collect(),
            ));
        }
        self.publish(&round.touched);
        if round.appended {
            self.shared.appended.notify_one();
        }
        for (reply, value) in answers {
            let _ = reply.send(Ok(value));
        }
        Ok(())
    }

    fn commit(&mut self, round: &mut Round) -> Result<(), String> {
        self.bound_quarantine(round)
            .map_err(|error| error.to_string())?;
        round.batch.insert(keys::TOTALS, self.totals.stored());
        for name in &round.touched {
            let counts = codec::plain(&self.channels[name]);
            round.batch.insert(
                keys::channel_counts(name),
                frame::single(Kind::Channel, 0, &counts),
            );
        }
        let batch = std::mem::take(&mut round.batch);
        catch_unwind(AssertUnwindSafe(|| {
            self.database
                .db
                .apply_batch(batch)
                .map_err(|error| error.to_string())?;
            self.database.sync()
        }))
        .unwrap_or_else(|_| Err("sled panicked".to_owned()))
    }

    fn stage(&mut self, op: Op, round: &mut Round) -> Result<u64, StageError> {
        match op {
            Op::Append { blocks, events } => self.append(&blocks, events, round),
            Op::Route(routes) => {
                for route in routes {
                    self.route(route, round)?;
                }
            }
            Op::ForgetSeen { seq } => {
                for row in self.database.db.range(keys::seen(0)..keys::seen(seq + 1)) {
                    round.batch.remove(row?.0);
                }
            }
            Op::Seal { channel, slices } => return Ok(self.seal(&channel, slices, round)),
            Op::Settle {
                channel,
                lease,
                fate,
            } => self.settle(&channel, lease, fate, round)?,
        }
        Ok(0)
    }

    fn append(&mut self, blocks: &[Packed], events: u64, round: &mut Round) {
        for block in blocks {
            let seq = self.next_seq();
            round.put(Kind::Block, seq, keys::block(seq), block);
        }
        self.totals.received += events;
        self.totals.waiting += events;
        round.appended = true;
    }

    fn route(&mut self, route: PackedRoute, round: &mut Round) -> Result<(), StageError> {
        self.remove_parts(&keys::block(route.seq), round)?;
        if let Some((items, keys_bytes)) = route.seen {
            let packed = Packed {
                items,
                plain_bytes: keys_bytes.len() as u32,
                payload: keys_bytes,
            };
            round.put(Kind::Seen, route.seq, keys::seen(route.seq), &packed);
        }
        for (channel, severity, kind, packed) in route.deliveries {
            let seq = self.next_seq();
            round.put(
                kind,
                seq,
                keys::deliveries(&channel, severity, seq),
                &packed,
            );
            let (counts, notices) = self.channels.entry(channel.clone()).or_default();
            if kind == Kind::Notices {
                notices.queued += u64::from(packed.items);
            } else {
                counts.routed += u64::from(packed.items);
                counts.waiting += u64::from(packed.items);
            }
            round.touched.insert(channel);
        }
        for record in route.quarantine {
            let seq = self.next_seq();
            round.batch.insert(
                keys::quarantine(seq),
                frame::single(Kind::Quarantine, seq, &record),
            );
            self.totals.quarantine_entries += 1;
        }
        self.totals.counts.add(&route.counts);
        self.totals.waiting -= route.counts.total();
        Ok(())
    }

    /// Keeps the newest records; how many there ever were is in the ledger. Once a round, since it
    /// looks at what was committed before.
    fn bound_quarantine(&mut self, round: &mut Round) -> Result<(), sled::Error> {
        let over = self
            .totals
            .quarantine_entries
            .saturating_sub(self.quarantine_entries_max);
        for row in self
            .database
            .db
            .scan_prefix(keys::QUARANTINE)
            .take(over as usize)
        {
            round.batch.remove(row?.0);
            self.totals.quarantine_entries -= 1;
        }
        Ok(())
    }

    fn seal(&mut self, channel: &str, slices: Vec<Slice>, round: &mut Round) -> u64 {
        let id = self.next_seq();
        let bytes = codec::plain(&Seal { id, slices });
        round
            .batch
            .insert(keys::seal(channel), frame::single(Kind::Seal, id, &bytes));
        id
    }

    fn settle(
        &mut self,
        channel: &str,
        lease: u64,
        fate: Fate,
        round: &mut Round,
    ) -> Result<(), StageError> {
        let seal = match self.database.db.get(keys::seal(channel))? {
            Some(stored) => small::<Seal>(&stored)?,
            None => return Err(not_held(channel, lease)),
        };
        if seal.id != lease {
            return Err(not_held(channel, lease));
        }
        round.batch.remove(keys::seal(channel));
        if matches!(fate, Fate::Waits) {
            return Ok(());
        }
        for slice in &seal.slices {
            let consumed = keys::consumed(channel, slice.severity, slice.seq);
            if slice.to == slice.of {
                self.remove_parts(&keys::deliveries(channel, slice.severity, slice.seq), round)?;
                round.batch.remove(consumed);
            } else {
                let to = slice.to.to_be_bytes();
                round
                    .batch
                    .insert(consumed, frame::single(Kind::Consumed, slice.seq, &to));
            }
            let count = u64::from(slice.to - slice.from);
            let (counts, notices) = self.channels.entry(channel.to_owned()).or_default();
            match (&fate, slice.notices) {
                (Fate::Dead(_), true) => notices.dead += count,
                (_, true) => notices.delivered += count,
                (Fate::Dead(_), false) => {
                    (counts.dead, counts.waiting) = (counts.dead + count, counts.waiting - count)
                }
                (_, false) => {
                    (counts.delivered, counts.waiting) =
                        (counts.delivered + count, counts.waiting - count)
                }
            }
        }
        if let Fate::Dead(packed) = &fate {
            round.put(Kind::Dead, lease, keys::dead(channel, lease), packed);
        }
        round.touched.insert(channel.to_owned());
        Ok(())
    }

    fn remove_parts(&self, key: &[u8], round: &mut Round) -> Result<(), sled::Error> {
        for row in self.database.db.scan_prefix(key) {
            round.batch.remove(row?.0);
        }
        Ok(())
    }

    fn next_seq(&mut self) -> u64 {
        let seq = self.totals.next_seq;
        self.totals.next_seq += 1;
        seq
    }

    fn publish(&self, touched: &BTreeSet<String>) {
        self.shared.update(|ledger: &mut Ledger| {
            ledger.received = self.totals.received;
            ledger.counts = self.totals.counts;
            ledger.waiting = self.totals.waiting;
            for name in touched {
                let (counts, notices) = self.channels[name];
                ledger.channels.insert(name.clone(), counts);
                ledger.notices.insert(name.clone(), notices);
            }
        });
        for name in touched {
            self.shared.channel(name).notify_one();
        }
    }
}

/// A writer that ended, by a panic too, is a queue that failed: nobody may wait for it.
struct FailAtEnd(Arc<Shared>);

impl Drop for FailAtEnd {
    fn drop(&mut self) {
        self.0.fail("the queue's writer ended");
    }
}

impl Round {
    fn put(&mut self, kind: Kind, seq: u64, key: Vec<u8>, packed: &Packed) {
        for (part, bytes) in
            frame::frames(kind, seq, packed.items, packed.plain_bytes, &packed.payload)
        {
            self.batch.insert(keys::part(key.clone(), part), bytes);
        }
    }
}

fn not_held(channel: &str, lease: u64) -> StageError {
    StageError::Refused(QueueError::NotHeld {
        channel: channel.to_owned(),
        lease,
    })
}

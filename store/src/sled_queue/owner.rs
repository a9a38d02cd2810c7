//! The one writer: a thread that commits everything which waits, together.
//!
//! A round has two commits. First the log of appended events is written and synced, and who appended
//! is answered. Then the logs of deliveries and seen keys are written and synced, and after them the
//! index that points into them, in one `apply_batch`, one flush and one `fdatasync`; only then are the
//! others answered. A round under way is what lets the next one gather (group commit).
//!
//! Invariants:
//! * nobody is answered before the commit that covers them, and nothing points to what is not durable;
//! * the ledger's counters are part of the index's batch. Events that were appended and not routed are
//!   counted by reading their log, so an append needs no index;
//! * after the first failure nothing is ever committed again: sled's errors are sticky, and what is
//!   on disk is no longer known.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
};

use tokio::sync::oneshot;

use super::{
    compact::Moving,
    files::{self, Database},
    job::{Job, Op, Totals, gather},
    keys,
    recover::Counters,
    shared::{Shared, locked},
    stage::{Round, StageError},
};
use crate::{
    ChannelCounts, Ledger, OtherCounts, QueueError, codec,
    frame::{self, Kind},
    log::LogFiles,
};

pub(super) struct Owner {
    pub(super) database: Database,
    pub(super) shared: Arc<Shared>,
    pub(super) totals: Totals,
    pub(super) channels: BTreeMap<String, (ChannelCounts, OtherCounts)>,
    quarantine_entries_max: u64,
    /// Appended and not routed.
    pub(super) waiting: u64,
    /// Bytes of deliveries that wait, by the segment they are in.
    pub(super) live: BTreeMap<u64, u64>,
    /// The last block whose keys are in a segment.
    pub(super) seen_segments: BTreeMap<u64, u64>,
    /// The segment that what waits is being moved out of.
    pub(super) moving: Option<Moving>,
    /// The oldest segment of appended events that there is.
    oldest_events: u64,
}

type Reply = oneshot::Sender<Result<u64, QueueError>>;

/// What ended the queue, and who still waits for an answer.
type Ended = (String, Vec<Reply>);

impl Owner {
    pub(super) fn new(
        database: Database,
        shared: Arc<Shared>,
        counters: Counters,
        quarantine_entries_max: u64,
    ) -> Self {
        let Counters {
            totals,
            channels,
            unrouted,
            live,
            seen_segments,
        } = counters;
        let oldest_events = totals.routed_end.segment;
        let owner = Self {
            database,
            shared,
            totals,
            channels,
            quarantine_entries_max,
            waiting: unrouted.iter().map(|block| u64::from(block.items)).sum(),
            live,
            seen_segments,
            moving: None,
            oldest_events,
        };
        *locked(&owner.shared.unrouted) = unrouted;
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

    fn round(&mut self, jobs: Vec<Job>) -> Result<(), Ended> {
        let mut round = Round::default();
        let (mut appends, mut others) = (Vec::new(), Vec::new());
        let mut failure = None;
        for Job { op, reply } in jobs {
            let is_append = matches!(op, Op::Append { .. });
            match self.stage(op, &mut round) {
                Ok(_) if is_append => appends.push(reply),
                Ok(value) => others.push((reply, value)),
                Err(StageError::Refused(error)) => drop(reply.send(Err(error))),
                Err(StageError::Failed(reason)) => {
                    others.push((reply, 0));
                    failure.get_or_insert(reason);
                }
                Err(StageError::Damaged(reason)) => {
                    others.push((reply, 0));
                    failure.get_or_insert(self.damaged(reason));
                }
            }
        }
        let appended = match failure {
            Some(reason) => Err(reason),
            None => self.commit_events(&mut round),
        };
        if let Err(reason) = appended {
            appends.extend(others.into_iter().map(|(reply, _)| reply));
            return Err((reason, appends));
        }
        for reply in appends {
            // A caller that has gone needs no answer.
            let _ = reply.send(Ok(0));
        }
        if round.indexed
            && let Err(reason) = self.commit_index(&mut round)
        {
            let waiting = others.into_iter().map(|(reply, _)| reply).collect();
            return Err((reason, waiting));
        }
        for (reply, value) in others {
            let _ = reply.send(Ok(value));
        }
        self.tidy_up().map_err(|reason| (reason, Vec::new()))
    }

    /// Notes it, so that the next start does not end at the same record.
    pub(super) fn damaged(&self, reason: String) -> String {
        files::mark_damaged(&self.database.data_dir, &reason);
        reason
    }

    /// Makes what was appended durable, and tells the router.
    fn commit_events(&mut self, round: &mut Round) -> Result<(), String> {
        if round.appended.is_empty() {
            return Ok(());
        }
        let log = &mut self.database.logs.events;
        log.commit()
            .map_err(|error| format!("the log of events: {error}"))?;
        let events: u64 = round
            .appended
            .iter()
            .map(|block| u64::from(block.items))
            .sum();
        locked(&self.shared.unrouted).extend(round.appended.drain(..));
        // Only these: what else was counted in this round is not durable yet.
        self.shared.update(|ledger| {
            ledger.received += events;
            ledger.waiting += events;
        });
        self.shared.appended.notify_one();
        Ok(())
    }

    fn commit_index(&mut self, round: &mut Round) -> Result<(), String> {
        self.bound_quarantine(round)
            .map_err(|error| error.to_string())?;
        let logs = &mut self.database.logs;
        for (log, what) in [
            (&mut logs.deliveries, "deliveries"),
            (&mut logs.seen, "seen keys"),
        ] {
            log.commit()
                .map_err(|error| format!("the log of {what}: {error}"))?;
        }
        self.totals.deliveries_end = logs.deliveries.end();
        self.totals.seen_end = logs.seen.end();
        self.totals.events_end = logs.events.end();
        let routed = round.routed.len();
        let next = locked(&self.shared.unrouted).get(routed).copied();
        self.totals.routed_end = next.map_or(logs.events.end(), |block| block.place.start);
        for name in &round.touched {
            let counts = codec::plain(&self.channels[name]);
            round.batch.insert(
                keys::channel_counts(name),
                frame::single(Kind::Channel, 0, &counts),
            );
        }
        let batch = std::mem::take(&mut round.batch);
        self.commit_batch(batch)?;
        locked(&self.shared.unrouted).drain(..routed);
        self.publish(&round.touched);
        Ok(())
    }

    /// Changes the index, durably, with the totals.
    pub(super) fn commit_batch(&self, mut batch: sled::Batch) -> Result<(), String> {
        batch.insert(keys::TOTALS, self.totals.stored());
        catch_unwind(AssertUnwindSafe(|| {
            self.database
                .db
                .apply_batch(batch)
                .map_err(|error| error.to_string())?;
            self.database.sync()
        }))
        .unwrap_or_else(|_| Err("sled panicked".to_owned()))
    }

    /// Begins new segments where one is full, and removes those that nothing points to any more.
    fn tidy_up(&mut self) -> Result<(), String> {
        let logs = &mut self.database.logs;
        // What the index says, not where the logs are by now: it may be read again as it is.
        let Totals {
            routed_end,
            seen_forgotten,
            deliveries_end,
            seen_end,
            ..
        } = self.totals;
        let mut tidy = || -> std::io::Result<()> {
            for log in [&mut logs.events, &mut logs.deliveries, &mut logs.seen] {
                log.roll()?;
            }
            for segment in self.oldest_events..routed_end.segment {
                logs.events.files().remove(segment)?;
            }
            self.oldest_events = routed_end.segment;
            remove_where(&mut self.live, logs.deliveries.files(), |segment, live| {
                live == 0 && segment < deliveries_end.segment
            })?;
            remove_where(
                &mut self.seen_segments,
                logs.seen.files(),
                |segment, last| last <= seen_forgotten && segment < seen_end.segment,
            )
        };
        tidy().map_err(|error| format!("the logs' segments: {error}"))?;
        self.compact()
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

    fn publish(&self, touched: &BTreeSet<String>) {
        self.shared.update(|ledger: &mut Ledger| {
            ledger.received = self.totals.counts.total() + self.waiting;
            ledger.counts = self.totals.counts;
            ledger.waiting = self.waiting;
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

/// Removes the segments that `is_done` says of, by number and what is noted of them.
fn remove_where(
    segments: &mut BTreeMap<u64, u64>,
    files: &LogFiles,
    is_done: impl Fn(u64, u64) -> bool,
) -> std::io::Result<()> {
    let done: Vec<u64> = segments
        .iter()
        .filter(|(segment, noted)| is_done(**segment, **noted))
        .map(|(segment, _)| *segment)
        .collect();
    for segment in done {
        files.remove(segment)?;
        segments.remove(&segment);
    }
    Ok(())
}

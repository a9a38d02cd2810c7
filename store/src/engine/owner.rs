//! The one writer: a thread that commits everything which waits, together.
//!
//! A round has two commits. First the log of appended events is written and synced, and who appended
//! is answered. Then the logs of deliveries and seen keys are written and synced, and after them the
//! index that points into them, in one `apply_batch`, one flush and one `fdatasync`; only then are the
//! others answered. A round under way is what lets the next one gather (group commit). What is left to
//! tidy up ([`super::tidy`]) follows a round, in bounded pieces, and goes on while nothing else is asked.
//!
//! Invariants:
//! * nobody is answered before the commit that covers them, and nothing points to what is not durable;
//! * the ledger's counters are part of the index's batch. Events that were appended and not routed are
//!   counted by reading their log, so an append needs no index;
//! * after the first failure nothing is ever committed again: sled's errors are sticky, and what is
//!   on disk is no longer known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use super::{
    closed,
    compact::Moving,
    files::{Database, Medium},
    filtered::Filtered,
    holdings::Holdings,
    inputs::Inputs,
    job::{Answer, Job, Op, Reply, gather},
    keys,
    mutes::{self, Mutes},
    notes::Sequences,
    records::{ChannelRow, Totals},
    recover::Counters,
    shared::{Shared, locked},
    stage::{Round, StageError},
    threads::Threads,
};
use crate::{Ledger, Limits};

/// How soon tidying goes on while nobody asks for anything.
const TIDY_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Owner {
    pub(super) database: Database,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Limits,
    pub(super) totals: Totals,
    pub(super) channels: BTreeMap<String, ChannelRow>,
    /// Appended and not routed.
    pub(super) waiting: u64,
    pub(super) holdings: Holdings,
    /// The last block whose keys are in a segment.
    pub(super) seen_segments: BTreeMap<u64, u64>,
    /// When a segment of appended events was last written to, Unix time in milliseconds.
    pub(super) events_written: BTreeMap<u64, i64>,
    /// Between which sequences the records of older files of deliveries are, as far as it was asked.
    pub(super) records_of: BTreeMap<u64, Sequences>,
    /// The segment that what waits is being moved out of.
    pub(super) moving: Option<Moving>,
    /// The notices of what was dropped for its channel's quota and is not told yet.
    pub(super) tallies: BTreeMap<String, super::shed::Tally>,
    /// Up to which sequence what waits critically for a channel was copied to its fallback.
    pub(super) fallbacks: BTreeMap<String, u64>,
    pub(super) threads: Threads,
    pub(super) inputs: Inputs,
    pub(super) mutes: Mutes,
    pub(super) filtered: Filtered,
    /// Rows of what rates counted, by sequence.
    pub(super) rate_rows: BTreeSet<u64>,
    /// After which commit nothing was found that a channel over its quota could give up.
    pub(super) nothing_to_shed_at: Option<u64>,
    /// What the log was told of channels that give up deliveries.
    pub(super) shed_told: BTreeMap<String, super::shed::ShedTold>,
    /// Files of deliveries that records were moved into.
    pub(super) moved_into: BTreeSet<u64>,
    /// Bytes of notes that were said again in the file of deliveries that is written to.
    pub(super) carried: u64,
    /// When it was last looked for what is too old to be kept, by the same time.
    pub(super) bounded_unix_ms: i64,
    /// That look did not come to its end.
    pub(super) more_to_bound: bool,
    /// The index's size after it was last replaced.
    pub(super) index_renewed_bytes: u64,
    /// Who waits for the writer's end.
    finishing: Option<Reply>,
    /// The latest time that anybody mentioned.
    pub(super) now_unix_ms: i64,
    /// The index's size on disk when it was last looked at.
    pub(super) index_bytes: u64,
}

/// What ended the queue, and who still waits for an answer.
type Ended = (String, Vec<Reply>);

impl Owner {
    pub(super) fn new(
        database: Database,
        shared: Arc<Shared>,
        counters: Counters,
        limits: Limits,
        now_unix_ms: i64,
    ) -> Self {
        let waiting = counters.unrouted.iter().map(|block| u64::from(block.items));
        let inputs = Inputs::new(counters.inputs, counters.reached, &shared);
        let mut owner = Self {
            database,
            shared,
            limits,
            totals: counters.totals,
            channels: counters.channels,
            waiting: waiting.sum(),
            holdings: counters.holdings,
            seen_segments: counters.seen_segments,
            events_written: counters.events_written,
            records_of: BTreeMap::new(),
            moving: None,
            tallies: BTreeMap::new(),
            fallbacks: counters.fallbacks,
            threads: counters.threads,
            inputs,
            mutes: counters.mutes,
            filtered: counters.filtered,
            rate_rows: counters.rate_rows,
            nothing_to_shed_at: None,
            shed_told: BTreeMap::new(),
            moved_into: BTreeSet::new(),
            carried: 0,
            bounded_unix_ms: now_unix_ms,
            more_to_bound: false,
            index_renewed_bytes: 0,
            finishing: None,
            now_unix_ms,
            index_bytes: 0,
        };
        *locked(&owner.shared.seen_at_open) = counters.seen;
        let bytes = counters
            .unrouted
            .iter()
            .map(|block| u64::from(block.place.bytes));
        owner.shared.room.appended(bytes.sum());
        locked(&owner.shared.unrouted).extend(counters.unrouted);
        mutes::tell(&owner.mutes, &owner.shared);
        owner.measure_index();
        owner.publish(&mut Round {
            touched: owner.channels.keys().cloned().collect(),
            filtered: owner.filtered.keys().cloned().collect(),
            ..Round::default()
        });
        owner
    }

    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let _ended = FailAtEnd(Arc::clone(&self.shared));
        loop {
            let outcome = match self.next(jobs) {
                Ok(first) => self.round(gather(first, jobs)),
                Err(RecvTimeoutError::Timeout) => self.tidy_up().map_err(|why| (why, Vec::new())),
                Err(RecvTimeoutError::Disconnected) => return self.note_closed(),
            };
            if let Err((reason, replies)) = outcome {
                let error = self.shared.fail(&reason);
                if let Some(reply) = self.finishing.take() {
                    let _ = reply.send(Err(error.clone()));
                }
                for reply in replies {
                    // A caller that has gone needs no answer.
                    let _ = reply.send(Err(error.clone()));
                }
                while let Ok(job) = jobs.recv() {
                    let _ = job.reply.send(Err(error.clone()));
                }
                return;
            }
            if let Some(reply) = self.finishing.take() {
                self.note_closed();
                let _ = reply.send(Ok(Answer::Done));
                return;
            }
        }
    }

    fn note_closed(&self) {
        if self.shared.check().is_ok()
            && let Medium::Disk(disk) = &self.database.medium
        {
            let (store, logs) = (disk.store_dir(), &self.database.logs);
            closed::write(&store, &self.totals, self.waiting, logs);
        }
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        let seq = self.totals.next_seq;
        self.totals.next_seq += 1;
        seq
    }

    /// The next job; `Timeout` when there is something to tidy up and nothing else to do.
    fn next(&self, jobs: &mpsc::Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        if self.is_untidy() {
            return jobs.recv_timeout(TIDY_PAUSE);
        }
        jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    fn round(&mut self, jobs: Vec<Job>) -> Result<(), Ended> {
        let mut round = Round::default();
        let (mut appends, mut others) = (Vec::new(), Vec::new());
        let mut failure = None;
        for Job { op, reply } in jobs {
            if matches!(op, Op::Finish) {
                self.finishing = Some(reply);
                continue;
            }
            if let Op::SetLimits(limits) = op {
                self.set_limits(*limits);
                others.push((reply, Answer::Done));
                continue;
            }
            let is_append = matches!(op, Op::Append { .. });
            match self.stage(op, &mut round) {
                Ok(_) if is_append => appends.push(reply),
                Ok(answer) => others.push((reply, answer)),
                Err(StageError::Refused(error)) => drop(reply.send(Err(error))),
                Err(error) => {
                    others.push((reply, Answer::Done));
                    failure.get_or_insert(self.reason(error));
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
            let _ = reply.send(Ok(Answer::Done));
        }
        if round.indexed
            && let Err(reason) = self.commit_index(&mut round)
        {
            let waiting = others.into_iter().map(|(reply, _)| reply).collect();
            return Err((reason, waiting));
        }
        for (reply, answer) in others {
            let _ = reply.send(Ok(answer));
        }
        self.tidy_up().map_err(|reason| (reason, Vec::new()))
    }

    /// What a failure is called. Damage is noted, so that the next start does not end at the same record.
    pub(super) fn reason(&self, error: StageError) -> String {
        match error {
            StageError::Damaged(reason) => {
                self.database.mark_damaged(&reason);
                reason
            }
            StageError::Failed(reason) => reason,
            StageError::Refused(error) => error.to_string(),
        }
    }

    /// Makes what was appended durable, and tells the router.
    fn commit_events(&mut self, round: &mut Round) -> Result<(), String> {
        if round.appended.is_empty() {
            return Ok(());
        }
        let log = &mut self.database.logs.events;
        log.commit()
            .map_err(|error| format!("the log of events: {error}"))?;
        let (mut events, mut bytes) = (0, 0);
        for block in &round.appended {
            events += u64::from(block.items);
            bytes += u64::from(block.place.bytes);
        }
        locked(&self.shared.unrouted).extend(round.appended.drain(..));
        self.shared.room.appended(bytes);
        self.publish_reached(round);
        // Only these: what else was counted in this round is not durable yet.
        self.shared.update(|ledger| {
            ledger.received += events;
            ledger.waiting += events;
        });
        self.shared.appended.notify_one();
        Ok(())
    }

    /// Makes everything else of a round durable.
    pub(super) fn commit_index(&mut self, round: &mut Round) -> Result<(), String> {
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
        self.totals.waiting = self.waiting;
        self.totals.commits += 1;
        let routed = round.routed;
        let next = locked(&self.shared.unrouted).get(routed).copied();
        self.totals.routed_end = next.map_or(logs.events.end(), |block| block.place.start);
        for name in &round.touched {
            let row = self.channels[name].stored(name, self.totals.commits);
            round.batch.insert(keys::channel_counts(name), row);
        }
        let mut batch = std::mem::take(&mut round.batch);
        batch.insert(keys::TOTALS, self.totals.stored());
        self.database.commit(batch, self.totals.commits)?;
        self.find_first(&round.touched)?;
        let bytes = locked(&self.shared.unrouted)
            .drain(..routed)
            .map(|block| u64::from(block.place.bytes))
            .sum();
        self.shared.room.routed(bytes);
        self.publish_noted(round);
        self.publish_mutes(round);
        self.publish(round);
        Ok(())
    }

    /// Tells everybody what is committed. The counts come last: whoever sees that something is routed or delivered finds
    /// all else that was told with it.
    pub(super) fn publish(&self, round: &mut Round) {
        let touched = &round.touched;
        self.publish_space(touched);
        let filtered = std::mem::take(&mut round.filtered);
        self.shared.update(|ledger: &mut Ledger| {
            ledger.received = self.totals.received;
            ledger.counts = self.totals.counts;
            ledger.waiting = self.waiting;
            ledger.lost = self.totals.lost;
            for name in touched {
                let row = self.channels[name];
                ledger.channels.insert(name.clone(), row.counts);
                ledger.notices.insert(name.clone(), row.notices);
                ledger.copies.insert(name.clone(), row.copies);
                if row.muted > 0 {
                    ledger.muted_deliveries.insert(name.clone(), row.muted);
                }
            }
            self.tell_filtered(filtered, ledger);
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

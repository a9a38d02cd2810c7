//! Requests that began and never ended: a sign that batches were lost, or that somebody takes events out.
//!
//! An API server reports a request when it arrives (stage `RequestReceived`), if its policy keeps that stage, and
//! when it is answered. What began and did not end within [`UNFINISHED_AFTER`] is counted, by cluster.
//!
//! Contract:
//! * it is noted what is durable, never what was refused: what is refused is sent again;
//! * order is not guaranteed: batches overtake each other, and a refused one comes again for 245 s. So ends are
//!   remembered for [`ENDS_KEPT`], and a request that ended is not begun by its beginning that comes again or late;
//! * a beginning counts only where all ends of the time before it are known. So for [`ENDS_KEPT`] nothing is counted: after
//!   a start, after a cluster's first beginning, and after ends had to be forgotten for want of room;
//! * requests that run for long (watch, exec and their like) are left out, and so is what has no audit ID;
//! * an audit ID that a client chose itself, for many requests, makes no gap: it ends with the first of them. To
//!   make one that is not there takes a sender who is let in, and it counts for the cluster that it is let in for;
//! * memory is bounded ([`REQUESTS_MAX`]); who has most of it gives up its oldest, which are counted as untracked. The
//!   hash of an ID is keyed anew at each start, so nobody can choose IDs that meet;
//! * a cluster whose policy leaves the stage out costs a comparison an event, and no memory;
//! * where several relays take a cluster's batches, each sees a part of them, so nothing is noted ([`Gaps::sees_a_part`]).
//!
//! What is here is lost with the process.

mod stages;

use std::{
    collections::{BTreeMap, HashSet, VecDeque, hash_map::RandomState},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use auditrelay_config::ClusterLabels;
use prometheus::{
    IntCounter, IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tokio::time::Instant;

pub use stages::Stages;
use stages::Watch;

/// An end that has not come by then does not come any more.
const UNFINISHED_AFTER: Duration = Duration::from_secs(600);
/// Longer than an API server repeats a batch.
const ENDS_KEPT: Duration = Duration::from_secs(250);
/// What happened within it is forgotten together.
const SLICE: Duration = Duration::from_secs(50);
/// Beginnings and ends that are remembered, of all clusters: about 20 MB.
const REQUESTS_MAX: usize = 1_000_000;

/// A request: the keyed hash of its cluster and audit ID.
type Key = u64;
type Keys = HashSet<Key, BuildHasherDefault<AsItIs>>;

/// A key is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The requests of all clusters; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Gaps {
    state: Arc<Mutex<State>>,
    hasher: RandomState,
    labels: ClusterLabels,
    unfinished: IntCounterVec,
    untracked: IntCounter,
}

#[derive(Debug)]
struct State {
    tables: BTreeMap<String, Table>,
    requests_max: usize,
    /// Of the labels that the tables are by.
    labels_changes: u64,
    /// Ends may come to another relay.
    is_part: bool,
}

/// Requests of one label.
#[derive(Debug)]
struct Table {
    /// Oldest first.
    slices: VecDeque<Slice>,
    ends_known_since: Instant,
    /// Ends were forgotten for want of room.
    is_short: bool,
    last_begun: Instant,
}

#[derive(Debug)]
struct Slice {
    since: Instant,
    /// Began then, and has not ended.
    open: Keys,
    /// Ended then.
    ended: Keys,
}

impl Gaps {
    pub(crate) fn new(labels: ClusterLabels) -> Result<Self, prometheus::Error> {
        let unfinished = Opts::new(
            "auditrelay_requests_unfinished_total",
            "Requests that were seen to begin and not to end within 10 minutes.",
        );
        Ok(Self {
            state: Arc::new(Mutex::new(State {
                tables: BTreeMap::new(),
                requests_max: REQUESTS_MAX,
                labels_changes: labels.changes(),
                is_part: false,
            })),
            hasher: RandomState::new(),
            labels,
            unfinished: IntCounterVec::new(unfinished, &["cluster"])?,
            untracked: IntCounter::new(
                "auditrelay_requests_untracked_total",
                "Requests of which it was given up to see whether they end, as too many are under way.",
            )?,
        })
    }

    /// Lets the series of labels exist, and those of others not.
    pub(crate) fn show(&self, gone: &[String]) {
        if self.state().is_part {
            return;
        }
        for label in gone {
            // One that was never there needs no removal.
            let _ = self.unfinished.remove_label_values(&[label]);
        }
        for label in self.labels.all() {
            self.unfinished.with_label_values(&[&label]);
        }
    }

    /// A request may begin here and end at another relay: a beginning without an end says nothing.
    pub(crate) fn sees_a_part(&self) {
        let mut state = self.state();
        state.is_part = true;
        state.tables.clear();
        // None is better than a zero that means nothing.
        self.unfinished.reset();
    }

    /// To note a batch of a cluster with.
    pub(crate) fn stages(&self, cluster: &str) -> Stages {
        let state = self.state();
        if state.is_part {
            return Stages::default();
        }
        let keeps_ends = state.tables.contains_key(self.labels.of(cluster));
        let watch = Watch {
            hasher: self.hasher.clone(),
            keeps_ends,
        };
        Stages {
            watch: Some(watch),
            ..Stages::default()
        }
    }

    /// A batch of a cluster is durable.
    pub(crate) fn durable(&self, cluster: &str, stages: &Stages) {
        if stages.begun.is_empty() && stages.ended.is_empty() {
            return;
        }
        let (now, label) = (Instant::now(), self.labels.of(cluster));
        let mut state = self.state();
        self.expire(&mut state, now);
        if !state.tables.contains_key(label) {
            if stages.begun.is_empty() {
                return;
            }
            state.tables.insert(label.to_owned(), Table::new(now));
        }
        let Some(table) = state.tables.get_mut(label) else {
            return;
        };
        let untracked = table.note(stages, now) + state.make_room(now);
        self.untracked.inc_by(untracked);
    }

    /// Counts what did not end in time, and forgets what is over.
    fn expire(&self, state: &mut State, now: Instant) {
        let changes = self.labels.changes();
        if state.labels_changes != changes {
            // A request that began under one label would end under another.
            state.tables.clear();
            state.labels_changes = changes;
        }
        for (label, table) in &mut state.tables {
            let unfinished = table.expire(now);
            self.unfinished
                .with_label_values(&[label])
                .inc_by(unfinished);
        }
        state.tables.retain(|_, table| table.is_in_use(now));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // What a panic leaves is forgotten in time like everything else.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is due is counted when it is asked for, also where nothing comes any more.
impl Collector for Gaps {
    fn desc(&self) -> Vec<&Desc> {
        [self.unfinished.desc(), self.untracked.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.expire(&mut self.state(), Instant::now());
        [self.unfinished.collect(), self.untracked.collect()].concat()
    }
}

impl State {
    /// Gives up what is too much; says how many requests nobody watches any more.
    fn make_room(&mut self, now: Instant) -> u64 {
        let mut untracked = 0;
        loop {
            let all: usize = self.tables.values().map(Table::len).sum();
            let Some(excess) = all.checked_sub(self.requests_max + 1).map(|less| less + 1) else {
                return untracked;
            };
            let largest = self.tables.values_mut().max_by_key(|table| table.len());
            let Some(table) = largest.filter(|table| table.len() > 0) else {
                return untracked;
            };
            untracked += table.give_up(excess, now);
        }
    }
}

impl Table {
    fn new(now: Instant) -> Self {
        Self {
            slices: VecDeque::new(),
            ends_known_since: now,
            is_short: false,
            last_begun: now,
        }
    }

    fn len(&self) -> usize {
        let both = |slice: &Slice| slice.open.len() + slice.ended.len();
        self.slices.iter().map(both).sum()
    }

    /// Says how many beginnings are not watched for want of room.
    fn note(&mut self, stages: &Stages, now: Instant) -> u64 {
        if self
            .slices
            .back()
            .is_none_or(|slice| now - slice.since >= SLICE)
        {
            self.slices.push_back(Slice {
                since: now,
                open: Keys::default(),
                ended: Keys::default(),
            });
        }
        let mut untracked = 0;
        for key in &stages.begun {
            untracked += u64::from(!self.begin(*key, now));
        }
        for key in &stages.ended {
            self.end(*key);
        }
        untracked
    }

    /// Says whether it is known what becomes of it, or need not be.
    fn begin(&mut self, key: Key, now: Instant) -> bool {
        self.last_begun = now;
        let is_known = |slice: &Slice| slice.ended.contains(&key) || slice.open.contains(&key);
        if self.slices.iter().rev().any(is_known) {
            return true;
        }
        if now - self.ends_known_since < ENDS_KEPT {
            return !self.is_short;
        }
        self.is_short = false;
        if let Some(slice) = self.slices.back_mut() {
            slice.open.insert(key);
        }
        true
    }

    fn end(&mut self, key: Key) {
        let mut newest_first = self.slices.iter_mut().rev();
        newest_first.any(|slice| slice.open.remove(&key));
        if let Some(slice) = self.slices.back_mut() {
            slice.ended.insert(key);
        }
    }

    /// Says how many did not end.
    fn expire(&mut self, now: Instant) -> u64 {
        let mut unfinished = 0;
        while let Some(slice) = self.slices.front()
            && now - slice.since >= SLICE + UNFINISHED_AFTER
        {
            unfinished += slice.open.len() as u64;
            self.slices.pop_front();
        }
        for slice in &mut self.slices {
            if now - slice.since < SLICE + ENDS_KEPT {
                break;
            }
            slice.ended = Keys::default();
        }
        unfinished
    }

    /// Whether its cluster still reports beginnings.
    fn is_in_use(&self, now: Instant) -> bool {
        now - self.last_begun < UNFINISHED_AFTER + 2 * SLICE
    }

    /// Gives up ends where they are most of it, else so many of the oldest beginnings.
    fn give_up(&mut self, excess: usize, now: Instant) -> u64 {
        let open: usize = self.slices.iter().map(|slice| slice.open.len()).sum();
        let ends = self.len() - open;
        if ends >= open {
            let oldest = self.slices.iter_mut().find(|slice| !slice.ended.is_empty());
            if let Some(slice) = oldest {
                slice.ended = Keys::default();
            }
            self.ends_known_since = now;
            self.is_short = true;
            return 0;
        }
        let Some(slice) = self.slices.iter_mut().find(|slice| !slice.open.is_empty()) else {
            return 0;
        };
        let oldest: Vec<Key> = slice.open.iter().take(excess).copied().collect();
        for key in &oldest {
            slice.open.remove(key);
        }
        oldest.len() as u64
    }
}

#[cfg(test)]
#[path = "gaps_tests.rs"]
mod tests;

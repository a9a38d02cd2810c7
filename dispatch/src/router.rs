//! Steps 5 and 6 of an event's way: take what was appended, drop what was seen, ask the routes, and
//! commit all of it at once.
//!
//! Invariants: blocks are routed in order; each event ends under exactly one fate of the ledger; what is in
//! memory (keys that were seen, what rates counted) is never ahead of the store for longer than one commit, and a
//! commit that fails ends the process, so a duplicate is never judged by keys that were lost; of two copies that were received
//! within the window the second is a duplicate, however long either waited to be routed; the table may be exchanged
//! between two commits, never within one, and what rates counted stays.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use auditrelay_store::{Block, ItemKind, Queue, QueueError, Routed, RoutedBlock};
use tokio::{sync::watch, time::Instant};

use crate::{
    Duplicates, Metrics, Routes,
    dedup::{Seen, Sighting},
    mutes::Mutes,
    rates::Rates,
};

mod sort;

use sort::{Sorted, Wanted};
pub(crate) use sort::{fate_of_unreadable, read};

/// Enough to share one commit among many blocks, little enough to keep in memory, packed (about 3 MB).
const BLOCKS_PER_COMMIT_MAX: usize = 64;

/// What a router decides by, and what may be exchanged while it runs.
#[derive(Debug, Clone)]
pub struct Table {
    /// The routes.
    pub routes: Arc<Routes>,
    /// How long an event is remembered.
    pub window: Duration,
}

/// The router: one per queue.
pub struct Router<Q> {
    queue: Q,
    decider: Decider,
    tables: Option<watch::Receiver<Table>>,
}

struct Decider {
    routes: Arc<Routes>,
    seen: Seen,
    rates: Rates,
    mutes: Mutes,
    clock: SteadyClock,
    /// When the last of what was decided was received. What waits may be older than the window: a copy of it that came
    /// soon after it is known all the same.
    received_unix_ms: i64,
    duplicates: Duplicates,
    metrics: Metrics,
}

/// Unix time that a step of the wall clock does not move: a step must not empty the dedup window.
struct SteadyClock {
    started: Instant,
    started_unix_ms: i64,
}

impl SteadyClock {
    fn start(now_unix_ms: i64) -> Self {
        Self {
            started: Instant::now(),
            started_unix_ms: now_unix_ms,
        }
    }

    fn now_unix_ms(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.started_unix_ms.saturating_add(elapsed_ms)
    }
}

impl<Q: Queue> Router<Q> {
    /// Fills the dedup window, and what rates counted, from the queue.
    ///
    /// # Errors
    /// The queue's.
    pub async fn load(
        queue: Q,
        routes: impl Into<Arc<Routes>>,
        window: Duration,
        entries_max: usize,
        metrics: Metrics,
    ) -> Result<Self, QueueError> {
        let (routes, mut seen) = (routes.into(), Seen::new(window, entries_max));
        let clock = SteadyClock::start(now_unix_ms());
        for block in queue.seen().await? {
            // A wall clock that was set back must not make these keys outlive the window by far.
            let at_ms = block.seen_unix_ms.min(clock.now_unix_ms());
            for key in &block.keys {
                seen.note(key, block.seq, at_ms);
            }
            // The window may be smaller than it was when they were stored. What is not routed yet may have come long ago, so
            // they are not too old for it, whatever the time is now.
            let forgotten = seen.expire(at_ms);
            metrics.dedup_forgotten_early.inc_by(forgotten.early);
        }
        let rates = Rates::load(&queue.rates().await?, &routes, clock.now_unix_ms());
        let mutes = Mutes::new(&queue, routes.default_channel());
        Ok(Self {
            queue,
            decider: Decider {
                routes,
                seen,
                rates,
                mutes,
                clock,
                received_unix_ms: i64::MIN,
                duplicates: Duplicates::default(),
                metrics,
            },
            tables: None,
        })
    }

    /// Decides by the last of these tables: by a new one whatever is not decided yet when it comes.
    #[must_use]
    pub fn following(mut self, tables: watch::Receiver<Table>) -> Self {
        self.tables = Some(tables);
        self
    }

    fn take_table(&mut self) {
        let Some(tables) = &mut self.tables else {
            return;
        };
        // Nobody who could send one any more: the last one stays.
        if !tables.has_changed().unwrap_or(false) {
            return;
        }
        let Table { routes, window } = tables.borrow_and_update().clone();
        let decider = &mut self.decider;
        decider.mutes.set_default_channel(routes.default_channel());
        decider.seen.set_window(window);
        decider.routes = routes;
    }

    /// What was sent again lately, for who asks while it runs.
    pub fn duplicates(&self) -> Duplicates {
        self.decider.duplicates.clone()
    }

    /// Routes until the shutdown.
    ///
    /// # Errors
    /// The queue's; nothing can be routed after one.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), QueueError> {
        loop {
            self.take_table();
            // Also those that ended while no relay ran.
            self.decider.mutes.keep(&self.queue).await?;
            let blocks = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
                blocks = self.queue.unrouted(BLOCKS_PER_COMMIT_MAX) => blocks?,
                () = self.decider.mutes.due() => continue,
            };
            // Of what came meanwhile: whoever was told of another table, or that a mute began or ended, is right
            // about these events.
            self.take_table();
            self.decider.mutes.keep(&self.queue).await?;
            // Parsing is work for a thread that may block.
            let decided = tokio::task::spawn_blocking(move || {
                let routed = self.decider.decide(&blocks);
                let forgotten = self.decider.forget();
                (self, routed, forgotten)
            });
            let (routed, forgotten);
            (self, routed, forgotten) = decided.await.map_err(|_| QueueError::Closed)?;
            self.queue.route(routed).await?;
            if let Some(seq) = forgotten {
                self.queue.forget_seen(seq).await?;
            }
        }
    }
}

impl Decider {
    /// Forgets keys that are older than the window; returns the last block of them.
    fn forget(&mut self) -> Option<u64> {
        let now_unix_ms = self.clock.now_unix_ms();
        // Whoever received it may have had a clock that is ahead.
        let forgotten = self.seen.expire(self.received_unix_ms.min(now_unix_ms));
        self.metrics.dedup_forgotten_early.inc_by(forgotten.early);
        self.metrics.dedup_entries.set(self.seen.entries() as i64);
        self.metrics
            .dedup_window_seconds
            .set(self.seen.window_seconds(now_unix_ms));
        forgotten.last_seq
    }

    fn decide(&mut self, blocks: &[Block]) -> Routed {
        let now_unix_ms = self.clock.now_unix_ms();
        let mutes = Some(&self.mutes).filter(|mutes| !mutes.is_empty());
        let mut sorted = Sorted::new(&self.routes, &mut self.rates, mutes, now_unix_ms);
        for block in blocks {
            self.received_unix_ms = self.received_unix_ms.max(block.received_unix_ms);
            let (wanted, routed, reused) =
                note(&mut self.seen, &self.duplicates, &mut sorted, block);
            self.metrics.audit_id_reuse.inc_by(reused);
            self.metrics
                .clusters
                .count(&block.cluster, block.items.len(), &routed);
            sorted.route(block, wanted, routed);
        }
        let mut routed = sorted.finish();
        routed.rates = self.rates.take(now_unix_ms);
        let forgotten = self.rates.take_forgotten();
        self.metrics.rate_forgotten.inc_by(forgotten);
        routed
    }
}

/// Notes a block's keys, and counts what needs no routing, and audit IDs that were used again.
fn note(
    seen: &mut Seen,
    duplicates: &Duplicates,
    sorted: &mut Sorted<'_>,
    block: &Block,
) -> (Vec<Wanted>, RoutedBlock, u64) {
    let now_unix_ms = sorted.now_unix_ms;
    let mut routed = RoutedBlock {
        seq: block.seq,
        seen_unix_ms: now_unix_ms,
        ..RoutedBlock::default()
    };
    let mut wanted = Vec::with_capacity(block.items.len());
    let mut reused = 0;
    for (number, item) in block.items.iter().enumerate() {
        let sighting = seen.note(&item.key, block.seq, now_unix_ms);
        if sighting == Sighting::Duplicate {
            routed.counts.duplicates += 1;
            duplicates.note(&item.key, block.received_unix_ms);
            continue;
        }
        routed.new_keys.push(item.key);
        let is_reused = sighting == Sighting::ReusedId;
        reused += u64::from(is_reused);
        match &item.kind {
            ItemKind::Unwanted { hint } => {
                sorted.unwanted(block, *hint, is_reused, &mut routed.counts);
            }
            ItemKind::Unreadable(unreadable) => {
                sorted.quarantine(block, item, unreadable, &mut routed);
            }
            ItemKind::Event {
                body_unreadable,
                hint,
                ..
            } => wanted.push(Wanted {
                number,
                body_unreadable: *body_unreadable,
                hint: *hint,
                reused: is_reused,
            }),
        }
    }
    (wanted, routed, reused)
}

/// The wall clock, for what has to survive a restart; everything else runs on tokio's.
pub(crate) fn now_unix_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_the_window_moves_with_elapsed_time_only() {
        let clock = SteadyClock::start(1_000);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.now_unix_ms(), 1_250);
    }
}

//! Steps 5 and 6 of an event's way: take what was appended, drop what was seen, ask the routes, and
//! commit all of it at once.
//!
//! Invariants: blocks are routed in order; each event ends under exactly one fate of the ledger; the
//! set in memory is never ahead of the store for longer than one commit, and a commit that fails ends
//! the process, so a duplicate is never judged by keys that were lost.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use auditrelay_audit::{Envelope, Event, Severity};
use auditrelay_config::RateConfig;
use auditrelay_store::{
    Block, BlockItem, DamagedTexts, DeliveriesEncoder, DeliveryBlock, EventToDeliver, Hint,
    ItemKind, Marks, Notice, QuarantineRecord, Queue, QueueError, Routed, RoutedBlock, Unreadable,
};
use tokio::{sync::watch, time::Instant};

use crate::{
    Metrics, Routes,
    dedup::{Seen, Sighting},
    routes::{Conditions, Fate, Matched, Target},
};

/// Enough to share one commit among many blocks, little enough to keep in memory, packed (about 3 MB).
const BLOCKS_PER_COMMIT_MAX: usize = 64;

/// The router: one per queue.
pub struct Router<Q> {
    queue: Q,
    decider: Decider,
}

struct Decider {
    routes: Routes,
    seen: Seen,
    clock: SteadyClock,
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
    /// Fills the dedup window from the queue.
    ///
    /// # Errors
    /// The queue's.
    pub async fn load(
        queue: Q,
        routes: Routes,
        window: Duration,
        entries_max: usize,
        metrics: Metrics,
    ) -> Result<Self, QueueError> {
        let mut seen = Seen::new(window, entries_max);
        let clock = SteadyClock::start(now_unix_ms());
        for block in queue.seen().await? {
            // A wall clock that was set back must not make these keys outlive the window by far.
            let at_ms = block.seen_unix_ms.min(clock.now_unix_ms());
            for key in &block.keys {
                seen.note(key, block.seq, at_ms);
            }
            // The window may be smaller than it was when they were stored.
            let forgotten = seen.expire(clock.now_unix_ms());
            metrics.dedup_forgotten_early.inc_by(forgotten.early);
        }
        Ok(Self {
            queue,
            decider: Decider {
                routes,
                seen,
                clock,
                metrics,
            },
        })
    }

    /// Routes until the shutdown.
    ///
    /// # Errors
    /// The queue's; nothing can be routed after one.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), QueueError> {
        loop {
            let blocks = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
                blocks = self.queue.unrouted(BLOCKS_PER_COMMIT_MAX) => blocks?,
            };
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

/// What some blocks become, while it is being decided.
#[derive(Default)]
struct Sorted<'r> {
    blocks: Vec<RoutedBlock>,
    deliveries: BTreeMap<(&'r str, Severity), DeliveriesEncoder>,
    /// How many could not be read, by cluster and reason.
    unreadable: BTreeMap<(String, String), u64>,
}

impl Decider {
    /// Forgets keys that are older than the window; returns the last block of them.
    fn forget(&mut self) -> Option<u64> {
        let now_unix_ms = self.clock.now_unix_ms();
        let forgotten = self.seen.expire(now_unix_ms);
        self.metrics.dedup_forgotten_early.inc_by(forgotten.early);
        self.metrics.dedup_entries.set(self.seen.entries() as i64);
        self.metrics
            .dedup_window_seconds
            .set(self.seen.window_seconds(now_unix_ms));
        forgotten.last_seq
    }

    fn decide(&mut self, blocks: &[Block]) -> Routed {
        let mut sorted = Sorted::default();
        for block in blocks {
            let noted = note(&mut self.seen, &self.clock, &mut sorted, block);
            let (wanted, routed, reused) = noted;
            self.metrics.audit_id_reuse.inc_by(reused);
            sorted.route(&self.routes, block, wanted, routed);
        }
        sorted.finish(self.routes.default_channel())
    }
}

/// An event of a block that is no duplicate, and that somebody may want.
struct Wanted {
    number: usize,
    body_unreadable: bool,
    hint: Hint,
    reused: bool,
}

/// Notes a block's keys, and counts what needs no routing, and audit IDs that were used again.
fn note(
    seen: &mut Seen,
    clock: &SteadyClock,
    sorted: &mut Sorted<'_>,
    block: &Block,
) -> (Vec<Wanted>, RoutedBlock, u64) {
    let now_unix_ms = clock.now_unix_ms();
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
            continue;
        }
        routed.new_keys.push(item.key);
        reused += u64::from(sighting == Sighting::ReusedId);
        match &item.kind {
            ItemKind::Unwanted { .. } => routed.counts.filtered += 1,
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
                reused: sighting == Sighting::ReusedId,
            }),
        }
    }
    (wanted, routed, reused)
}

/// Which routes match an event whose hint is of another table; `None` where it cannot be read.
pub(crate) fn matched(routes: &Routes, cluster: &str, json: &str) -> Option<Matched> {
    match Envelope::parse(json) {
        Ok(envelope) => Some(routes.matched(&Event {
            cluster,
            envelope: &envelope,
        })),
        Err(error) => {
            // Ingest read this envelope before it was stored, so this is damage or a bug. It is told
            // rather than dropped; the renderer says that it cannot be read.
            tracing::error!(
                line = error.line(),
                column = error.column(),
                "a stored event cannot be read"
            );
            None
        }
    }
}

/// What becomes of an event that cannot be read.
pub(crate) fn fate_of_unreadable(routes: &Routes) -> Fate<'_> {
    Fate::Told(vec![Target {
        channel: routes.default_channel(),
        severity: Severity::Warning,
        route: "",
    }])
}

/// What is known of an event beside itself.
struct Known {
    is_reused: bool,
}

impl Conditions for Known {
    fn is_reused(&self) -> bool {
        self.is_reused
    }

    fn is_too_many(&mut self, _: usize, _: &RateConfig) -> bool {
        false
    }
}

/// The block's checksum was right, so this is a bug; it must neither lose the count nor end the relay at
/// the same block at every start.
fn cannot_unpack(error: &DamagedTexts) -> Unreadable {
    tracing::error!(%error, "a stored block cannot be unpacked; its events are quarantined");
    Unreadable {
        reason: format!("its stored block cannot be unpacked: {error}"),
        offset_bytes: 0,
        length_bytes: 0,
        sealed: None,
        source: None,
    }
}

impl<'r> Sorted<'r> {
    /// Sends a block's events to their channels.
    fn route(
        &mut self,
        routes: &'r Routes,
        block: &Block,
        mut wanted: Vec<Wanted>,
        mut routed: RoutedBlock,
    ) {
        let hinted = |event: &Wanted| match block.hints_of {
            Routes::FOR_NOBODY => Some(Matched::Routes(Vec::new())),
            table if table == routes.id() => routes.hinted(event.hint),
            _ => None,
        };
        // Stored to be looked back at, and for nobody: need not be unpacked.
        let noted = wanted.len();
        wanted.retain(|event| hinted(event) != Some(Matched::Routes(Vec::new())));
        routed.counts.filtered += (noted - wanted.len()) as u64;
        if !wanted.is_empty() {
            match block.texts() {
                Ok(texts) => {
                    for event in &wanted {
                        let json = texts.get(event.number);
                        let matched =
                            hinted(event).or_else(|| matched(routes, &block.cluster, json));
                        let mut known = Known {
                            is_reused: event.reused,
                        };
                        let fate = matched.map_or_else(
                            || fate_of_unreadable(routes),
                            |matched| routes.fate(&matched, &mut known),
                        );
                        match fate {
                            Fate::Filtered(_) => routed.counts.filtered += 1,
                            Fate::Told(targets) => {
                                routed.counts.routed += 1;
                                for target in targets {
                                    self.deliver(block, event, target, json);
                                }
                            }
                        }
                    }
                }
                Err(error) => {
                    let unreadable = cannot_unpack(&error);
                    for event in &wanted {
                        let item = &block.items[event.number];
                        self.quarantine(block, item, &unreadable, &mut routed);
                    }
                }
            }
        }
        self.blocks.push(routed);
    }

    fn deliver(&mut self, block: &Block, event: &Wanted, target: Target<'r>, json: &str) {
        self.lane(target).push(&EventToDeliver {
            cluster: &block.cluster,
            route: target.route,
            json,
            marks: Marks {
                body_unreadable: event.body_unreadable,
                audit_id_reused: event.reused,
                ..Marks::default()
            },
        });
    }

    fn lane(&mut self, target: Target<'r>) -> &mut DeliveriesEncoder {
        let place = (target.channel, target.severity);
        self.deliveries.entry(place).or_default()
    }

    fn quarantine(
        &mut self,
        block: &Block,
        item: &BlockItem,
        unreadable: &Unreadable,
        routed: &mut RoutedBlock,
    ) {
        routed.counts.quarantined += 1;
        let reason = (block.cluster.clone(), unreadable.reason.clone());
        *self.unreadable.entry(reason).or_default() += 1;
        routed.quarantine.push(QuarantineRecord {
            cluster: block.cluster.clone(),
            received_unix_ms: block.received_unix_ms,
            fingerprint: item.key.fingerprint,
            unreadable: unreadable.clone(),
        });
    }

    fn finish(mut self, default_channel: &str) -> Routed {
        let mut notices = DeliveriesEncoder::default();
        let has_notices = !self.unreadable.is_empty();
        for ((cluster, reason), events) in std::mem::take(&mut self.unreadable) {
            notices.push_notice(Notice {
                text: format!(
                    "could not be read and went to quarantine: {reason} (auditrelay quarantine list)"
                ),
                events,
                cluster,
            });
        }
        let block = |((channel, severity), deliveries): ((&str, Severity), DeliveriesEncoder)| {
            DeliveryBlock {
                channel: channel.to_owned(),
                severity,
                deliveries: deliveries.finish(),
            }
        };
        let mut deliveries: Vec<_> = self.deliveries.into_iter().map(block).collect();
        if has_notices {
            deliveries.push(block(((default_channel, Severity::Warning), notices)));
        }
        Routed {
            blocks: self.blocks,
            deliveries,
            ..Routed::default()
        }
    }
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

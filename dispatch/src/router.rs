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

use auditrelay_audit::{Envelope, Severity};
use auditrelay_store::{
    Block, Content, Delivery, DeliveryBlock, Entry, EventDelivery, Notice, QuarantineRecord, Queue,
    QueueError, RoutedBlock, Unreadable,
};
use tokio::{sync::watch, time::Instant};

use crate::{
    Metrics, Routes,
    dedup::{Seen, Sighting},
};

/// Enough to share one commit among many small blocks, little enough to keep in memory (4 MiB).
const BLOCKS_PER_COMMIT_MAX: usize = 16;

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
                let routed = blocks
                    .into_iter()
                    .map(|block| self.decider.decide(block))
                    .collect();
                (self, routed)
            });
            let routed;
            (self, routed) = decided.await.map_err(|_| QueueError::Closed)?;
            self.queue.route(routed).await?;
            self.forget().await?;
        }
    }

    async fn forget(&mut self) -> Result<(), QueueError> {
        let Decider {
            seen,
            clock,
            metrics,
            ..
        } = &mut self.decider;
        let now_unix_ms = clock.now_unix_ms();
        let forgotten = seen.expire(now_unix_ms);
        metrics.dedup_entries.set(seen.entries() as i64);
        metrics
            .dedup_window_seconds
            .set(seen.window_seconds(now_unix_ms));
        match forgotten {
            Some(seq) => self.queue.forget_seen(seq).await,
            None => Ok(()),
        }
    }
}

/// What one block becomes, while it is being decided.
#[derive(Default)]
struct Sorted {
    routed: RoutedBlock,
    deliveries: BTreeMap<(String, Severity), Vec<Delivery>>,
    unreadable: BTreeMap<String, u64>,
}

impl Decider {
    fn decide(&mut self, block: Block) -> RoutedBlock {
        let mut sorted = Sorted::default();
        sorted.routed.seq = block.seq;
        let now_unix_ms = self.clock.now_unix_ms();
        sorted.routed.seen_unix_ms = now_unix_ms;
        for entry in block.entries {
            let sighting = self.seen.note(&entry.key, block.seq, now_unix_ms);
            if sighting == Sighting::Duplicate {
                sorted.routed.counts.duplicates += 1;
                continue;
            }
            sorted.routed.new_keys.push(entry.key);
            let Entry { key, content } = entry;
            match content {
                Content::Event {
                    json,
                    body_unreadable,
                } => {
                    let reused = sighting == Sighting::ReusedId;
                    if reused {
                        self.metrics.audit_id_reuse.inc();
                    }
                    let event = EventDelivery {
                        cluster: block.cluster.clone(),
                        route: String::new(),
                        json: json.into_owned(),
                        body_unreadable,
                        audit_id_reused: reused,
                    };
                    self.sort(event, &mut sorted);
                }
                Content::Unreadable(unreadable) => {
                    sorted.quarantine(
                        &block.cluster,
                        block.received_unix_ms,
                        key.fingerprint,
                        unreadable,
                    );
                }
            }
        }
        sorted.finish(&block.cluster, self.routes.default_channel())
    }

    fn sort(&self, mut event: EventDelivery, sorted: &mut Sorted) {
        let target = match Envelope::parse(&event.json) {
            Ok(envelope) => self.routes.target(&envelope),
            Err(error) => {
                // Ingest read this envelope before it was stored, so this is damage or a bug. It is
                // told rather than dropped; the renderer says that it cannot be read.
                tracing::error!(
                    line = error.line(),
                    column = error.column(),
                    "a stored event cannot be read"
                );
                Some(crate::routes::Target {
                    channel: self.routes.default_channel(),
                    severity: Severity::Warning,
                    route: "",
                })
            }
        };
        match target {
            None => sorted.routed.counts.filtered += 1,
            Some(target) => {
                sorted.routed.counts.routed += 1;
                let place = (target.channel.to_owned(), target.severity);
                event.route = target.route.to_owned();
                sorted
                    .deliveries
                    .entry(place)
                    .or_default()
                    .push(Delivery::Event(event));
            }
        }
    }
}

impl Sorted {
    fn quarantine(
        &mut self,
        cluster: &str,
        received_unix_ms: i64,
        fingerprint: [u8; 16],
        unreadable: Unreadable,
    ) {
        self.routed.counts.quarantined += 1;
        *self
            .unreadable
            .entry(unreadable.reason.clone())
            .or_default() += 1;
        self.routed.quarantine.push(QuarantineRecord {
            cluster: cluster.to_owned(),
            received_unix_ms,
            fingerprint,
            unreadable,
        });
    }

    fn finish(mut self, cluster: &str, default_channel: &str) -> RoutedBlock {
        let notices: Vec<_> = std::mem::take(&mut self.unreadable)
            .into_iter()
            .map(|(reason, events)| {
                let text = format!("could not be read and went to quarantine: {reason}");
                Delivery::Notice(Notice {
                    text,
                    events,
                    cluster: cluster.to_owned(),
                })
            })
            .collect();
        if !notices.is_empty() {
            let place = (default_channel.to_owned(), Severity::Warning);
            self.deliveries.entry(place).or_default().extend(notices);
        }
        self.routed.deliveries = self
            .deliveries
            .into_iter()
            .map(|((channel, severity), deliveries)| DeliveryBlock {
                channel,
                severity,
                deliveries,
            })
            .collect();
        self.routed
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

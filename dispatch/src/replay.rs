//! What was routed before, through today's routes again.
//!
//! * Only the routes decide: what the relay has seen before is asked nobody, since all of it was. What
//!   the API server had sent twice *within* the replay is still told once, by a dedup window that is the
//!   replay's own and counts the time at which blocks were received.
//! * Rates count anew, from where the replay begins, and audit IDs are used again that were used within it: both by
//!   what the replay itself reads.
//! * Every copy is marked as replayed.
//! * An event whose text was not stored, as no route wanted it when it was received, can be wanted by none now:
//!   it is counted and not told.
//! * One piece is in memory at a time, with the keys of the window.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use auditrelay_audit::{Event, Severity};
use auditrelay_store::{Block, DeliveriesEncoder, DeliveryBlock, EventToDeliver, ItemKind, Marks};
use serde::{Deserialize, Serialize};

use crate::{
    Routes,
    dedup::{Seen, Sighting},
    rates::{Occurrence, Rates},
    router::{fate_of_unreadable, read},
    routes::{Fate, Target, Targets},
};

/// An API server repeats a batch for 245 s at most.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// About 60 MB; where more is received within the window, a repetition may be told twice.
const ENTRIES_MAX: usize = 1_000_000;

/// Which events of what is retained.
#[derive(Debug, Clone)]
pub struct Selection {
    /// When their batches were received, Unix time in milliseconds.
    pub received_unix_ms: Range<i64>,
    /// Only what this route asks for, alone or with others.
    pub route: Option<String>,
}

/// What a replay sent, or would send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Events by channel and route; the route is empty for the default.
    pub sent: Vec<ReplayedRoute>,
    /// No route wants them today, or not the one that was asked for.
    pub filtered: u64,
    /// The API server had sent them more than once.
    pub duplicates: u64,
    /// No route had wanted them when they were received, so their text was never stored.
    pub without_text: u64,
    /// They had no readable envelope, or cannot be read any more.
    pub unreadable: u64,
    /// Blocks of the range that was asked for.
    pub blocks: u64,
    /// When the oldest and the newest retained batch were received, Unix time in milliseconds; `None`
    /// where nothing is retained.
    pub retained_unix_ms: Option<(i64, i64)>,
}

/// One row of [`Replayed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayedRoute {
    /// The channel.
    pub channel: String,
    /// The route whose name the deliveries have: of several that ask for them, the one that counts.
    pub route: String,
    /// How many events.
    pub events: u64,
}

impl Replayed {
    /// All events that were sent.
    pub fn events(&self) -> u64 {
        self.sent.iter().map(|row| row.events).sum()
    }
}

/// A replay under way.
pub struct Replay {
    routes: Arc<Routes>,
    selection: Selection,
    seen: Seen,
    rates: Rates,
    sent: BTreeMap<(String, String), u64>,
    replayed: Replayed,
}

impl Replay {
    /// A replay through these routes.
    pub fn new(routes: Arc<Routes>, selection: Selection) -> Self {
        Self {
            routes,
            selection,
            seen: Seen::new(WINDOW, ENTRIES_MAX),
            rates: Rates::default(),
            sent: BTreeMap::new(),
            replayed: Replayed::default(),
        }
    }

    /// What the next piece of the retained blocks becomes, in order; parses and compresses, so not on an async
    /// worker.
    pub fn piece(&mut self, blocks: &[Block]) -> Vec<DeliveryBlock> {
        let routes = Arc::clone(&self.routes);
        let mut deliveries: BTreeMap<(&str, Severity), DeliveriesEncoder> = BTreeMap::new();
        for block in blocks {
            let at = block.received_unix_ms;
            let kept = self.replayed.retained_unix_ms.get_or_insert((at, at));
            *kept = (kept.0.min(at), kept.1.max(at));
            if self.selection.received_unix_ms.contains(&at) {
                self.block(&routes, block, &mut deliveries);
            }
        }
        self.rates.pass_over();
        let block = |((channel, severity), deliveries): ((&str, Severity), DeliveriesEncoder)| {
            DeliveryBlock {
                channel: channel.to_owned(),
                severity,
                deliveries: deliveries.finish(),
            }
        };
        deliveries.into_iter().map(block).collect()
    }

    fn block<'r>(
        &mut self,
        routes: &'r Routes,
        block: &Block,
        deliveries: &mut BTreeMap<(&'r str, Severity), DeliveriesEncoder>,
    ) {
        self.replayed.blocks += 1;
        self.seen.expire(block.received_unix_ms);
        let texts = block.texts();
        for (number, item) in block.items.iter().enumerate() {
            let sighting = self.seen.note(&item.key, block.seq, block.received_unix_ms);
            if sighting == Sighting::Duplicate {
                self.replayed.duplicates += 1;
                continue;
            }
            let (json, body_unreadable) = match (&item.kind, &texts) {
                (ItemKind::Unwanted { .. }, _) => {
                    self.replayed.without_text += 1;
                    continue;
                }
                (ItemKind::Unreadable(_), _) | (_, Err(_)) => {
                    self.replayed.unreadable += 1;
                    continue;
                }
                (
                    ItemKind::Event {
                        body_unreadable, ..
                    },
                    Ok(texts),
                ) => (texts.get(number), *body_unreadable),
            };
            let is_reused = sighting == Sighting::ReusedId;
            let targets = self.targets(routes, block, json, is_reused);
            let before = self.replayed.filtered;
            self.replayed.filtered += 1;
            for target in targets {
                if !self.is_asked_for(&target) {
                    continue;
                }
                self.replayed.filtered = before;
                let row = (target.channel.to_owned(), target.route.to_owned());
                *self.sent.entry(row).or_default() += 1;
                let place = (target.channel, target.severity);
                deliveries.entry(place).or_default().push(&EventToDeliver {
                    cluster: &block.cluster,
                    route: target.route,
                    json,
                    marks: Marks {
                        body_unreadable,
                        audit_id_reused: is_reused,
                        possibly_repeated: false,
                        replayed: true,
                    },
                });
            }
        }
    }

    /// Where an event goes today. The hint would say the same where the table is the same; the text has to be read
    /// anyway.
    fn targets<'r>(
        &mut self,
        routes: &'r Routes,
        block: &Block,
        json: &str,
        is_reused: bool,
    ) -> Targets<'r> {
        let fate = match read(json) {
            None => fate_of_unreadable(routes),
            Some(envelope) => {
                let event = Event {
                    cluster: &block.cluster,
                    envelope: &envelope,
                };
                let matched = routes.matched(&event);
                if routes.is_watchdogs(&matched) {
                    // A sign of life of then is none of now.
                    return Targets::new();
                }
                let mut occurrence = Occurrence {
                    event: &event,
                    received_unix_ms: block.received_unix_ms,
                    is_reused,
                    rates: &mut self.rates,
                    now_unix_ms: block.received_unix_ms,
                };
                routes.fate(&matched, &mut occurrence)
            }
        };
        match fate {
            Fate::Told(targets) => targets,
            Fate::Filtered(_) => Targets::new(),
        }
    }

    fn is_asked_for(&self, target: &Target<'_>) -> bool {
        let only = self.selection.route.as_deref();
        only.is_none_or(|only| target.routes().any(|route| route == only))
    }

    /// What it came to.
    pub fn finish(self) -> Replayed {
        let row = |((channel, route), events)| ReplayedRoute {
            channel,
            route,
            events,
        };
        Replayed {
            sent: self.sent.into_iter().map(row).collect(),
            ..self.replayed
        }
    }
}

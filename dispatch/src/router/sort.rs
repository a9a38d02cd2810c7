//! What some blocks become, while it is being decided.
//!
//! Most events are decided by their hints alone, and a block whose events all go one way goes on as it is packed.
//! A text is unpacked only where events of a block part, and read only where it is counted by a rate, where
//! something may be held back, or where its hint says nothing.

use std::collections::BTreeMap;

use auditrelay_audit::{Envelope, Event, Severity};
use auditrelay_store::{
    Block, BlockItem, Counts, DamagedTexts, DeliveriesEncoder, DeliveryBlock, EventToDeliver,
    FilteredCount, Hint, ItemKind, Marks, MutedCount, Notice, QuarantineRecord, Routed,
    RoutedBlock, Unreadable,
};
use smallvec::SmallVec;

use crate::{
    Routes,
    mutes::Mutes,
    rates::{Occurrence, Rate, Rates},
    routes::{Conditions, Fate, Matched, Numbers, Target, Targets},
};

pub(super) struct Sorted<'r> {
    routes: &'r Routes,
    rates: &'r mut Rates,
    mutes: Option<&'r Mutes>,
    pub(super) now_unix_ms: i64,
    blocks: Vec<RoutedBlock>,
    deliveries: BTreeMap<(&'r str, Severity), DeliveriesEncoder>,
    /// How many a route kept from everybody.
    filtered: BTreeMap<&'r str, u64>,
    /// How many were held back, by whom and from which channel.
    held: BTreeMap<(u64, &'r str), u64>,
    /// How many could not be read, by cluster and reason.
    unreadable: BTreeMap<(String, String), u64>,
}

/// An event of a block that is no duplicate, and that somebody may want.
pub(super) struct Wanted {
    pub(super) number: usize,
    pub(super) body_unreadable: bool,
    pub(super) hint: Hint,
    pub(super) reused: bool,
}

/// Reads a stored event.
pub(crate) fn read(json: &str) -> Option<Envelope<'_>> {
    let read = Envelope::parse(json);
    if let Err(error) = &read {
        // Ingest read this envelope before it was stored, so this is damage or a bug. It is told
        // rather than dropped; the renderer says that it cannot be read.
        tracing::error!(
            line = error.line(),
            column = error.column(),
            "a stored event cannot be read: it is told in the default channel as one that cannot; please report this, and \
             look at the disk"
        );
    }
    read.ok()
}

/// What becomes of an event that cannot be read.
pub(crate) fn fate_of_unreadable(routes: &Routes) -> Fate<'_> {
    Fate::Told(Targets::from_iter([Target {
        channel: routes.default_channel(),
        severity: Severity::Warning,
        route: "",
        also: SmallVec::new(),
    }]))
}

/// What is known of an event that is not looked at.
struct Unseen {
    is_reused: bool,
}

impl Conditions for Unseen {
    fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Not asked: see [`Sorted::decided`].
    fn is_too_many(&mut self, _: &Rate) -> bool {
        false
    }
}

/// The block's checksum was right, so this is a bug; it must neither lose the count nor end the relay at
/// the same block at every start.
fn cannot_unpack(error: &DamagedTexts) -> Unreadable {
    tracing::error!(%error, "a stored block cannot be unpacked; its events are quarantined (`auditrelay quarantine list`); please \
         report this, and look at the disk");
    Unreadable {
        reason: format!("its stored block cannot be unpacked: {error}"),
        offset_bytes: 0,
        length_bytes: 0,
        sealed: None,
        source: None,
    }
}

impl<'r> Sorted<'r> {
    pub(super) fn new(
        routes: &'r Routes,
        rates: &'r mut Rates,
        mutes: Option<&'r Mutes>,
        now_unix_ms: i64,
    ) -> Self {
        Self {
            routes,
            rates,
            mutes,
            now_unix_ms,
            blocks: Vec::new(),
            deliveries: BTreeMap::new(),
            filtered: BTreeMap::new(),
            held: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        }
    }

    /// Counts an event whose text was not stored.
    pub(super) fn unwanted(
        &mut self,
        block: &Block,
        hint: Option<Hint>,
        is_reused: bool,
        counts: &mut Counts,
    ) {
        let fate = hint.and_then(|hint| self.decided(block, hint, is_reused));
        // A hint that a table of today has for somebody is none of such an event: nobody can be told of it.
        let by = match fate {
            Some(Fate::Filtered(by)) => by,
            Some(Fate::Told(_)) | None => None,
        };
        self.filter(by, counts);
    }

    fn filter(&mut self, by: Option<&'r str>, counts: &mut Counts) {
        counts.filtered += 1;
        if let Some(route) = by {
            *self.filtered.entry(route).or_default() += 1;
        }
    }

    fn hinted(&self, block: &Block, hint: Hint) -> Option<Matched> {
        match block.hints_of {
            Routes::FOR_NOBODY => Some(Matched::Routes(Numbers::new())),
            table if table == self.routes.id() => self.routes.hinted(hint),
            _ => None,
        }
    }

    /// What becomes of an event, where its hint says it: no rate has to count it.
    fn decided(&self, block: &Block, hint: Hint, is_reused: bool) -> Option<Fate<'r>> {
        let matched = self.hinted(block, hint)?;
        let routes = self.routes;
        (!routes.counts(&matched)).then(|| routes.fate(&matched, &mut Unseen { is_reused }))
    }

    /// Where all of a block's events go that are stored, if it is one way.
    fn the_only_fate(&self, block: &Block, wanted: &[Wanted]) -> Option<Targets<'r>> {
        let is_event = |item: &&BlockItem| matches!(item.kind, ItemKind::Event { .. });
        let first = wanted.first()?;
        let is_one = self.mutes.is_none()
            && wanted.iter().all(|event| event.hint == first.hint)
            && wanted.len() == block.items.iter().filter(is_event).count();
        if !is_one {
            return None;
        }
        let fate = self.decided(block, first.hint, first.reused)?;
        let is_other = |event: &&Wanted| event.reused != first.reused;
        if let Some(other) = wanted.iter().find(is_other)
            && self.decided(block, other.hint, other.reused).as_ref() != Some(&fate)
        {
            return None;
        }
        match fate {
            Fate::Told(targets) => Some(targets),
            Fate::Filtered(_) => None,
        }
    }

    /// Sends a block's events to their channels.
    pub(super) fn route(
        &mut self,
        block: &Block,
        mut wanted: Vec<Wanted>,
        mut routed: RoutedBlock,
    ) {
        // Stored to be looked back at, or in case its audit ID is another's: need not be unpacked.
        wanted.retain(
            |event| match self.decided(block, event.hint, event.reused) {
                Some(Fate::Filtered(by)) => {
                    self.filter(by, &mut routed.counts);
                    false
                }
                _ => true,
            },
        );
        if let Some(targets) = self.the_only_fate(block, &wanted) {
            // Nothing to unpack: the texts go on as they are.
            let is_reused = |number| {
                let found = wanted.binary_search_by_key(&number, |event| event.number);
                found.is_ok_and(|at| wanted[at].reused)
            };
            routed.counts.routed += wanted.len() as u64;
            for target in targets {
                self.lane(&target, block)
                    .push_block(block, target.route, is_reused);
            }
        } else if !wanted.is_empty() {
            self.one_by_one(block, &wanted, &mut routed);
        }
        self.blocks.push(routed);
    }

    fn one_by_one(&mut self, block: &Block, wanted: &[Wanted], routed: &mut RoutedBlock) {
        let texts = match block.texts() {
            Ok(texts) => texts,
            Err(error) => {
                let unreadable = cannot_unpack(&error);
                for event in wanted {
                    let item = &block.items[event.number];
                    self.quarantine(block, item, &unreadable, routed);
                }
                return;
            }
        };
        for event in wanted {
            let json = texts.get(event.number);
            let decided = self.decided(block, event.hint, event.reused);
            let mut counts = routed.counts;
            match decided {
                Some(fate) if self.mutes.is_none() => {
                    self.settle(block, event, json, fate, &mut counts);
                }
                _ => self.look_at(block, event, json, &mut counts),
            }
            routed.counts = counts;
        }
    }

    /// Decides about an event by what is in it.
    fn look_at(&mut self, block: &Block, event: &Wanted, json: &str, counts: &mut Counts) {
        let Some(envelope) = read(json) else {
            let fate = fate_of_unreadable(self.routes);
            return self.settle(block, event, json, fate, counts);
        };
        let seen = Event {
            cluster: &block.cluster,
            envelope: &envelope,
        };
        let hinted = self.hinted(block, event.hint);
        let matched = hinted.unwrap_or_else(|| self.routes.matched(&seen));
        let mut occurrence = Occurrence {
            event: &seen,
            received_unix_ms: block.received_unix_ms,
            is_reused: event.reused,
            rates: self.rates,
            now_unix_ms: self.now_unix_ms,
        };
        let mut fate = self.routes.fate(&matched, &mut occurrence);
        // The watchdog is never muted: its silence is an alarm.
        if let (Fate::Told(targets), false) = (&mut fate, self.routes.is_watchdogs(&matched)) {
            targets.retain(|target| !self.is_held(&seen, target));
            if targets.is_empty() {
                counts.muted += 1;
                return;
            }
        }
        self.settle(block, event, json, fate, counts);
    }

    /// Whether a delivery is not to be made; counts it.
    fn is_held(&mut self, event: &Event<'_>, target: &Target<'r>) -> bool {
        let held = self.mutes.and_then(|mutes| mutes.holds(event, target));
        if let Some(by) = held {
            *self.held.entry((by, target.channel)).or_default() += 1;
        }
        held.is_some()
    }

    fn settle(
        &mut self,
        block: &Block,
        event: &Wanted,
        json: &str,
        fate: Fate<'r>,
        counts: &mut Counts,
    ) {
        let targets = match fate {
            Fate::Filtered(by) => return self.filter(by, counts),
            Fate::Told(targets) => targets,
        };
        counts.routed += 1;
        for target in targets {
            self.lane(&target, block).push(&EventToDeliver {
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
    }

    /// What takes the block's events for a channel.
    fn lane(&mut self, target: &Target<'r>, block: &Block) -> &mut DeliveriesEncoder {
        let place = (target.channel, target.severity);
        let encoder = self.deliveries.entry(place).or_default();
        encoder.received(block.received_unix_ms);
        encoder
    }

    pub(super) fn quarantine(
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

    pub(super) fn finish(self) -> Routed {
        let mut notices = DeliveriesEncoder::default();
        let has_notices = !self.unreadable.is_empty();
        for ((cluster, reason), events) in self.unreadable {
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
            let place = (self.routes.default_channel(), Severity::Warning);
            deliveries.push(block((place, notices)));
        }
        let filtered = |(route, events): (&str, u64)| FilteredCount {
            route: route.to_owned(),
            events,
        };
        let muted = |((mute, channel), events): ((u64, &str), u64)| MutedCount {
            mute,
            channel: channel.to_owned(),
            events,
        };
        Routed {
            blocks: self.blocks,
            deliveries,
            filtered_by: self.filtered.into_iter().map(filtered).collect(),
            muted: self.held.into_iter().map(muted).collect(),
            ..Routed::default()
        }
    }
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;

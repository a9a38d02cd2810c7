//! From what is stored to events: what belongs to one audit ID, put together by what each part knows of it.
//!
//! A block knows keys and, as far as they are kept, texts. A delivery knows the text. The dedup window knows keys. A
//! text and a key belong together where a block says so; or where a stage has one of each that nothing else belongs
//! to, and the text was not queued before the key came. All else stays apart: an audit ID may be used again, with
//! another content.

use std::collections::{BTreeMap, BTreeSet};

use auditrelay_audit::{Envelope, EventKey, HashKey, Stage};
use auditrelay_store::{Block, Hint, ItemKind, Note, Queued, SeenKey, Whereabouts};

use super::kept::Kept;

/// A client that may name any cluster names no more than so many; the configuration's come first.
const CLUSTERS_MAX: usize = 10_000;
type Fingerprint = [u8; 16];

/// An item of a block.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    cluster: String,
    stage: Stage,
    pub(crate) block: u64,
    pub(crate) received_unix_ms: i64,
    /// Its block waits to be routed.
    pub(crate) waits: bool,
    pub(crate) key: EventKey,
    json: Option<String>,
    /// Nobody wanted it at the door: what the table of routes of this ID said.
    pub(crate) unwanted: Option<(u64, Option<Hint>)>,
}

/// A delivery, and what is known of its end.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) queued: Queued,
    pub(crate) place: Option<Whereabouts>,
    /// Oldest first.
    pub(crate) notes: Vec<Note>,
}

/// One content of one stage.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) cluster: String,
    pub(crate) stage: Stage,
    /// None: its key is not known. Several: they differ only in what was redacted.
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) json: Option<String>,
    /// Oldest first.
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) seen: Option<SeenKey>,
    pub(crate) deliveries: Vec<Placed>,
}

/// What is looked for, and what of it was found.
pub(crate) struct Gathered {
    pub(crate) audit_id: String,
    only: Option<String>,
    key: Option<HashKey>,
    pub(crate) clusters: BTreeSet<String>,
    identities: BTreeMap<u64, (String, Stage)>,
    // A client that uses one audit ID for everything fills no memory.
    arrivals: Kept<Arrival>,
    deliveries: Kept<Queued>,
    notes: Vec<Note>,
    seen: Kept<SeenKey>,
    pub(crate) window_from_unix_ms: Option<i64>,
}

impl Gathered {
    pub(crate) fn new(audit_id: String, only: Option<String>, key: Option<HashKey>) -> Self {
        let mut new = Self {
            audit_id,
            only: only.clone(),
            key,
            clusters: BTreeSet::new(),
            identities: BTreeMap::new(),
            arrivals: Kept::default(),
            deliveries: Kept::default(),
            notes: Vec::new(),
            seen: Kept::default(),
            window_from_unix_ms: None,
        };
        if let Some(only) = only {
            new.cluster(&only);
        }
        new
    }

    /// There is a cluster of this name.
    pub(crate) fn cluster(&mut self, name: &str) {
        let is_other = self.only.as_ref().is_some_and(|only| only != name);
        if is_other || self.clusters.contains(name) || self.clusters.len() == CLUSTERS_MAX {
            return;
        }
        self.clusters.insert(name.to_owned());
        let Some(key) = &self.key else { return };
        for stage in Stage::ALL.into_iter().chain([Stage::Unknown]) {
            let identity = key.identity(name, &self.audit_id, stage);
            self.identities.insert(identity, (name.to_owned(), stage));
        }
    }

    /// Takes what a block has of it.
    pub(crate) fn block(&mut self, block: &Block, first_unrouted: Option<u64>) {
        self.cluster(&block.cluster);
        let mut texts = None;
        for (number, item) in block.items.iter().enumerate() {
            let identity = item.key.identity;
            let Some((cluster, stage)) = self.identities.get(&identity).filter(|_| identity != 0)
            else {
                continue;
            };
            let (json, unwanted) = match &item.kind {
                ItemKind::Event { .. } => {
                    // One that cannot be unpacked is told without its text.
                    let texts = texts.get_or_insert_with(|| block.texts().ok());
                    (
                        texts.as_ref().map(|texts| texts.get(number).to_owned()),
                        None,
                    )
                }
                ItemKind::Unwanted { hint } => (None, Some((block.hints_of, *hint))),
                ItemKind::Unreadable(_) => continue,
            };
            self.arrivals.push(Arrival {
                cluster: cluster.clone(),
                stage: *stage,
                block: block.seq,
                received_unix_ms: block.received_unix_ms,
                waits: first_unrouted.is_some_and(|first| block.seq >= first),
                key: item.key,
                json,
                unwanted,
            });
        }
    }

    /// Deliveries that are kept, by record and number.
    pub(crate) fn known(&self) -> Vec<(u64, u32)> {
        let place = |one: &Queued| (one.record, one.number);
        self.deliveries.iter().map(place).collect()
    }

    pub(crate) fn deliveries(&mut self, found: Vec<Queued>, notes: Vec<Note>) {
        for one in found {
            self.cluster(&one.event.cluster);
            let is_other = self
                .only
                .as_ref()
                .is_some_and(|only| *only != one.event.cluster);
            if is_other {
                continue;
            }
            self.deliveries.push(one);
        }
        self.notes.extend(notes);
        if self.deliveries.left_out > 0 {
            let kept: BTreeSet<_> = self.known().into_iter().collect();
            self.notes
                .retain(|note| kept.contains(&(note.record, note.number)));
        }
    }

    /// So much was found beside what is kept.
    pub(crate) fn left_out(&self) -> u64 {
        self.arrivals.left_out + self.deliveries.left_out + self.seen.left_out
    }

    pub(crate) fn identities(&self) -> BTreeSet<u64> {
        self.identities.keys().copied().collect()
    }

    pub(crate) fn seen(&mut self, found: Vec<SeenKey>, oldest_unix_ms: Option<i64>) {
        let oldest = self.window_from_unix_ms.into_iter().chain(oldest_unix_ms);
        self.window_from_unix_ms = oldest.min();
        for one in found {
            self.seen.push(one);
        }
    }

    /// The events, by cluster and in the order of a request's life. Places are those of [`Gathered::known`].
    pub(crate) fn contents(mut self, places: Vec<Option<Whereabouts>>) -> Vec<Content> {
        self.notes.sort_by_key(|note| note.stamp);
        let mut contents: Vec<Content> = Vec::new();
        for arrival in std::mem::take(&mut self.arrivals) {
            put_arrival(&mut contents, arrival);
        }
        for (queued, place) in std::mem::take(&mut self.deliveries).into_iter().zip(places) {
            let is_its =
                |note: &&Note| (note.record, note.number) == (queued.record, queued.number);
            let notes = self.notes.iter().filter(is_its).cloned().collect();
            put_delivery(
                &mut contents,
                Placed {
                    queued,
                    place,
                    notes,
                },
            );
        }
        self.put_seen(&mut contents);
        contents.sort_by_key(|one| {
            let first = one.arrivals.first().map(|arrival| arrival.block);
            let block = one.seen.map(|seen| seen.block).or(first);
            (one.cluster.clone(), one.stage, block)
        });
        contents
    }

    fn put_seen(&self, contents: &mut Vec<Content>) {
        for ((cluster, stage), seen) in self.seen.iter().filter_map(|seen| {
            let of = self.identities.get(&seen.key.identity)?;
            Some((of, seen))
        }) {
            let mut own = contents
                .iter_mut()
                .filter(|one| (&one.cluster, one.stage) == (cluster, *stage));
            if let Some(known) = own.find(|one| one.fingerprints.contains(&seen.key.fingerprint)) {
                known.seen.get_or_insert(*seen);
            } else {
                contents.push(Content {
                    fingerprints: vec![seen.key.fingerprint],
                    seen: Some(*seen),
                    ..Content::new(cluster, *stage, None)
                });
            }
        }
        let stages: BTreeSet<(String, Stage)> = contents
            .iter()
            .map(|one| (one.cluster.clone(), one.stage))
            .collect();
        for (cluster, stage) in stages {
            pair(contents, &cluster, stage);
        }
    }
}

impl Content {
    fn new(cluster: &str, stage: Stage, json: Option<String>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            stage,
            fingerprints: Vec::new(),
            json,
            arrivals: Vec::new(),
            seen: None,
            deliveries: Vec::new(),
        }
    }

    fn is_of(&self, cluster: &str, stage: Stage) -> bool {
        (self.cluster.as_str(), self.stage) == (cluster, stage)
    }
}

fn put_arrival(contents: &mut Vec<Content>, arrival: Arrival) {
    let fingerprint = arrival.key.fingerprint;
    let same = contents.iter_mut().find(|one| {
        let same_text = arrival.json.is_some() && one.json == arrival.json;
        one.is_of(&arrival.cluster, arrival.stage)
            && (one.fingerprints.contains(&fingerprint) || same_text)
    });
    let content = match same {
        Some(same) => same,
        None => {
            let json = arrival.json.clone();
            contents.push(Content::new(&arrival.cluster, arrival.stage, json));
            contents.last_mut().expect("one was pushed")
        }
    };
    if !content.fingerprints.contains(&fingerprint) {
        content.fingerprints.push(fingerprint);
    }
    content.json = content.json.take().or_else(|| arrival.json.clone());
    content.arrivals.push(arrival);
}

fn put_delivery(contents: &mut Vec<Content>, placed: Placed) {
    let event = &placed.queued.event;
    // It was found by its audit ID, so it can be read.
    let stage = Envelope::parse(&event.json).map_or(Stage::Unknown, |envelope| envelope.stage);
    let same = contents.iter_mut().find(|one| {
        one.is_of(&event.cluster, stage) && one.json.as_deref() == Some(event.json.as_str())
    });
    match same {
        Some(same) => same.deliveries.push(placed),
        None => {
            let json = Some(event.json.clone());
            let mut content = Content::new(&event.cluster, stage, json);
            content.deliveries.push(placed);
            contents.push(content);
        }
    }
}

/// Puts the text and the key of a stage together that are left over, if there is one of each.
fn pair(contents: &mut Vec<Content>, cluster: &str, stage: Stage) {
    let which = |is_it: &dyn Fn(&Content) -> bool| {
        let own = contents.iter().enumerate();
        let own = own.filter(|(_, one)| one.is_of(cluster, stage) && is_it(one));
        let numbers: Vec<usize> = own.map(|(number, _)| number).collect();
        <[usize; 1]>::try_from(numbers).ok().map(|[one]| one)
    };
    let text = which(&|one| one.fingerprints.is_empty());
    let key = which(&|one| one.json.is_none());
    let (Some(text), Some(key)) = (text, key) else {
        return;
    };
    let (known, with_text) = (&contents[key], &contents[text]);
    let block = known.seen.map_or(0, |seen| seen.block);
    // One counter numbers blocks, records and messages.
    let is_older = with_text.deliveries.iter().any(|one| {
        let message = match &one.place {
            Some(Whereabouts::Told { message, .. } | Whereabouts::Dead { message, .. }) => *message,
            Some(Whereabouts::Waiting { .. }) | None => u64::MAX,
        };
        one.queued.record.min(message) < block
    });
    if is_older || known.arrivals.iter().any(|one| one.unwanted.is_some()) {
        return;
    }
    let known = contents.remove(key);
    let text = text - usize::from(key < text);
    let content = &mut contents[text];
    content.fingerprints = known.fingerprints;
    content.seen = known.seen;
    content.arrivals = known.arrivals;
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;

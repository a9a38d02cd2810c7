//! How a body becomes a batch: everything between the two that takes a processor.
//!
//! One pass over the body: an event is split off, read, keyed as it was received, redacted, judged by
//! the routing table and put into the batch before the next is looked at, so that nearly everything
//! happens in the processor's cache.

use std::sync::Arc;

use arc_swap::ArcSwap;
use auditrelay_audit::{
    Envelope, Event, HashKey,
    list::{Item, ListError, Readable},
    redact::{Bodies, Redactor},
};
use auditrelay_store::{BatchEncoder, Content, EncodedBatch, Hint, Unreadable};

use crate::{gaps::Stages, seal::SealTo};

/// How much is kept of an item that could not be read, where the configuration asks for it.
const RAW_BYTES_MAX: usize = 4 * 1024;
/// Of so many items of a list: sealing takes longer than all else that is done with one.
pub(crate) const SEALED_PER_LIST_MAX: u64 = 100;

/// How bodies are prepared.
pub struct Preparation {
    /// Keys what tells one event from another.
    pub hash_key: HashKey,
    /// Takes out what is not stored.
    pub redactor: Redactor,
    /// To whom the first 4 KiB of items that cannot be read are sealed, to be kept.
    pub quarantine_raw: Option<SealTo>,
    /// A longer list is refused.
    pub events_per_list_max: usize,
    /// What the router will say.
    pub advisor: Advisor,
}

/// Says what the routing table makes of an event, while its envelope is at hand: the router need not
/// read the event again, and of an event that nobody wants no text is redacted, compressed or stored.
pub struct Advisor {
    pub(crate) hints_of: u64,
    advise: Box<Advise>,
}

type Advise = dyn Fn(&Event<'_>) -> Advice + Send + Sync;

/// The hint of an event, and what is stored of its bodies; of one that nobody wants the hint of the route that takes
/// it, if one does.
pub type Advice = Result<(Hint, Bodies), Option<Hint>>;

impl Advisor {
    /// Hints of the table that `hints_of` names, and what is stored of the bodies; none for an event that nobody
    /// wants.
    pub fn new(
        hints_of: u64,
        advise: impl Fn(&Event<'_>) -> Option<(Hint, Bodies)> + Send + Sync + 'static,
    ) -> Self {
        Self::naming(hints_of, move |event| advise(event).ok_or(None))
    }

    /// The same, with the route that takes what nobody wants.
    pub fn naming(
        hints_of: u64,
        advise: impl Fn(&Event<'_>) -> Advice + Send + Sync + 'static,
    ) -> Self {
        Self {
            hints_of,
            advise: Box::new(advise),
        }
    }

    /// Everything is wanted, and the router reads it again.
    pub fn none() -> Self {
        Self::new(0, |_| Some((Hint::default(), Bodies::Keep)))
    }
}

/// The preparation in force; clones share it. A batch is prepared by one of them from its first event to its last.
#[derive(Clone)]
pub struct InForce(Arc<ArcSwap<Preparation>>);

impl InForce {
    /// The one to begin a batch with.
    pub fn load(&self) -> Arc<Preparation> {
        self.0.load_full()
    }

    /// What begins from now on is prepared by this one.
    pub fn exchange(&self, preparation: Preparation) {
        self.0.store(Arc::new(preparation));
    }
}

impl From<Preparation> for InForce {
    fn from(preparation: Preparation) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(preparation)))
    }
}

/// What a batch holds, and what was made durable.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Events whose envelope was read.
    pub events: u64,
    /// Items that go to quarantine.
    pub unreadable: u64,
}

impl Preparation {
    /// Splits, keys, redacts, quarantines and encodes; not for an async worker. What the events say of their
    /// requests' beginnings and ends is noted in `stages`.
    ///
    /// # Errors
    /// See [`ListError`]; the list is refused as a whole.
    pub fn batch(
        &self,
        cluster: &str,
        received_unix_ms: i64,
        body: &[u8],
        stages: &mut Stages,
    ) -> Result<(EncodedBatch, Stored), ListError> {
        let readable = Readable::new(body);
        let mut stored = Stored::default();
        let hints_of = self.advisor.hints_of;
        let mut batch = BatchEncoder::new(cluster, received_unix_ms, hints_of, body.len());
        readable.events(self.events_per_list_max, |item, envelope| match envelope {
            Ok(envelope) => {
                stored.events += 1;
                stages.note(cluster, &envelope);
                self.event(cluster, &item, &envelope, &mut batch);
            }
            Err(reason) => {
                stored.unreadable += 1;
                let keeps_raw = stored.unreadable <= SEALED_PER_LIST_MAX;
                let key = self.hash_key.unreadable(cluster, item.wire);
                let content =
                    Content::Unreadable(self.quarantine(&item, reason.as_str(), keeps_raw));
                batch.push(&key, &content, Hint::default());
            }
        })?;
        Ok((batch.finish(), stored))
    }

    /// An event is keyed as it was received, and then redacted.
    pub(crate) fn event(
        &self,
        cluster: &str,
        item: &Item<'_>,
        envelope: &Envelope<'_>,
        batch: &mut BatchEncoder,
    ) {
        let key = self.hash_key.event(cluster, item, envelope);
        let (hint, bodies) = match (self.advisor.advise)(&Event { cluster, envelope }) {
            Ok(wanted) => wanted,
            Err(hint) => return batch.push_unwanted(&key, hint),
        };
        let is_readable = !item.has_invalid_utf8;
        let redacted = self
            .redactor
            .redact(item.text, envelope, is_readable, bodies);
        let content = Content::Event {
            json: redacted.json,
            body_unreadable: redacted.body_unreadable,
        };
        batch.push(&key, &content, hint);
    }

    pub(crate) fn quarantine(&self, item: &Item<'_>, reason: &str, keeps_raw: bool) -> Unreadable {
        let seal = self.quarantine_raw.as_ref().filter(|_| keeps_raw);
        let head = &item.wire[..item.wire.len().min(RAW_BYTES_MAX)];
        Unreadable {
            reason: reason.to_owned(),
            offset_bytes: item.offset as u64,
            length_bytes: item.wire.len() as u64,
            sealed: seal.and_then(|seal| seal.seal(head)),
            source: None,
        }
    }
}

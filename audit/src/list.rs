//! An `EventList`'s body, cut into its events without building a value tree.
//!
//! Splitting and reading envelopes is one pass over the text where list and event are as plain as nearly
//! all are; the rest is done over by serde (`scan.rs`).
//!
//! Invariants:
//! * every event is a slice of the body *as received*, so that its hash is that of the wire;
//! * one event never costs another: what is inside an item is not this module's business;
//! * a byte that is not UTF-8 (raw patch bodies pass through the API server) does not make the list
//!   unreadable. Each such byte is read as `?`, one for one, so that offsets stay those of the wire,
//!   and the event that holds it is marked.

use std::{borrow::Cow, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    event::{Envelope, Text},
    scan::Scanner,
};

/// So many items are kept of a list at most, since each costs far more memory than the two bytes that
/// it may have on the wire.
pub const ITEMS_MAX: usize = 1_000_000;

/// Why a body is not a list of events.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Not JSON.
    #[error("the body is not valid JSON: {0}")]
    Malformed(serde_json::Error),
    /// JSON, but not of the form `{"kind":…,"apiVersion":…,"items":[…]}`.
    #[error("the body is not an EventList: {0}")]
    WrongShape(serde_json::Error),
    /// More items than allowed.
    #[error("the list holds {events} items, more than {events_max}")]
    TooMany {
        /// How many there are.
        events: usize,
        /// How many there may be.
        events_max: usize,
    },
    /// Another kind of object.
    #[error(
        "expected kind EventList of apiVersion audit.k8s.io/v1, got kind {kind:?} of apiVersion {api_version:?}"
    )]
    WrongKind {
        /// The body's `kind`, shortened.
        kind: String,
        /// The body's `apiVersion`, shortened.
        api_version: String,
    },
}

/// A body whose every byte can be read as text.
#[derive(Debug)]
pub struct Readable<'a> {
    wire: &'a [u8],
    text: Cow<'a, str>,
    replaced: Vec<Range<usize>>,
}

/// One item of a list.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The event as received.
    pub wire: &'a [u8],
    /// The event as text, of the same length.
    pub text: &'a str,
    /// Where it begins in the body, in bytes.
    pub offset: usize,
    /// Whether some of its bytes were not UTF-8.
    pub has_invalid_utf8: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    api_version: Text<'a>,
    // Go writes a nil slice as null.
    #[serde(borrow, default)]
    items: Option<Items<'a>>,
}

#[derive(Default)]
struct Items<'a> {
    kept: Vec<&'a RawValue>,
    beyond: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
                let mut items = Items::default();
                while items.kept.len() < ITEMS_MAX
                    && let Some(item) = list.next_element()?
                {
                    items.kept.push(item);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    items.beyond += 1;
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

impl<'a> Readable<'a> {
    /// Makes a body readable; free when it is UTF-8 already.
    pub fn new(wire: &'a [u8]) -> Self {
        if let Ok(text) = str::from_utf8(wire) {
            return Self {
                wire,
                text: Cow::Borrowed(text),
                replaced: Vec::new(),
            };
        }
        let mut text = String::with_capacity(wire.len());
        let mut replaced = Vec::new();
        for chunk in wire.utf8_chunks() {
            text.push_str(chunk.valid());
            let start = text.len();
            text.extend(chunk.invalid().iter().map(|_| '?'));
            if text.len() > start {
                replaced.push(start..text.len());
            }
        }
        Self {
            wire,
            text: Cow::Owned(text),
            replaced,
        }
    }

    /// Tells of each of the list's events, in the order of the wire, and what its envelope is; at most
    /// `events_max`, and never more than [`ITEMS_MAX`].
    ///
    /// # Errors
    /// See [`ListError`]; what was told of before is worth nothing then.
    pub fn events<'b>(
        &'b self,
        events_max: usize,
        mut each: impl FnMut(Item<'b>, Result<Envelope<'b>, serde_json::Error>),
    ) -> Result<(), ListError> {
        let mut told = 0;
        let plain = self.scan(events_max.min(ITEMS_MAX), |item, envelope| {
            told += 1;
            each(item, envelope);
        });
        if plain.is_none() {
            for item in self.split(events_max)?.into_iter().skip(told) {
                each(item, Envelope::parse_any(item.text));
            }
        }
        Ok(())
    }

    /// The same for a list without surprises; otherwise it ends somewhere in the middle.
    fn scan<'b>(
        &'b self,
        events_max: usize,
        mut each: impl FnMut(Item<'b>, Result<Envelope<'b>, serde_json::Error>),
    ) -> Option<()> {
        let mut scanner = Scanner::new(&self.text);
        let (mut kind, mut api_version, mut items) = (None, None, None);
        let mut events = 0;
        scanner.object(|scanner, name| {
            let seen = match name {
                "kind" => kind.replace(scanner.string()?.plain()?).is_some(),
                "apiVersion" => api_version.replace(scanner.string()?.plain()?).is_some(),
                "items" => {
                    let again = items.replace(()).is_some();
                    scanner.array(|scanner| {
                        events += 1;
                        if again || events > events_max {
                            return None;
                        }
                        let (text, envelope) = next_event(scanner)?;
                        each(self.item(text), envelope);
                        Some(())
                    })?;
                    again
                }
                _ => {
                    scanner.skip()?;
                    false
                }
            };
            (!seen).then_some(())
        })?;
        let is_list = kind == Some("EventList") && api_version == Some("audit.k8s.io/v1");
        (scanner.is_at_end() && is_list).then_some(())
    }

    /// The list's items, in the order of the wire; at most `events_max`, and never more than
    /// [`ITEMS_MAX`].
    ///
    /// # Errors
    /// See [`ListError`]; nothing of the body was used then.
    pub fn split(&self, events_max: usize) -> Result<Vec<Item<'_>>, ListError> {
        let list: List<'_> = serde_json::from_str(&self.text).map_err(|error| {
            if error.is_data() {
                ListError::WrongShape(error)
            } else {
                ListError::Malformed(error)
            }
        })?;
        if &*list.kind != "EventList" || &*list.api_version != "audit.k8s.io/v1" {
            return Err(ListError::WrongKind {
                kind: list.kind.chars().take(40).collect(),
                api_version: list.api_version.chars().take(40).collect(),
            });
        }
        let items = list.items.unwrap_or_default();
        let events = items.kept.len() + items.beyond;
        let events_max = events_max.min(ITEMS_MAX);
        if events > events_max {
            return Err(ListError::TooMany { events, events_max });
        }
        Ok(items
            .kept
            .into_iter()
            .map(|raw| self.item(raw.get()))
            .collect())
    }

    /// All of it as one item, without the white space around it: a line of a log file.
    pub fn whole(&self) -> Item<'_> {
        self.item(self.text.trim_ascii())
    }

    fn item<'b>(&'b self, text: &'b str) -> Item<'b> {
        let offset = text.as_ptr().addr() - self.text.as_ptr().addr();
        let span = offset..offset + text.len();
        let first = self.replaced.partition_point(|bad| bad.end <= span.start);
        let has_invalid_utf8 = self
            .replaced
            .get(first)
            .is_some_and(|bad| bad.start < span.end);
        Item {
            wire: &self.wire[span],
            text,
            offset,
            has_invalid_utf8,
        }
    }
}

fn next_event<'a>(
    scanner: &mut Scanner<'a>,
) -> Option<(&'a str, Result<Envelope<'a>, serde_json::Error>)> {
    scanner.next()?;
    let before = *scanner;
    if let Some(envelope) = Envelope::scan(scanner) {
        return Some((scanner.slice(before.position())?, Ok(envelope)));
    }
    *scanner = before;
    scanner.skip()?;
    let text = scanner.slice(before.position())?;
    Some((text, Envelope::parse_any(text)))
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;

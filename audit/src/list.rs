//! An `EventList`'s body, cut into its events without building a value tree.
//!
//! Splitting and reading envelopes is one pass over the text where list and event are as plain as nearly
//! all are; the rest is done over by serde (`scan.rs`). Where serde finds no JSON, the items are cut out by
//! their quotes and brackets alone, if that leaves no doubt (`list/cut.rs`).
//!
//! Invariants:
//! * every event is a slice of the body *as received*, so that its hash is that of the wire;
//! * one event never costs another: what is inside an item is not this module's business, not even whether
//!   it is JSON; and no event is lost inside of another item that cannot be read: then the list is refused;
//! * a byte that is not UTF-8 (raw patch bodies pass through the API server) does not make the list
//!   unreadable. Each such byte is read as `?`, one for one, so that offsets stay those of the wire,
//!   and the event that holds it is marked. An escape of half a character (`\ud800`) that makes an event
//!   unreadable is read as `\ufffd` in the same way.

mod cut;
mod error;

use std::{borrow::Cow, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

pub use self::error::{ListError, Malformation, OldVersion};
use crate::{
    event::{Envelope, NotAnEvent, Text, whole_characters},
    scan::Scanner,
};

/// So many items are kept of a list at most, since each costs far more memory than the two bytes that
/// it may have on the wire.
pub const ITEMS_MAX: usize = 1_000_000;

const BYTE_ORDER_MARK: char = '\u{feff}';

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
    /// The inner `None` is `null`, which Go writes for a nil slice; the outer one is no items at all.
    #[serde(borrow, default, deserialize_with = "some")]
    items: Option<Option<Items<'a>>>,
}

fn some<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Items<'a>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Default)]
struct Items<'a> {
    kept: Vec<&'a str>,
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
                    && let Some(item) = list.next_element::<&RawValue>()?
                {
                    items.kept.push(item.get());
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
    pub fn events(
        &self,
        events_max: usize,
        mut each: impl FnMut(Item<'_>, Result<Envelope<'_>, NotAnEvent>),
    ) -> Result<(), ListError> {
        let (mut told, mut last) = (0_usize, None);
        let plain = self.scan(events_max.min(ITEMS_MAX), |item, envelope| {
            told += 1;
            last = Some((item.offset, item.wire.len()));
            match envelope {
                Some(envelope) => each(item, envelope.supported()),
                None => item.read(&mut each),
            }
        });
        if plain.is_some() {
            return Ok(());
        }
        let items = self.split(events_max)?;
        // Both ways see the same items, or what was told of was none.
        let seen = told.checked_sub(1).and_then(|at| items.get(at));
        if last != seen.map(|item| (item.offset, item.wire.len())) {
            return Err(self.malformed());
        }
        for item in items.into_iter().skip(told) {
            item.read(&mut each);
        }
        Ok(())
    }

    /// Takes the whole text for one event, as the log backend writes it on a line.
    pub fn event(&self, each: impl FnMut(Item<'_>, Result<Envelope<'_>, NotAnEvent>)) {
        let text = self.text().trim_ascii();
        self.item(text).read(each);
    }

    /// What there is but for a byte order mark, which readers may pass over (RFC 8259).
    fn text(&self) -> &str {
        self.text
            .strip_prefix(BYTE_ORDER_MARK)
            .unwrap_or(&self.text)
    }

    /// The same for a list without surprises; otherwise it ends somewhere in the middle. An event that is
    /// not as plain has no envelope yet.
    fn scan<'b>(
        &'b self,
        events_max: usize,
        mut each: impl FnMut(Item<'b>, Option<Envelope<'b>>),
    ) -> Option<()> {
        let mut scanner = Scanner::new(self.text());
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
                        // What stands behind a value makes it an item.
                        matches!(scanner.next()?, b',' | b']').then_some(())?;
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
        (scanner.is_at_end() && is_list && items.is_some()).then_some(())
    }

    /// The list's items, in the order of the wire; at most `events_max`, and never more than
    /// [`ITEMS_MAX`].
    ///
    /// # Errors
    /// See [`ListError`]; nothing of the body was used then.
    pub fn split(&self, events_max: usize) -> Result<Vec<Item<'_>>, ListError> {
        let text = self.text();
        let (kind, api_version, items) = match serde_json::from_str::<List<'_>>(text) {
            Ok(list) => (list.kind, list.api_version, list.items),
            Err(error) if error.is_data() => {
                let offset_bytes = self.offset() + error::offset_bytes(text, &error);
                self.is_object()?;
                return Err(match cut::is_json(text) {
                    true => ListError::WrongShape { offset_bytes },
                    false => self.malformed(),
                });
            }
            Err(_) => {
                let pieces = cut::pieces(text).ok_or_else(|| self.malformed())?;
                (
                    pieces.kind,
                    pieces.api_version,
                    Some(Some(Items {
                        kept: pieces.items,
                        beyond: pieces.beyond,
                    })),
                )
            }
        };
        self.is_object()?;
        self.is_list(&kind, &api_version)?;
        let items = items.ok_or(ListError::NoItems)?.unwrap_or_default();
        let events = items.kept.len() + items.beyond;
        let events_max = events_max.min(ITEMS_MAX);
        if events > events_max {
            return Err(ListError::TooMany { events, events_max });
        }
        Ok(items.kept.into_iter().map(|raw| self.item(raw)).collect())
    }

    /// Where the text begins in the body.
    fn offset(&self) -> usize {
        self.text.len() - self.text().len()
    }

    /// Of JSON that is no object. serde would also read an array, taking its elements for the fields in
    /// their order.
    fn is_object(&self) -> Result<(), ListError> {
        let text = self.text().trim_ascii_start();
        if text.starts_with('{') || !cut::is_json(text) {
            return Ok(());
        }
        let offset_bytes = self.text.len() - text.len();
        Err(ListError::WrongShape { offset_bytes })
    }

    fn is_list(&self, kind: &str, api_version: &str) -> Result<(), ListError> {
        let text = self.text();
        let is_old = OldVersion::of(api_version).filter(|_| matches!(kind, "EventList" | "Event"));
        if let Some(version) = is_old {
            return Err(ListError::OldVersion(version));
        }
        if kind == "EventList" && api_version == "audit.k8s.io/v1" {
            return Ok(());
        }
        Err(if Envelope::parse_any(text).is_ok() {
            ListError::BareEvent
        } else {
            ListError::WrongKind
        })
    }

    /// Where the body is no JSON.
    fn malformed(&self) -> ListError {
        let text = self.text();
        if text.trim_ascii().is_empty() {
            return ListError::Empty;
        }
        let error = serde_json::from_str::<&RawValue>(text).err();
        let what = match &error {
            Some(error) if error.is_eof() => Malformation::EndsEarly,
            _ => Malformation::Syntax,
        };
        let offset = error.map_or(0, |error| error::offset_bytes(text, &error));
        ListError::Malformed {
            what,
            offset_bytes: self.offset() + offset,
        }
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

impl Item<'_> {
    /// Reads it as an event. If that fails only for halves of characters, their like is put in their place.
    fn read(self, mut each: impl FnMut(Item<'_>, Result<Envelope<'_>, NotAnEvent>)) {
        match Envelope::parse_any(self.text) {
            Ok(envelope) => each(self, envelope.supported()),
            Err(error) => {
                let mended = whole_characters(self.text);
                let text = mended.as_deref().unwrap_or(self.text);
                match mended.as_deref().map(Envelope::parse_any) {
                    Some(Ok(envelope)) => {
                        let item = Item {
                            wire: self.wire,
                            text,
                            offset: self.offset,
                            // Its bodies may hold more of them, and are not what was sent any more.
                            has_invalid_utf8: true,
                        };
                        each(item, envelope.supported());
                    }
                    _ => each(self, Err(NotAnEvent::of(self.text, &error))),
                }
            }
        }
    }
}

fn next_event<'a>(scanner: &mut Scanner<'a>) -> Option<(&'a str, Option<Envelope<'a>>)> {
    scanner.next()?;
    let before = *scanner;
    if let Some(envelope) = Envelope::scan(scanner) {
        return Some((scanner.slice(before.position())?, Some(envelope)));
    }
    *scanner = before;
    scanner.skip()?;
    Some((scanner.slice(before.position())?, None))
}

#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod tests;

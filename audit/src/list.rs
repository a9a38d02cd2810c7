//! An `EventList`'s body, cut into its events without building a value tree.
//!
//! Splitting and reading envelopes is one pass over the text where list and event are as plain as nearly
//! all are; the rest is done over by serde ([`crate::scan`]).
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `events` tells, and that splitting and parsing by serde tells the same.
    fn events(body: &[u8]) -> Option<Vec<(usize, bool)>> {
        let readable = Readable::new(body);
        let mut told = Vec::new();
        let outcome = readable.events(ITEMS_MAX, |item, envelope| {
            told.push((item, format!("{envelope:?}")));
        });
        let split = readable.split(ITEMS_MAX);
        let (Ok(()), Ok(items)) = (&outcome, &split) else {
            let error = |error: Option<&ListError>| error.map(ToString::to_string);
            assert_eq!(error(outcome.as_ref().err()), error(split.as_ref().err()));
            return None;
        };
        assert_eq!(told.len(), items.len());
        for ((item, envelope), expected) in told.iter().zip(items) {
            assert_eq!((item.wire, item.offset), (expected.wire, expected.offset));
            assert_eq!(item.has_invalid_utf8, expected.has_invalid_utf8);
            assert_eq!(
                *envelope,
                format!("{:?}", Envelope::parse_any(expected.text))
            );
        }
        let short =
            |(item, envelope): (Item<'_>, String)| (item.offset, envelope.starts_with("Ok"));
        Some(told.into_iter().map(short).collect())
    }

    #[test]
    fn one_pass_and_two_passes_tell_the_same() {
        let plain = r#"{"level":"Metadata","stage":"Panic","auditID":"1"}"#;
        let odd = r#"{"level":"Metadata","stage":"Panic","auditID":"\u0031"}"#;
        let wrong = r#"{"level":"Metadata","stage":"Never"}"#;
        let deep = format!(
            r#"{{"requestObject":{}1{}}}"#,
            "[".repeat(500),
            "]".repeat(500)
        );
        for (items, readable) in [
            (vec![plain, plain], vec![true, true]),
            (
                vec![plain, odd, wrong, plain],
                vec![true, true, false, true],
            ),
            // Deeper than the scanner goes: all that follow are read by serde.
            (vec![plain, &deep, plain], vec![true, false, true]),
            (vec!["1", "null", "[]"], vec![false, false, false]),
            (vec![], vec![]),
        ] {
            let told = events(&list(items.join(", ").as_bytes())).expect("a list");
            let told: Vec<bool> = told.into_iter().map(|(_, readable)| readable).collect();
            assert_eq!(told, readable);
        }
        for body in [
            r#"{"items":[1],"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#,
            r#"{"items":[1],"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[2]}"#,
            r#"{"items":[1],"kind":"EventList","kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#,
            r#"{"items":[1],"kind":"EventLis\u0074","apiVersion":"audit.k8s.io/v1"}"#,
            r#"{"items":[1],"kind":"EventList","apiVersion":"audit.k8s.io/v1"} 2"#,
            r#"{"items":[1,],"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#,
            r#"{"items":{"a":1},"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#,
            r#"{"items":[1],"kind":"Event","apiVersion":"audit.k8s.io/v1"}"#,
            r#"{"items":null,"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#,
        ] {
            events(body.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_told_the_same_by_both(
            at in any::<prop::sample::Index>(),
            with in prop::sample::select(b"\"\\{}[]:,0-e.n\x01\n\xc3".to_vec()),
        ) {
            let item = r#"{"level":"Metadata","stage":"Panic","auditID":"1","user":{"groups":["a"]}}"#;
            let mut body = list(format!("{item},{item}").as_bytes());
            let at = at.index(body.len());
            body[at] = with;
            events(&body);
        }
    }

    fn list(items: &[u8]) -> Vec<u8> {
        let mut body =
            br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#
                .to_vec();
        body.extend_from_slice(items);
        body.extend_from_slice(b"]}\n");
        body
    }

    #[test]
    fn items_are_slices_of_the_wire() {
        let body = list(br#"{"a":1}, {"b":[2]}"#);
        let readable = Readable::new(&body);
        let items = readable.split(ITEMS_MAX).expect("a list");
        assert_eq!(items.len(), 2);
        assert_eq!(items[1].wire, br#"{"b":[2]}"#);
        assert_eq!(&body[items[1].offset..][..9], br#"{"b":[2]}"#);
    }

    #[test]
    fn a_byte_that_is_no_text_marks_its_own_event_only() {
        let body = list(b"{\"a\":\"\xff\xfe\"},{\"b\":\"\xc3\xa9\"},{\"c\":\"\xe2\x82\"}");
        let readable = Readable::new(&body);
        let items = readable.split(ITEMS_MAX).expect("a list");
        let marks: Vec<bool> = items.iter().map(|item| item.has_invalid_utf8).collect();
        assert_eq!(marks, [true, false, true]);
        assert_eq!(items[0].text, r#"{"a":"??"}"#);
        assert_eq!(items[0].wire, b"{\"a\":\"\xff\xfe\"}");
        assert_eq!(items[1].text, "{\"b\":\"\u{e9}\"}");
    }

    #[test]
    fn depth_numbers_and_duplicate_keys_do_not_matter() {
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
        let body = list(format!(r#"{deep},{{"a":1e999,"a":"\ud800"}}"#).as_bytes());
        assert_eq!(
            Readable::new(&body).split(ITEMS_MAX).expect("a list").len(),
            2
        );
    }

    #[test]
    fn a_list_of_more_items_than_memory_allows_is_refused() {
        let body = list(
            "1,".repeat(ITEMS_MAX)
                .as_bytes()
                .strip_suffix(b",")
                .expect("a comma"),
        );
        assert_eq!(
            Readable::new(&body).split(ITEMS_MAX).expect("a list").len(),
            ITEMS_MAX
        );
        let body = list(&[b"1,".repeat(ITEMS_MAX + 6), b"1".to_vec()].concat());
        let error = Readable::new(&body).split(ITEMS_MAX).expect_err("too many");
        assert!(
            matches!(error, ListError::TooMany { events, .. } if events == ITEMS_MAX + 7),
            "{error}"
        );
    }

    #[test]
    fn a_smaller_limit_counts() {
        let body = list(b"1,2,3");
        assert_eq!(Readable::new(&body).split(3).expect("a list").len(), 3);
        let error = Readable::new(&body).split(2).expect_err("too many");
        assert!(
            matches!(
                error,
                ListError::TooMany {
                    events: 3,
                    events_max: 2
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_nil_list_is_empty() {
        let body = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}"#;
        assert!(
            Readable::new(body)
                .split(ITEMS_MAX)
                .expect("a list")
                .is_empty()
        );
    }

    #[test]
    fn each_wrong_body_has_its_own_error() {
        let error = |body: &[u8]| Readable::new(body).split(ITEMS_MAX).expect_err("no list");
        assert!(matches!(
            error(b"{\"kind\":\"EventList\""),
            ListError::Malformed(_)
        ));
        assert!(matches!(error(b""), ListError::Malformed(_)));
        assert!(matches!(error(b"{} x"), ListError::Malformed(_)));
        assert!(matches!(error(b"7"), ListError::WrongShape(_)));
        assert!(matches!(
            error(br#"{"kind":"EventList","items":7}"#),
            ListError::WrongShape(_)
        ));
        assert!(matches!(
            error(br#"{"kind":"Pod","apiVersion":"v1"}"#),
            ListError::WrongKind { .. }
        ));
        assert!(matches!(
            error(br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1","items":[]}"#),
            ListError::WrongKind { .. }
        ));
    }
}

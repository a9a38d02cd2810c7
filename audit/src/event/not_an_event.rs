//! Why an item of a list is no event that can be told, in words that are safe to store and to post.
//!
//! Contract: a reason is one of a small fixed set. It quotes nothing of the item (P8), not even a
//! position: notices with the same text add up, so a position would turn a storm of unreadable events
//! into a flood of notices (P5). Where the item stood is kept beside the reason.

use std::fmt;

use serde_json::value::RawValue;

use crate::list::OldVersion;

/// Why an item is no event that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnEvent {
    /// Not JSON at all.
    NotJson,
    /// JSON, but not of the form `{…}`.
    NotAnObject,
    /// Of a version that Kubernetes has given up.
    OldVersion(OldVersion),
    /// Without a stage.
    MissingStage,
    /// Without a level.
    MissingLevel,
    /// A field of the envelope stands there twice: which one is true cannot be known.
    FieldTwice,
    /// A field of the envelope is of another type than Kubernetes writes.
    WrongType,
    /// A number of the envelope is larger than Kubernetes can write, or no whole one.
    OutOfRange,
    /// A field of the envelope cannot be read for another reason.
    UnreadableField,
}

impl NotAnEvent {
    /// Why `Envelope::parse` refused a text.
    pub(crate) fn of(text: &str, error: &serde_json::Error) -> Self {
        // serde_json offers no kind of error beyond its category, only words. These beginnings are its
        // own (the first is `Envelope::parse`'s); what it quotes of the item comes after them, and is
        // not passed on.
        const KNOWN: [(&str, NotAnEvent); 7] = [
            ("not an object", NotAnEvent::NotAnObject),
            ("missing field `stage`", NotAnEvent::MissingStage),
            ("missing field `level`", NotAnEvent::MissingLevel),
            ("duplicate field", NotAnEvent::FieldTwice),
            ("invalid type", NotAnEvent::WrongType),
            ("invalid value", NotAnEvent::OutOfRange),
            ("number out of range", NotAnEvent::OutOfRange),
        ];
        // A wrong field is found before what is wrong behind it.
        if serde_json::from_str::<&RawValue>(text).is_err() {
            return Self::NotJson;
        }
        let words = error.to_string();
        KNOWN
            .into_iter()
            .find(|(beginning, _)| words.starts_with(beginning))
            .map_or(Self::UnreadableField, |(_, reason)| reason)
    }

    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not valid JSON",
            Self::NotAnObject => "not an object",
            Self::OldVersion(OldVersion::V1Beta1) => {
                "an event of audit.k8s.io/v1beta1, which is not supported (Kubernetes removed it with 1.24)"
            }
            Self::OldVersion(OldVersion::V1Alpha1) => {
                "an event of audit.k8s.io/v1alpha1, which is not supported (Kubernetes removed it with 1.24)"
            }
            Self::MissingStage => "missing field \"stage\"",
            Self::MissingLevel => "missing field \"level\"",
            Self::FieldTwice => "a field occurs twice",
            Self::WrongType => "a field has the wrong type",
            Self::OutOfRange => "a field has a value out of range",
            Self::UnreadableField => "a field cannot be read",
        }
    }
}

impl fmt::Display for NotAnEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The text with every escape of half a character (`\ud800` without its other half) as `\ufffd`, which is as
/// long. `None` where there is none. Go writes none itself, but passes raw bodies through.
pub(crate) fn whole_characters(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let unit = |at: usize| {
        let is_escape = bytes.get(at..at + 2)? == b"\\u";
        let digits = text.get(at + 2..at + 6).filter(|_| is_escape)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
    };
    let mut halves = Vec::new();
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                halves.push(at);
                at += 6;
            }
            (Some(_), _) => at += 6,
            // Another escape, of a sign of one byte in valid JSON.
            (None, _) => {
                let next = text.get(at + 1..).and_then(|rest| rest.chars().next());
                at += 1 + next.map_or(1, char::len_utf8);
            }
        }
    }
    if halves.is_empty() {
        return None;
    }
    let mut whole = String::with_capacity(text.len());
    let mut from = 0;
    for at in halves {
        whole.push_str(&text[from..at]);
        whole.push_str("\\ufffd");
        from = at + 6;
    }
    whole.push_str(&text[from..]);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Envelope;

    #[test]
    fn each_way_to_be_no_event_has_words_that_quote_nothing() {
        let reason = |text: &str| {
            let error = Envelope::parse(text).expect_err(text);
            NotAnEvent::of(text, &error).as_str()
        };
        let event = |rest: &str| format!(r#"{{"level":"Metadata","stage":"Panic",{rest}}}"#);
        let wrong_type = "a field has the wrong type";
        for (text, expected) in [
            (r#"{"level":"None"}"#, "missing field \"stage\""),
            (r#"{"stage":"Panic"}"#, "missing field \"level\""),
            (
                r#"{"stage":null,"level":"None"}"#,
                "missing field \"stage\"",
            ),
            (r#"{"stage":"Panic","level":""}"#, "missing field \"level\""),
            (r#"{"stage":7,"level":"None"}"#, wrong_type),
            (&event(r#""verb":"a","verb":"b""#), "a field occurs twice"),
            (&event(r#""user":"hunter2""#), wrong_type),
            (
                &event(r#""responseStatus":{"code":5000000000}"#),
                "a field has a value out of range",
            ),
            (&event(r#""verb":"\ud800""#), "a field cannot be read"),
            (&event(r#""verb":hunter2"#), "not valid JSON"),
            (&event(r#""user":"x","verb":hunter2"#), "not valid JSON"),
            ("7", "not an object"),
            ("hunter2", "not valid JSON"),
            ("", "not valid JSON"),
        ] {
            assert_eq!(reason(text), expected, "{text}");
        }
    }

    #[test]
    fn halves_of_characters_are_replaced_and_nothing_else() {
        for (text, whole) in [
            (r#""\ud800""#, Some(r#""\ufffd""#)),
            (
                r#""a\uDFFFb\udbff\ud83d\ude00""#,
                Some(r#""a\ufffdb\ufffd\ud83d\ude00""#),
            ),
            (r#""\ud800\u0041""#, Some(r#""\ufffd\u0041""#)),
            (r#""\ude00\ud83d""#, Some(r#""\ufffd\ufffd""#)),
            (r#""\\ud800""#, None),
            (r#""\ud83d\ude00 \u00e9\n\\""#, None),
            (r#""\ud80""#, None),
            ("\"\\é\\", None),
            ("", None),
        ] {
            assert_eq!(whole_characters(text).as_deref(), whole, "{text}");
        }
    }
}

//! The envelope in one pass, where the event is as plain as nearly all are.
//!
//! Contract: what [`Envelope::scan`] returns is what serde would have read. It gives up on anything
//! else: a field of another type than usual or `null`, a field that stands there twice, an unusual
//! number, a name with an escape.

use serde::{Deserialize, Deserializer, de::Error};

use super::{Annotations, Envelope, LEFT_OUT, Level, ObjectRef, ResponseStatus, Stage, Text, User};
use crate::scan::Scanner;

/// Which fields were seen; one that comes again is serde's to refuse.
#[derive(Default)]
struct Once(u32);

impl Once {
    fn field(&mut self, number: u32) -> Option<()> {
        let before = self.0;
        self.0 |= 1 << number;
        (self.0 != before).then_some(())
    }

    fn has(&self, number: u32) -> Option<()> {
        (self.0 & (1 << number) != 0).then_some(())
    }
}

impl<'a> Envelope<'a> {
    /// Reads an event; the scanner is behind it afterwards.
    pub(crate) fn scan(scanner: &mut Scanner<'a>) -> Option<Self> {
        let mut once = Once::default();
        let mut event = Self::empty();
        scanner.object(|scanner, name| match event.scan_field(scanner, name)? {
            Some(number) => once.field(number),
            None => {
                event.has_unknown |= !LEFT_OUT.contains(&name);
                scanner.skip()
            }
        })?;
        once.has(LEVEL).zip(once.has(STAGE))?;
        Some(event)
    }

    /// Reads a field's value and says its number; `None` inside where the name is no field's.
    fn scan_field(&mut self, scanner: &mut Scanner<'a>, name: &str) -> Option<Option<u32>> {
        Some(Some(match name {
            "level" => {
                self.level = named(&LEVELS, scanner)?;
                LEVEL
            }
            "stage" => {
                self.stage = named(&STAGES, scanner)?;
                STAGE
            }
            "auditID" => put(&mut self.audit_id, text_of(scanner)?, 2),
            "requestURI" => put(&mut self.request_uri, text_of(scanner)?, 3),
            "verb" => put(&mut self.verb, text_of(scanner)?, 4),
            "userAgent" => put(&mut self.user_agent, text_of(scanner)?, 5),
            "stageTimestamp" => put(&mut self.stage_timestamp, text_of(scanner)?, 6),
            "user" => put(&mut self.user, user(scanner)?, 7),
            "impersonatedUser" => put(&mut self.impersonated_user, Some(user(scanner)?), 8),
            "sourceIPs" => put(&mut self.source_ips, texts(scanner)?, 9),
            "objectRef" => put(&mut self.object_ref, Some(object_ref(scanner)?), 10),
            "responseStatus" => put(
                &mut self.response_status,
                Some(response_status(scanner)?),
                11,
            ),
            "annotations" => put(&mut self.annotations, annotations(scanner)?, 12),
            "requestObject" => put(&mut self.request_object, unread(scanner)?, 13),
            "responseObject" => put(&mut self.response_object, unread(scanner)?, 14),
            "kind" => put(&mut self.kind, unread(scanner)?, 15),
            "apiVersion" => put(&mut self.api_version, unread(scanner)?, 16),
            _ => return Some(None),
        }))
    }

    fn empty() -> Self {
        Self {
            level: Level::None,
            stage: Stage::Panic,
            audit_id: Text::default(),
            request_uri: Text::default(),
            verb: Text::default(),
            user: User::default(),
            impersonated_user: None,
            source_ips: Vec::new(),
            user_agent: Text::default(),
            object_ref: None,
            response_status: None,
            stage_timestamp: Text::default(),
            annotations: Annotations::default(),
            request_object: None,
            response_object: None,
            kind: None,
            api_version: None,
            has_unknown: false,
        }
    }
}

/// Fields that must be there.
const LEVEL: u32 = 0;
const STAGE: u32 = 1;

fn put<T>(field: &mut T, value: T, number: u32) -> u32 {
    *field = value;
    number
}

const LEVELS: [(&str, Level); 4] = [
    ("Metadata", Level::Metadata),
    ("RequestResponse", Level::RequestResponse),
    ("Request", Level::Request),
    ("None", Level::None),
];
const STAGES: [(&str, Stage); 4] = [
    ("ResponseComplete", Stage::ResponseComplete),
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("Panic", Stage::Panic),
];

fn named<T: Copy>(names: &[(&str, T)], scanner: &mut Scanner<'_>) -> Option<T> {
    let name = scanner.string()?.plain()?;
    names
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// A level's name, known or not.
pub(super) fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    any_named(&LEVELS, Level::Unknown, "level", deserializer)
}

/// A stage's name, known or not.
pub(super) fn stage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stage, D::Error> {
    any_named(&STAGES, Stage::Unknown, "stage", deserializer)
}

fn any_named<'de, T: Copy, D: Deserializer<'de>>(
    names: &[(&str, T)],
    unknown: T,
    field: &'static str,
    deserializer: D,
) -> Result<T, D::Error> {
    let name = Text::deserialize(deserializer)?;
    if name.is_empty() {
        return Err(D::Error::missing_field(field));
    }
    let known = names.iter().find(|(known, _)| *known == name.as_str());
    Ok(known.map_or(unknown, |(_, value)| *value))
}

fn text_of<'a>(scanner: &mut Scanner<'a>) -> Option<Text<'a>> {
    scanner.string()?.text().map(Text)
}

fn texts<'a>(scanner: &mut Scanner<'a>) -> Option<Vec<Text<'a>>> {
    let mut texts = Vec::new();
    scanner.array(|scanner| {
        texts.push(text_of(scanner)?);
        Some(())
    })?;
    Some(texts)
}

fn user<'a>(scanner: &mut Scanner<'a>) -> Option<User<'a>> {
    let mut once = Once::default();
    let mut user = User::default();
    scanner.object(|scanner, name| match name {
        "username" => {
            user.username = text_of(scanner)?;
            once.field(0)
        }
        "groups" => {
            user.groups = texts(scanner)?;
            once.field(1)
        }
        _ => scanner.skip(),
    })?;
    Some(user)
}

fn object_ref<'a>(scanner: &mut Scanner<'a>) -> Option<ObjectRef<'a>> {
    let mut once = Once::default();
    let mut object = ObjectRef::default();
    scanner.object(|scanner, name| {
        let (number, text) = match name {
            "resource" => (0, &mut object.resource),
            "namespace" => (1, &mut object.namespace),
            "name" => (2, &mut object.name),
            "apiGroup" => (3, &mut object.api_group),
            "subresource" => (4, &mut object.subresource),
            _ => return scanner.skip(),
        };
        *text = text_of(scanner)?;
        once.field(number)
    })?;
    Some(object)
}

fn response_status<'a>(scanner: &mut Scanner<'a>) -> Option<ResponseStatus<'a>> {
    let mut once = Once::default();
    let mut status = ResponseStatus::default();
    scanner.object(|scanner, name| match name {
        "code" => {
            // serde reads `-0` as a number with a fraction.
            let code = scanner.number()?;
            status.code = code.parse().ok().filter(|_| !code.starts_with('-'))?;
            once.field(0)
        }
        "reason" => {
            status.reason = text_of(scanner)?;
            once.field(1)
        }
        "message" => {
            status.message = text_of(scanner)?;
            once.field(2)
        }
        _ => scanner.skip(),
    })?;
    Some(status)
}

fn annotations<'a>(scanner: &mut Scanner<'a>) -> Option<Annotations<'a>> {
    let mut annotations = Annotations::default();
    scanner.object(|scanner, name| annotations.push(name, scanner.string()?))?;
    Some(annotations)
}

/// A value as it stands in the text; `null` is none.
fn unread<'a>(scanner: &mut Scanner<'a>) -> Option<Option<&'a str>> {
    scanner.next()?;
    let start = scanner.position();
    scanner.skip()?;
    let value = scanner.slice(start)?;
    Some((value != "null").then_some(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the scanner reads, if it does; and that it is what serde reads.
    fn scanned(text: &str) -> Option<Envelope<'_>> {
        let mut scanner = Scanner::new(text);
        let envelope = Envelope::scan(&mut scanner).filter(|_| scanner.is_at_end())?;
        let expected = Envelope::parse_any(text).expect("serde accepts what the scanner accepts");
        assert_eq!(format!("{envelope:?}"), format!("{expected:?}"), "{text}");
        Some(envelope)
    }

    const EVENT: &str = r#"{"level":"Metadata","auditID":"a-1","stage":"ResponseComplete",
        "requestURI":"/api/v1/namespaces/x/pods/p?a=b","verb":"delete",
        "user":{"username":"alice","uid":"7","groups":["dev","system:authenticated"],"extra":{"k":["v"]}},
        "impersonatedUser":{"username":"bob"},"sourceIPs":["10.0.0.9","::1"],"userAgent":"kubectl/v1.36.1",
        "objectRef":{"resource":"pods","namespace":"x","name":"p","apiVersion":"v1","subresource":"exec"},
        "responseStatus":{"metadata":{},"status":"Failure","message":"no \"way\"","reason":"Forbidden","code":403},
        "requestObject":{"a":[1,2.5e3,"é"]},"responseObject":null,
        "requestReceivedTimestamp":"2026-11-21T08:00:00.000001Z","stageTimestamp":"2026-11-21T08:00:00.000002Z",
        "annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":"RBAC: \"x\""}}"#;

    #[test]
    fn a_plain_event_needs_no_serde() {
        let event = scanned(EVENT).expect("plain");
        assert_eq!(event.user.groups.len(), 2);
        assert_eq!(event.code(), Some(403));
        assert_eq!(event.decision().as_deref(), Some("forbid"));
        assert_eq!(event.request_object, Some(r#"{"a":[1,2.5e3,"é"]}"#));
        assert_eq!(event.response_object, None);
        let reason = event.annotation("authorization.k8s.io/reason");
        assert_eq!(reason.as_deref(), Some(r#"RBAC: "x""#));
        let coded = EVENT
            .replace("a=b", r"a=b\u0026c=\u00e9")
            .replace("RBAC", r"R\u0042AC");
        let event = scanned(&coded).expect("plain enough");
        assert!(event.request_uri.ends_with("?a=b&c=é"));
        let line = EVENT.replacen('{', r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#, 1);
        assert_eq!(
            scanned(&line).and_then(|event| event.kind),
            Some(r#""Event""#)
        );
    }

    #[test]
    fn what_is_unusual_is_left_to_serde() {
        for (from, to) in [
            (r#""verb":"delete""#, r#""verb":null"#),
            (r#""verb":"delete""#, r#""verb":"\ud83d\ude00""#),
            (r#""verb":"delete""#, r#""verb":7"#),
            (r#""verb":"delete""#, r#""verb":"a","verb":"b""#),
            (r#""code":403"#, r#""code":4.03e2"#),
            (r#""code":403"#, r#""code":-0"#),
            (r#""code":403"#, r#""code":99999999999"#),
            (r#""code":403"#, r#""code":403,"code":200"#),
            (
                r#""username":"bob""#,
                r#""username":"bob","username":"eve""#,
            ),
            (r#""level":"Metadata","#, ""),
            (r#""level":"Metadata""#, r#""level":"Everything""#),
            (r#""sourceIPs":["10.0.0.9","::1"]"#, r#""sourceIPs":null"#),
            (r#""user":{"#, r#""us\u0065r":{"#),
        ] {
            let text = EVENT.replacen(from, to, 1);
            assert_ne!(text, EVENT);
            assert!(scanned(&text).is_none(), "{to}");
        }
    }

    proptest! {
        /// One byte changed, removed or added anywhere: the two readers never disagree.
        #[test]
        fn the_scanner_never_reads_what_serde_does_not(
            at in any::<prop::sample::Index>(),
            with in prop::sample::select(b"\"\\{}[]:,0-e.n\x01\n\xc3".to_vec()),
            how in 0..3,
        ) {
            let mut bytes = EVENT.as_bytes().to_vec();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = with,
                1 => bytes.insert(at, with),
                _ => drop(bytes.remove(at)),
            }
            if let Ok(text) = str::from_utf8(&bytes) {
                scanned(text);
            }
        }
    }
}

//! What becomes of bodies and events that nobody should send: the rows of docs/quarantine.md, by a real server.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use auditrelay_store::{Content, Queue};
use common::*;

const SECRET: &str = "hunter2-s3cret";

/// What becomes of an item.
#[derive(Debug, Clone, PartialEq)]
enum Becomes {
    Told,
    ToldWithoutBody,
    Quarantined(&'static str),
}
use Becomes::{Quarantined, Told, ToldWithoutBody};

/// Posts events in one list, each between two good ones, and says what became of each.
async fn become_of(events: Vec<Vec<u8>>) -> Vec<(String, Option<String>, bool)> {
    let (server, _dir) = start(&config()).await;
    let mut items = vec![event("first", "").into_bytes()];
    for one in &events {
        items.push(one.clone());
        items.push(event("next", "").into_bytes());
    }
    let body = list(&items);
    let answer = server.post("/webhook", body.clone()).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert_eq!(server.queue.ledger().received, items.len() as u64);
    let blocks = all_unrouted(&server.queue).await;
    let stored: Vec<_> = blocks.iter().flat_map(common::entries).collect();
    assert_eq!(stored.len(), items.len());
    let mut became = Vec::new();
    for (number, (entry, wire)) in stored.into_iter().zip(&items).enumerate() {
        let one = match entry.content {
            Content::Event {
                json,
                body_unreadable,
            } => (json.into_owned(), None, body_unreadable),
            Content::Unreadable(unreadable) => {
                let start = unreadable.offset_bytes as usize;
                let end = start + unreadable.length_bytes as usize;
                assert_eq!(&body[start..end], wire);
                assert_eq!(unreadable.sealed, None);
                (String::new(), Some(unreadable.reason), false)
            }
        };
        if number % 2 == 1 {
            became.push(one);
        } else {
            assert_eq!(one.1, None, "a good event beside {number}");
        }
    }
    became
}

/// An event with something in place of something else, which may be any bytes.
fn with(from: &str, to: impl AsRef<[u8]>) -> Vec<u8> {
    let whole = event("a", r#","requestObject":{"spec":"x"},"userAgent":"curl""#);
    let at = whole.find(from).expect(from);
    let (head, tail) = (&whole[..at], &whole[at + from.len()..]);
    [head.as_bytes(), to.as_ref(), tail.as_bytes()].concat()
}

fn more(rest: &str) -> Vec<u8> {
    event("a", rest).into_bytes()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn events_and_what_becomes_of_them() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    let twice = Quarantined("a field occurs twice");
    let wrong_type = Quarantined("a field has the wrong type");
    let out_of_range = Quarantined("a field has a value out of range");
    let not_json = Quarantined("not valid JSON");
    let no_object = Quarantined("not an object");
    let body = r#"{"spec":"x"}"#;
    vec![
        (
            "a key twice in the envelope",
            more(r#","verb":"get""#),
            twice.clone(),
        ),
        (
            "a key twice in the user",
            with(r#""username":"alice""#, r#""username":"a","username":"b""#),
            twice.clone(),
        ),
        (
            "a body twice",
            with(body, r#"{},"requestObject":{}"#),
            twice,
        ),
        (
            "an annotation twice",
            more(r#","annotations":{"a":"b","a":"c"}"#),
            Told,
        ),
        (
            "a key that is not known twice",
            more(r#","x":1,"x":2"#),
            Told,
        ),
        (
            "a key twice in a body",
            with(body, r#"{"a":1,"a":2}"#),
            Told,
        ),
        (
            "half a character in the envelope",
            with("curl", r"\ud800"),
            ToldWithoutBody,
        ),
        (
            "half a character in a name",
            more(r#","annotations":{"\udc00":"x"}"#),
            ToldWithoutBody,
        ),
        (
            "half a character in a body",
            with(body, r#"{"a":"\ud800"}"#),
            ToldWithoutBody,
        ),
        ("1e999 in a body", with(body, r#"{"a":1e999}"#), Told),
        (
            "30 digits in a body",
            with(body, r#"{"a":123456789012345678901234567890}"#),
            Told,
        ),
        (
            "1e999 as code",
            more(r#","responseStatus":{"code":1e999}"#),
            out_of_range.clone(),
        ),
        (
            "30 digits as code",
            more(r#","responseStatus":{"code":123456789012345678901234567890}"#),
            wrong_type.clone(),
        ),
        (
            "5,000,000,000 as code",
            more(r#","responseStatus":{"code":5000000000}"#),
            out_of_range,
        ),
        (
            "a fraction as code",
            more(r#","responseStatus":{"code":200.5}"#),
            wrong_type.clone(),
        ),
        (
            "a NUL byte in a string",
            with("curl", "cu\0rl"),
            not_json.clone(),
        ),
        (
            "an escaped NUL in a string",
            with("curl", r"cu\u0000rl"),
            Told,
        ),
        (
            "an escaped NUL in a body",
            with(body, r#"{"a":"\u0000"}"#),
            Told,
        ),
        (
            "fields that are not known",
            more(
                r#","x":{"y":[1,{}]},"objectRef":{"z":1},"responseStatus":{"z":[]},"impersonatedUser":{"z":{}}"#,
            ),
            Told,
        ),
        ("no auditID", with(r#""auditID":"a","#, ""), Told),
        (
            "an auditID of null",
            with(r#""auditID":"a""#, r#""auditID":null"#),
            Told,
        ),
        (
            "no level",
            with(r#""level":"RequestResponse","#, ""),
            Quarantined("missing field \"level\""),
        ),
        (
            "no stage",
            with(r#""stage":"ResponseComplete","#, ""),
            Quarantined("missing field \"stage\""),
        ),
        (
            "an empty stage",
            with("ResponseComplete", ""),
            Quarantined("missing field \"stage\""),
        ),
        (
            "an unknown level",
            with("\"RequestResponse\"", "\"Everything\""),
            Told,
        ),
        (
            "an unknown stage",
            with("ResponseComplete", "ResponseAbandoned"),
            Told,
        ),
        (
            "a level that is no text",
            with("\"RequestResponse\"", "7"),
            wrong_type.clone(),
        ),
        (
            "a user that is text",
            with(r#"{"username":"alice"}"#, format!("\"{SECRET}\"")),
            wrong_type.clone(),
        ),
        (
            "a verb that is a number",
            with(r#""create""#, "7"),
            wrong_type.clone(),
        ),
        (
            "groups that are one",
            with(r#""username":"alice""#, r#""groups":"a""#),
            wrong_type.clone(),
        ),
        ("an item of null", b"null".to_vec(), no_object.clone()),
        (
            "an item that is text",
            format!("\"{SECRET}\"").into_bytes(),
            no_object.clone(),
        ),
        (
            "an item that is an array",
            br#"["Metadata","Panic"]"#.to_vec(),
            no_object,
        ),
        (
            "null wherever Go may write it",
            more(
                r#","annotations":null,"sourceIPs":null,"objectRef":null,"impersonatedUser":{"groups":null},"responseStatus":null,"requestObject":null"#,
            ),
            Told,
        ),
        (
            "a user of null",
            with(r#"{"username":"alice"}"#, "null"),
            Told,
        ),
        (
            "10,000 levels in a body",
            with(body, nested(10_000)),
            ToldWithoutBody,
        ),
        (
            "10,000 levels in a field that is not known",
            more(&format!(r#","x":{}"#, nested(10_000))),
            Told,
        ),
        (
            "10,000 levels in the envelope",
            with(r#""create""#, nested(10_000)),
            wrong_type,
        ),
        (
            "bytes that are not UTF-8 in a body",
            with(body, b"{\"a\":\"\xff\xfe\"}"),
            ToldWithoutBody,
        ),
        (
            "bytes that are not UTF-8 in the envelope",
            with("curl", b"cu\xffrl"),
            ToldWithoutBody,
        ),
        (
            "a user agent of 1 MB",
            with("curl", "x".repeat(1 << 20)),
            Told,
        ),
        (
            "a line of a log file",
            with("{", r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#),
            Told,
        ),
        (
            "v1beta1",
            with("{", r#"{"apiVersion":"audit.k8s.io/v1beta1","#),
            Quarantined(
                "an event of audit.k8s.io/v1beta1, which is not supported (Kubernetes removed it with 1.24)",
            ),
        ),
        (
            "v1alpha1",
            with("{", r#"{"apiVersion":"audit.k8s.io/v1alpha1","#),
            Quarantined(
                "an event of audit.k8s.io/v1alpha1, which is not supported (Kubernetes removed it with 1.24)",
            ),
        ),
        ("no JSON", b"{broken}".to_vec(), not_json.clone()),
        ("a comma too many", with("{", "{,"), not_json.clone()),
        ("NaN in a body", with(body, "NaN"), not_json.clone()),
        ("an escape that is none", with("curl", r"\x41"), not_json),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_that_nobody_should_send_becomes_what_is_said_of_it() {
    let rows = events_and_what_becomes_of_them();
    let became = become_of(rows.iter().map(|(_, event, _)| event.clone()).collect()).await;
    for ((what, _, expected), (json, reason, without_body)) in rows.iter().zip(became) {
        let found = match &reason {
            None if without_body => ToldWithoutBody,
            None => Told,
            Some(reason) => {
                assert!(!reason.contains(SECRET), "{what}: {reason}");
                let Quarantined(expected) = expected else {
                    panic!("{what}: {reason}");
                };
                assert_eq!(reason, expected, "{what}");
                continue;
            }
        };
        assert_eq!(found, *expected, "{what}: {json:.300}");
        let has_body = json.contains("requestObject") && !json.contains("\"requestObject\":null");
        assert!(!(without_body && has_body), "{what}: {json:.300}");
    }
}

/// Alone in its list, each event becomes the same: no other one decides how it is read.
#[tokio::test(flavor = "multi_thread")]
async fn company_changes_nothing() {
    let (server, _dir) = start(&config()).await;
    for (what, event, expected) in events_and_what_becomes_of_them() {
        let answer = server.post("/webhook", list(&[event])).await;
        assert_eq!(answer.code, 200, "{what}: {answer:?}");
        let is_told = !matches!(expected, Quarantined(_));
        assert_eq!(
            answer.message.starts_with("1 event"),
            is_told || answer.message.contains("1 event"),
            "{what}"
        );
    }
    let counted = |outcome| server.metric("auditrelay_ingest_events_total", outcome);
    let rows = events_and_what_becomes_of_them();
    let quarantined = rows
        .iter()
        .filter(|row| matches!(row.2, Quarantined(_)))
        .count();
    assert_eq!(counted("unreadable"), quarantined as f64);
    assert_eq!(counted("stored"), (rows.len() - quarantined) as f64);
}

/// Whatever a client writes, the API server's encoder makes it JSON: none of it may keep its event from
/// being told, with its body.
#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_client_hides_its_event() {
    // As Go's encoding/json writes them.
    let texts = [
        "",
        " ",
        r"\u0000",
        r"\u003c!channel\u003e\u0026",
        r"\u2028\u2029",
        r"\ufffd",
        "\u{fffd}",
        r#"\""#,
        r"\\",
        r#"\"},{\"level\":\"None\""#,
        r"\u001b[2J\r\n\t",
        "😀é\u{202e}\u{feff}",
        "../etc",
        "null",
        "]}",
        "{",
        r"\\ud800",
        r"\\u0000",
        "\u{7f}",
        "-1e999",
    ];
    let fields = [
        r#","auditID":"@""#,
        r#","requestURI":"@""#,
        r#","verb":"@""#,
        r#","user":{"username":"@"}"#,
        r#","user":{"groups":["@","@"],"uid":"@","extra":{"@":["@"]}}"#,
        r#","impersonatedUser":{"username":"@","groups":["@"]}"#,
        r#","sourceIPs":["@","10.0.0.1"]"#,
        r#","userAgent":"@""#,
        r#","objectRef":{"resource":"@","namespace":"@","name":"@","uid":"@"}"#,
        r#","objectRef":{"apiGroup":"@","apiVersion":"@","subresource":"@","resourceVersion":"@"}"#,
        r#","responseStatus":{"status":"@","message":"@","reason":"@","code":404}"#,
        r#","annotations":{"@":"@","authorization.k8s.io/reason":"@"}"#,
        r#","requestObject":{"@":["@"]}"#,
        r#","requestObject":"@""#,
        r#","responseObject":[{"op":"@"}]"#,
        r#","authenticationMetadata":{"impersonationConstraint":"@"}"#,
    ];
    let mut events = Vec::new();
    for field in fields {
        for text in texts {
            let rest = field.replace('@', text);
            events.push(format!(r#"{{"level":"Request","stage":"Panic"{rest}}}"#).into_bytes());
        }
    }
    let sent = events.clone();
    for (sent, (json, reason, without_body)) in sent.iter().zip(become_of(events).await) {
        let sent = String::from_utf8_lossy(sent);
        assert_eq!((reason, without_body), (None, false), "{sent}: {json}");
    }
}

fn bodies_and_their_refusals() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let of = |kind: &str, version: &str| {
        format!(r#"{{"kind":"{kind}","apiVersion":"{version}","items":[]}}"#).into_bytes()
    };
    let items = |items: &str| {
        format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{items}}}"#)
            .into_bytes()
    };
    let good = event("a", "");
    let without_end = &good[..good.len() - 1];
    vec![
        ("nothing", Vec::new(), 400, "the body is empty"),
        ("blanks", b" \n".to_vec(), 400, "the body is empty"),
        (
            "no JSON",
            SECRET.into(),
            400,
            "has a syntax error at byte offset 0;",
        ),
        (
            "no JSON any more",
            format!(r#"{{"kind":"EventList","{SECRET}"#).into(),
            400,
            "ends early at byte offset 35;",
        ),
        (
            "garbage behind it",
            [items("[]"), SECRET.into()].concat(),
            400,
            "has a syntax error at byte offset 61;",
        ),
        (
            "items that are not closed",
            items(&format!("[{without_end},{good}]")),
            400,
            "has a syntax error at byte offset 189;",
        ),
        (
            "items without a comma",
            items(&format!("[{good} {good}]")),
            400,
            "has a syntax error at byte offset",
        ),
        (
            "a quote too many",
            items(&format!("[{{\"{SECRET}},{good},{{\"x\":\"y\"}}]")),
            400,
            "has a syntax error at byte offset",
        ),
        ("a number", b" 7".to_vec(), 422, "at byte offset 1;"),
        (
            "a list of events",
            format!("[{good}]").into(),
            422,
            "at byte offset 0;",
        ),
        (
            "text",
            format!("\"{SECRET}\"").into(),
            422,
            "at byte offset",
        ),
        (
            "another kind",
            of(SECRET, "v1"),
            422,
            "is of another kind: expected kind EventList",
        ),
        (
            "another version",
            of("EventList", SECRET),
            422,
            "is of another kind: expected kind EventList",
        ),
        (
            "one event",
            good.clone().into(),
            422,
            "is a single Event; expected kind EventList",
        ),
        (
            "v1beta1",
            of("EventList", "audit.k8s.io/v1beta1"),
            422,
            "audit.k8s.io/v1beta1 is not supported: Kubernetes removed it with 1.24; API servers from 1.12 on send audit.k8s.io/v1, older ones of these with --audit-webhook-version=audit.k8s.io/v1",
        ),
        (
            "v1alpha1",
            of("EventList", "audit.k8s.io/v1alpha1"),
            422,
            "audit.k8s.io/v1alpha1 is not supported",
        ),
        (
            "no items",
            br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#.to_vec(),
            422,
            "an EventList without items",
        ),
        (
            "items that are text",
            items(&format!("\"{SECRET}\"")),
            422,
            "at byte offset",
        ),
        (
            "items twice",
            items(r#"[],"items":[]"#),
            422,
            "at byte offset",
        ),
        (
            "a kind twice",
            items(r#"[],"kind":"EventList""#),
            422,
            "at byte offset",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_body_that_is_no_list_is_refused_with_its_reason() {
    let (server, _dir) = start(&config()).await;
    for (what, body, code, words) in bodies_and_their_refusals() {
        let answer = server.post("/webhook", body).await;
        let reason = if code == 400 { "BadRequest" } else { "Invalid" };
        answer.expect(code, reason);
        assert!(answer.message.contains(words), "{what}: {answer:?}");
        assert!(!answer.message.contains(SECRET), "{what}: {answer:?}");
        assert_eq!(answer.retry_after(), None, "{what}");
    }
    assert_eq!(server.queue.ledger().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_be_written_in_more_than_one_way() {
    let (server, _dir) = start(&config()).await;
    let good = event("a", "");
    let list = String::from_utf8(list(&[&good])).unwrap();
    let deep = format!(r#""metadata":{}"#, nested(10_000));
    for (what, body, events) in [
        ("as it is", list.clone(), 1),
        ("a byte order mark before it", format!("\u{feff}{list}"), 1),
        ("blanks around it", format!("\n {list}\n\t "), 1),
        (
            "fields that are not known",
            list.replace("\"metadata\":{}", &deep),
            1,
        ),
        (
            "items first",
            format!(
                r#"{{"items":[{good},{good}],"kind":"EventList","apiVersion":"audit.k8s.io/v1"}}"#
            ),
            2,
        ),
        ("escapes", list.replace("EventList", "Event\\u004cist"), 1),
        (
            "items of null",
            list.replace(&format!("[{good}]"), "null"),
            0,
        ),
        ("no events", list.replace(&good, ""), 0),
    ] {
        let before = server.queue.ledger().received;
        assert_eq!(server.post("/webhook", body).await.code, 200, "{what}");
        assert_eq!(server.queue.ledger().received - before, events, "{what}");
    }
}

/// Sealing is what takes long: a list of nothing but broken items does not get it for each.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_a_hundred_items_of_a_list_are_sealed() {
    let dir = tempfile::TempDir::new().unwrap();
    let server = start_with(open(dir.path()), &config(), true).await;
    let items: Vec<String> = (0..150).map(|number| number.to_string()).collect();
    assert_eq!(server.post("/webhook", list(&items)).await.code, 200);
    let blocks = all_unrouted(&server.queue).await;
    let stored: Vec<_> = blocks.iter().flat_map(common::entries).collect();
    let sealed = stored.iter().filter(|entry| match &entry.content {
        Content::Unreadable(unreadable) => unreadable.sealed.is_some(),
        Content::Event { .. } => panic!("an event"),
    });
    assert_eq!((stored.len(), sealed.count()), (150, 100));
}

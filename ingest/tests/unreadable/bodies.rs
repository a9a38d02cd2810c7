//! Bodies that are no list, and those that are one written in another way.

use auditrelay_store::Queue;

use crate::{SECRET, common::*, table::nested};

#[expect(clippy::too_many_lines, reason = "a table")]
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
            "has a syntax error at byte offset 62;",
        ),
        (
            "items that are not closed",
            items(&format!("[{without_end},{good}]")),
            400,
            "has a syntax error at byte offset 192;",
        ),
        (
            "items without a comma",
            items(&format!("[{good} {good}]")),
            400,
            "has a syntax error at byte offset",
        ),
        (
            "a quote too many",
            items(&format!("[{{\"{SECRET}}},{good},{{\"x\":\"y\"}}]")),
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
            "audit.k8s.io/v1beta1 is not supported: Kubernetes removed it with 1.24 and has audit.k8s.io/v1 since 1.12; start the API server with --audit-webhook-version=audit.k8s.io/v1",
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

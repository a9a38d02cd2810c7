//! Lists as they come, and as nobody should send them.

use proptest::prelude::*;

use super::*;

/// What `events` tells, and that splitting and reading by serde tells the same.
pub(super) fn events(body: &[u8]) -> Option<Vec<(usize, bool)>> {
    let readable = Readable::new(body);
    let mut told = Vec::new();
    let outcome = readable.events(ITEMS_MAX, |item, envelope| {
        let wire = (item.offset, item.wire.to_vec(), item.has_invalid_utf8);
        told.push((wire, format!("{envelope:?}")));
    });
    let split = readable.split(ITEMS_MAX);
    let (Ok(()), Ok(items)) = (&outcome, &split) else {
        assert_eq!(outcome.err(), split.err());
        return None;
    };
    assert_eq!(told.len(), items.len());
    for (told, item) in told.iter().zip(items) {
        item.read(|item, envelope| {
            let wire = (item.offset, item.wire.to_vec(), item.has_invalid_utf8);
            assert_eq!(*told, (wire, format!("{envelope:?}")));
        });
    }
    let short = |((offset, ..), envelope): ((usize, Vec<u8>, bool), String)| {
        (offset, envelope.starts_with("Ok"))
    };
    Some(told.into_iter().map(short).collect())
}

#[test]
fn one_pass_and_two_passes_tell_the_same() {
    let plain = r#"{"level":"Metadata","stage":"Panic","auditID":"1"}"#;
    let odd = r#"{"level":"Metadata","stage":"Panic","auditID":"\u0031"}"#;
    let half = r#"{"level":"Metadata","stage":"Panic","auditID":"\ud800"}"#;
    let wrong = r#"{"level":"Metadata","stage":7}"#;
    let deep = format!(
        r#"{{"requestObject":{}1{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for (items, readable) in [
        (vec![plain, plain], vec![true, true]),
        (
            vec![plain, odd, wrong, half, plain],
            vec![true, true, false, true, true],
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

pub(super) fn list(items: &[u8]) -> Vec<u8> {
    let mut body =
        br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
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
    use ListError::{BareEvent, Empty, Malformed, NoItems, OldVersion, WrongKind, WrongShape};
    use Malformation::{EndsEarly, Syntax};
    let syntax = |offset_bytes| Malformed {
        what: Syntax,
        offset_bytes,
    };
    let early = |offset_bytes| Malformed {
        what: EndsEarly,
        offset_bytes,
    };
    let event = r#"{"level":"Metadata","stage":"Panic","auditID":"a"}"#;
    let of = |kind: &str, version: &str| {
        format!(r#"{{"kind":"{kind}","apiVersion":"{version}","items":[]}}"#)
    };
    let old_event = event.replacen(
        '{',
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","#,
        1,
    );
    let beta = OldVersion(error::OldVersion::V1Beta1);
    for (body, expected) in [
        ("", Empty),
        (" \n\t", Empty),
        ("\u{feff}\n", Empty),
        (r#"{"kind":"EventList""#, early(19)),
        (r#"{"kind":"EventLi"#, early(16)),
        ("{} x", syntax(3)),
        ("{\n \"kind\" :\n  x}", syntax(14)),
        ("\u{feff}{} x", syntax(6)),
        ("hello", syntax(0)),
        ("\0{}", syntax(0)),
        (" 7", WrongShape { offset_bytes: 1 }),
        ("\n[]", WrongShape { offset_bytes: 1 }),
        (
            r#"["EventList","audit.k8s.io/v1",[]]"#,
            WrongShape { offset_bytes: 0 },
        ),
        (
            "{\"kind\":\"EventList\",\n\"items\":7}",
            WrongShape { offset_bytes: 29 },
        ),
        (r#"{"kind":7}"#, WrongShape { offset_bytes: 8 }),
        // What is wrong first is not told if there is no JSON at all behind it.
        (r#"{"kind":7, x"#, syntax(11)),
        (
            r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#,
            NoItems,
        ),
        (event, BareEvent),
        (
            &event.replacen('{', r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#, 1),
            BareEvent,
        ),
        (&old_event, beta),
        (&of("EventList", "audit.k8s.io/v1beta1"), beta),
        (
            &of("EventList", "audit.k8s.io/v1alpha1"),
            OldVersion(error::OldVersion::V1Alpha1),
        ),
        (&of("EventList", "audit.k8s.io/v2"), WrongKind),
        (&of("eventlist", "audit.k8s.io/v1"), WrongKind),
        (r#"{"kind":"Pod","apiVersion":"v1"}"#, WrongKind),
        ("{}", WrongKind),
    ] {
        let error = Readable::new(body.as_bytes())
            .split(ITEMS_MAX)
            .expect_err(body);
        assert_eq!(error, expected, "{body}");
        assert_eq!(events(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn a_line_is_one_event_or_says_why_not() {
    let event = r#"{"level":"Metadata","stage":"Panic","auditID":"a"}"#;
    let line = |text: &[u8]| {
        let mut became = None;
        Readable::new(text).event(|item, envelope| {
            let id = envelope.map(|envelope| envelope.audit_id.to_string());
            became = Some((item.offset, item.wire.len(), item.has_invalid_utf8, id));
        });
        became.expect("told once")
    };
    let told = |offset: usize, id: &str| (offset, event.len(), false, Ok(id.to_owned()));
    assert_eq!(line(event.as_bytes()), told(0, "a"));
    assert_eq!(line(format!(" {event}\r\n").as_bytes()), told(1, "a"));
    assert_eq!(line(format!("\u{feff}{event}").as_bytes()), told(3, "a"));
    let bad = event.replace("\"a\"", "\"\u{1}\"").into_bytes();
    assert_eq!(line(&bad).3, Err(NotAnEvent::NotJson));
    let invalid = [b"{\"x\":\"\xff\",".as_slice(), &event.as_bytes()[1..]].concat();
    assert_eq!(line(&invalid), (0, invalid.len(), true, Ok("a".to_owned())));
    let beta = event.replacen('{', r#"{"apiVersion":"audit.k8s.io\/v1beta1","#, 1);
    let old = NotAnEvent::OldVersion(OldVersion::V1Beta1);
    assert_eq!(line(beta.as_bytes()).3, Err(old));
    for (text, reason) in [
        ("", NotAnEvent::NotJson),
        ("2026-11-21T03:15:29Z AUDIT: id=\"a\"", NotAnEvent::NotJson),
        (&format!("{event}{event}"), NotAnEvent::NotJson),
        ("[]", NotAnEvent::NotAnObject),
    ] {
        assert_eq!(line(text.as_bytes()).3, Err(reason), "{text}");
    }
}

//! Lists as they come, and as nobody should send them.

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
    let short = |(item, envelope): (Item<'_>, String)| (item.offset, envelope.starts_with("Ok"));
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

//! Lists that are no JSON: cut where that leaves no doubt, refused where it does.

use proptest::prelude::*;

use super::{
    tests::{events, list},
    *,
};

const GOOD: &str =
    r#"{"level":"Metadata","stage":"Panic","auditID":"good","user":{"groups":["a","b"]}}"#;

/// The items of a list that is no JSON: their texts, and which are events; `None` if it is refused.
fn cut(items: &str) -> Option<Vec<(String, bool)>> {
    let body = list(items.as_bytes());
    assert!(
        serde_json::from_slice::<&RawValue>(&body).is_err(),
        "{items}"
    );
    let told = events(&body)?;
    let readable = Readable::new(&body);
    let texts = readable.split(ITEMS_MAX).expect("told");
    let both = texts.iter().zip(told);
    Some(
        both.map(|(item, (_, is_event))| (item.text.to_owned(), is_event))
            .collect(),
    )
}

#[test]
fn a_broken_item_costs_its_list_nothing() {
    for broken in [
        "{broken}",
        "nonsense",
        r#"{"level":nonsense}"#,
        r#"{"level":"Metadata","stage":"Panic",}"#,
        r#"{"level":"Metadata" "stage":"Panic"}"#,
        r#"{"level":"Metadata","stage":"Panic","auditID":01}"#,
        r#"{'level':'Metadata'}"#,
        r#"{"level":"Metadata","verb":"\x"}"#,
        r#"{"level":"Metadata","verb":"\u12"}"#,
        "{\"level\":\"Metadata\",\"stage\":\"Panic\",\"verb\":\"a\0b\"}",
        "{\"level\":\"Metadata\",\"stage\":\"Panic\",\"verb\":\"a\nb]},{[\"}",
        r#"{"level":"Metadata","stage":"Panic","a":[1,,2],"b":{"c":{"d":NaN}}}"#,
        r#"{"a":Infinity}"#,
        r#"{"a":tru}"#,
        "[1 2]",
        // A value and something behind it.
        r#""name":{"a":1}"#,
        "7 8",
        "{}{}",
        // Nothing between two commas.
        "",
        &format!(r#"{{"a":{}x{}}}"#, "[".repeat(20_000), "]".repeat(20_000)),
    ] {
        for items in [
            vec![broken, GOOD, GOOD],
            vec![GOOD, broken, GOOD],
            vec![GOOD, GOOD, broken],
            vec![broken, GOOD, broken],
        ] {
            let expected = items.iter().map(|item| (item.to_string(), *item == GOOD));
            let expected: Vec<_> = expected.collect();
            for separator in [",", " ,\n"] {
                let told = cut(&items.join(separator)).unwrap_or_else(|| panic!("{broken}"));
                assert_eq!(told, expected, "{broken}");
            }
        }
    }
}

#[test]
fn a_list_whose_items_cannot_be_told_apart_is_refused() {
    let half = &GOOD[..GOOD.len() - 1];
    for items in [
        // Brackets that do not close, or close something else.
        format!(r#"{{"a":1,{GOOD}"#),
        format!(r#"{{"a":[1}},{GOOD}"#),
        format!(r#"{{"a":1]}},{GOOD}"#),
        format!("{half},{GOOD}"),
        // Lost in one item, and found in a later one.
        format!(r#"{{"a":{{"b":1}},{GOOD},{{"c":1}}}}"#),
        format!("{half},{GOOD},{{\"c\":1}}}}"),
        format!(r#"{{"a":[{{"b":1}},{GOOD},{{"c":1}}]x}}"#),
        // Quotes too.
        format!(r#"{{"a":"x}},{GOOD},{{"c":"y"}}"#),
        format!(r#"{{"a":"x}},{GOOD},{{"c":z"}}"#),
        format!(r#"{{"a":x"}},{GOOD},{{"c":"z}}"#),
        format!(r#"{{"a":"x\"}},{GOOD}"#),
        format!(r#"{{"a":\"x"}},{GOOD}"#),
        // Without a comma between them.
        format!("{GOOD} {GOOD}"),
        format!("{GOOD}nonsense,{GOOD}"),
        format!("7 {GOOD}"),
        format!("{GOOD}{{broken}}"),
        // An event with half a character is read too.
        format!(
            r#"{{"a":{{"b":1}},{},{{"c":1}}}}"#,
            GOOD.replace("good", r"\ud800")
        ),
        // An event written with escapes is one too.
        format!(
            r#"{{x {}}}"#,
            GOOD.replace("level", r"lev\u0065l")
                .replace("stage", r"st\u0061ge")
        ),
    ] {
        assert_eq!(cut(&items), None, "{items}");
    }
}

#[test]
fn around_the_items_everything_is_as_it_must_be() {
    const HEAD: &str = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":["#;
    for (head, tail) in [
        (HEAD, "]"),
        (HEAD, "]}}"),
        (HEAD, "]},"),
        (HEAD, "]},{}"),
        (HEAD, r#"],"kind":"EventList"}"#),
        (HEAD, r#"],"items":[]}"#),
        (&HEAD.replace(r#""items""#, r#""x":y,"items""#), "]}"),
        (&HEAD.replacen('"', "", 2), "]}"),
        (&HEAD.replacen(',', " ", 1), "]}"),
    ] {
        let body = format!("{head}{GOOD},{{broken}}{tail}");
        assert_eq!(events(body.as_bytes()), None, "{body}");
    }
    let body = format!(r#"{{"kind":"Pod","apiVersion":"v1","items":[{{broken}}, {GOOD}]}}"#);
    assert_eq!(
        Readable::new(body.as_bytes()).split(9).err(),
        Some(ListError::WrongKind)
    );
    let body = list(b"1,2,x");
    let error = Readable::new(&body).split(2).err();
    assert_eq!(
        error,
        Some(ListError::TooMany {
            events: 3,
            events_max: 2
        })
    );
}

#[test]
fn broken_lists_take_no_more_time_than_their_size_allows() {
    // Each nests so that looking at every bracket to its end would take hours.
    let nested = r#"{"level":"#.repeat(300_000);
    let wide = r#"{"stage":["#.to_owned() + &"{\"level\":[".repeat(90_000) + "x";
    for items in [
        nested.clone(),
        "{".repeat(1 << 20),
        format!("{nested}\"stage\"{}", "}".repeat(300_000)),
        wide,
        "{x}".repeat(200_000),
        format!("\"{}\"", r#"\"{"#.repeat(300_000)),
    ] {
        let body = list(format!("{items},{{broken}}").as_bytes());
        let _refused_or_not = Readable::new(&body).split(ITEMS_MAX);
    }
}

/// An event, and a way to break it or not.
fn item() -> impl Strategy<Value = (String, bool)> {
    let text = prop::sample::select(vec![
        "x",
        "",
        "}",
        "]}",
        "{",
        "\\\"",
        "\\\\",
        ",",
        "\\\",{\\\"level\\\":\\\"",
        "é",
        "\\ud800",
        "\\u00e9",
    ]);
    let body = prop::sample::select(vec![
        "null",
        "[]",
        "[{\"a\":\"b\"},{}]",
        "{\"x\":[1e999]}",
        "7",
    ]);
    let breaks = prop::option::weighted(
        0.4,
        (
            any::<prop::sample::Index>(),
            prop::sample::select(b"\"\\{}[]:, x\x01".to_vec()),
            0..7,
        ),
    );
    (text, body, breaks).prop_map(|(text, body, breaks)| {
        let good = format!(
            r#"{{"level":"Metadata","stage":"Panic","auditID":"{text}","requestObject":{body},"verb":"{text}"}}"#
        );
        let Some((at, with, how)) = breaks else {
            return (good, true);
        };
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = with,
            1 => bytes.insert(at, with),
            2 => drop(bytes.remove(at)),
            // What one item lacks at its end, another has too much of.
            3 => drop(bytes.pop()),
            4 => bytes.push(b'}'),
            5 => bytes.retain(|byte| *byte != b'['),
            _ => bytes.truncate(bytes.len() - 2),
        }
        let broken = String::from_utf8_lossy(&bytes).into_owned();
        let is_good = broken == good;
        (broken, is_good)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    /// Whatever else is broken: an event is told, or its list is refused.
    #[test]
    fn no_event_is_lost_among_broken_ones(items in prop::collection::vec(item(), 1..6)) {
        let mut body = list(b"");
        body.truncate(body.len() - 3);
        let mut good = Vec::new();
        for (number, (text, is_good)) in items.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            if *is_good {
                good.push((body.len(), text.clone()));
            }
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(b"]}");
        let is_json = serde_json::from_slice::<&RawValue>(&body).is_ok();
        if let Some(told) = events(&body) {
            let readable = Readable::new(&body);
            let texts = readable.split(ITEMS_MAX).expect("told");
            for item in &texts {
                prop_assert_eq!(item.wire, &body[item.offset..][..item.wire.len()]);
            }
            let told = texts.iter().zip(told).filter(|(_, (_, is_event))| *is_event);
            let told: Vec<_> = told.map(|(item, _)| (item.offset, item.text.to_owned())).collect();
            // What is valid JSON as a whole says itself where its items are.
            for one in good.iter().filter(|_| !is_json) {
                prop_assert!(told.contains(one), "{:?} of {}", one, String::from_utf8_lossy(&body));
            }
        }
    }
}

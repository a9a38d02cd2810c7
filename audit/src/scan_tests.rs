//! The scanner beside serde_json.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

/// What the scanner makes of a whole text.
fn skipped(text: &str) -> Option<&str> {
    let mut scanner = Scanner::new(text);
    scanner.next()?;
    let start = scanner.position();
    scanner.skip()?;
    let value = scanner.slice(start)?;
    scanner.is_at_end().then_some(value)
}

#[test]
fn what_is_no_json_is_not_skipped() {
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "tru",
        "nul",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"",
        "[1 2]",
        "{1:2}",
        "+1",
        "\u{feff}1",
        "'a'",
    ] {
        assert_eq!(skipped(text), None, "{text}");
    }
    let deep = "[".repeat(101) + &"]".repeat(101);
    assert_eq!(skipped(&deep), None);
}

#[test]
fn strings_are_decoded_as_serde_does() {
    for raw in [
        r#""""#,
        r#""plain""#,
        r#""a\"b\\c\/d\be\ff\ng\rh\ti""#,
        r#""\\\\""#,
        r#""ends with \\""#,
        r#""\u0026\u003c\u003e \u00e9\u4e2d\u0000x\\u0041""#,
        r#""é\n日本語 longer than eight bytes""#,
    ] {
        let quoted = Scanner::new(raw).string().expect("a string");
        let expected: String = serde_json::from_str(raw).expect("JSON");
        assert_eq!(quoted.text().as_deref(), Some(expected.as_str()), "{raw}");
    }
    let unicode = Scanner::new(r#""\ud800""#).string().expect("a string");
    assert!(unicode.text().is_none() && unicode.plain().is_none());
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        Just(r#""\u00e9\ud800""#.to_owned()),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|values| format!("[{}]", values.join(" , "))),
            prop::collection::vec(("[a-z\\\\/]{0,3}", inner), 0..5).prop_map(|members| {
                let member = |(name, value): (String, String)| {
                    format!("{}\n:{value}", serde_json::Value::from(name))
                };
                let members: Vec<_> = members.into_iter().map(member).collect();
                format!("{{ {} }}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn valid_json_is_skipped_to_its_end(text in json()) {
        prop_assert_eq!(skipped(&text), Some(text.trim()));
    }

    /// Whatever is accepted, serde_json accepts too, to the same end.
    #[test]
    fn nothing_is_accepted_that_serde_refuses(
        text in json(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\"\\{}[]:,0-e.\n\x01tu ".to_vec()),
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len() + 1).min(bytes.len() - 1);
        bytes[at] = byte;
        if let Ok(text) = str::from_utf8(&bytes)
            && let Some(value) = skipped(text)
        {
            let raw: &RawValue = serde_json::from_str(text).expect("serde accepts it");
            prop_assert_eq!(raw.get(), value);
        }
    }
}

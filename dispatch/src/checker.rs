//! For tests: whether Slack takes a message, and whether anybody but us can speak in it. Knows nothing of how
//! messages are made: it reads what would be posted.

use serde_json::Value;

use crate::{
    Message,
    escape::{escape, is_hidden},
};

/// Every kind of element that may stand in a block, with the names of the strings in it.
const ELEMENTS: [(&str, &[&str]); 13] = [
    ("header", &[]),
    ("context", &[]),
    ("rich_text", &[]),
    ("rich_text_section", &[]),
    ("rich_text_list", &["style"]),
    ("rich_text_preformatted", &[]),
    ("text", &["text"]),
    ("link", &["text", "url"]),
    ("date", &["format", "fallback"]),
    ("plain_text", &["text"]),
    ("mrkdwn", &["text"]),
    ("", &[]),
    ("bullet", &[]),
];

/// Fails with what Slack would refuse.
pub fn assert_slack_takes(message: &Message) {
    assert!(
        message.blocks.len() <= 50,
        "{} blocks",
        message.blocks.len()
    );
    let bytes: usize = message.blocks.iter().map(check).sum();
    assert!(bytes <= 10_000, "{bytes} bytes");
    let text = &message.text;
    assert!(
        text.len() <= 4_000 && !text.is_empty(),
        "{} bytes",
        text.len()
    );
    assert!(!text.contains(['<', '>']), "{text}");
    let entities = ["&amp;", "&lt;", "&gt;"];
    let is_entity = |at: usize| entities.iter().any(|entity| text[at..].starts_with(entity));
    assert!(
        text.match_indices('&').all(|(at, _)| is_entity(at)),
        "a cut escape: {text}"
    );
    assert_clean(text);
}

fn assert_clean(text: &str) {
    let bad = |one: char| (one.is_control() && one != '\n') || is_hidden(one);
    assert!(!text.contains(bad), "{text:?}");
}

/// The bytes of an element's strings, escaped.
fn check(element: &Value) -> usize {
    let kind = element["type"].as_str().expect("a type");
    let (_, names) = ELEMENTS
        .iter()
        .find(|(known, _)| *known == kind)
        .expect(kind);
    let mut bytes = 0;
    for (name, value) in element.as_object().expect("an object") {
        match value {
            Value::String(text) if name == "type" => assert_eq!(text, kind),
            Value::String(text) => {
                assert!(names.contains(&name.as_str()), "{kind} with {name}");
                assert!(!text.is_empty(), "an empty {name} in {kind}");
                assert_clean(text);
                bytes += escape(text).len();
            }
            Value::Array(inner) => {
                assert!(!inner.is_empty(), "{kind} without {name}");
                assert!(
                    kind != "context" || inner.len() <= 10,
                    "{} elements",
                    inner.len()
                );
                bytes += inner.iter().map(check).sum::<usize>();
            }
            Value::Object(_) if name == "style" => {}
            Value::Object(_) => bytes += check(value),
            Value::Bool(_) | Value::Number(_) => {}
            Value::Null => panic!("{kind} with null as {name}"),
        }
    }
    match kind {
        "mrkdwn" => assert_is_date(element["text"].as_str().expect("text")),
        "plain_text" => assert_eq!(element["emoji"], false),
        "link" => assert!(element["url"].as_str().expect("a URL").starts_with("http")),
        "header" => assert!(
            element["text"]["text"]
                .as_str()
                .expect("text")
                .chars()
                .count()
                <= 150
        ),
        _ => {}
    }
    if matches!(kind, "plain_text" | "mrkdwn") {
        assert!(element["text"].as_str().expect("text").chars().count() <= 3_000);
    }
    bytes
}

/// The only markup: `<!date^DIGITS^{date_short_pretty} at {time_secs}|DATE TIME UTC>`.
fn assert_is_date(text: &str) {
    let rest = text.strip_prefix("<!date^").expect(text);
    let (seconds, rest) = rest.split_once('^').expect(text);
    assert!(seconds.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    let rest = rest
        .strip_prefix("{date_short_pretty} at {time_secs}|")
        .expect(text);
    let fallback = rest.strip_suffix(" UTC>").expect(text);
    assert!(
        fallback
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-: ".contains(&byte)),
        "{text}"
    );
}

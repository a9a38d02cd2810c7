//! Block Kit, as much of it as messages need: pieces of text, and the blocks that are made of them.
//!
//! Invariants:
//! * text stands in `text` and `link` elements of `rich_text` and in `plain_text`, where Slack parses
//!   nothing. The one `mrkdwn` object is a date in a context line (Slack knows no other way there), and
//!   every character of it is ours: digits, and the constants of this file;
//! * no element is empty, a context has at most ten, a header at most 150 characters;
//! * [`cost`] is the most that Slack may count for a block: each string that it shows or may show, in bytes,
//!   escaped.

use serde_json::{Value, json};
use url::Url;

use crate::escape::{clean, escaped_len};

/// Slack: `header` block, 150 characters.
const HEADER_CHARS_MAX: usize = 150;
/// Slack: `context` block, 10 elements.
const CONTEXT_ELEMENTS_MAX: usize = 10;
/// Slack says nothing of links in `rich_text`; buttons take 3,000 characters.
const URL_BYTES_MAX: usize = 2_000;
/// Where all that there is to say is blank.
const NOTHING: &str = "–";
/// 2100-01-01; what is later, or before 1970, is told as text.
const SECONDS_MAX: i64 = 4_102_444_800;

/// How a date is shown to each reader, in the reader's own zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateStyle {
    /// `today at 03:15:29`.
    DayAndTime,
    /// `03:15:29`, where the day was said before.
    Time,
}

impl DateStyle {
    fn format(self) -> &'static str {
        match self {
            Self::DayAndTime => "{date_short_pretty} at {time_secs}",
            Self::Time => "{time_secs}",
        }
    }

    fn fallback(self) -> &'static str {
        match self {
            Self::DayAndTime => "%Y-%m-%d %H:%M:%S UTC",
            Self::Time => "%H:%M:%S UTC",
        }
    }
}

/// What a piece is besides text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing.
    Plain,
    /// It stands out.
    Bold,
    /// It is to be read to the letter.
    Code,
    /// It leads somewhere.
    Link(String),
    /// It is a moment, in Unix seconds; the text is for who cannot show it in the reader's zone.
    Date(i64, DateStyle),
}

/// A run of clean text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What is read where no look can be shown.
    pub text: String,
    /// How it looks.
    pub look: Look,
}

impl Piece {
    /// Plain text.
    pub fn plain(text: impl Into<String>) -> Self {
        let (text, look) = (text.into(), Look::Plain);
        Self { text, look }
    }

    /// Text that stands out.
    pub fn bold(text: impl Into<String>) -> Self {
        let (text, look) = (text.into(), Look::Bold);
        Self { text, look }
    }

    /// Text that is to be read to the letter.
    pub fn code(text: impl Into<String>) -> Self {
        let (text, look) = (text.into(), Look::Code);
        Self { text, look }
    }

    /// A link, if it leads to the web and its address is of a sane length; else its text.
    pub fn link(text: impl Into<String>, url: &Url) -> Self {
        let is_web = matches!(url.scheme(), "http" | "https");
        let look = if is_web && url.as_str().len() <= URL_BYTES_MAX {
            Look::Link(url.as_str().to_owned())
        } else {
            Look::Plain
        };
        let text = text.into();
        Self { text, look }
    }

    /// A moment: `2026-11-21 03:15:29 UTC` in the reader's zone; the event's own text where it is none.
    pub fn date(rfc3339: &str, style: DateStyle) -> Self {
        let Ok(time) = rfc3339.parse::<jiff::Timestamp>() else {
            return Self::plain(clean(rfc3339, 40));
        };
        let text = time.strftime(style.fallback()).to_string();
        let seconds = time.as_second();
        let look = if (0..SECONDS_MAX).contains(&seconds) {
            Look::Date(seconds, style)
        } else {
            Look::Plain
        };
        Self { text, look }
    }
}

/// What pieces say, without looks.
pub fn text(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

fn element(piece: &Piece) -> Value {
    let text = piece.text.as_str();
    match &piece.look {
        Look::Plain => json!({"type": "text", "text": text}),
        Look::Bold => json!({"type": "text", "text": text, "style": {"bold": true}}),
        Look::Code => json!({"type": "text", "text": text, "style": {"code": true}}),
        Look::Link(url) => json!({"type": "link", "url": url, "text": text}),
        Look::Date(seconds, style) => {
            json!({"type": "date", "timestamp": seconds, "format": style.format(), "fallback": text})
        }
    }
}

/// A line of `rich_text`.
pub fn section(pieces: &[Piece]) -> Value {
    let shown = pieces.iter().filter(|piece| !piece.text.is_empty());
    json!({"type": "rich_text_section", "elements": shown.map(element).collect::<Vec<_>>()})
}

/// Lines of `rich_text` with a dot before each.
pub fn list(sections: Vec<Value>) -> Value {
    json!({"type": "rich_text_list", "style": "bullet", "elements": sections})
}

/// Text of `rich_text` in a fixed width, line breaks and all.
pub fn preformatted(text: &str) -> Value {
    json!({"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]})
}

/// A block of lines.
pub fn rich_text(elements: &[Value]) -> Value {
    json!({"type": "rich_text", "elements": elements})
}

/// A title.
pub fn header(title: &str) -> Value {
    let text = clean(title, HEADER_CHARS_MAX);
    json!({"type": "header", "text": {"type": "plain_text", "text": text, "emoji": false}})
}

fn plain_text(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// A small line under the others: dates as dates, all the rest as it is.
pub fn context(pieces: &[Piece]) -> Value {
    let mut elements = Vec::new();
    let mut run = String::new();
    for piece in pieces {
        match &piece.look {
            Look::Date(seconds, style) if elements.len() + 3 <= CONTEXT_ELEMENTS_MAX => {
                flush(&mut run, &mut elements);
                let token = mrkdwn_date(*seconds, *style);
                elements.push(json!({"type": "mrkdwn", "text": token, "verbatim": true}));
            }
            _ => run.push_str(&piece.text),
        }
    }
    flush(&mut run, &mut elements);
    if elements.is_empty() {
        // Slack refuses a context of nothing; a name may be blank.
        elements.push(plain_text(NOTHING));
    }
    json!({"type": "context", "elements": elements})
}

fn flush(run: &mut String, elements: &mut Vec<Value>) {
    // Slack sets elements apart itself.
    let text = run.trim_matches(|character| " ·".contains(character));
    if !text.is_empty() {
        elements.push(plain_text(text));
    }
    run.clear();
}

/// Slack: `<!date^SECONDS^FORMAT|FALLBACK>`. Made of numbers alone, so that nobody can speak through it.
fn mrkdwn_date(seconds: i64, style: DateStyle) -> String {
    let fallback = jiff::Timestamp::from_second(seconds)
        .map(|time| time.strftime(style.fallback()).to_string())
        .unwrap_or_else(|_| seconds.to_string());
    format!("<!date^{seconds}^{}|{fallback}>", style.format())
}

/// The most that Slack may count for a block or a part of one.
pub fn cost(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("text" | "url" | "fallback" | "format", Value::String(text)) => escaped_len(text),
                (_, value) => cost(value),
            })
            .sum(),
        Value::Array(values) => values.iter().map(cost).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-21T03:15:29.133245Z";

    #[test]
    fn a_date_is_in_the_readers_zone_and_made_of_numbers() {
        let pieces = [
            Piece::plain("prod · "),
            Piece::date(TIME, DateStyle::DayAndTime),
            Piece::plain(" · x"),
        ];
        let date = "<!date^1795230929^{date_short_pretty} at {time_secs}|2026-11-21 03:15:29 UTC>";
        assert_eq!(
            context(&pieces)["elements"],
            json!([
                {"type": "plain_text", "text": "prod", "emoji": false},
                {"type": "mrkdwn", "text": date, "verbatim": true},
                {"type": "plain_text", "text": "x", "emoji": false},
            ])
        );
        let element = &section(&pieces[1..2])["elements"][0];
        assert_eq!(
            (&element["type"], &element["timestamp"]),
            (&json!("date"), &json!(1_795_230_929))
        );
    }

    #[test]
    fn what_is_no_time_never_becomes_a_date() {
        for text in [
            "<!channel>",
            "",
            "2026-11-21",
            "9999-12-31T23:59:59Z",
            "-009999-01-02T01:59:59Z",
            "1795230929",
        ] {
            let piece = Piece::date(text, DateStyle::Time);
            assert_eq!(piece.look, Look::Plain, "{text}");
            assert!(!context(&[piece]).to_string().contains("mrkdwn"), "{text}");
        }
    }

    #[test]
    fn a_line_that_is_blank_is_still_one() {
        for text in ["", " ", " · ", "··"] {
            let elements = &context(&[Piece::plain(text)])["elements"];
            let expected = json!([{"type": "plain_text", "text": NOTHING, "emoji": false}]);
            assert_eq!(elements, &expected, "{text:?}");
        }
    }

    #[test]
    fn only_the_web_is_linked_to() {
        let link = |url: &str| Piece::link("runbook", &Url::parse(url).expect("a URL")).look;
        assert_eq!(
            link("https://w.example/a b|c>"),
            Look::Link("https://w.example/a%20b|c%3E".into())
        );
        assert_eq!(link("javascript:alert(1)"), Look::Plain);
        assert_eq!(
            link(&format!("https://w.example/{}", "x".repeat(3_000))),
            Look::Plain
        );
    }

    #[test]
    fn every_string_counts_escaped() {
        let link = Piece::link(
            "a&b",
            &Url::parse("https://w.example/?a=1&b=2").expect("a URL"),
        );
        assert_eq!(
            cost(&section(&[link])),
            "a&amp;b".len() + "https://w.example/?a=1&amp;b=2".len()
        );
        assert_eq!(cost(&context(&[Piece::plain("<é>")])), "&lt;é&gt;".len());
        assert!(cost(&section(&[Piece::date(TIME, DateStyle::DayAndTime)])) > TIME.len());
    }
}

//! What commands print: text that people read, and the same as JSON for scripts.
//!
//! Invariant: text of events reaches a terminal only through [`clean`], which shows control characters
//! instead of passing them on, or as JSON through [`say_json`], which writes them as escapes. No line that [`say`]
//! writes is a command of GitHub's workflows, which read what a step prints.

use std::{
    borrow::Cow,
    io::{self, ErrorKind, Write},
};

use auditrelay_dispatch::escape::{clean, is_hidden};
use serde::Serialize;

use crate::Failure;

/// Writes to standard output what is no command of a workflow, whoever's words it begins with. Who closes it early,
/// as `head` does, has seen enough.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    say_commands(&shielded(text))
}

/// As [`say`], of text that may hold commands of a workflow: ours.
pub(crate) fn say_commands(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a value as JSON, which stays the same value: what hides or reorders is written as escapes.
pub(crate) fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Failure::Other(format!("cannot write JSON: {error}")))?;
    say(&format!("{}\n", harmless(&text)))
}

/// Writes a value as JSON on one line, with the same care.
pub(crate) fn say_json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|error| Failure::Other(format!("cannot write JSON: {error}")))?;
    say(&format!("{}\n", harmless(&text)))
}

/// Text of whose lines none is a command of a workflow: GitHub takes `::name ...::` behind blanks at the start of a
/// line for one, and `##[name]` anywhere in it.
pub(crate) fn shielded(text: &str) -> Cow<'_, str> {
    let is_command = |line: &str| {
        let rest = line.trim_start().strip_prefix("::");
        rest.is_some_and(|rest| rest.contains("::"))
    };
    // GitHub breaks lines at a carriage return, too.
    let lines = || text.split_inclusive(['\n', '\r']);
    if !text.contains("##[") && !lines().any(is_command) {
        return Cow::Borrowed(text);
    }
    let broken = lines().map(|line| match is_command(line) {
        true => line.replacen("::", ": :", 1),
        false => line.to_owned(),
    });
    Cow::Owned(broken.collect::<String>().replace("##[", "## ["))
}

/// JSON text of the same value without a character that hides or reorders, and without a workflow's command. Beside ASCII there is nothing in
/// JSON but inside its strings, where an escape stands for the same.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        // Where a list begins there is no # before it.
        if character == '[' && text.ends_with("##") {
            text.push_str("\\u005b");
        } else if character == '\u{7f}' || is_hidden(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(character);
        }
    }
    text
}

/// Columns as wide as what is in them. A header that begins with `>` is of numbers, which stand to the
/// right.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let title = |header: &str| header.trim_start_matches('>').to_owned();
    let titles: Vec<String> = headers.iter().map(|header| title(header)).collect();
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..headers.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.chain([&titles[column]]).map(|cell| width(cell)).max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, header), wide) in row.iter().zip(headers).zip(&widths) {
            let space = " ".repeat(wide - width(cell));
            if header.starts_with('>') {
                line.push_str(&format!("{space}{cell}  "));
            } else {
                line.push_str(&format!("{cell}{space}  "));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text in lines of at most so many characters, broken at spaces where there are any.
pub(crate) fn wrap(text: &str, chars_max: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        let width = line.chars().count() + 1 + word.chars().count();
        if line.is_empty() {
            line.push_str(word);
        } else if width <= chars_max {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// `1 event`, `1,234 events`, `2 deliveries`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match noun.strip_suffix('y') {
        _ if number == 1 => format!("{grouped} {noun}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{grouped} {stem}ies"),
        _ => format!("{grouped} {noun}s"),
    }
}

/// `2026-11-21 03:15:29 UTC` of a Unix time in milliseconds.
pub(crate) fn time(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{unix_ms} ms"),
    }
}

/// `2 h 5 min` of milliseconds: the two largest units that are not 0.
pub(crate) fn duration(ms: i64) -> String {
    let mut seconds = ms.max(0) / 1_000;
    let mut parts = Vec::new();
    for (size, unit) in [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")] {
        if seconds >= size && parts.len() < 2 {
            parts.push(format!("{} {unit}", seconds / size));
        }
        seconds %= size;
    }
    match parts.is_empty() {
        true => "less than 1 s".to_owned(),
        false => parts.join(" "),
    }
}

/// `03:15` of a Unix time in milliseconds, UTC.
pub(crate) fn clock(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(time) => time.strftime("%H:%M").to_string(),
        Err(_) => format!("{unix_ms} ms"),
    }
}

/// One line of somebody else's text.
pub(crate) fn line(text: &str, chars_max: usize) -> String {
    clean(text, chars_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_what_is_in_it() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["7", "ops", "x y"]), row(["1234", "security", "z"])];
        assert_eq!(
            table(&[">id", "channel", "reason"], &rows),
            "  id  channel   reason\n   7  ops       x y\n1234  security  z\n"
        );
    }

    #[test]
    fn text_is_broken_at_spaces() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("ab cd ef", 5), ["ab cd", "ef"]);
        assert_eq!(wrap("a longest-word b", 5), ["a", "longest-word", "b"]);
    }

    #[test]
    fn numbers_are_grouped_and_nouns_agree() {
        assert_eq!(count(1, "event"), "1 event");
        assert_eq!(count(999, "event"), "999 events");
        assert_eq!(count(1_234_567, "event"), "1,234,567 events");
        assert_eq!(count(2, "delivery"), "2 deliveries");
        assert_eq!(count(1, "delivery"), "1 delivery");
        assert_eq!(count(2, "more way"), "2 more ways");
        assert_eq!(count(0, "key"), "0 keys");
    }

    #[test]
    fn json_is_of_the_same_value_and_holds_nothing_that_hides() {
        let all: String = ('\0'..=char::MAX).collect();
        // A backslash before a zero-width space, as JSON writes it.
        let event = "{'user':'al\u{202e}ice\u{9b}2J','\u{7f}é\u{e0041}':['😀\\\\\u{200b}']}";
        let event = event.replace('\'', "\"");
        let raw = serde_json::value::RawValue::from_string(event).expect("JSON");
        let value = serde_json::json!({"all": all, "of all": [&all]});
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        for json in [pretty.as_str(), raw.get()] {
            let text = harmless(json);
            let hides = |one: char| is_hidden(one) || (one.is_control() && one != '\n');
            assert_eq!(text.chars().find(|one| hides(*one)), None);
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!(read(&text), read(json));
        }
        assert!(harmless(raw.get()).contains(r#"al\u202eice\u009b2J"#));
        assert!(harmless(raw.get()).contains(r#""\u007fé\udb40\udc41":["😀\\\u200b"]"#));
    }

    #[test]
    fn no_line_is_a_command_of_a_workflow() {
        for (text, expected) in [
            ("::error file=x::pwned\n", ": :error file=x::pwned\n"),
            (
                "a\n \t ::stop-commands::x\nb",
                "a\n \t : :stop-commands::x\nb",
            ),
            ("a\r::error::x", "a\r: :error::x"),
            ("who ##[error]x", "who ## [error]x"),
        ] {
            assert_eq!(shielded(text), expected);
        }
        for text in ["::1  alice\n", "a ::error::x\n", "# [a]", ""] {
            assert!(matches!(shielded(text), Cow::Borrowed(same) if same == text));
        }
        let value = serde_json::json!({"user": "##[error]x", "all": ["##", ["a"]]});
        let json = harmless(&value.to_string());
        assert!(!json.contains("##["), "{json}");
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read, value);
    }

    #[test]
    fn no_text_reaches_the_terminal_as_an_escape_sequence() {
        assert!(!line("\u{1b}[31mred\u{9b}2J", 100).contains(['\u{1b}', '\u{9b}']));
    }
}

//! A line of the log stays one line, whatever is in it.
//!
//! Invariant: what a file's name, Slack's answer or a client's certificate holds cannot begin a line of its own, and cannot
//! colour, move, hide or reorder what a terminal shows. Escapes are `\uXXXX`, which in JSON stand for the same character, so
//! a JSON line keeps its meaning. Colours are put on here, after that: the formatter would let those of some values through.

use std::{
    borrow::Cow,
    io::{self, Write, stderr},
};

use auditrelay_dispatch::escape::is_hidden;

/// Takes a line at a time.
pub(crate) struct OneLine<W> {
    pub(crate) out: W,
    /// Whether levels are coloured.
    pub(crate) in_colour: bool,
}

/// Standard error, which is a terminal.
pub(crate) fn to_terminal() -> OneLine<io::Stderr> {
    OneLine {
        out: stderr(),
        in_colour: true,
    }
}

/// Standard error, which is read by programs.
pub(crate) fn to_file() -> OneLine<io::Stderr> {
    OneLine {
        out: stderr(),
        in_colour: false,
    }
}

impl<W: Write> Write for OneLine<W> {
    /// What formats lines writes each at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = one_line(bytes);
        let line = match self.in_colour {
            true => coloured(line),
            false => line,
        };
        self.out.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn one_line(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let (body, end) = match text.strip_suffix('\n') {
        Some(body) => (body, "\n"),
        None => (text.as_ref(), ""),
    };
    let stays = |character: char| !character.is_control() && !is_hidden(character);
    if body.chars().all(stays) {
        return text;
    }
    let mut line = String::with_capacity(text.len() + 16);
    for character in body.chars() {
        if stays(character) {
            line.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    line.push_str(end);
    Cow::Owned(line)
}

/// The line with its time dimmed and its level in colour: they are its first two words.
fn coloured(line: Cow<'_, str>) -> Cow<'_, str> {
    let Some((time, rest)) = line.split_once(' ') else {
        return line;
    };
    let Some((level, text)) = rest.trim_start().split_once(' ') else {
        return line;
    };
    let colour = match level {
        "ERROR" => 31,
        "WARN" => 33,
        "INFO" => 32,
        "DEBUG" => 34,
        "TRACE" => 35,
        _ => return line,
    };
    Cow::Owned(format!(
        "\u{1b}[2m{time}\u{1b}[0m \u{1b}[{colour}m{level:>5}\u{1b}[0m {text}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tracing_subscriber::fmt;

    use super::*;
    use crate::logs::tests::Lines;

    /// What hostile names hold: a line of their own, colours, cursors, directions, what nobody sees.
    const HOSTILE: &str =
        "a\nERROR forged\r\u{1b}[31mred\u{9b}31m\u{7}\u{8}\u{7f}\u{202e}back\u{200b}\u{2028}b";

    fn written(is_json: bool, in_colour: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let to = move || OneLine {
            out: writer.clone(),
            in_colour,
        };
        let say = || {
            tracing::error!(file = HOSTILE, error = ?HOSTILE, shown = %HOSTILE, "said of {HOSTILE}");
        };
        if is_json {
            let json = fmt().json().flatten_event(true).with_writer(to).finish();
            tracing::subscriber::with_default(json, say);
        } else {
            let text = fmt().with_ansi(false).with_writer(to).finish();
            tracing::subscriber::with_default(text, say);
        }
        lines.text()
    }

    #[test]
    fn a_hostile_value_stays_in_its_line() {
        for (is_json, in_colour) in [(true, false), (false, false), (false, true)] {
            let mut told = written(is_json, in_colour);
            assert_eq!(told.matches('\n').count(), 1, "{told:?}");
            assert_eq!(told.pop(), Some('\n'));
            if in_colour {
                // The time's and the level's, and no other.
                assert_eq!(told.matches('\u{1b}').count(), 4, "{told:?}");
                assert!(told.contains("\u{1b}[31mERROR\u{1b}[0m "), "{told:?}");
                told = told.replace('\u{1b}', "");
            }
            let is_bad = |one: char| one.is_control() || is_hidden(one);
            assert!(!told.chars().any(is_bad), "{told:?}");
        }
        let line: Value = serde_json::from_str(&written(true, false)).expect("JSON");
        assert_eq!(line["file"], HOSTILE);
        assert_eq!(line["message"], format!("said of {HOSTILE}"));
    }

    #[test]
    fn a_usual_line_is_not_touched() {
        let line = "{\"level\":\"INFO\",\"message\":\"ready, ünïcode\"}\n";
        assert!(matches!(one_line(line.as_bytes()), Cow::Borrowed(same) if same == line));
    }
}

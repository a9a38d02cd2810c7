//! What a template is for, and how a value may stand in it.
//!
//! Invariants:
//! * in a URL a value is data: it is percent-encoded down to unreserved characters, and is neither part of
//!   scheme, host and port nor a `.` or `..` of the path;
//! * in a command a value is one word, or a part of one, of a POSIX shell: the shell expands nothing in
//!   it, and it cannot begin an option. What cannot be said so is not said at all: the names that need it
//!   are no names that Kubernetes accepts, and a command that was changed to be harmless would be about
//!   another object.

use minijinja::{Error, ErrorKind, Output, State, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::{Origin, Url};

use crate::escape::{clean, is_hidden};

const URL_BYTES_MAX: usize = 2_000;
const COMMAND_CHARS_MAX: usize = 600;
const VALUE_CHARS_MAX: usize = 1_000;

/// RFC 3986: everything but the unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Around a value in a command until it is known where it stands; no value holds one.
const BEGIN: char = '\u{1}';
const END: char = '\u{2}';
/// In place of a value that cannot stand in a command.
const REFUSED: char = '\u{3}';

/// What a template is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A text for people.
    Text,
    /// A URL of this origin.
    Url(Origin),
    /// A line for a shell.
    Command,
}

type Format = fn(&mut Output, &mut State, &Value) -> Result<(), Error>;

impl Kind {
    /// How values are written.
    pub(super) fn formatter(&self) -> Format {
        match self {
            Self::Text => {
                |out, state, value| write(out, &clean(&defined(state, value)?, VALUE_CHARS_MAX))
            }
            Self::Url(_) => |out, state, value| {
                let text = defined(state, value)?;
                write(out, &utf8_percent_encode(&text, RESERVED).to_string())
            },
            Self::Command => |out, state, value| {
                let text = defined(state, value)?;
                if text.chars().any(|one| one.is_control() || is_hidden(one)) {
                    return write(out, &format!("{BEGIN}{REFUSED}{END}"));
                }
                write(out, &format!("{BEGIN}{text}{END}"))
            },
        }
    }

    /// What was rendered, ready for use, or why it must not be used.
    pub(super) fn finish(&self, rendered: &str) -> Result<String, &'static str> {
        match self {
            Self::Text => Ok(rendered.to_owned()),
            Self::Url(origin) => url(rendered.trim(), origin),
            Self::Command => command(rendered.trim()),
        }
    }
}

/// The value as text; an undefined one is an error wherever it comes from.
fn defined(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        let name = state.name();
        let text = format!("a value of the {name} does not exist");
        return Err(Error::new(ErrorKind::UndefinedError, text));
    }
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Ok(value.to_string()),
    }
}

fn write(out: &mut Output<'_>, text: &str) -> Result<(), Error> {
    out.write_str(text)
        .map_err(|_| Error::new(ErrorKind::WriteFailure, "cannot write"))
}

/// The origin that a URL's template spells out.
pub(super) fn origin(template: &str) -> Result<Origin, String> {
    let template = template.trim();
    let opened = ["{{", "{%", "{#"];
    let end = opened.iter().filter_map(|open| template.find(open)).min();
    let literal = &template[..end.unwrap_or(template.len())];
    let expected = || {
        "expected https:// or http:// and a host that are written out, up to the first / or ? after the \
         host: a value must not decide where a link leads"
            .to_owned()
    };
    let rest = literal
        .strip_prefix("https://")
        .or_else(|| literal.strip_prefix("http://"))
        .ok_or_else(expected)?;
    let authority_end = rest.find(['/', '?', '#']);
    if authority_end.is_none() && end.is_some() {
        return Err(expected());
    }
    let authority = &rest[..authority_end.unwrap_or(rest.len())];
    if authority.contains(['@', '\\', '%']) || authority.contains(char::is_whitespace) {
        return Err("expected a host and perhaps a port, nothing else, before the path".to_owned());
    }
    let url = Url::parse(literal).map_err(|error| format!("is no URL: {error}"))?;
    Ok(url.origin())
}

fn url(rendered: &str, origin: &Origin) -> Result<String, &'static str> {
    if rendered.chars().any(char::is_control) {
        return Err("the URL holds control characters");
    }
    let path = rendered.split(['?', '#']).next().unwrap_or_default();
    let is_dots = |segment: &str| {
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        decoded == "." || decoded == ".."
    };
    if path.split(['/', '\\']).any(is_dots) {
        return Err("the URL's path holds . or .. as a segment");
    }
    let url = Url::parse(rendered).map_err(|_| "the result is no URL")?;
    let is_web = matches!(url.scheme(), "http" | "https");
    if !is_web || url.origin() != *origin || !url.username().is_empty() || url.password().is_some()
    {
        return Err("the URL leads to another host than the one that is written out");
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err("the URL is longer than 2,000 bytes");
    }
    Ok(url.into())
}

/// Where a shell's parser stands in the literal text of a command.
#[derive(Clone, Copy, PartialEq)]
enum Quotes {
    None,
    Single,
    Double,
}

fn command(rendered: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(rendered.len());
    let (mut quotes, mut before) = (Quotes::None, ' ');
    let mut rest = rendered.chars();
    while let Some(character) = rest.next() {
        if character == BEGIN {
            let value: String = rest.by_ref().take_while(|one| *one != END).collect();
            if quotes != Quotes::None {
                return Err(
                    "a value stands inside quotes; it needs none, it is quoted where it has to be",
                );
            }
            // `$'…'` reads backslashes, and what follows a lone $ could be a variable's name.
            if before == '$' {
                return Err("a value stands right after a dollar sign");
            }
            out.push_str(&quoted(&value)?);
            before = END;
            continue;
        }
        match (quotes, character) {
            (_, other) if other.is_control() || is_hidden(other) => {
                return Err("expected one line without control characters");
            }
            (Quotes::None | Quotes::Double, '\\' | '`') => {
                return Err("a backslash or a backquote stands outside single quotes");
            }
            (Quotes::None, '\'' | '"') if before == '$' => {
                return Err("a quote stands right after a dollar sign");
            }
            (Quotes::None, '\'') => quotes = Quotes::Single,
            (Quotes::None, '"') => quotes = Quotes::Double,
            (Quotes::Single, '\'') | (Quotes::Double, '"') => quotes = Quotes::None,
            _ => {}
        }
        out.push(character);
        before = character;
    }
    if quotes != Quotes::None {
        return Err("a quote is not closed");
    }
    if out.chars().nth(COMMAND_CHARS_MAX).is_some() {
        return Err("the command is longer than 600 characters");
    }
    Ok(out)
}

/// A value as a word of a shell.
fn quoted(value: &str) -> Result<String, &'static str> {
    if value.contains(REFUSED) {
        return Err("a value holds characters that hide or control");
    }
    // Quotes do not help: the program would read an option all the same.
    if value.starts_with('-') {
        return Err("a value begins with a dash");
    }
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "_./:@%+=,-".contains(one);
    // zsh: a word that begins with = is the path of a program.
    if !value.is_empty() && !value.starts_with('=') && value.chars().all(is_plain) {
        return Ok(value.to_owned());
    }
    Ok(format!("'{}'", value.replace('\'', r"'\''")))
}

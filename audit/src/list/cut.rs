//! A list that is no valid JSON, cut into its items by quotes and brackets alone.
//!
//! The rule, in short: *what could be read in two ways is not read at all.* A list is cut only if
//! * everything around its items is valid JSON, so the breakage is inside them;
//! * within each item every quote is closed and every bracket has its own kind of partner, and quotes stand
//!   where strings can: after the beginning, a blank or one of `{ [ , :`, and before a blank or one of
//!   `, : } ]`. A quote too many or too few turns strings inside out, and then what was text stands next to
//!   a quote. For the same reason no backslash stands outside of a string;
//! * no item that is not valid JSON itself holds something that reads as an event on its own: brackets that
//!   were lost in one item and found in a later one would make the events between them part of the two.
//!
//! Otherwise the list is refused as a whole, and its sender is told. So an item that is set aside as "not
//! valid JSON" never takes an event with it that somebody could have read. What *is* valid JSON is taken as
//! it stands.
//!
//! Nothing recurses, and looking for events inside of broken items has a budget: what it does not suffice
//! for counts as readable in two ways.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Envelope,
    event::{Text, whole_characters},
    list::ITEMS_MAX,
};

/// The API server nests bodies up to 10,000 deep.
const DEPTH_MAX: usize = 100_000;

/// Bytes that may be gone over in search of events inside of broken items, beside eight times the body.
const SEARCH_BYTES: usize = 1 << 20;
const SEARCH_BYTES_MAX: usize = 64 << 20;

/// What a list that is no JSON consists of.
pub(super) struct Pieces<'a> {
    pub(super) kind: Text<'a>,
    pub(super) api_version: Text<'a>,
    /// The first [`ITEMS_MAX`] of them.
    pub(super) items: Vec<&'a str>,
    pub(super) beyond: usize,
}

/// Whether a text is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Cuts a list; `None` if it cannot be cut, or only by guessing.
pub(super) fn pieces(text: &str) -> Option<Pieces<'_>> {
    let mut cursor = Cursor { text, at: 0 };
    let mut pieces = Pieces {
        kind: Text::default(),
        api_version: Text::default(),
        items: Vec::new(),
        beyond: 0,
    };
    let (mut has_kind, mut has_version, mut has_items) = (false, false, false);
    cursor.take(b'{')?;
    loop {
        let name: Text<'_> = json(cursor.string()?)?;
        cursor.take(b':')?;
        let again = match name.as_str() {
            "kind" => {
                pieces.kind = json(cursor.run()?)?;
                std::mem::replace(&mut has_kind, true)
            }
            "apiVersion" => {
                pieces.api_version = json(cursor.run()?)?;
                std::mem::replace(&mut has_version, true)
            }
            "items" => {
                cursor.items(&mut pieces)?;
                std::mem::replace(&mut has_items, true)
            }
            _ => !is_json(cursor.run()?),
        };
        if again {
            return None;
        }
        match cursor.next()? {
            b',' => cursor.at += 1,
            _ => break,
        }
    }
    cursor.take(b'}')?;
    (cursor.next().is_none() && has_items).then_some(())?;
    let mut search = Search::new(text.len());
    let broken = pieces.items.iter().filter(|item| !is_json(item));
    for item in broken {
        (!search.may_hold_an_event(item)).then_some(())?;
    }
    Some(pieces)
}

fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not blank; the cursor is before it.
    fn next(&mut self) -> Option<u8> {
        while is_blank(self.peek()?) {
            self.at += 1;
        }
        self.peek()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.next()?;
        let start = self.at;
        self.at = string_end(self.text.as_bytes(), start)?;
        self.text.get(start..self.at)
    }

    fn items(&mut self, pieces: &mut Pieces<'a>) -> Option<()> {
        self.take(b'[')?;
        if self.next()? == b']' {
            return self.take(b']');
        }
        loop {
            let item = self.run()?;
            if pieces.items.len() < ITEMS_MAX {
                pieces.items.push(item);
            } else {
                pieces.beyond += 1;
            }
            match self.next()? {
                b',' => self.at += 1,
                _ => return self.take(b']'),
            }
        }
    }

    /// What stands before the next comma or closing bracket that is not inside of it, without blanks around
    /// it; may be empty.
    fn run(&mut self) -> Option<&'a str> {
        self.next()?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut open = Vec::new();
        loop {
            match self.peek()? {
                b'"' => {
                    let before = self.at.checked_sub(1).filter(|_| self.at > start);
                    let may_begin = before.is_none_or(|before| {
                        is_blank(bytes[before]) || b"{[,:".contains(&bytes[before])
                    });
                    self.at = string_end(bytes, self.at)?;
                    let after = self.peek()?;
                    let may_end = is_blank(after) || b",:}]".contains(&after);
                    (may_begin && may_end).then_some(())?;
                    continue;
                }
                b'\\' => return None,
                b'{' => open.push(b'}'),
                b'[' => open.push(b']'),
                b',' | b'}' | b']' if open.is_empty() => break,
                closing @ (b'}' | b']') => (open.pop() == Some(closing)).then_some(())?,
                _ => {}
            }
            (open.len() <= DEPTH_MAX).then_some(())?;
            self.at += 1;
        }
        let run = self.text.get(start..self.at)?;
        Some(run.trim_end_matches([' ', '\n', '\r', '\t']))
    }
}

/// Behind the string that begins with the quote at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    (*bytes.get(at)? == b'"').then_some(())?;
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Whether a text can be read as an event, as an item of a list would be.
fn is_event(text: &str) -> bool {
    let is_one = |text: &str| Envelope::parse(text).is_ok();
    is_one(text) || whole_characters(text).is_some_and(|text| is_one(&text))
}

/// Looks for events inside of broken items.
struct Search {
    bytes_left: usize,
}

impl Search {
    fn new(body_bytes: usize) -> Self {
        let bytes = body_bytes.saturating_mul(8).min(SEARCH_BYTES_MAX);
        Self {
            bytes_left: SEARCH_BYTES + bytes,
        }
    }

    /// Whether something in an item reads as an event by itself, wherever it stands, or the budget does not
    /// suffice to rule that out.
    fn may_hold_an_event(&mut self, item: &str) -> bool {
        // Every envelope has these names; what is written with escapes is looked at.
        let is_there = |name| item.contains(name) || item.contains("\\u");
        if !(is_there("\"level\"") && is_there("\"stage\"")) {
            return false;
        }
        let begins = item.match_indices('{').map(|(at, _)| at);
        for at in begins {
            let Some(rest) = item.get(at..) else {
                continue;
            };
            match self.object(rest) {
                Looked::Object(object) if is_event(object) => return true,
                Looked::Object(_) | Looked::Nothing => {}
                Looked::TooLong => return true,
            }
        }
        false
    }

    /// The object that a text begins with, by its brackets and quotes.
    fn object<'a>(&mut self, text: &'a str) -> Looked<'a> {
        let bytes = text.as_bytes();
        let mut open = Vec::new();
        let mut at = 0;
        let found = loop {
            if at > self.bytes_left || open.len() > DEPTH_MAX {
                return Looked::TooLong;
            }
            match bytes.get(at) {
                None => break None,
                Some(b'"') => match string_end(bytes, at) {
                    Some(end) => {
                        at = end;
                        continue;
                    }
                    None => {
                        at = bytes.len();
                        break None;
                    }
                },
                Some(b'{') => open.push(b'}'),
                Some(b'[') => open.push(b']'),
                Some(closing @ (b'}' | b']')) => {
                    if open.pop() != Some(*closing) {
                        break None;
                    }
                    if open.is_empty() {
                        break text.get(..=at);
                    }
                }
                Some(_) => {}
            }
            at += 1;
        };
        self.bytes_left = self.bytes_left.saturating_sub(at + 1);
        found.map_or(Looked::Nothing, Looked::Object)
    }
}

enum Looked<'a> {
    Object(&'a str),
    Nothing,
    TooLong,
}

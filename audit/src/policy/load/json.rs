//! A policy in JSON, as the same nodes.
//!
//! The text is held against serde first, so what is read here is JSON, and no deeper than serde goes.

use serde_json::value::RawValue;

use super::{
    Place, Problem, Problems, quoted,
    tree::{Budget, Entry, Map, Node, Value, broken, twice},
};

/// Reads a text that begins with `{`; the API server takes such a text for JSON and for nothing else.
pub(super) fn read(text: &str, warnings: &mut Problems) -> Result<Node, Box<Problem>> {
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        let place = Place {
            line: error.line(),
            column: error.column().max(1),
        };
        let what =
            "it begins with {, which the API server takes for JSON, and it is not valid JSON there";
        let advice = "mend it, or write YAML that begins with a field";
        return Err(broken(place, what, advice));
    }
    let mut reader = Reader {
        rest: text,
        place: Place { line: 1, column: 1 },
        budget: Budget::default(),
        warnings,
    };
    reader.node(1)
}

struct Reader<'a, 'w> {
    rest: &'a str,
    place: Place,
    budget: Budget,
    warnings: &'w mut Problems,
}

impl<'a> Reader<'a, '_> {
    fn node(&mut self, depth: usize) -> Result<Node, Box<Problem>> {
        let first = self.peek();
        let place = self.place;
        self.budget.take(1, depth, place)?;
        let value = match first {
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Value::Text(self.text()),
            _ => {
                let end = self.rest.find(|character: char| {
                    matches!(character, ',' | ']' | '}') || character.is_ascii_whitespace()
                });
                match self.take(end.unwrap_or(self.rest.len())) {
                    "null" => Value::Null,
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    number => Value::Number(number.to_owned()),
                }
            }
        };
        Ok(Node { place, value })
    }

    fn map(&mut self, depth: usize) -> Result<Value, Box<Problem>> {
        let mut map = Map::default();
        self.take(1);
        while self.peek() == Some('"') {
            let place = self.place;
            let key = self.text();
            self.skip(':');
            let value = self.node(depth + 1)?;
            let shown = quoted(&key);
            if map.set(Entry { key, place, value }) {
                twice(self.warnings, &shown, place);
            }
            self.skip(',');
        }
        self.skip('}');
        Ok(Value::Map(map))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Box<Problem>> {
        let mut items = Vec::new();
        self.take(1);
        while !matches!(self.peek(), Some(']') | None) {
            items.push(self.node(depth + 1)?);
            self.skip(',');
        }
        self.skip(']');
        Ok(Value::List(items))
    }

    /// A string; its escapes are serde's to read. What Go takes and serde does not (half of a character) is
    /// shown as what Go makes of it.
    fn text(&mut self) -> String {
        let mut is_escaped = false;
        let end = self.rest[1..].find(|character| {
            let is_end = character == '"' && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            is_end
        });
        let raw = self.take(end.map_or(self.rest.len(), |end| end + 2));
        serde_json::from_str(raw).unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.to_string())
    }

    /// The next character that is not white, which is left there.
    fn peek(&mut self) -> Option<char> {
        let white = self.rest.len() - self.rest.trim_ascii_start().len();
        self.take(white);
        self.rest.chars().next()
    }

    fn skip(&mut self, character: char) {
        if self.peek() == Some(character) {
            self.take(1);
        }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for character in taken.chars() {
            if character == '\n' {
                self.place.line += 1;
                self.place.column = 1;
            } else {
                self.place.column += 1;
            }
        }
        self.rest = rest;
        taken
    }
}

//! What was taken out of one place of an event, and is taken out where another place quotes it.
//!
//! Limits: a text of fewer than four bytes, or a word of fewer than six within a longer text, is not looked for: it
//! may stand anywhere by chance. Where too much was taken out to be looked for, every text that may quote it goes.
//!
//! Clients choose both what is looked for and where, so the work is bounded whatever they choose: nothing is built
//! from a text, each text is looked for in one pass (std: two-way search, linear in the worst case),
//! and an event has a budget of bytes looked at. What exceeds the budget goes as a whole.

use std::{cell::Cell, cmp::Reverse, ops::Range};

use serde_json::Value;

use super::is_redacted;
use crate::mask::MASK;

const TEXT_BYTES_MIN: usize = 4;
const WORD_BYTES_MIN: usize = 6;
/// Looking for more, or for longer ones, would take more time than an event is worth.
const TEXTS_MAX: usize = 32;
const BYTES_MAX: usize = 8 * 1024;
/// Bytes looked at for one event, each once for each text.
const LOOKED_AT_MAX: usize = 1024 * 1024;

/// Texts to be looked for.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    texts: Vec<String>,
    bytes: usize,
    /// There are too many.
    all: bool,
    looked_at: Cell<usize>,
}

impl Quotes {
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty() && !self.all
    }

    /// Looks for arguments of a command and values of a query, and for words within them.
    pub(super) fn add_words(&mut self, texts: &[String]) {
        for text in texts {
            self.add(text);
            let apart = |one: char| one.is_whitespace() || "\"'`".contains(one);
            self.add_parts(text, apart);
        }
    }

    /// Looks for a value of a body, and for its parts between characters that whoever quotes it may escape.
    pub(super) fn add_value(&mut self, text: &str) {
        self.add(text);
        let is_escaped = |one: char| one.is_control() || "\"'`\\<>&".contains(one);
        self.add_parts(text, is_escaped);
    }

    fn add_parts(&mut self, text: &str, apart: impl Fn(char) -> bool) {
        for part in text.split(apart) {
            if self.all {
                return;
            }
            if part.len() >= WORD_BYTES_MIN && part.len() < text.len() {
                self.add(part);
            }
        }
    }

    fn add(&mut self, text: &str) {
        // A mask must not be found in a mask.
        let is_short = text.len() < TEXT_BYTES_MIN || MASK.contains(text) || is_redacted(text);
        if self.all || is_short || self.texts.iter().any(|one| one == text) {
            return;
        }
        self.bytes += text.len();
        if self.texts.len() == TEXTS_MAX || self.bytes > BYTES_MAX {
            self.all = true;
            self.texts.clear();
            return;
        }
        self.texts.push(text.to_owned());
    }

    /// Masks them wherever they stand in a value.
    pub(super) fn take_out(&self, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|inner| self.take_out(inner)),
            Value::Array(values) => values.iter_mut().for_each(|inner| self.take_out(inner)),
            Value::String(text) => {
                if let Some(masked) = self.without(text) {
                    *text = masked;
                }
            }
            _ => {}
        }
    }

    /// A text without them; `None` where it holds none.
    pub(super) fn without(&self, text: &str) -> Option<String> {
        if self.is_empty() || text.is_empty() || is_redacted(text) {
            return None;
        }
        let looked_at = self.looked_at.get() + text.len() * self.texts.len();
        if self.all || looked_at > LOOKED_AT_MAX {
            return Some(MASK.to_owned());
        }
        self.looked_at.set(looked_at);
        let found = |one: &String| {
            let length = one.len();
            let starts = text.match_indices(one.as_str());
            starts.map(|(at, _)| at..at + length).collect::<Vec<_>>()
        };
        let mut found: Vec<Range<usize>> = self.texts.iter().flat_map(found).collect();
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|range| (range.start, Reverse(range.end)));
        let (mut out, mut kept) = (String::with_capacity(text.len()), 0);
        for range in found {
            // What overlaps the one before belongs to its mask.
            if range.start >= kept {
                out.push_str(&text[kept..range.start]);
                out.push_str(MASK);
            }
            kept = kept.max(range.end);
        }
        out.push_str(&text[kept..]);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Quotes {
        let mut quotes = Quotes::default();
        texts.iter().for_each(|text| quotes.add_value(text));
        quotes
    }

    #[test]
    fn what_overlaps_goes_as_a_whole() {
        let quotes = of(&["hunter2", "ter2-an", "hunt"]);
        let without = |text| quotes.without(text);
        assert_eq!(
            without("a hunter2 b hunt").as_deref(),
            Some("a [masked] b [masked]")
        );
        assert_eq!(without("hunter2-and").as_deref(), Some("[masked]d"));
        assert_eq!(without("nothing"), None);
        assert_eq!(without("[redacted 0123abcd]"), None);
    }

    #[test]
    fn what_an_escape_parts_is_found_in_parts() {
        let quotes = of(&["first-line\nsecond\"third-part"]);
        let quoted = r#"got "first-line\nsecond\"third-part""#;
        assert_eq!(
            quotes.without(quoted).as_deref(),
            Some(r#"got "[masked]\n[masked]\"[masked]""#)
        );
    }

    /// Bytes looked at are counted, whatever is looked for and however much text there is.
    #[test]
    fn the_work_is_bounded_and_what_exceeds_it_goes() {
        let run = "a".repeat(BYTES_MAX / 2);
        let texts: Vec<String> = (0..TEXTS_MAX - 1).map(|n| format!("aaaa-{n}")).collect();
        let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        texts.push(&run);
        let quotes = of(&texts);
        assert!(!quotes.all);
        let text = "a".repeat(LOOKED_AT_MAX / TEXTS_MAX / 4);
        for round in 0..100 {
            let shown = quotes.without(&text);
            assert_eq!(shown.as_deref() == Some(MASK), round >= 4, "{round}");
            assert!(quotes.looked_at.get() <= LOOKED_AT_MAX);
        }
        let too_many: Vec<String> = (0..=TEXTS_MAX).map(|n| format!("value-{n}")).collect();
        let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
        for too_much in [&too_many[..], &["a".repeat(BYTES_MAX + 1).as_str()]] {
            let quotes = of(too_much);
            assert!(quotes.all && quotes.texts.is_empty());
            assert_eq!(quotes.without("anything").as_deref(), Some(MASK));
            assert_eq!(quotes.looked_at.get(), 0);
        }
    }
}

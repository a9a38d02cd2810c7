//! What was taken out of one place of an event, and is taken out where another place quotes it.
//!
//! Limits: a text of fewer than four bytes, or a word of fewer than six within a longer text, is not looked for: it
//! may stand anywhere by chance. Where too much was taken out to be looked for, every text that may quote it goes.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde_json::Value;

use super::is_redacted;
use crate::mask::MASK;

const TEXT_BYTES_MIN: usize = 4;
const WORD_BYTES_MIN: usize = 6;
/// Looking for more would take more memory than an event is worth.
const BYTES_MAX: usize = 8 * 1024;

/// Texts to be looked for.
#[derive(Default)]
pub(super) struct Quotes {
    texts: Vec<String>,
    finder: Option<AhoCorasick>,
    /// There are too many.
    all: bool,
}

impl Quotes {
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty() && !self.all
    }

    /// Looks for these, and for words within them: of arguments of a command.
    pub(super) fn add_words(&mut self, texts: &[String]) {
        let words = texts.iter().flat_map(|text| {
            let apart = |one: char| one.is_whitespace() || "\"'`".contains(one);
            let words = text.split(apart);
            words.filter(|word| word.len() >= WORD_BYTES_MIN)
        });
        let words = words.map(str::to_owned).chain(texts.iter().cloned());
        self.add(words.collect());
    }

    /// Looks for these.
    pub(super) fn add(&mut self, texts: Vec<String>) {
        // A mask must not be found in a mask.
        let texts = texts
            .into_iter()
            .filter(|text| text.len() >= TEXT_BYTES_MIN && !MASK.contains(text.as_str()));
        self.texts.extend(texts);
        self.texts.sort_unstable();
        self.texts.dedup();
        self.all |= self.texts.iter().map(String::len).sum::<usize>() > BYTES_MAX;
        if self.all {
            self.texts.clear();
        }
        self.finder = (!self.texts.is_empty())
            .then(|| {
                // Quick to build: it is used for one event.
                AhoCorasick::builder()
                    .kind(Some(AhoCorasickKind::NoncontiguousNFA))
                    .match_kind(MatchKind::LeftmostLongest)
                    .build(&self.texts)
            })
            .transpose()
            .unwrap_or_else(|_too_large| {
                self.all = true;
                None
            });
    }

    /// Masks them wherever they stand in a value.
    pub(super) fn take_out(&self, value: &mut Value) {
        match value {
            _ if self.is_empty() => {}
            Value::Object(map) => map.values_mut().for_each(|inner| self.take_out(inner)),
            Value::Array(values) => values.iter_mut().for_each(|inner| self.take_out(inner)),
            Value::String(text) if is_redacted(text) => {}
            Value::String(text) if self.all => *text = MASK.to_owned(),
            Value::String(text) => {
                if let Some(finder) = &self.finder
                    && finder.is_match(text.as_str())
                {
                    let masks = vec![MASK; finder.patterns_len()];
                    *text = finder.replace_all(text, &masks);
                }
            }
            _ => {}
        }
    }
}

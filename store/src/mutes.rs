//! Mutes: what operators asked not to hear for a while, by whom and why.
//!
//! Contract: a mute that was answered is durable, and [`crate::Queue::mutes`] knows it before its caller does.
//! What it held back is counted in the commit that routes the events, so the notices of its end are exact: what
//! was routed at that very moment follows in a notice of its own. Mutes are lost with a damaged store: the
//! relay then tells too much rather than too little. What a mute matches is its reader's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// So many mutes are active at a time.
pub const MUTES_MAX: usize = 100;
/// So many that ended are kept to be looked at.
pub const MUTES_ENDED_MAX: usize = 100;
/// Longest name of an author, in bytes.
pub const MUTE_AUTHOR_BYTES_MAX: usize = 128;
/// Longest reason, in bytes.
pub const MUTE_REASON_BYTES_MAX: usize = 500;
/// Longest text of what a mute matches, in bytes.
pub const MUTE_MATCH_BYTES_MAX: usize = 3_000;
/// Longest text of the same in words, in bytes.
pub const MUTE_WORDS_BYTES_MAX: usize = 400;
/// Channels and routes that one mute may name together.
pub const MUTE_NAMES_MAX: usize = 16;
/// Longest name of a channel or a route, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A mute as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMute {
    /// Who wants it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Which events it is about, as whoever evaluates it reads it.
    pub matches: String,
    /// The same in words.
    pub words: String,
    /// Only deliveries to these channels; none: to any.
    pub channels: Vec<String>,
    /// Only deliveries that these routes ask for; none: any.
    pub routes: Vec<String>,
    /// When it begins, Unix time in milliseconds.
    pub begun_unix_ms: i64,
    /// When it ends by itself, Unix time in milliseconds.
    pub until_unix_ms: i64,
}

impl NewMute {
    /// Whether it fits a record of the index.
    ///
    /// # Errors
    /// What is too long.
    pub fn check(&self) -> Result<(), MuteTooLong> {
        let texts = [
            ("the author", &self.author, MUTE_AUTHOR_BYTES_MAX),
            ("the reason", &self.reason, MUTE_REASON_BYTES_MAX),
            ("the match", &self.matches, MUTE_MATCH_BYTES_MAX),
            ("the match in words", &self.words, MUTE_WORDS_BYTES_MAX),
        ];
        if self.channels.len() + self.routes.len() > MUTE_NAMES_MAX {
            return Err(MuteTooLong::Names);
        }
        let names = self.channels.iter().chain(&self.routes);
        let names = names.map(|name| ("a name", name, NAME_BYTES_MAX));
        for (what, text, bytes_max) in texts.into_iter().chain(names) {
            if text.len() > bytes_max {
                return Err(MuteTooLong::Text { what, bytes_max });
            }
        }
        Ok(())
    }
}

/// A mute that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MuteTooLong {
    /// A text.
    #[error("{what} is longer than {bytes_max} bytes")]
    Text {
        /// Which.
        what: &'static str,
        /// How long it may be.
        bytes_max: usize,
    },
    /// Too many names.
    #[error("more than {MUTE_NAMES_MAX} channels and routes are named together")]
    Names,
}

/// How a mute ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuteEnd {
    /// When, Unix time in milliseconds.
    pub at_unix_ms: i64,
    /// Who ended it; `None`: its time had come.
    pub by: Option<String>,
    /// Why; may be empty.
    pub reason: String,
}

impl MuteEnd {
    /// As it is stored: within what a record takes.
    pub(crate) fn bounded(mut self) -> Self {
        let cut = |text: &mut String, bytes_max| {
            text.truncate(text.floor_char_boundary(bytes_max));
        };
        if let Some(by) = &mut self.by {
            cut(by, MUTE_AUTHOR_BYTES_MAX);
        }
        cut(&mut self.reason, MUTE_REASON_BYTES_MAX);
        self
    }
}

/// A mute, and what it held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    /// Its ID, growing; never used twice as long as the store is the same.
    pub id: u64,
    /// What was asked for.
    pub asked: NewMute,
    /// How it ended, if it has.
    pub ended: Option<MuteEnd>,
    /// Deliveries that it held back, by channel.
    pub held: BTreeMap<String, u64>,
}

impl Mute {
    /// Whether it still holds anything back. Its time may have come: whoever evaluates it ends it.
    pub fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether one that comes from elsewhere can be stored.
    pub(crate) fn check(&self) -> Result<(), MuteTooLong> {
        let is_long = |name: &String| name.len() > NAME_BYTES_MAX;
        if self.held.keys().any(is_long) {
            let (what, bytes_max) = ("a name", NAME_BYTES_MAX);
            return Err(MuteTooLong::Text { what, bytes_max });
        }
        self.asked.check()
    }

    /// Deliveries that it held back, to all channels.
    pub fn held_total(&self) -> u64 {
        self.held.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_taken_and_a_byte_more_is_not() {
        let fits = NewMute {
            author: "a".repeat(MUTE_AUTHOR_BYTES_MAX),
            reason: "r".repeat(MUTE_REASON_BYTES_MAX),
            matches: "m".repeat(MUTE_MATCH_BYTES_MAX),
            words: "w".repeat(MUTE_WORDS_BYTES_MAX),
            channels: vec!["c".repeat(64)],
            routes: vec!["r".repeat(64)],
            begun_unix_ms: 0,
            until_unix_ms: 1,
        };
        assert_eq!(fits.check(), Ok(()));
        let longer: [fn(&mut NewMute); 7] = [
            |mute| mute.routes = vec![String::new(); MUTE_NAMES_MAX],
            |mute| mute.author.push('x'),
            |mute| mute.reason.push('x'),
            |mute| mute.matches.push('x'),
            |mute| mute.words.push('x'),
            |mute| mute.channels[0].push('x'),
            |mute| mute.routes[0].push('x'),
        ];
        for change in longer {
            let mut mute = fits.clone();
            change(&mut mute);
            assert!(mute.check().is_err(), "{mute:?}");
        }
    }

    #[test]
    fn an_end_is_cut_at_a_character() {
        let end = MuteEnd {
            at_unix_ms: 0,
            by: Some("ä".repeat(100)),
            reason: "ö".repeat(300),
        };
        let end = end.bounded();
        assert_eq!(end.by.map(|by| by.len()), Some(MUTE_AUTHOR_BYTES_MAX));
        assert_eq!(end.reason.len(), MUTE_REASON_BYTES_MAX);
    }
}

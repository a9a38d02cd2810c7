//! What had been rotated when a path was first followed: it is left alone. What is rotated later is read.
//!
//! Invariants:
//! * what is noted of a path is never among what was noted longest ago, which the store forgets first: it is noted
//!   anew at each start, with each file that is read for the first time, and every hour;
//! * after a store was moved aside nothing is old: what was read before cannot be told from what was not.

use std::{collections::HashMap, path::PathBuf};

use auditrelay_audit::HashKey;
use auditrelay_store::InputPosition;
use serde::{Deserialize, Serialize};

use super::find::{Found, Listing};

const RENEW_AFTER_MS: i64 = 3_600_000;
/// How much of a path is kept, only to be looked at.
const PATH_CHARS: usize = 500;

/// Of all paths.
pub(super) struct Since {
    known: HashMap<PathBuf, Newest>,
    nothing_is_old: bool,
    renewed_unix_ms: i64,
    is_due: bool,
}

/// The newest file that had been rotated when a path was first followed, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    path: String,
    modified_ns: i64,
    stamp: String,
}

impl Since {
    pub(super) fn new(nothing_is_old: bool) -> Self {
        Self {
            known: HashMap::new(),
            nothing_is_old,
            renewed_unix_ms: 0,
            is_due: true,
        }
    }

    /// Another file is remembered: what is known here has to be the newer word.
    pub(super) fn renew(&mut self) {
        self.is_due = true;
    }

    /// Notes what had been rotated before a path was followed.
    pub(super) fn learn(
        &mut self,
        key: &HashKey,
        listing: &Listing,
        positions: &[InputPosition],
        now_unix_ms: i64,
    ) -> Vec<InputPosition> {
        let is_due =
            std::mem::take(&mut self.is_due) || now_unix_ms - self.renewed_unix_ms > RENEW_AFTER_MS;
        if is_due {
            self.renewed_unix_ms = now_unix_ms;
        }
        let mut notes = Vec::new();
        for base in &listing.bases {
            if self.known.contains_key(base) && !is_due {
                continue;
            }
            let path = base.to_string_lossy();
            let hash = key.message([b"log file since", path.as_bytes()]);
            let input = format!("log-file-since/{hash:032x}");
            let nothing_is_old = self.nothing_is_old;
            let newest = self.known.entry(base.clone()).or_insert_with(|| {
                let known = positions.iter().find(|one| one.input == input);
                let known = known.and_then(|one| serde_json::from_str(&one.state).ok());
                known.unwrap_or_else(|| {
                    let mut newest = Newest {
                        path: path.chars().take(PATH_CHARS).collect(),
                        ..Newest::default()
                    };
                    let rotated = listing.files.iter();
                    let rotated = rotated.filter(|one| one.rotated_from.as_ref() == Some(base));
                    for one in rotated.filter(|_| !nothing_is_old) {
                        newest.modified_ns = newest.modified_ns.max(one.place.modified_ns);
                        newest.stamp = newest.stamp.max(one.stamp.clone());
                    }
                    newest
                })
            });
            let state = serde_json::json!(newest).to_string();
            notes.extend(InputPosition::new(input, state).ok());
        }
        notes
    }

    /// Whether it was rotated before its path was followed.
    pub(super) fn is_old(&self, found: &Found) -> bool {
        let base = found.rotated_from.as_ref();
        let newest = base.and_then(|base| self.known.get(base));
        newest.is_some_and(|newest| match found.stamp.is_empty() {
            true => found.place.modified_ns <= newest.modified_ns,
            false => found.stamp <= newest.stamp,
        })
    }
}

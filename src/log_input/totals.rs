//! What reading came to, and what of it could not be read.

use std::path::Path;

/// Places of unreadable text that are told.
const PLACES_MAX: usize = 5;

/// What came out of reading.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Files that were read.
    pub(crate) files: u64,
    /// Files of folders in which nothing looks like an event.
    pub(crate) passed_over: Vec<String>,
    /// Events.
    pub(crate) events: u64,
    /// Lines, or items of lists, that are no event.
    pub(crate) unreadable: u64,
    /// Where the first of them are: the file, and the line counted from 1.
    pub(crate) places: Vec<(String, u64)>,
    /// Bytes of text, unpacked.
    pub(crate) bytes: u64,
}

impl Totals {
    pub(super) fn unreadable(&mut self, events: u64, file: &Path, line: u64) {
        self.unreadable += events;
        if events > 0 && self.places.len() < PLACES_MAX {
            self.places.push((super::shown(file), line));
        }
    }

    /// What was passed over, a line each, for people; empty if nothing was.
    pub(crate) fn told(&self) -> String {
        let mut text = String::new();
        if self.unreadable > 0 {
            let places: Vec<String> = self
                .places
                .iter()
                .map(|(file, line)| format!("{file} line {line}"))
                .collect();
            let more = if self.unreadable > self.places.len() as u64 {
                ", …"
            } else {
                ""
            };
            text.push_str(&format!(
                "{} could not be read as events and are not counted: {}{more}\n",
                self.unreadable,
                places.join(", ")
            ));
        }
        for file in &self.passed_over {
            text.push_str(&format!(
                "{file} holds no audit event and was passed over\n"
            ));
        }
        text
    }
}

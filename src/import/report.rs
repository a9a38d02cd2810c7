//! What an import of a log says at its end: exactly what came of which lines.

use serde::Serialize;

use super::chunk::{Noted, Taken};
use crate::output::{count, line, time};

/// Lines that are told of.
const NOTED_MAX: usize = 10;

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) file: String,
    /// No channel is told.
    pub(super) quiet: bool,
    /// The first line that was read now.
    pub(super) from_line: u64,
    /// When lines before it were read, Unix time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_before_unix_ms: Option<i64>,
    pub(super) lines: u64,
    pub(super) events: u64,
    pub(super) quarantined: u64,
    pub(super) legacy: u64,
    pub(super) blank: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) events_per_second: f64,
    /// The first lines that are no events.
    pub(super) first_quarantined: Vec<Noted>,
    /// What ended it early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Report {
    /// Adds what lines became.
    pub(super) fn add(&mut self, taken: Taken, lines: u64, bytes: u64) {
        self.lines += lines;
        self.bytes += bytes;
        self.events += taken.events;
        self.quarantined += taken.unreadable;
        self.legacy += taken.legacy;
        self.blank += taken.blank;
        let room = NOTED_MAX - self.first_quarantined.len();
        self.first_quarantined
            .extend(taken.noted.into_iter().take(room));
    }

    /// In words; `by_relay` where a relay runs that routes what was stored.
    pub(super) fn told(&self, by_relay: bool) -> String {
        let file = line(&self.file, 200);
        if let Some(before) = self.read_before_unix_ms
            && self.lines == 0
            && self.error.is_none()
        {
            return format!(
                "{file} was read before, on {}: {} to its end. Nothing is read again; --again does\n",
                time(before),
                count(self.from_line - 1, "line")
            );
        }
        let mut text = String::new();
        if let Some(before) = self.read_before_unix_ms {
            text += &format!(
                "went on behind line {}, which was read on {}\n",
                self.from_line - 1,
                time(before)
            );
        }
        text += &format!(
            "read {file}: {}, {} in {:.1} s, {:.0} events/s\n  {} stored{}\n",
            count(self.lines, "line"),
            count(self.bytes, "byte"),
            self.seconds,
            self.events_per_second,
            count(self.events, "event"),
            match by_relay {
                _ if self.quiet => "; no channel is told",
                true => "; the ledger tells which of them the relay had seen before",
                false =>
                    "; they are routed when the relay runs, and the ledger tells which it had seen before",
            }
        );
        if self.blank > 0 {
            text += &format!("  {} blank\n", count(self.blank, "line"));
        }
        if self.quarantined > 0 {
            text += &format!(
                "  {} in quarantine, not readable as events\n",
                count(self.quarantined, "line")
            );
            for noted in &self.first_quarantined {
                text += &format!("    line {}: {}\n", noted.line, line(&noted.reason, 200));
            }
        }
        if self.legacy > 0 {
            text += &format!(
                "  {} of them in the legacy text format, which cannot be read: start the API server with \
             --audit-log-format=json\n",
                self.legacy
            );
        }
        text
    }
}

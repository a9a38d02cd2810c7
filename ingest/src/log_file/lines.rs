//! Lines to a batch: the way of a webhook's events, one line at a time.
//!
//! Contract: each line that is not blank becomes exactly one item of the batch: an event, or a record of the
//! quarantine with the reason and the line's place. A reason quotes nothing of the line (P8).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use auditrelay_audit::{
    EventKey,
    list::{Item, Readable},
};
use auditrelay_store::{
    BatchEncoder, Content, EncodedBatch, Hint, InputPosition, Source, Unreadable,
};

use super::cut::{Chunk, LINE_BYTES_MAX, Line};
use crate::prepare::{Preparation, SEALED_PER_LIST_MAX, Stored};

/// Lines that say what is wrong with them, at most.
const NOTED_MAX: usize = 10;

const LEGACY: &str = "a line of the legacy text format; events need --audit-log-format=json";
/// A line that is tried again would end the relay again, at each of its starts.
const FAILED: &str = "the relay failed on this line; its log says where, please report it";
const TOO_LONG: &str = "the line is longer than 32 MiB";
const _: () = assert!(LINE_BYTES_MAX == 32 << 20, "the words say it");

/// What a chunk of lines became.
#[derive(Debug, Default)]
pub struct LinesInBatch {
    /// What to append; nothing where all lines are blank.
    pub batch: Option<EncodedBatch>,
    /// What it holds.
    pub stored: Stored,
    /// Lines of the legacy text format among what cannot be read.
    pub legacy: u64,
    /// Blank lines, which are nothing.
    pub blank: u64,
    /// The first lines that cannot be read.
    pub noted: Vec<Noted>,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// From 1.
    pub line: u64,
    /// In words that quote nothing.
    pub reason: &'static str,
}

impl Preparation {
    /// Makes one block of the queue of a chunk of lines; with it the file is read up to `position`. Not for an
    /// async worker.
    pub fn lines(
        &self,
        cluster: &str,
        received_unix_ms: i64,
        file: &Path,
        chunk: &Chunk,
        position: InputPosition,
    ) -> LinesInBatch {
        let mut made = LinesInBatch::default();
        let hints_of = self.advisor.hints_of;
        let bytes = chunk.text.len();
        let mut batch = BatchEncoder::of_one_block(cluster, received_unix_ms, hints_of, bytes);
        for line in &chunk.lines {
            let wire = chunk.text.get(line.text.clone()).unwrap_or_default();
            if wire.trim_ascii().is_empty() {
                made.blank += 1;
                continue;
            }
            // What is put into the batch is put there last, so it holds nothing of a line that failed.
            let read = catch_unwind(AssertUnwindSafe(|| {
                self.line(cluster, line, wire, &mut batch)
            }));
            match read.unwrap_or(Err(FAILED)) {
                Ok(()) => made.stored.events += 1,
                Err(reason) => {
                    made.note(line.number, reason);
                    let keeps_raw = made.stored.unreadable <= SEALED_PER_LIST_MAX;
                    let (key, record) =
                        self.unreadable_line(cluster, file, line, wire, reason, keeps_raw);
                    batch.push(&key, &Content::Unreadable(record), Hint::default());
                }
            }
        }
        if made.stored != Stored::default() {
            made.batch = Some(batch.finish_at(position));
        }
        made
    }

    fn line(
        &self,
        cluster: &str,
        line: &Line,
        wire: &[u8],
        batch: &mut BatchEncoder,
    ) -> Result<(), &'static str> {
        if line.is_too_long() {
            return Err(TOO_LONG);
        }
        let mut read = Ok(());
        Readable::new(wire).event(|item, envelope| match envelope {
            Ok(envelope) => self.event(cluster, &item, &envelope, batch),
            Err(_) if is_legacy(item.text) => read = Err(LEGACY),
            Err(reason) => read = Err(reason.as_str()),
        });
        read
    }

    fn unreadable_line(
        &self,
        cluster: &str,
        file: &Path,
        line: &Line,
        wire: &[u8],
        reason: &str,
        keeps_raw: bool,
    ) -> (EventKey, Unreadable) {
        let wire = wire.trim_ascii();
        let key = if line.is_too_long() {
            // Only its beginning is here; its length tells it from others that begin so.
            let length = line.length.to_be_bytes();
            self.hash_key.unreadable(cluster, &[wire, &length].concat())
        } else {
            self.hash_key.unreadable(cluster, wire)
        };
        let item = Item {
            wire,
            text: "",
            offset: 0,
            has_invalid_utf8: false,
        };
        let record = Unreadable {
            offset_bytes: line.offset,
            length_bytes: line.length,
            source: Some(Source {
                file: file.to_string_lossy().into_owned(),
                line: line.number,
            }),
            ..self.quarantine(&item, reason, keeps_raw)
        };
        (key, record)
    }
}

impl LinesInBatch {
    fn note(&mut self, line: u64, reason: &'static str) {
        self.stored.unreadable += 1;
        self.legacy += u64::from(reason == LEGACY);
        if self.noted.len() < NOTED_MAX {
            self.noted.push(Noted { line, reason });
        }
    }
}

/// Kubernetes: `2006-01-02T15:04:05.000000000Z AUDIT: id="…" stage="…" …`.
fn is_legacy(text: &str) -> bool {
    const MARK: &str = " AUDIT: id=\"";
    let stamp = text.find(MARK).map(|at| &text[..at]);
    stamp.is_some_and(|stamp| {
        stamp.len() <= 40 && stamp.starts_with(|first: char| first.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1BETA1: &str = "an event of audit.k8s.io/v1beta1, which is not supported (Kubernetes removed it with 1.24)";

    fn reason(text: &str) -> Result<(), &'static str> {
        let hash_key = auditrelay_audit::HashKey::new([1; 32]);
        let preparation = Preparation {
            redactor: auditrelay_audit::redact::Redactor::new(hash_key.clone()),
            hash_key,
            quarantine_raw: None,
            events_per_list_max: 1,
            advisor: crate::prepare::Advisor::none(),
        };
        let line = Line {
            number: 1,
            offset: 0,
            text: 0..text.len(),
            length: text.len() as u64,
        };
        let mut batch = BatchEncoder::of_one_block("prod", 7, 0, 0);
        preparation.line("prod", &line, text.as_bytes(), &mut batch)
    }

    #[test]
    fn each_line_that_is_no_event_has_a_reason_that_quotes_nothing() {
        let rest = r#""level":"Metadata","stage":"Panic","auditID":"a""#;
        let event = format!("{{{rest}}}");
        let of = |kind: &str, version: &str| {
            format!(r#"{{"kind":"{kind}","apiVersion":"{version}",{rest}}}"#)
        };
        assert_eq!(reason(&event), Ok(()));
        assert_eq!(reason(&format!("  {event}\r")), Ok(()));
        assert_eq!(reason(&of("Event", "audit.k8s.io/v1")), Ok(()));
        let legacy = "2026-11-26T04:33:23.123456789Z AUDIT: id=\"hunter2\" stage=\"Panic\"";
        let list = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[]}"#;
        for (text, expected) in [
            (&*of("Event", "audit.k8s.io/v1beta1"), V1BETA1),
            (list, "missing field \"level\""),
            (legacy, LEGACY),
            ("hunter2", "not valid JSON"),
            ("x AUDIT: id=\"hunter2\"", "not valid JSON"),
            (&format!("[{event}]"), "not an object"),
            (&event[..event.len() - 1], "not valid JSON"),
            (&format!("{event},{event}"), "not valid JSON"),
            (r#"{"stage":"Panic"}"#, "missing field \"level\""),
        ] {
            assert_eq!(reason(text), Err(expected), "{text}");
        }
    }
}

//! What a message of the ledger stream says of itself, in headers, so that a list of all of them needs no payloads.
//!
//! | header | |
//! | --- | --- |
//! | `Relay-Offset` | where this part begins, in bytes from the beginning of its subject as its writer counts them |
//! | `Relay-Part` | `i/n`: part i (from 1) of the n that one append was cut into |
//! | `Relay-Bytes` | how long this part is |
//!
//! Invariant: parts of one append follow each other in the stream, with nothing in between. If their writer died, the
//! last ones are not there: [`whole`] leaves such an append out, as its writer never said that it was done.

use std::{io, sync::Arc};

use async_nats::HeaderMap;

pub(super) const OFFSET: &str = "Relay-Offset";
pub(super) const PART: &str = "Relay-Part";
pub(super) const BYTES: &str = "Relay-Bytes";

/// One message of the ledger stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its sequence in the stream.
    pub(crate) seq: u64,
    /// Its subject, without what all subjects of the ledger stream begin with.
    pub(crate) subject: Arc<str>,
    /// Where it begins: parts of one append have offsets of their own.
    pub(crate) offset: u64,
    /// Which part of its append it is, from 1.
    pub(crate) part: u32,
    /// How many parts that append has.
    pub(crate) parts: u32,
    /// How long its payload is.
    pub(crate) bytes: u64,
    /// When the stream stored it.
    pub(crate) stored_unix_ms: i64,
}

/// A part of an append that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Its sequence in the stream.
    pub(crate) seq: u64,
    /// Where it begins.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) bytes: u64,
}

/// What headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) offset: u64,
    pub(super) part: u32,
    pub(super) parts: u32,
    pub(super) bytes: u64,
}

impl Said {
    /// Of an append in one part.
    pub(super) fn whole(offset: u64, bytes: u64) -> Self {
        Self {
            offset,
            part: 1,
            parts: 1,
            bytes,
        }
    }

    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.insert(OFFSET, self.offset.to_string());
        headers.insert(PART, format!("{}/{}", self.part, self.parts));
        headers.insert(BYTES, self.bytes.to_string());
    }

    /// `None` where they are not those of a relay.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).map(|value| value.as_str());
        let (part, parts) = text(PART)?.split_once('/')?;
        let said = Self {
            offset: text(OFFSET)?.parse().ok()?,
            part: part.parse().ok()?,
            parts: parts.parse().ok()?,
            bytes: text(BYTES)?.parse().ok()?,
        };
        (1..=said.parts).contains(&said.part).then_some(said)
    }

    /// A payload is as long as its header says, or it is not given to anybody.
    pub(super) fn check(self, seq: u64, payload: &[u8]) -> io::Result<()> {
        if payload.len() as u64 == self.bytes {
            return Ok(());
        }
        let text = format!(
            "message {seq} of the ledger stream has {} bytes where its header says {}",
            payload.len(),
            self.bytes
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// Leaves out appends of which parts are missing; what comes in is in the order of the stream.
pub(crate) fn whole<T>(items: Vec<T>, entry: impl Fn(&T) -> &Entry) -> Vec<T> {
    let mut kept = Vec::with_capacity(items.len());
    // Parts of an append that is not complete yet.
    let mut run: Vec<T> = Vec::new();
    for item in items {
        let (part, parts) = (entry(&item).part, entry(&item).parts);
        let goes_on = run.last().map_or(part == 1, |last| {
            let (last, this) = (entry(last), entry(&item));
            this.seq == last.seq + 1
                && this.part == last.part + 1
                && this.parts == last.parts
                && this.subject == last.subject
        });
        if !goes_on {
            run.clear();
            if part != 1 {
                continue;
            }
        }
        run.push(item);
        if part == parts {
            kept.append(&mut run);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, part: u32, parts: u32) -> Entry {
        Entry {
            seq,
            subject: "index".into(),
            offset: seq * 10,
            part,
            parts,
            bytes: 10,
            stored_unix_ms: 0,
        }
    }

    fn seqs(entries: Vec<Entry>) -> Vec<u64> {
        let kept = whole(entries, |entry| entry);
        kept.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn an_append_without_all_of_its_parts_is_left_out() {
        let all = vec![entry(1, 1, 1), entry(2, 1, 2), entry(3, 2, 2)];
        assert_eq!(seqs(all), [1, 2, 3]);
        // Its writer died; another one went on.
        let torn = vec![entry(1, 1, 3), entry(2, 2, 3), entry(4, 1, 1)];
        assert_eq!(seqs(torn), [4]);
        // A writer that begins again with the same number of parts.
        let again = vec![entry(1, 1, 2), entry(3, 1, 2), entry(4, 2, 2)];
        assert_eq!(seqs(again), [3, 4]);
        // What was cut off at its beginning.
        assert_eq!(seqs(vec![entry(2, 2, 3), entry(3, 3, 3)]), [0; 0]);
        assert_eq!(
            seqs(vec![entry(2, 1, 3), entry(4, 2, 3), entry(5, 3, 3)]),
            [0; 0]
        );
        let mut other = entry(3, 2, 2);
        other.subject = "events.1".into();
        assert_eq!(seqs(vec![entry(2, 1, 2), other]), [0; 0]);
    }

    #[test]
    fn headers_say_what_was_said_and_nothing_else_is_believed() {
        let said = Said {
            offset: u64::MAX,
            part: 2,
            parts: 3,
            bytes: 7,
        };
        let mut headers = HeaderMap::new();
        said.write(&mut headers);
        assert_eq!(Said::read(&headers), Some(said));
        for (name, value) in [(PART, "0/3"), (PART, "4/3"), (PART, "x"), (OFFSET, "-1")] {
            let mut odd = headers.clone();
            odd.insert(name, value);
            assert_eq!(Said::read(&odd), None, "{name}: {value}");
        }
        assert_eq!(Said::read(&HeaderMap::new()), None);
        assert!(said.check(1, b"1234567").is_ok());
        let short = said.check(1, b"123456").unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::InvalidData);
    }
}

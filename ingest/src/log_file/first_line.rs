//! What tells one file from another: all of its first line.
//!
//! Who calls an API server chooses most of what stands at the beginning of a line: its audit ID, and an address of
//! any length. What nobody outside can choose are the times at its end, which are told to the microsecond.
//!
//! Invariants:
//! * two files are taken for one only if their whole first lines are the same, up to [`LINE_BYTES_MAX`];
//! * no text is kept, however long the line is.

use std::{fmt, io, io::Read};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::cut::LINE_BYTES_MAX;

const PIECE_BYTES: usize = 64 * 1024;

/// The first line that is not blank, with the blank ones before it and without its newline.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstLine {
    bytes: u64,
    hash: Vec<u8>,
    is_whole: bool,
    #[serde(skip)]
    has_text: bool,
    #[serde(skip)]
    running: Running,
}

/// While it goes on.
#[derive(Clone, Default)]
struct Running(Option<Box<Context>>);

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl PartialEq for FirstLine {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes, &self.hash) == (other.bytes, &other.hash)
    }
}

impl Eq for FirstLine {}

impl FirstLine {
    /// Of something that begins so.
    pub fn of(bytes: &[u8]) -> Self {
        let mut line = Self::default();
        line.pass(bytes);
        line
    }

    /// Reads until it is whole, or to the end; with the error that ended it before.
    pub fn read(from: &mut dyn Read) -> (Self, Option<io::Error>) {
        let mut line = Self::default();
        let mut piece = vec![0; PIECE_BYTES];
        while !line.is_whole {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => line.pass(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (line, Some(error)),
            }
        }
        (line, None)
    }

    /// Goes on over some bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_whole {
            let newline = memchr::memchr(b'\n', rest);
            let (line, after) = rest.split_at(newline.unwrap_or(rest.len()));
            self.has_text |= !line.trim_ascii().is_empty();
            self.add(line);
            if newline.is_some() && self.has_text {
                self.is_whole = true;
            } else if newline.is_some() {
                self.add(b"\n");
            }
            rest = after.get(1..).unwrap_or_default();
        }
        if let Some(running) = &self.running.0 {
            self.hash = Context::clone(running).finish().as_ref().to_vec();
        }
        if self.is_whole {
            self.running.0 = None;
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX as u64 - self.bytes;
        let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if self.bytes == 0 && self.running.0.is_none() {
            self.running.0 = Some(Box::new(Context::new(&SHA256)));
        }
        if let Some(running) = &mut self.running.0 {
            running.update(bytes);
            self.bytes += bytes.len() as u64;
        }
        self.is_whole |= self.bytes == LINE_BYTES_MAX as u64;
    }

    /// Whether its end was seen.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// What is told of it.
    pub(super) fn parts(&self) -> (u64, &[u8]) {
        (self.bytes, &self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_in_any_pieces_and_another_at_any_byte() {
        let text = b"\n \nthe first line\nthe second";
        let whole = FirstLine::of(text);
        assert!(whole.is_whole());
        for size in 1..text.len() {
            let mut line = FirstLine::default();
            text.chunks(size).for_each(|piece| line.pass(piece));
            assert_eq!(line, whole, "in pieces of {size}");
        }
        assert_eq!(FirstLine::of(b"\n \nthe first line\nanother"), whole);
        let torn = FirstLine::of(b"\n \nthe first line");
        assert!(!torn.is_whole());
        assert_eq!(torn, whole, "its newline is to come");
        assert_ne!(FirstLine::of(b"\n \nthe first lina\n"), whole);
        assert!(FirstLine::of(b"").is_empty());
    }

    #[test]
    fn what_differs_only_behind_the_first_kibibyte_is_not_the_same() {
        let line = |end: &str| format!("{}{end}\nnext\n", "u".repeat(100_000));
        let one = FirstLine::of(line("1").as_bytes());
        assert_eq!(one, FirstLine::of(line("1").as_bytes()));
        assert_ne!(one, FirstLine::of(line("2").as_bytes()));
        let endless = &mut io::repeat(b'x');
        let (endless, error) = FirstLine::read(endless);
        assert!(endless.is_whole() && error.is_none());
    }
}

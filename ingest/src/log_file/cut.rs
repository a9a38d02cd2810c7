//! Bytes to lines, some at a time, with what has to be known to go on behind them later.
//!
//! Invariants:
//! * a line is told of once its newline is there, and where it is told to be is where it is in the file;
//! * what is kept in memory is bounded by [`LINE_BYTES_MAX`] and a piece of reading: of a longer line its first
//!   bytes and its length are all that is kept.

use std::{
    io::{self, Read},
    ops::Range,
};

use serde::{Deserialize, Serialize};

use super::{first_line::FirstLine, mark::TAIL_BYTES};

/// A longer line is skipped, and told of as too long, in bytes. An API server's largest events are those of
/// 28.8 MB lists; one event of its log is below 3 MiB, the limit of what it stores.
pub const LINE_BYTES_MAX: usize = 32 << 20;
/// So much is kept of a line that is longer.
const KEPT_BYTES: usize = 4 * 1024;
/// Lines of one chunk, which becomes one block of the queue.
const LINES_MAX: usize = 1_000;
/// A chunk ends behind the line that reaches this, in bytes.
const CHUNK_BYTES: usize = 512 * 1024;
/// Read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// How far a file was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// Bytes, of what was unpacked where the file is compressed.
    pub offset: u64,
    /// Lines before it.
    pub lines: u64,
    /// How the file begins.
    pub head: FirstLine,
    /// The last bytes before the offset, up to [`TAIL_BYTES`].
    pub tail: Vec<u8>,
}

impl Reached {
    /// Goes on over some bytes, without counting lines.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.head.pass(bytes);
        self.offset += bytes.len() as u64;
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
    }
}

/// A line of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Where it stands in the chunk's text; of one that is too long its first bytes.
    pub text: Range<usize>,
    /// How long it is without its newline, in bytes.
    pub length: u64,
}

impl Line {
    /// Whether it is longer than [`LINE_BYTES_MAX`].
    pub fn is_too_long(&self) -> bool {
        self.length > LINE_BYTES_MAX as u64
    }
}

/// Some lines, and how far the file is read with them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// What the lines are parts of; it goes beside the rest where that is written down.
    #[serde(skip)]
    pub text: Vec<u8>,
    /// At least one.
    pub lines: Vec<Line>,
    /// Behind the last one.
    pub end: Reached,
    /// How many bytes of the file it stands for.
    pub bytes: u64,
}

/// Cuts what is read into lines.
#[derive(Debug, Default)]
pub struct Cutter {
    reached: Reached,
    buffer: Vec<u8>,
    /// So much of the buffer holds no newline.
    searched: usize,
    skipped: Option<Skipped>,
}

/// A line that is too long, as far as it was read.
#[derive(Debug)]
struct Skipped {
    kept: Vec<u8>,
    length: u64,
    reached: Reached,
}

impl Cutter {
    /// Goes on where an earlier one had come to.
    pub fn at(reached: Reached) -> Self {
        Self {
            reached,
            ..Self::default()
        }
    }

    /// Behind the last line that was told of.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// So many bytes were read and belong to no line that was told of.
    pub fn pending_bytes(&self) -> u64 {
        let skipped = self.skipped.as_ref().map_or(0, |line| line.length);
        skipped + self.buffer.len() as u64
    }

    /// Reads a piece; how many bytes it had, 0 at the end.
    ///
    /// # Errors
    /// The reader's.
    pub fn fill(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let before = self.buffer.len();
        let read = from.take(PIECE_BYTES as u64).read_to_end(&mut self.buffer);
        match read {
            Ok(read) => Ok(read),
            // What came before the error is good.
            Err(_) if self.buffer.len() > before => Ok(self.buffer.len() - before),
            Err(error) => Err(error),
        }
    }

    /// The next lines, as far as they are read.
    pub fn cut(&mut self) -> Option<Chunk> {
        if self.skipped.is_some() {
            return self.end_of_skipped();
        }
        let mut lines = Vec::new();
        let mut end = 0;
        while lines.len() < LINES_MAX && end < CHUNK_BYTES {
            let from = self.searched.max(end);
            let Some(newline) = memchr::memchr(b'\n', &self.buffer[from..]) else {
                self.searched = self.buffer.len();
                break;
            };
            let line = end..from + newline;
            lines.push(Line {
                number: self.reached.lines + lines.len() as u64 + 1,
                offset: self.reached.offset + end as u64,
                length: line.len() as u64,
                text: line,
            });
            end = from + newline + 1;
            self.searched = end;
        }
        if lines.is_empty() {
            if self.buffer.len() > LINE_BYTES_MAX {
                self.skip();
            }
            return None;
        }
        let rest = self.buffer.split_off(end);
        let text = std::mem::replace(&mut self.buffer, rest);
        self.searched -= end;
        Some(self.chunk(text, lines))
    }

    /// What is left without a newline, as the last line of a file that will not grow.
    pub fn rest(&mut self) -> Option<Chunk> {
        if self.skipped.is_some() {
            let left = std::mem::take(&mut self.buffer);
            self.pass_skipped(&left);
            return self.take_skipped(0);
        }
        if self.buffer.is_empty() {
            return None;
        }
        let text = std::mem::take(&mut self.buffer);
        self.searched = 0;
        let line = Line {
            number: self.reached.lines + 1,
            offset: self.reached.offset,
            text: 0..text.len(),
            length: text.len() as u64,
        };
        Some(self.chunk(text, vec![line]))
    }

    fn chunk(&mut self, text: Vec<u8>, lines: Vec<Line>) -> Chunk {
        self.reached.pass(&text);
        self.reached.lines += lines.len() as u64;
        Chunk {
            bytes: text.len() as u64,
            end: self.reached.clone(),
            text,
            lines,
        }
    }

    /// Lets go of what is read of a line that is too long.
    fn skip(&mut self) {
        let read = std::mem::take(&mut self.buffer);
        self.searched = 0;
        self.skipped = Some(Skipped {
            kept: read[..KEPT_BYTES].to_vec(),
            length: 0,
            reached: self.reached.clone(),
        });
        self.pass_skipped(&read);
    }

    fn pass_skipped(&mut self, bytes: &[u8]) {
        if let Some(skipped) = &mut self.skipped {
            skipped.length += bytes.len() as u64;
            skipped.reached.pass(bytes);
        }
    }

    fn end_of_skipped(&mut self) -> Option<Chunk> {
        let mut read = std::mem::take(&mut self.buffer);
        self.searched = 0;
        let Some(newline) = memchr::memchr(b'\n', &read) else {
            self.pass_skipped(&read);
            return None;
        };
        self.buffer = read.split_off(newline + 1);
        self.pass_skipped(&read);
        self.take_skipped(1)
    }

    fn take_skipped(&mut self, newline: u64) -> Option<Chunk> {
        let Skipped {
            kept,
            length,
            mut reached,
        } = self.skipped.take()?;
        let line = Line {
            number: self.reached.lines + 1,
            offset: self.reached.offset,
            text: 0..kept.len(),
            length: length - newline,
        };
        reached.lines += 1;
        self.reached = reached;
        Some(Chunk {
            text: kept,
            lines: vec![line],
            end: self.reached.clone(),
            bytes: length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of some bytes, however they come.
    fn cut(bytes: &[u8], piece: usize) -> (Vec<(u64, u64, Vec<u8>)>, Cutter) {
        let mut cutter = Cutter::default();
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            let mut piece = piece;
            while cutter.fill(&mut piece).expect("memory") > 0 {
                while let Some(chunk) = cutter.cut() {
                    for line in chunk.lines {
                        all.push((line.number, line.offset, chunk.text[line.text].to_vec()));
                    }
                    assert_eq!(chunk.end.offset, cutter.reached().offset);
                }
            }
        }
        (all, cutter)
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let bytes = b"one\n\ntwo two\r\nthree\nhalf";
        let expected: Vec<(u64, u64, Vec<u8>)> = vec![
            (1, 0, b"one".to_vec()),
            (2, 4, Vec::new()),
            (3, 5, b"two two\r".to_vec()),
            (4, 14, b"three".to_vec()),
        ];
        for piece in 1..=bytes.len() {
            let (lines, mut cutter) = cut(bytes, piece);
            assert_eq!(lines, expected, "in pieces of {piece}");
            assert_eq!((cutter.reached().offset, cutter.pending_bytes()), (20, 4));
            assert_eq!(cutter.reached().head, FirstLine::of(bytes));
            let rest = cutter.rest().expect("half a line");
            assert_eq!((rest.lines[0].number, rest.text), (5, b"half".to_vec()));
            assert_eq!(cutter.reached().tail, bytes);
            assert!(cutter.rest().is_none());
        }
    }

    #[test]
    fn a_chunk_is_bounded_and_the_next_goes_on_behind_it() {
        let many = "x\n".repeat(2_500);
        let mut cutter = Cutter::default();
        cutter.fill(&mut many.as_bytes()).expect("memory");
        let chunks: Vec<Chunk> = std::iter::from_fn(|| cutter.cut()).collect();
        let lines: Vec<usize> = chunks.iter().map(|chunk| chunk.lines.len()).collect();
        assert_eq!(lines, [1_000, 1_000, 500]);
        assert_eq!(chunks[2].lines[0].number, 2_001);
        assert_eq!(chunks[2].lines[0].offset, 4_000);
        let large = format!("{}\nsmall\n", "y".repeat(CHUNK_BYTES));
        let (lines, _) = cut(large.as_bytes(), large.len());
        assert_eq!(lines[1], (2, CHUNK_BYTES as u64 + 1, b"small".to_vec()));
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_the_next_one_is_read() {
        let mut cutter = Cutter::default();
        let mut first = &b"first\n"[..];
        cutter.fill(&mut first).expect("memory");
        assert_eq!(cutter.cut().expect("a line").lines.len(), 1);
        let length = 3 * LINE_BYTES_MAX as u64;
        let mut long = io::repeat(b'z').take(length).chain(&b"\nnext\n"[..]);
        let mut chunks = Vec::new();
        while cutter.fill(&mut long).expect("memory") > 0 {
            chunks.extend(std::iter::from_fn(|| cutter.cut()));
            assert!(cutter.buffer.len() <= LINE_BYTES_MAX + PIECE_BYTES);
        }
        let [long, next] = &chunks[..] else {
            panic!("{} chunks", chunks.len());
        };
        let line = &long.lines[0];
        assert!(line.is_too_long() && !next.lines[0].is_too_long());
        assert_eq!((line.number, line.offset, line.length), (2, 6, length));
        assert_eq!(long.text, vec![b'z'; KEPT_BYTES]);
        assert_eq!((long.end.offset, long.bytes), (6 + length + 1, length + 1));
        assert_eq!(
            (next.lines[0].number, next.text.as_slice()),
            (3, &b"next\n"[..])
        );
        assert!(next.end.tail.ends_with(b"zz\nnext\n"));
        assert_eq!(next.end.head, FirstLine::of(b"first\n"));
    }
}

//! Segments of a log as subjects of the ledger stream: what [`crate::log`] writes to, in place of files.
//!
//! A commit of a log is one append of the stream, in a few messages if it is large. Where each message's bytes are in
//! their segment is in its header, and in a table here.
//!
//! Invariants:
//! * what [`Segments::write`] returned `Ok` for is durable, and is read back by offset as it would be from a file;
//! * of two messages for the same bytes the later one counts, and everything behind where it begins is gone: so a log that
//!   was cut off and goes on needs nothing deleted, and a new leader sees it as the old one did;
//! * a segment goes whole. Who reads it meanwhile finds it missing, as a file.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read},
    sync::{Arc, Mutex},
};

use super::ledger_stream::{Entry, LedgerStream};
use crate::locked;

/// What was written or read last is kept, up to so many bytes: a batch is routed right after it was appended.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// About what servers count of a message beside its payload: its subject, headers and their own record's.
pub(crate) const MESSAGE_BYTES: u64 = 256;
/// How much is asked of the servers at once by who reads in order.
const WINDOW_BYTES: u64 = 2 << 20;

/// The segments of one log.
pub(crate) struct Segments {
    stream: Arc<LedgerStream>,
    log: &'static str,
    table: Mutex<BTreeMap<u64, Segment>>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default, Clone)]
struct Segment {
    /// By offset, without gaps.
    pieces: Vec<Piece>,
    modified_unix_ms: i64,
}

/// What one message holds of a segment.
#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: u64,
    bytes: u64,
    /// The message's sequence.
    seq: u64,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

impl Segment {
    fn length(&self) -> u64 {
        self.pieces.last().map_or(0, Piece::end)
    }

    /// Cuts off what is behind a length; a piece across it is kept as far as it goes.
    fn cut(&mut self, to: u64) {
        self.pieces.retain(|piece| piece.offset < to);
        if let Some(last) = self.pieces.last_mut()
            && last.end() > to
        {
            last.bytes = to - last.offset;
        }
    }

    fn add(&mut self, piece: Piece) -> io::Result<()> {
        self.cut(piece.offset);
        if piece.offset != self.length() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "message {} goes on at byte {}, those before it end at {}",
                    piece.seq,
                    piece.offset,
                    self.length()
                ),
            ));
        }
        if piece.bytes > 0 {
            self.pieces.push(piece);
        }
        Ok(())
    }

    /// The pieces that hold bytes from an offset on.
    fn from(&self, offset: u64) -> &[Piece] {
        let first = self.pieces.partition_point(|piece| piece.end() <= offset);
        &self.pieces[first..]
    }
}

#[derive(Default)]
struct Cache {
    bytes: usize,
    kept: VecDeque<(u64, Arc<[u8]>)>,
}

impl Cache {
    fn put(&mut self, seq: u64, payload: Arc<[u8]>) {
        self.bytes += payload.len();
        self.kept.push_back((seq, payload));
        while self.bytes > CACHE_BYTES_MAX
            && let Some((_, oldest)) = self.kept.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }

    fn get(&self, seq: u64) -> Option<Arc<[u8]>> {
        let found = self.kept.iter().rev().find(|(one, _)| *one == seq);
        found.map(|(_, payload)| Arc::clone(payload))
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Segments({})", self.log)
    }
}

impl Segments {
    /// Those of a log, from all that the stream holds, in its order.
    ///
    /// # Errors
    /// The stream lacks something of them.
    pub(crate) fn new<'a>(
        stream: Arc<LedgerStream>,
        log: &'static str,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> io::Result<Self> {
        let mut table = BTreeMap::<u64, Segment>::new();
        for entry in entries {
            let number = entry.subject.strip_prefix(log);
            let number = number.and_then(|rest| rest.strip_prefix('.')?.parse::<u64>().ok());
            let Some(number) = number else { continue };
            let segment = table.entry(number).or_default();
            segment.modified_unix_ms = entry.stored_unix_ms;
            let piece = Piece {
                offset: entry.offset,
                bytes: entry.bytes,
                seq: entry.seq,
            };
            segment.add(piece).map_err(|error| {
                let what = format!("segment {} of the ledger stream: {error}", entry.subject);
                io::Error::new(error.kind(), what)
            })?;
        }
        Ok(Self {
            stream,
            log,
            table: Mutex::new(table),
            cache: Mutex::default(),
        })
    }

    /// What a segment's subject ends in.
    pub(crate) fn subject(&self, segment: u64) -> String {
        format!("{}.{segment:016}", self.log)
    }

    /// Numbers of all, oldest first.
    pub(crate) fn all(&self) -> Vec<u64> {
        locked(&self.table).keys().copied().collect()
    }

    pub(crate) fn length(&self, segment: u64) -> io::Result<u64> {
        self.look(segment, Segment::length)
    }

    /// What the stream counts of a log beside its bytes: of many small commits that is more than these.
    pub(crate) fn overhead_bytes(&self) -> u64 {
        let table = locked(&self.table);
        let pieces: usize = table.values().map(|segment| segment.pieces.len()).sum();
        pieces as u64 * MESSAGE_BYTES
    }

    pub(crate) fn modified_unix_ms(&self, segment: u64) -> io::Result<i64> {
        self.look(segment, |segment| segment.modified_unix_ms)
    }

    fn look<T>(&self, segment: u64, look: impl FnOnce(&Segment) -> T) -> io::Result<T> {
        let table = locked(&self.table);
        table.get(&segment).map(look).ok_or_else(|| {
            let what = format!("the ledger stream has no {}", self.subject(segment));
            io::Error::new(io::ErrorKind::NotFound, what)
        })
    }

    /// Writes at an offset, which is the segment's end or before it; it is durable when this returns. Makes the segment
    /// if there is none.
    pub(crate) fn write(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let chunks = self.stream.append(&self.subject(segment), offset, bytes)?;
        let mut table = locked(&self.table);
        let of_segment = table.entry(segment).or_default();
        of_segment.cut(offset);
        of_segment.modified_unix_ms = now_unix_ms();
        for chunk in chunks {
            let piece = Piece {
                offset: chunk.offset,
                bytes: chunk.bytes,
                seq: chunk.seq,
            };
            of_segment.add(piece)?;
            let from = (piece.offset - offset) as usize;
            let payload = &bytes[from..from + piece.bytes as usize];
            locked(&self.cache).put(piece.seq, payload.into());
        }
        Ok(())
    }

    /// Cuts off what is behind a length, until the next write says so durably.
    pub(crate) fn cut(&self, segment: u64, to: u64) {
        if let Some(segment) = locked(&self.table).get_mut(&segment) {
            segment.cut(to);
        }
    }

    pub(crate) fn remove(&self, segment: u64) -> io::Result<()> {
        // First, so that who reads it does not wait for what is about to go.
        locked(&self.table).remove(&segment);
        self.stream.purge(&self.subject(segment), None)
    }

    pub(crate) fn read_exact_at(
        &self,
        segment: u64,
        bytes: &mut [u8],
        offset: u64,
    ) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let pieces: Vec<Piece> = self.look(segment, |segment| {
            let from = segment.from(offset).iter();
            from.take_while(|piece| piece.offset < end)
                .copied()
                .collect()
        })?;
        let mut at = offset;
        for piece in pieces {
            let payload = self.payload(piece)?;
            let of_piece = &payload[(at - piece.offset) as usize..];
            let into = &mut bytes[(at - offset) as usize..];
            let length = of_piece.len().min(into.len());
            into[..length].copy_from_slice(&of_piece[..length]);
            at += length as u64;
        }
        if at < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// What a message holds, as far as it counts.
    fn payload(&self, piece: Piece) -> io::Result<Arc<[u8]>> {
        let kept = locked(&self.cache).get(piece.seq);
        let payload = match kept {
            Some(payload) => payload,
            None => {
                let payload: Arc<[u8]> = self.stream.get(piece.seq)?.into();
                locked(&self.cache).put(piece.seq, Arc::clone(&payload));
                payload
            }
        };
        cut_to(payload, piece)
    }

    /// A segment's bytes from an offset on, in order.
    pub(crate) fn read_from(
        self: &Arc<Self>,
        segment: u64,
        offset: u64,
    ) -> io::Result<SegmentBytes> {
        let pieces = self.look(segment, |segment| segment.from(offset).to_vec())?;
        Ok(SegmentBytes {
            segments: Arc::clone(self),
            segment,
            skip: pieces
                .first()
                .map_or(0, |piece| offset.saturating_sub(piece.offset) as usize),
            pieces: pieces.into(),
            now: VecDeque::new(),
        })
    }
}

/// When a segment was last written to is known roughly; servers say it exactly to who opens the store again.
fn now_unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn cut_to(payload: Arc<[u8]>, piece: Piece) -> io::Result<Arc<[u8]>> {
    let length = piece.bytes as usize;
    match payload.len() {
        of if of == length => Ok(payload),
        of if of > length => Ok(payload[..length].into()),
        of => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("message {} has {of} bytes, expected {length}", piece.seq),
        )),
    }
}

/// A segment's bytes in order, asked for a window at a time.
pub(crate) struct SegmentBytes {
    segments: Arc<Segments>,
    segment: u64,
    /// Not asked for yet.
    pieces: VecDeque<Piece>,
    /// Of the first bytes that come.
    skip: usize,
    /// What came, and how much of it was read.
    now: VecDeque<(Arc<[u8]>, usize)>,
}

impl SegmentBytes {
    fn next_window(&mut self) -> io::Result<()> {
        let (mut bytes, mut window) = (0, Vec::new());
        while let Some(piece) = self.pieces.front().copied()
            && (window.is_empty() || bytes + piece.bytes <= WINDOW_BYTES)
        {
            bytes += piece.bytes;
            window.push(piece);
            self.pieces.pop_front();
        }
        let (Some(first), Some(last)) = (window.first(), window.last()) else {
            return Ok(());
        };
        let mut payloads = VecDeque::new();
        if window.len() == 1 {
            payloads.push_back((self.segments.payload(*first)?, 0));
        } else {
            let (segments, segment) = (&self.segments, self.segment);
            let is_there = || locked(&segments.table).contains_key(&segment);
            let subject = segments.subject(segment);
            let read = segments
                .stream
                .read_some(&subject, first.seq, last.seq, is_there)?;
            let mut read: BTreeMap<u64, Vec<u8>> = read
                .into_iter()
                .map(|(entry, payload)| (entry.seq, payload))
                .collect();
            for piece in &window {
                let payload = read.remove(&piece.seq).ok_or_else(|| {
                    let what = format!("message {} of the ledger stream is gone", piece.seq);
                    io::Error::new(io::ErrorKind::NotFound, what)
                })?;
                payloads.push_back((cut_to(payload.into(), *piece)?, 0));
            }
        }
        if let Some((_, read)) = payloads.front_mut() {
            *read = std::mem::take(&mut self.skip);
        }
        self.now = payloads;
        Ok(())
    }
}

impl Read for SegmentBytes {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() {
            self.next_window()?;
        }
        let Some((payload, read)) = self.now.front_mut() else {
            return Ok(0);
        };
        let rest = &payload[*read..];
        let length = rest.len().min(bytes.len());
        bytes[..length].copy_from_slice(&rest[..length]);
        *read += length;
        if *read == payload.len() {
            self.now.pop_front();
        }
        Ok(length)
    }
}

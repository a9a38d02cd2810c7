//! Segments of a log as subjects of the ledger stream: what [`crate::log`] writes to, in place of files.
//!
//! A commit of a log is one append of the stream, in a few messages if it is large. Where each message's bytes are in
//! their segment is in its header, and in a table here.
//!
//! Invariants:
//! * what [`Segments::write`] returned `Ok` for is durable, and is read back by offset as it would be from a file;
//! * of two messages for the same bytes the later one counts, and everything behind where it begins is gone: so a log that
//!   was cut off and goes on needs nothing deleted, and a new leader sees it as the old one did;
//! * a segment goes whole. Who reads it meanwhile finds it missing (`NotFound`), as a file; a server that lost power may
//!   have removed a part of one that was about to go;
//! * bytes of which the messages were deleted are missing ([`Segments::gaps`]). They are never passed over and never taken
//!   for a segment's end: who reads them gets an error (`InvalidData`), who does not need them notices nothing. Whether
//!   they are needed, the index says ([`crate::Engine`]'s opening on a stream).

mod pieces;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{self, Read},
    ops::Range,
    sync::{Arc, Mutex},
};

use self::pieces::{Piece, Segment, missing};
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

#[derive(Default)]
struct Cache {
    bytes: usize,
    kept: HashMap<u64, Arc<[u8]>>,
    /// Oldest first.
    order: VecDeque<u64>,
}

impl Cache {
    fn put(&mut self, seq: u64, payload: Arc<[u8]>) {
        self.bytes += payload.len();
        match self.kept.insert(seq, payload) {
            // Two asked for it at once.
            Some(before) => self.bytes -= before.len(),
            None => self.order.push_back(seq),
        }
        while self.bytes > CACHE_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.kept.remove(&oldest).map_or(0, |one| one.len());
        }
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Segments({})", self.log)
    }
}

impl Segments {
    /// Those of a log, from all that the stream holds, in its order.
    pub(crate) fn new<'a>(
        stream: Arc<LedgerStream>,
        log: &'static str,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Self {
        let mut table = BTreeMap::<u64, Segment>::new();
        for entry in entries {
            let number = entry.subject.strip_prefix(log);
            let number = number.and_then(|rest| rest.strip_prefix('.')?.parse::<u64>().ok());
            let Some(number) = number else { continue };
            let segment = table.entry(number).or_default();
            segment.modified_unix_ms = entry.stored_unix_ms;
            segment.add(Piece {
                offset: entry.offset,
                bytes: entry.bytes,
                seq: entry.seq,
            });
        }
        table.retain(|_, segment| !segment.is_gone());
        Self {
            stream,
            log,
            table: Mutex::new(table),
            cache: Mutex::default(),
        }
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

    /// What the stream counts of a segment beside its bytes.
    pub(crate) fn overhead_bytes(&self, segment: u64) -> u64 {
        let table = locked(&self.table);
        let pieces = table.get(&segment).map_or(0, Segment::messages);
        pieces as u64 * MESSAGE_BYTES
    }

    /// A segment, if there is one, was at least so long: what of it is not there is missing.
    pub(crate) fn reaches(&self, segment: u64, length: u64) {
        if let Some(segment) = locked(&self.table).get_mut(&segment) {
            segment.reaches(length);
        }
    }

    /// What is missing of segments, in order.
    pub(crate) fn gaps(&self) -> Vec<(u64, Range<u64>)> {
        let table = locked(&self.table);
        let gaps = table
            .iter()
            .flat_map(|(number, segment)| segment.gaps().map(|gap| (*number, gap)));
        gaps.collect()
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
        of_segment.modified_unix_ms = now_unix_ms();
        for chunk in chunks {
            let piece = Piece {
                offset: chunk.offset,
                bytes: chunk.bytes,
                seq: chunk.seq,
            };
            of_segment.add(piece);
            let from = (piece.offset - offset) as usize;
            let payload = &bytes[from..from + piece.bytes as usize];
            locked(&self.cache).put(piece.seq, payload.into());
        }
        Ok(())
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
        let (pieces, length) = self.look(segment, |segment| {
            let from = segment.from(offset).iter();
            let pieces = from.take_while(|piece| piece.offset < end).copied();
            (pieces.collect::<Vec<Piece>>(), segment.length())
        })?;
        if length < end {
            let subject = self.subject(segment);
            let what = format!("{subject} has {length} bytes, it should go on to {end}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        let mut at = offset;
        for piece in pieces {
            if piece.offset > at {
                return Err(missing(&self.subject(segment), at..piece.offset));
            }
            let payload = self.payload(segment, piece)?;
            let of_piece = &payload[(at - piece.offset) as usize..];
            let into = &mut bytes[(at - offset) as usize..];
            let length = of_piece.len().min(into.len());
            into[..length].copy_from_slice(&of_piece[..length]);
            at += length as u64;
        }
        if at < end {
            return Err(missing(&self.subject(segment), at..end));
        }
        Ok(())
    }

    /// What a message holds, as far as it counts.
    fn payload(&self, segment: u64, piece: Piece) -> io::Result<Arc<[u8]>> {
        let kept = locked(&self.cache).kept.get(&piece.seq).cloned();
        let payload = match kept {
            Some(payload) => payload,
            None => {
                let payload: Arc<[u8]> = match self.stream.get(piece.seq) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(self.gone(segment, piece));
                    }
                    payload => payload?.into(),
                };
                locked(&self.cache).put(piece.seq, Arc::clone(&payload));
                payload
            }
        };
        cut_to(payload, piece)
    }

    /// Why a message is not there: its segment went, or somebody deleted it.
    fn gone(&self, segment: u64, piece: Piece) -> io::Error {
        match self.length(segment) {
            Ok(_) => missing(&self.subject(segment), piece.offset..piece.end()),
            Err(gone) => gone,
        }
    }

    /// A segment's bytes from an offset on, in order.
    pub(crate) fn read_from(
        self: &Arc<Self>,
        segment: u64,
        offset: u64,
    ) -> io::Result<SegmentBytes> {
        let (pieces, length) = self.look(segment, |segment| {
            (segment.from(offset).to_vec(), segment.length())
        })?;
        Ok(SegmentBytes {
            segments: Arc::clone(self),
            segment,
            at: offset,
            length,
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
    /// What is asked for next, and where the segment ends.
    at: u64,
    length: u64,
    /// Not asked for yet.
    pieces: VecDeque<Piece>,
    /// What came, and how much of it was read.
    now: VecDeque<(Arc<[u8]>, usize)>,
}

impl SegmentBytes {
    fn next_window(&mut self) -> io::Result<()> {
        let from = self.at;
        let (mut bytes, mut window) = (0, Vec::new());
        while let Some(piece) = self.pieces.front().copied()
            && piece.offset <= self.at
            && (window.is_empty() || bytes + piece.bytes <= WINDOW_BYTES)
        {
            bytes += piece.bytes;
            self.at = piece.end();
            window.push(piece);
            self.pieces.pop_front();
        }
        let (segments, segment) = (&self.segments, self.segment);
        let subject = segments.subject(segment);
        let (Some(first), Some(last)) = (window.first(), window.last()) else {
            let next = self.pieces.front().map_or(self.length, |one| one.offset);
            if self.at < next {
                return Err(missing(&subject, self.at..next));
            }
            return Ok(());
        };
        let mut payloads = VecDeque::new();
        if window.len() == 1 {
            payloads.push_back((segments.payload(segment, *first)?, 0));
        } else {
            let is_there = || locked(&segments.table).contains_key(&segment);
            let read = segments
                .stream
                .read_some(&subject, first.seq, last.seq, is_there)?;
            let mut read: BTreeMap<u64, Vec<u8>> = read
                .into_iter()
                .map(|(entry, payload)| (entry.seq, payload))
                .collect();
            for piece in &window {
                let payload = read.remove(&piece.seq);
                let payload = payload.ok_or_else(|| segments.gone(segment, *piece))?;
                payloads.push_back((cut_to(payload.into(), *piece)?, 0));
            }
        }
        if let Some((_, read)) = payloads.front_mut() {
            *read = (from - first.offset) as usize;
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

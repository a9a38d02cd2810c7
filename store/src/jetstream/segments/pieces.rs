//! Which message has which bytes of a segment.
//!
//! Invariants:
//! * pieces are in order, and none overlaps another;
//! * what is between them, and behind the last one up to the segment's length, is missing: somebody deleted its messages.
//!   An append is there whole or not at all, so what is missing are whole commits, and a frame follows it.

use std::{io, ops::Range};

/// What one message holds of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// The message's sequence.
    pub(super) seq: u64,
}

impl Piece {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

#[derive(Debug, Default, Clone)]
pub(super) struct Segment {
    pieces: Vec<Piece>,
    length: u64,
    pub(super) modified_unix_ms: i64,
}

impl Segment {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn messages(&self) -> usize {
        self.pieces.len()
    }

    /// Whether it had bytes, and none of them is there.
    pub(super) fn is_gone(&self) -> bool {
        self.pieces.is_empty() && self.length > 0
    }

    /// It was at least so long.
    pub(super) fn reaches(&mut self, length: u64) {
        self.length = self.length.max(length);
    }

    /// Cuts off what is behind a length; a piece across it is kept as far as it goes.
    pub(super) fn cut(&mut self, to: u64) {
        if to >= self.length {
            return;
        }
        self.length = to;
        let kept = self.pieces.partition_point(|piece| piece.offset < to);
        self.pieces.truncate(kept);
        if let Some(last) = self.pieces.last_mut() {
            last.bytes = last.bytes.min(to - last.offset);
        }
    }

    /// A later message counts, and everything behind where it begins is gone.
    pub(super) fn add(&mut self, piece: Piece) {
        self.cut(piece.offset);
        self.length = piece.end();
        if piece.bytes > 0 {
            self.pieces.push(piece);
        }
    }

    /// The pieces that hold bytes from an offset on.
    pub(super) fn from(&self, offset: u64) -> &[Piece] {
        let first = self.pieces.partition_point(|piece| piece.end() <= offset);
        &self.pieces[first..]
    }

    /// What is missing.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Range<u64>> {
        let ends = self.pieces.iter().map(Piece::end);
        let begins = self.pieces.iter().map(|piece| piece.offset);
        let between = [0].into_iter().chain(ends).zip(begins.chain([self.length]));
        between
            .filter(|(from, to)| from < to)
            .map(|(from, to)| from..to)
    }
}

/// The error of who needs bytes that are missing.
pub(super) fn missing(subject: &str, bytes: Range<u64>) -> io::Error {
    let Range { start, end } = bytes;
    let what = format!("{subject} lacks its bytes {start} to {end}: messages of it were deleted");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[(u64, u64)]) -> Segment {
        let mut segment = Segment::default();
        for (seq, (offset, bytes)) in pieces.iter().copied().enumerate() {
            let seq = seq as u64;
            segment.add(Piece { offset, bytes, seq });
        }
        segment
    }

    fn gaps(segment: &Segment) -> Vec<(u64, u64)> {
        segment.gaps().map(|gap| (gap.start, gap.end)).collect()
    }

    #[test]
    fn what_is_missing_is_known_and_what_a_later_message_replaces_is_not_missing() {
        assert_eq!(gaps(&of(&[])), []);
        assert_eq!(gaps(&of(&[(0, 0), (0, 10), (10, 5)])), []);
        assert_eq!(gaps(&of(&[(10, 5), (20, 5)])), [(0, 10), (15, 20)]);
        // Cut off at 12 and written anew.
        let mut segment = of(&[(0, 10), (10, 10), (30, 10), (12, 0), (12, 3)]);
        assert_eq!((gaps(&segment), segment.length()), (vec![], 15));
        let held: Vec<_> = segment
            .from(0)
            .iter()
            .map(|one| (one.offset, one.bytes))
            .collect();
        assert_eq!(held, [(0, 10), (10, 2), (12, 3)]);
        segment.reaches(20);
        segment.reaches(18);
        assert_eq!((gaps(&segment), segment.length()), (vec![(15, 20)], 20));
        assert!(!segment.is_gone() && of(&[(5, 0)]).is_gone() && !of(&[(0, 0)]).is_gone());
        // What is missing may be cut off too.
        segment.cut(17);
        assert_eq!((gaps(&segment), segment.length()), (vec![(15, 17)], 17));
        assert_eq!(segment.from(15).len(), 0);
    }
}

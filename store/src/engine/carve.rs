//! Finding whole records in files that cannot be trusted.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use memchr::memmem;

use crate::frame::{self, HEADER_BYTES, Header, MAGIC, SLED_PAYLOAD_BYTES_MAX};

/// Tells of every whole frame of a log's file, with its place and all of its bytes; says how many bytes
/// belong to none.
pub(super) fn frames(bytes: &[u8], mut found: impl FnMut(Header, usize, &[u8])) -> u64 {
    let (mut at, mut damaged) = (0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match whole(rest) {
            Some((header, length)) => {
                found(header, at, &rest[..length]);
                at += length;
            }
            None => {
                let next = rest.get(1..).and_then(|rest| memmem::find(rest, MAGIC));
                let skipped = next.map_or(rest.len(), |next| next + 1);
                damaged += skipped as u64;
                at += skipped;
            }
        }
    }
    damaged
}

fn whole(bytes: &[u8]) -> Option<(Header, usize)> {
    let length = frame::length(bytes.first_chunk::<HEADER_BYTES>()?).ok()?;
    let (header, _) = frame::decode(bytes.get(..length)?).ok()?;
    Some((header, length))
}

/// Tells of every whole frame of sled's file that is small enough to be one of its values, old ones
/// too. Reads a bounded piece at a time, whatever the file's size.
pub(super) fn values(path: &Path, mut found: impl FnMut(Header, &[u8])) -> io::Result<()> {
    const PIECE_BYTES: usize = 1 << 20;
    const VALUE_BYTES_MAX: usize = HEADER_BYTES + SLED_PAYLOAD_BYTES_MAX;
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let read = (&mut file)
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut bytes)?;
        let mut searched = 0;
        for at in memmem::find_iter(&bytes, MAGIC) {
            // One that may go on behind this piece is looked at with the next.
            if read > 0 && at + VALUE_BYTES_MAX > bytes.len() {
                break;
            }
            searched = at + 1;
            if let Some((header, length)) = whole(&bytes[at..]) {
                found(header, &bytes[at..at + length]);
            }
        }
        if read == 0 {
            return Ok(());
        }
        let kept = bytes.len().min(VALUE_BYTES_MAX + MAGIC.len());
        let from = searched.max(bytes.len() - kept);
        bytes.drain(..from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Kind, single};

    #[test]
    fn whole_frames_are_found_between_noise_and_torn_ones() {
        let (one, two) = (single(Kind::Seal, 1, b"one"), single(Kind::Seal, 2, b"two"));
        let mut bytes = b"noise ARQ3 noise".to_vec();
        bytes.extend_from_slice(&one);
        bytes.extend_from_slice(&two[..20]);
        bytes.extend_from_slice(&two);
        let mut seqs = Vec::new();
        let damaged = frames(&bytes, |header, _, _| seqs.push(header.seq));
        assert_eq!((seqs, damaged), (vec![1, 2], 16 + 20));
    }

    #[test]
    fn values_are_found_across_the_pieces_that_a_file_is_read_in() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("db");
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for seq in 0..5_000u64 {
            bytes.resize(bytes.len() + (seq as usize * 37) % 701, b'A');
            bytes.extend(single(Kind::Totals, seq, &[seq as u8; 300]));
            expected.push(seq);
        }
        std::fs::write(&path, &bytes).expect("written");
        let mut seqs = Vec::new();
        values(&path, |header, _| seqs.push(header.seq)).expect("read");
        seqs.dedup();
        assert_eq!(seqs, expected);
    }
}

//! How a segment begins that follows another, and what it proves when a log is opened.
//!
//! A file that was emptied or cut between two frames is a log of whole frames, and so is one that stands in
//! another's place: nothing in them says that something is missing. The next file does. On a stream that is how it is known
//! that the end of a segment is missing, which is no more than any other gap of it; so is a beginning that is missing.

use std::{collections::BTreeMap, io};

use super::{LogFiles, Position, scan::was_acknowledged};
use crate::frame::{self, HEADER_BYTES, Header, Kind};

/// The frame: its header, the segment's number, the length of the one before it.
pub(super) const BEGIN_BYTES: u64 = HEADER_BYTES as u64 + 16;

/// What it begins with.
pub(super) fn frame(segment: u64, bytes_before: u64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(BEGIN_BYTES as usize);
    let said = [&segment.to_be_bytes()[..], &bytes_before.to_be_bytes()[..]];
    frame::encode(&Header::new(Kind::Begin, 0), &said, &mut frame);
    frame
}

/// How a segment begins; the inner error: that is missing.
fn read(files: &LogFiles, segment: u64) -> io::Result<io::Result<[u8; BEGIN_BYTES as usize]>> {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    let mut begin = [0; BEGIN_BYTES as usize];
    match files.open(segment)?.read_exact_at(&mut begin, 0) {
        Err(error) if ![InvalidData, UnexpectedEof].contains(&error.kind()) => Err(error),
        read => Ok(read.map(|()| begin)),
    }
}

/// Learns how long segments of a stream were from those that follow them.
pub(super) fn measure(files: &LogFiles) -> io::Result<()> {
    for segment in files.segments()? {
        let begin = read(files, segment)?.unwrap_or([0; BEGIN_BYTES as usize]);
        if let Ok((header, said)) = frame::decode(&begin)
            && header.kind == Kind::Begin as u8
            && let Some((_, bytes)) = said.split_first_chunk::<8>()
            && let Ok(bytes) = bytes.try_into()
        {
            files.reaches(Position {
                segment: segment.saturating_sub(1),
                offset: u64::from_be_bytes(bytes),
            });
        }
    }
    Ok(())
}

/// Looks at how every segment begins, and so at how long the one before it is; some may be gone.
pub(super) fn check(files: &LogFiles, sizes: &BTreeMap<u64, u64>) -> io::Result<()> {
    let gaps = files.gaps();
    for segment in sizes.keys() {
        let path = files.path(*segment);
        let begin = read(files, *segment)?;
        let before = segment.checked_sub(1).and_then(|one| sizes.get(&one));
        let is_sound = match (begin, before) {
            // The first one does not follow another.
            (Ok(begin), _) if *segment == 1 => {
                !frame::decode(&begin).is_ok_and(|(header, _)| header.kind == Kind::Begin as u8)
            }
            (Err(_), _) if *segment == 1 => true,
            (Ok(begin), Some(bytes)) => begin[..] == frame(*segment, *bytes),
            (Ok(begin), None) => frame::decode(&begin).is_ok_and(|(header, said)| {
                header.kind == Kind::Begin as u8 && said.starts_with(&segment.to_be_bytes())
            }),
            // On a disk there is none.
            (Err(_), _) => gaps.iter().any(|(of, gap)| of == segment && gap.start == 0),
        };
        if !is_sound {
            let what = format!(
                "{} does not begin as it did, or the file before it is not as long as it was",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    }
    Ok(())
}

/// Whether a commit behind this place was followed by another: then this is not where the log ends.
pub(super) fn goes_on(files: &LogFiles, end: Position) -> io::Result<bool> {
    if was_acknowledged(files, end)? {
        return Ok(true);
    }
    for segment in files.segments()? {
        let begun = Position {
            segment,
            offset: BEGIN_BYTES,
        };
        if segment > end.segment && was_acknowledged(files, begun)? {
            return Ok(true);
        }
    }
    Ok(false)
}

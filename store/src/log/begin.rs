//! How a segment begins that follows another, and what it proves when a log is opened.
//!
//! A file that was emptied or cut between two frames is a log of whole frames, and so is one that stands in
//! another's place: nothing in them says that something is missing. The next file does.

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

/// Looks at how every segment begins, and so at how long the one before it is; some may be gone.
pub(super) fn check(files: &LogFiles, sizes: &BTreeMap<u64, u64>) -> io::Result<()> {
    for segment in sizes.keys() {
        let path = files.path(*segment);
        let mut begin = [0; BEGIN_BYTES as usize];
        let read = files.open(*segment)?.read_exact_at(&mut begin, 0);
        let before = segment.checked_sub(1).and_then(|one| sizes.get(&one));
        let is_sound = match (read, before) {
            // The first one does not follow another.
            _ if *segment == 1 => {
                !frame::decode(&begin).is_ok_and(|(header, _)| header.kind == Kind::Begin as u8)
            }
            (Ok(()), Some(bytes)) => begin[..] == frame(*segment, *bytes),
            (Ok(()), None) => frame::decode(&begin).is_ok_and(|(header, said)| {
                header.kind == Kind::Begin as u8 && said.starts_with(&segment.to_be_bytes())
            }),
            (Err(_), _) => false,
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

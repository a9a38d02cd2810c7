//! Reading a log from a place to its end, when the queue opens.
//!
//! What is missing of a segment of a stream is an error here, and never an end.

use std::io::{self, Read};

use super::{LogFiles, Place, Position};
use crate::frame::{self, Damaged, HEADER_BYTES, Header, Kind};

/// What a scan found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Behind the last whole record.
    pub(crate) end: Position,
    /// How many bytes follow it: of a commit that was never acknowledged.
    pub(crate) cut_bytes: u64,
}

/// Why a log cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{what} ({file}, at byte {offset})")]
    Damaged {
        what: Damaged,
        file: String,
        offset: u64,
    },
}

/// Tells of every record from `from` on, and its payload.
///
/// A record that is not whole ends the log if nothing proves that it was acknowledged: it is in the
/// last segment, and no whole record follows that belongs to a later commit. Otherwise it is damage.
pub(crate) fn scan(
    files: &LogFiles,
    from: Position,
    mut found: impl FnMut(&Header, Place, &[u8]),
) -> Result<Scanned, ScanError> {
    let segments = files.segments()?;
    let last = segments
        .last()
        .copied()
        .unwrap_or_default()
        .max(from.segment);
    let mut end = from;
    for segment in from.segment..=last {
        if segment != from.segment {
            end = Position { segment, offset: 0 };
        }
        let path = files.path(segment);
        let damaged = |offset: u64| {
            let file = path.display().to_string();
            move |what| ScanError::Damaged { what, file, offset }
        };
        let file = match files.open(segment) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(0)(Damaged("the file is missing")));
            }
            file => file?,
        };
        let length = file.length()?;
        if length < end.offset {
            return Err(damaged(length)(Damaged("the file is cut short")));
        }
        let mut bytes = file.read_from(end.offset, 1 << 20)?;
        let mut frame = Vec::new();
        while end.offset < length {
            let whole = read_frame(&mut bytes, length - end.offset, &mut frame)?
                .and_then(|()| frame::decode(&frame));
            match whole {
                Ok((header, payload)) => {
                    let place = Place {
                        start: end,
                        bytes: frame.len() as u32,
                    };
                    if header.kind != Kind::Begin as u8 {
                        found(&header, place, payload);
                    }
                    end = place.end();
                }
                Err(what) if segment < last || was_acknowledged(files, end)? => {
                    return Err(damaged(end.offset)(what));
                }
                Err(_torn) => {
                    return Ok(Scanned {
                        end,
                        cut_bytes: length - end.offset,
                    });
                }
            }
        }
    }
    Ok(Scanned { end, cut_bytes: 0 })
}

/// Tells of the records from `from` up to `end`, which is known to be the end of one, and their payloads, until it is told
/// `false`; says where it came to.
pub(crate) fn scan_some(
    files: &LogFiles,
    from: Position,
    end: Position,
    mut found: impl FnMut(&Header, Place, &[u8]) -> bool,
) -> Result<Position, ScanError> {
    let mut at = from;
    while at < end {
        let path = files.path(at.segment);
        let file = files.open(at.segment)?;
        let length = file.length()?;
        let length = if at.segment == end.segment {
            end.offset.min(length)
        } else {
            length
        };
        let mut bytes = file.read_from(at.offset, 1 << 18)?;
        let mut frame = Vec::new();
        while at.offset < length {
            let whole = read_frame(&mut bytes, length - at.offset, &mut frame)?
                .and_then(|()| frame::decode(&frame));
            let (header, payload) = whole.map_err(|what| ScanError::Damaged {
                what,
                file: path.display().to_string(),
                offset: at.offset,
            })?;
            let place = Place {
                start: at,
                bytes: frame.len() as u32,
            };
            at = place.end();
            if header.kind != Kind::Begin as u8 && !found(&header, place, payload) {
                return Ok(at);
            }
        }
        if at.segment < end.segment {
            at = Position {
                segment: at.segment + 1,
                offset: 0,
            };
        } else {
            break;
        }
    }
    Ok(at)
}

/// The outer error is the file system's, the inner one what is wrong with the frame.
fn read_frame(
    bytes: &mut impl Read,
    left: u64,
    frame: &mut Vec<u8>,
) -> io::Result<Result<(), Damaged>> {
    frame.clear();
    let mut head = [0; HEADER_BYTES];
    if left < HEADER_BYTES as u64 {
        return Ok(Err(Damaged("it is cut short")));
    }
    bytes.read_exact(&mut head)?;
    let length = match frame::length(&head) {
        Ok(length) if length as u64 <= left => length,
        Ok(_) => return Ok(Err(Damaged("it is cut short"))),
        Err(what) => return Ok(Err(what)),
    };
    frame.extend_from_slice(&head);
    frame.resize(length, 0);
    bytes.read_exact(&mut frame[HEADER_BYTES..])?;
    Ok(Ok(()))
}

/// Whether a whole record behind this place belongs to a commit that began behind it: then what is
/// here had been synced before.
pub(super) fn was_acknowledged(files: &LogFiles, at: Position) -> io::Result<bool> {
    let mut rest = Vec::new();
    let file = files.open(at.segment)?;
    file.read_from(at.offset, 1 << 20)?.read_to_end(&mut rest)?;
    let later = (0..rest.len()).any(|start| {
        let candidate = &rest[start..];
        let Some(head) = candidate.first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        let Ok(length) = frame::length(head) else {
            return false;
        };
        candidate.get(..length).is_some_and(|whole| {
            frame::decode(whole).is_ok_and(|(header, _)| header.commit_start > at.offset)
        })
    });
    Ok(later)
}

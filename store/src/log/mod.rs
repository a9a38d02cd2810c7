//! An append-only log in segment files: what holds the bulk of the queue's bytes.
//!
//! sled rewrites a leaf of up to 16 values every tenth change, which for blocks of 30 KB came to 1.2
//! bytes written per byte received. A log writes each byte once, so the blocks are here and sled keeps
//! the small records that point to them (docs/decisions/0008).
//!
//! Invariants:
//! * what [`Log::commit`] returned `Ok` for survives a power loss: the file is synced, and its folder
//!   was synced when the file was made;
//! * a commit begins only when the one before it is durable, and every frame says where its own commit
//!   begins. So a frame that is not whole was never acknowledged, unless a whole one follows whose
//!   commit begins after it: that one is damage (see [`scan`]);
//! * only the last segment is ever written to; segments are removed whole;
//! * a segment that follows another begins with a frame that names it and says how long the other is, so
//!   that one which was emptied, cut between two frames or put in another's place is told from a whole one;
//! * after an error nothing more is written: what is on disk is no longer known.

mod begin;
mod files;
mod scan;

use std::{collections::BTreeMap, io};

use serde::{Deserialize, Serialize};

pub(crate) use files::LogFiles;
pub(crate) use scan::{ScanError, Scanned, scan, scan_some};

use begin::BEGIN_BYTES;
use files::{Opened, Tail};

use crate::frame::{self, Damaged, Header, Kind};

/// A segment that has grown beyond this is followed by another. Small enough to give space back soon
/// and to unlink without a stall.
pub(crate) const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;

/// A segment is given up early for being sparse only above this part of its full size.
const SPARSE_FRACTION: u64 = 8;

/// A place between two frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    /// In bytes.
    pub(crate) offset: u64,
}

/// Where a frame is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) start: Position,
    pub(crate) bytes: u32,
}

impl Place {
    pub(crate) fn end(&self) -> Position {
        Position {
            segment: self.start.segment,
            offset: self.start.offset + u64::from(self.bytes),
        }
    }
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Log {
    files: LogFiles,
    tail: Tail,
    /// Everything before it is durable.
    durable: Position,
    pending: Vec<u8>,
    segment_bytes: u64,
    /// What each segment that there is takes, in bytes, the one that is written to included.
    sizes: BTreeMap<u64, u64>,
}

impl Log {
    /// Goes on at `end`; what is behind it in the file was never acknowledged and is cut off.
    pub(crate) fn open(files: LogFiles, end: Position, segment_bytes: u64) -> io::Result<Self> {
        let mut tail = files.tail(end.segment)?;
        let length = tail.length()?;
        if length < end.offset {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "{} has {length} bytes, {} were acknowledged",
                    files.path(end.segment).display(),
                    end.offset
                ),
            ));
        }
        if begin::goes_on(&files, end)? {
            let name = files.path(end.segment);
            let what = format!("{} was acknowledged further than is known", name.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if length > end.offset {
            tail.cut(end.offset)?;
        }
        // What a killed process wrote and did not sync is whole as long as the machine runs. It is taken
        // as appended from here on, so it has to be durable from here on.
        tail.sync()?;
        let mut sizes = BTreeMap::new();
        for segment in files.segments()? {
            if segment > end.segment {
                files.remove(segment)?;
            } else {
                sizes.insert(segment, files.length(segment)?);
            }
        }
        begin::check(&files, &sizes)?;
        for (segment, bytes) in &mut sizes {
            *bytes += files.overhead_bytes(*segment);
        }
        Ok(Self {
            files,
            tail,
            durable: end,
            pending: Vec::new(),
            segment_bytes,
            sizes,
        })
    }

    /// Puts a record into the next commit; says where it will be.
    pub(crate) fn append(
        &mut self,
        kind: Kind,
        seq: u64,
        items: u32,
        plain_bytes: u32,
        payload: &[&[u8]],
    ) -> Place {
        let start = self.end();
        let header = Header {
            commit_start: self.durable.offset,
            items,
            plain_bytes,
            ..Header::new(kind, seq)
        };
        frame::encode(&header, payload, &mut self.pending);
        Place {
            start,
            bytes: (self.end().offset - start.offset) as u32,
        }
    }

    /// Where the next record will be.
    pub(crate) fn end(&self) -> Position {
        Position {
            segment: self.durable.segment,
            offset: self.durable.offset + self.pending.len() as u64,
        }
    }

    /// Makes durable what was appended.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.tail.append(&self.pending)?;
        self.durable = self.end();
        self.measure();
        self.pending.clear();
        // A storm's buffer is not kept for ever.
        self.pending.shrink_to(1024 * 1024);
        Ok(())
    }

    /// Begins another segment where this one is full, or where `is_sparse` says that little of it is of
    /// use any more; between commits. Says whether it did.
    pub(crate) fn roll(&mut self, is_sparse: impl Fn(Position) -> bool) -> io::Result<bool> {
        let taken = self.sizes.get(&self.durable.segment);
        let is_full = taken >= Some(&self.segment_bytes);
        let is_worth_it = self.durable.offset >= self.segment_bytes / SPARSE_FRACTION;
        let begins = is_full || (is_worth_it && is_sparse(self.durable));
        if !begins {
            return Ok(false);
        }
        let segment = self.durable.segment + 1;
        self.tail = self.files.follow(self.durable)?;
        let offset = BEGIN_BYTES;
        self.durable = Position { segment, offset };
        self.measure();
        Ok(true)
    }

    fn measure(&mut self) {
        let Position { segment, offset } = self.durable;
        let bytes = offset + self.files.overhead_bytes(segment);
        self.sizes.insert(segment, bytes);
    }

    /// Removes a segment that nothing points to.
    pub(crate) fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.files.remove(segment)?;
        self.sizes.remove(&segment);
        Ok(())
    }

    /// What each segment takes, in bytes, by its number: at least as much as is in it.
    pub(crate) fn sizes(&self) -> &BTreeMap<u64, u64> {
        &self.sizes
    }

    pub(crate) fn files(&self) -> &LogFiles {
        &self.files
    }
}

/// A record as it was read.
pub(crate) struct Record {
    pub(crate) header: Header,
    bytes: Vec<u8>,
}

impl Record {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[frame::HEADER_BYTES..]
    }

    /// All of it, and where its payload begins.
    pub(crate) fn into_bytes(self) -> (Vec<u8>, usize) {
        (self.bytes, frame::HEADER_BYTES)
    }
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(#[from] Damaged),
}

/// The reading end; keeps the file that it read last open.
#[derive(Debug)]
pub(crate) struct Reader {
    files: LogFiles,
    open: Option<(u64, Opened)>,
}

impl Reader {
    pub(crate) fn new(files: LogFiles) -> Self {
        Self { files, open: None }
    }

    /// Reads a record that was committed.
    pub(crate) fn read(&mut self, place: Place) -> Result<Record, LogError> {
        let segment = place.start.segment;
        let file = match &mut self.open {
            Some((open, file)) if *open == segment => file,
            slot => {
                let file = self.files.open(segment)?;
                &mut slot.insert((segment, file)).1
            }
        };
        let mut bytes = vec![0; place.bytes as usize];
        file.read_exact_at(&mut bytes, place.start.offset)?;
        let (header, _) = frame::decode(&bytes)?;
        Ok(Record { header, bytes })
    }
}

#[cfg(test)]
mod tests;

//! How a store was left: a file `CLOSED` in it, from when the queue is closed until it is opened again.
//!
//! What a killed process was writing may be missing from the end of a log or of sled's file, and then the
//! end looks the same whether it was torn or damaged later: it is cut off. A process that closed the
//! queue left nothing unfinished, and says where everything ends; whatever ends elsewhere is damaged. Also,
//! nothing but this knows the oldest segments of what is only remembered or retained.
//!
//! Invariants:
//! * the file is there only while nothing was written after it; it goes, durably, before the queue is used;
//! * one that cannot be read proves nothing, and is ignored.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    files::{LogNames, Logs},
    records::{Totals, small},
};
use crate::{
    codec,
    frame::{self, Kind},
    log::{Log, LogFiles, Position},
};

const CLOSED: &str = "CLOSED";
const NEW: &str = "CLOSED.new";

/// Where everything ends.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    commits: u64,
    /// Appended and not routed; only the log says so otherwise, and it may be what is damaged.
    waiting: u64,
    events: Reach,
    deliveries: Reach,
    seen: Reach,
}

/// From which segment a log goes to where.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reach {
    oldest: u64,
    end: Position,
}

/// Says how the store is left. Not being able to costs nothing but this proof.
pub(super) fn write(store: &Path, totals: &Totals, waiting: u64, logs: &Logs) {
    let reach = |log: &Log| Reach {
        oldest: log.sizes().keys().next().copied().unwrap_or_default(),
        end: log.end(),
    };
    let closed = Closed {
        commits: totals.commits,
        waiting,
        events: reach(&logs.events),
        deliveries: reach(&logs.deliveries),
        seen: reach(&logs.seen),
    };
    let bytes = frame::single(Kind::Closed, totals.commits, &codec::plain(&closed));
    let write = || -> io::Result<()> {
        let new = store.join(NEW);
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, store.join(CLOSED))?;
        File::open(store)?.sync_all()
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "cannot note how the queue was closed: nothing is lost, but damage to its files until the next start is found less \
             surely; look at the disk");
    }
}

/// How the store was left, if that is known.
pub(super) fn read(store: &Path) -> io::Result<Option<Closed>> {
    let bytes = match fs::read(store.join(CLOSED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let closed = small(&bytes);
    if closed.is_err() {
        tracing::warn!(
            "the note of how the queue was closed cannot be read: the queue is opened without it, after its own checks; look \
             at the disk"
        );
    }
    Ok(closed.ok())
}

impl Closed {
    /// How many events were not routed, if this is how a store with these totals was left.
    pub(super) fn waiting(&self, totals: &Totals) -> Option<u64> {
        (self.commits == totals.commits).then_some(self.waiting)
    }

    /// What is not as it was left; `events_end` is where the log of appended events was found to end.
    pub(super) fn differs(
        &self,
        totals: &Totals,
        names: &LogNames,
        events_end: Position,
    ) -> io::Result<Option<&'static str>> {
        if self.commits != totals.commits {
            return Ok(Some("its index is not the one that it was closed with"));
        }
        if self.events.end != events_end || !self.events.is_of(&names.events)? {
            let what = "the log of appended events is not as long as when it was closed";
            return Ok(Some(what));
        }
        if !self.deliveries.is_of(&names.deliveries)? || !self.seen.is_of(&names.seen)? {
            let what = "the log of deliveries or seen keys is not as long as when it was closed";
            return Ok(Some(what));
        }
        Ok(None)
    }
}

impl Reach {
    fn is_of(&self, files: &LogFiles) -> io::Result<bool> {
        let segments = files.segments()?;
        let last = files.path(self.end.segment);
        Ok(segments.first() == Some(&self.oldest)
            && segments.last() == Some(&self.end.segment)
            && fs::metadata(last)?.len() == self.end.offset)
    }
}

/// The store is about to be used.
pub(super) fn remove(store: &Path) -> io::Result<()> {
    match fs::remove_file(store.join(CLOSED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(store)?.sync_all(),
    }
}

//! What a store that was moved aside says of itself: the newest ledger that can be found in its index's
//! file, and every whole record of its logs. Nothing of it is opened.

use std::{
    collections::BTreeMap,
    fs,
    io::{
        self,
        ErrorKind::{NotADirectory, NotFound},
    },
    path::Path,
};

use super::{
    carve, closed,
    files::LogNames,
    records::{ChannelRow, Totals, small},
};
use crate::{
    frame::{Header, Kind},
    log::{LogFiles, Place, Position},
};

/// What the newest ledger says that can be found in a store.
pub(super) struct Remains {
    /// Events that it still had to deliver.
    pub(super) kept: u64,
    /// What was lost before.
    pub(super) lost: u64,
    /// Blocks before it are routed.
    pub(super) routed_end: Position,
}

impl Remains {
    /// `None` if there is no whole ledger in it.
    pub(super) fn of(store: &Path) -> Option<Self> {
        let mut totals: Option<Totals> = None;
        let mut channels: BTreeMap<String, (u64, ChannelRow)> = BTreeMap::new();
        let mut found = |header: Header, stored: &[u8]| {
            if header.kind == Kind::Totals as u8
                && let Ok(one) = small::<Totals>(stored)
                && totals.as_ref().is_none_or(|old| one.commits >= old.commits)
            {
                totals = Some(one);
            } else if header.kind == Kind::Channel as u8
                && let Ok((name, row)) = small::<(String, ChannelRow)>(stored)
                && channels.get(&name).is_none_or(|old| header.seq >= old.0)
            {
                channels.insert(name, (header.seq, row));
            }
        };
        for entry in fs::read_dir(store).ok()? {
            match carve::values(&entry.ok()?.path().join("db"), &mut found) {
                Err(error) if ![NotFound, NotADirectory].contains(&error.kind()) => return None,
                _ => {}
            }
        }
        let totals = totals?;
        let kept = channels
            .values()
            .map(|(_, row)| row.counts.waiting + row.counts.dead);
        // What was appended after the index was written last is in its log alone.
        let mut appended = 0;
        let since = |segment| segment >= totals.events_end.segment;
        let events = LogNames::new(store).events;
        let read = each(&events, since, |header, place, _| {
            if header.kind == Kind::Block as u8 && place.start >= totals.events_end {
                appended += u64::from(header.items);
            }
        });
        read.ok()?;
        let closed = closed::read(store).ok().flatten();
        let closed = closed.and_then(|closed| closed.waiting(&totals));
        let waiting = closed.unwrap_or(totals.waiting + appended);
        Some(Self {
            kept: waiting + kept.sum::<u64>(),
            lost: totals.lost,
            routed_end: totals.routed_end,
        })
    }
}

/// Tells of every whole frame of some of a log's files, oldest first; says how many bytes belong to none.
pub(super) fn each(
    files: &LogFiles,
    of: impl Fn(u64) -> bool,
    mut found: impl FnMut(Header, Place, &[u8]),
) -> io::Result<u64> {
    let mut damaged = 0;
    for segment in files.segments()?.into_iter().filter(|one| of(*one)) {
        let bytes = fs::read(files.path(segment))?;
        damaged += carve::frames(&bytes, |header, offset, frame| {
            let start = Position {
                segment,
                offset: offset as u64,
            };
            let bytes = frame.len() as u32;
            found(header, Place { start, bytes }, frame);
        });
    }
    Ok(damaged)
}

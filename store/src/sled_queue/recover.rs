//! Opening a store's files and finding out what they hold; damage is told apart from a file system
//! that refuses.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use super::{
    files::{DAMAGED_MARK, INDEX, LogNames, Logs, config},
    job::{Delivered, START, Totals, small},
    keys,
    shared::UnroutedBlock,
};
use crate::{
    ChannelCounts, OtherCounts,
    frame::Damaged,
    log::{Log, Position, ScanError, scan},
};

/// What is known beside the events, as read at the start.
pub(super) struct Counters {
    pub(super) totals: Totals,
    pub(super) channels: BTreeMap<String, (ChannelCounts, OtherCounts)>,
    pub(super) unrouted: VecDeque<UnroutedBlock>,
    /// Bytes of deliveries that wait, by the segment they are in.
    pub(super) live: BTreeMap<u64, u64>,
    /// The last block whose keys are in a segment of the log of seen keys.
    pub(super) seen_segments: BTreeMap<u64, u64>,
}

/// A store that was opened.
pub(super) struct Store {
    pub(super) db: sled::Db,
    pub(super) logs: Logs,
    pub(super) counters: Counters,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsound {
    /// The file system refuses: nothing is known of the store, and it must stay where it is.
    #[error("{0}")]
    Unreachable(io::Error),
    #[error("{0}")]
    Damaged(String),
}

impl From<sled::Error> for Unsound {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if !is_truncation(&error) => Self::Unreachable(error),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<io::Error> for Unsound {
    fn from(error: io::Error) -> Self {
        if is_truncation(&error) {
            Self::Damaged(error.to_string())
        } else {
            Self::Unreachable(error)
        }
    }
}

impl From<ScanError> for Unsound {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(error) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<Damaged> for Unsound {
    fn from(error: Damaged) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Whether the error says that what is stored is wrong, not that the way to it failed.
pub(super) fn is_damage(error: &sled::Error) -> bool {
    !matches!(error, sled::Error::Io(error) if !is_truncation(error))
}

pub(super) fn is_truncation(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
    )
}

/// Opens a store and reads its counters; a damaged file makes sled return an error or panic.
pub(super) fn open_sound(
    data_dir: &Path,
    dir: &Path,
    cache_bytes_max: u64,
) -> Result<Store, Unsound> {
    if let Ok(reason) = fs::read_to_string(data_dir.join(DAMAGED_MARK)) {
        return Err(Unsound::Damaged(format!(
            "while it was used: {}",
            reason.trim()
        )));
    }
    let index = dir.join(INDEX);
    if !index.exists() {
        return Err(Unsound::Damaged("its index is missing".to_owned()));
    }
    remove_unfinished_snapshots(&index).map_err(Unsound::Unreachable)?;
    let open = || -> Result<(sled::Db, Counters), Unsound> {
        let db = open_unlocked(&config(&index, cache_bytes_max))?;
        let totals = db.get(keys::TOTALS)?;
        let totals = totals.ok_or_else(|| Unsound::Damaged("its ledger is missing".to_owned()))?;
        let mut counters = Counters {
            totals: small(&totals)?,
            channels: BTreeMap::new(),
            unrouted: VecDeque::new(),
            live: BTreeMap::new(),
            seen_segments: BTreeMap::new(),
        };
        for row in db.scan_prefix(keys::CHANNELS) {
            let (key, value) = row?;
            let name = String::from_utf8_lossy(&key[keys::CHANNELS.len()..]).into_owned();
            counters.channels.insert(name, small(&value)?);
        }
        for row in db.scan_prefix(keys::DELIVERIES) {
            let delivered: Delivered = small(&row?.1)?;
            *counters
                .live
                .entry(delivered.place.start.segment)
                .or_default() += u64::from(delivered.place.bytes);
        }
        Ok((db, counters))
    };
    let (db, mut counters) = catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(Unsound::Damaged("sled panicked on it".to_owned())))?;
    let logs = open_logs(&LogNames::new(dir), &mut counters)?;
    Ok(Store { db, logs, counters })
}

/// Finds what was appended and is not routed, and cuts off what was never acknowledged.
fn open_logs(names: &LogNames, counters: &mut Counters) -> Result<Logs, Unsound> {
    let Counters {
        totals,
        unrouted,
        live,
        seen_segments,
        ..
    } = counters;
    let scanned = scan(&names.events, totals.routed_end, |header, place| {
        unrouted.push_back(UnroutedBlock {
            seq: header.seq,
            place,
            items: header.items,
            plain_bytes: header.plain_bytes,
        });
    })?;
    if scanned.end < totals.events_end {
        let reason = "the log of appended events ends before what was acknowledged";
        return Err(Unsound::Damaged(reason.to_owned()));
    }
    if scanned.cut_bytes > 0 {
        tracing::warn!(
            bytes = scanned.cut_bytes,
            "the log of appended events ended within a commit that was never acknowledged; its rest is \
             cut off"
        );
    }
    if let Some(last) = unrouted.back() {
        totals.next_seq = totals.next_seq.max(last.seq + 1);
    }
    for segment in names.events.segments()? {
        if segment < totals.routed_end.segment {
            names.events.remove(segment)?;
        }
    }
    let logs = Logs {
        events: Log::open(names.events.clone(), scanned.end)?,
        deliveries: Log::open(names.deliveries.clone(), totals.deliveries_end)?,
        seen: Log::open(names.seen.clone(), totals.seen_end)?,
    };
    for segment in names.seen.segments()? {
        seen_segments.insert(segment, 0);
    }
    let oldest = seen_segments.keys().next().copied();
    let from = oldest.map_or(START, |segment| Position { segment, offset: 0 });
    let scanned = scan(&names.seen, from, |header, place| {
        seen_segments.insert(place.start.segment, header.seq);
    })?;
    if scanned.end < totals.seen_end {
        let reason = "the log of seen keys ends before what was committed";
        return Err(Unsound::Damaged(reason.to_owned()));
    }
    // A process that ended between a commit and its clean-up left segments that nothing points to.
    for segment in names.deliveries.segments()? {
        live.entry(segment).or_default();
    }
    Ok(logs)
}

/// sled writes a snapshot of its index beside the log and renames it when it is whole. One that was not
/// finished (the disk was full, the process was killed) makes the next start fail, though all that it
/// stood for is in the log.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Opens sled's files. Their lock may outlive a queue of this same process for a moment, since sled's
/// own threads still hold it; no other process can have it while this one holds `<data_dir>/lock`.
fn open_unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                std::thread::park_timeout(PAUSE);
            }
            outcome => return outcome,
        }
    }
    config.open()
}

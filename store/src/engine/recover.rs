//! Opening a store's files and finding out what they hold; damage is told apart from a file system
//! that refuses.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use super::{
    SledOptions,
    closed::{self, Closed},
    db::Db,
    fall_back,
    files::{DAMAGED_MARK, LogNames, Logs, config},
    filtered::{self, Filtered},
    holdings::{Counted, Holder, Holdings, Row},
    index::{self, Named},
    inputs, keys,
    mutes::{self, Mutes},
    rates, read,
    records::{ChannelRow, Held, Totals, small},
    shared::UnroutedBlock,
    snapshot,
    threads::{self, Threads},
};
use crate::{
    SeenBlock, codec,
    frame::{self, Damaged, Kind},
    log::{Log, LogFiles, ScanError, Scanned, scan},
};

/// What is known beside the events, as read at the start.
pub(super) struct Counters {
    pub(super) totals: Totals,
    pub(super) channels: BTreeMap<String, ChannelRow>,
    pub(super) unrouted: VecDeque<UnroutedBlock>,
    pub(super) holdings: Holdings,
    /// The last block whose keys are in a segment of the log of seen keys.
    pub(super) seen_segments: BTreeMap<u64, u64>,
    /// The keys themselves, where reading them again would cost much.
    pub(super) seen: Option<Vec<SeenBlock>>,
    /// When a segment of appended events was last written to, Unix time in milliseconds.
    pub(super) events_written: BTreeMap<u64, i64>,
    pub(super) fallbacks: BTreeMap<String, u64>,
    pub(super) threads: Threads,
    pub(super) filtered: Filtered,
    pub(super) rate_rows: BTreeSet<u64>,
    pub(super) inputs: inputs::Told,
    pub(super) mutes: Mutes,
    /// How far blocks that are not routed brought their inputs, by the block's sequence.
    pub(super) reached: inputs::Told,
}

/// A store that was opened.
pub(super) struct Store {
    pub(super) db: sled::Db,
    pub(super) index_number: u64,
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
    #[error("its format {0} is of a later version")]
    Newer(u32),
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
pub(super) fn open_sound(options: &SledOptions, dir: &Path) -> Result<Store, Unsound> {
    let index_number = match index::named(dir).map_err(Unsound::Unreachable)? {
        Named::Index(number) => number,
        Named::Newer(format) => return Err(Unsound::Newer(format)),
        Named::Unknown => {
            let reason =
                "its file CURRENT is damaged, and so it is not known which index is in use";
            return Err(Unsound::Damaged(reason.to_owned()));
        }
    };
    if let Ok(reason) = fs::read_to_string(options.data_dir.join(DAMAGED_MARK)) {
        let reason = format!("while it was used: {}", reason.trim());
        return Err(Unsound::Damaged(reason));
    }
    let index = index::dir_of(dir, index_number);
    if !index.join("db").exists() {
        return Err(Unsound::Damaged("its index is missing".to_owned()));
    }
    index::remove_others(dir, index_number).map_err(Unsound::Unreachable)?;
    snapshot::before_open(dir, &index, index_number).map_err(Unsound::Unreachable)?;
    let open = || -> Result<(sled::Db, Counters), Unsound> {
        let db = open_unlocked(&config(&index, options.cache_bytes_max))?;
        let counters = read_index(&Db::Sled(db.clone()))?;
        Ok((db, counters))
    };
    let (db, mut counters) = catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(Unsound::Damaged("sled panicked on it".to_owned())))?;
    let closed = closed::read(dir)?;
    let logs = open_logs(
        &LogNames::new(dir),
        closed,
        options.segment_bytes,
        &mut counters,
    )?;
    closed::remove(dir).map_err(Unsound::Unreachable)?;
    Ok(Store {
        db,
        index_number,
        logs,
        counters,
    })
}

pub(super) fn read_index(db: &Db) -> Result<Counters, Unsound> {
    let totals = db.get(keys::TOTALS)?;
    let totals = totals.ok_or_else(|| Unsound::Damaged("its ledger is missing".to_owned()))?;
    let mut counters = Counters {
        totals: small(&totals)?,
        channels: BTreeMap::new(),
        unrouted: VecDeque::new(),
        holdings: Holdings::default(),
        seen_segments: BTreeMap::new(),
        seen: None,
        events_written: BTreeMap::new(),
        fallbacks: fall_back::all(db)?,
        threads: threads::all(db)?,
        filtered: filtered::all(db)?,
        rate_rows: rates::rows(db)?,
        inputs: inputs::all(db)?,
        mutes: mutes::all(db)?,
        reached: inputs::Told::new(),
    };
    for row in db.scan_prefix(keys::CHANNELS) {
        let (name, channel) = ChannelRow::read(&row?.1)?;
        counters.channels.insert(name, channel);
    }
    let mut counted = Counted::new(&counters.channels);
    for row in db.scan_prefix(keys::HELD) {
        let (key, value) = row?;
        let held = Held::read(&value)?;
        let holder = if key.starts_with(keys::DEAD) {
            counted.found_dead(&held);
            Holder::Dead
        } else if key.starts_with(keys::TOLD) {
            Holder::Told
        } else {
            let (channel, severity, seq) =
                keys::read_waiting(&key).ok_or(Damaged("its key is no delivery's"))?;
            counted.found_waiting(channel, &held);
            let (_, waits) = Held::read_waiting(&value)?;
            Holder::Channel(Row {
                channel,
                severity,
                seq,
                waits,
            })
        };
        counters.holdings.add(holder, &held);
    }
    // What is read by the writer alone is read here too: where sled cannot, it panics, and a queue that ended
    // by that would end by it again.
    for prefix in [keys::SEALS, keys::QUARANTINE, keys::SALVAGES] {
        for row in db.scan_prefix(prefix) {
            frame::decode(&row?.1)?;
        }
    }
    if !counted.is_complete() {
        let reason = "its index does not hold as many deliveries as its ledger counts";
        return Err(Unsound::Damaged(reason.to_owned()));
    }
    Ok(counters)
}

/// Finds what was appended and is not routed, and cuts off what was never acknowledged.
pub(super) fn open_logs(
    names: &LogNames,
    closed: Option<Closed>,
    segment_bytes: u64,
    counters: &mut Counters,
) -> Result<Logs, Unsound> {
    let Counters {
        totals,
        unrouted,
        holdings,
        seen_segments,
        seen,
        events_written,
        reached,
        ..
    } = counters;
    let scanned = look_at_events(names, totals, unrouted, reached)?;
    if let Some(closed) = closed
        && let Some(what) = closed.differs(totals, names, scanned.end)?
    {
        return Err(Unsound::Damaged(what.to_owned()));
    }
    if scanned.end < totals.events_end {
        let reason = "the log of appended events ends before what was acknowledged";
        return Err(Unsound::Damaged(reason.to_owned()));
    }
    if scanned.cut_bytes > 0 {
        tracing::warn!(
            bytes = scanned.cut_bytes,
            "the log of appended events ended within a commit that was never acknowledged; its rest is \
             cut off, and whoever sent it sends it again"
        );
    }
    if let Some(last) = unrouted.back() {
        totals.next_seq = totals.next_seq.max(last.seq + 1);
    }
    for segment in names.events.segments()? {
        let written = names.events.modified_unix_ms(segment)?;
        events_written.insert(segment, written);
    }
    let open = |files: &LogFiles, end| Log::open(files.clone(), end, segment_bytes);
    let logs = Logs {
        events: open(&names.events, scanned.end)?,
        deliveries: open(&names.deliveries, totals.deliveries_end)?,
        seen: open(&names.seen, totals.seen_end)?,
    };
    for segment in holdings.live.keys() {
        if !logs.deliveries.sizes().contains_key(segment) {
            let reason = "a segment of the log of deliveries is missing";
            return Err(Unsound::Damaged(reason.to_owned()));
        }
    }
    let keeps = names.seen.is_on_stream();
    *seen = look_at_seen(names, totals, seen_segments, keeps)?;
    Ok(logs)
}

/// Reads the log of appended events from where routing had come to.
fn look_at_events(
    names: &LogNames,
    totals: &mut Totals,
    unrouted: &mut VecDeque<UnroutedBlock>,
    reached: &mut inputs::Told,
) -> Result<Scanned, Unsound> {
    // They do not rise when files of a log stand in each other's place.
    let (mut in_order, mut last) = (true, 0);
    let scanned = scan(
        &names.events,
        totals.routed_end,
        |header, place, payload| {
            in_order &= header.kind == Kind::Block as u8 && header.seq > last;
            last = header.seq;
            if place.start >= totals.events_end {
                totals.received += u64::from(header.items);
            }
            unrouted.push_back(UnroutedBlock {
                seq: header.seq,
                place,
                items: header.items,
                plain_bytes: header.plain_bytes,
            });
            for position in codec::reached(header.items, payload) {
                inputs::newest(reached, header.seq, &position.input, &position.state);
            }
        },
    )?;
    if !in_order {
        let reason = "the log of appended events has records of another log or in another order";
        return Err(Unsound::Damaged(reason.to_owned()));
    }
    Ok(scanned)
}

/// Reads the log of seen keys, and which of its files goes to which block; `keeps` what it reads, if it is to.
fn look_at_seen(
    names: &LogNames,
    totals: &Totals,
    seen_segments: &mut BTreeMap<u64, u64>,
    keeps: bool,
) -> Result<Option<Vec<SeenBlock>>, Unsound> {
    for segment in names.seen.segments()? {
        seen_segments.insert(segment, 0);
    }
    let from = read::seen_from(&names.seen, totals)?;
    let mut is_own = true;
    let mut blocks = keeps.then(|| Ok(Vec::new()));
    let scanned = scan(&names.seen, from, |header, place, payload| {
        is_own &= header.kind == Kind::Seen as u8;
        seen_segments.insert(place.start.segment, header.seq);
        // What is behind the end belongs to a commit that was never completed.
        if header.seq > totals.seen_forgotten
            && place.start < totals.seen_end
            && let Some(Ok(read)) = &mut blocks
        {
            match read::seen_block(header.seq, payload) {
                Ok(block) => read.push(block),
                Err(damaged) => blocks = Some(Err(damaged)),
            }
        }
    })?;
    if !is_own {
        let reason = "the log of seen keys has records of another log";
        return Err(Unsound::Damaged(reason.to_owned()));
    }
    if scanned.end < totals.seen_end {
        let reason = "the log of seen keys ends before what was committed";
        return Err(Unsound::Damaged(reason.to_owned()));
    }
    Ok(blocks.transpose()?)
}

/// Opens sled's files. Their lock may outlive a queue of this same process for a moment (on a disk that hangs for half a
/// minute at the most), since sled's own threads still hold it; no other process can have it while this one holds
/// `<data_dir>/lock`.
fn open_unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    const TRIES: u32 = 1_500;
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

//! The small records of the index, and what goes beside deliveries into their log.

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Burial, ChannelCounts, Counts, OtherCounts, Posted,
    codec::{self, Class},
    frame::{self, Damaged, Kind},
    log::{Place, Position},
};

/// Which deliveries of which record: what every key that begins with `r` points to, and how each of
/// their values begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) place: Place,
    /// The sequence in the record's own frame.
    pub(super) record_seq: u64,
    pub(super) class: Class,
    pub(super) plain_bytes: u32,
    /// The number of the record's first delivery, see [`codec::Address`].
    pub(super) first: u32,
    /// These deliveries of it, by number.
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Held {
    pub(super) fn count(&self) -> u64 {
        u64::from(self.to - self.from)
    }

    /// As deliveries that wait.
    pub(super) fn stored(&self, seq: u64, waits: Waits) -> Vec<u8> {
        let mut payload = codec::plain(self);
        waits.put_behind(&mut payload);
        frame::single(Kind::Waiting, seq, &payload)
    }

    /// Reads deliveries that wait, and how.
    pub(super) fn read_waiting(stored: &[u8]) -> Result<(Self, Waits), Damaged> {
        Waits::read_behind(stored)
    }

    /// Reads it from any value that begins with one.
    pub(super) fn read(stored: &[u8]) -> Result<Self, Damaged> {
        let (_, payload) = frame::decode(stored)?;
        let (held, _) = postcard::take_from_bytes(payload)
            .map_err(|_| Damaged("its content does not fit its kind"))?;
        Ok(held)
    }

    /// The value `stored` with this in the place of what it points to.
    pub(super) fn put_into(&self, stored: &[u8]) -> Result<Vec<u8>, Damaged> {
        let (header, payload) = frame::decode(stored)?;
        let (_, rest) = postcard::take_from_bytes::<Self>(payload)
            .map_err(|_| Damaged("its content does not fit its kind"))?;
        let mut value = Vec::new();
        frame::encode(&header, &[&codec::plain(self), rest], &mut value);
        Ok(value)
    }
}

/// How deliveries wait, or waited before they became a dead letter. Stands behind the rest of a value; what an
/// earlier version did not know it did not write, and does not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waits {
    /// The copies for the channel's fallback are behind them, though their key may not be.
    pub(super) passed: bool,
    /// When the oldest of them was received, Unix time in milliseconds; 0 where it is not known.
    pub(super) since_unix_ms: i64,
}

impl Waits {
    pub(super) fn since(unix_ms: i64) -> Self {
        Self {
            passed: false,
            since_unix_ms: unix_ms,
        }
    }

    fn put_behind(self, payload: &mut Vec<u8>) {
        if self.passed || self.since_unix_ms != 0 {
            payload.extend(codec::plain(&self.passed));
        }
        if self.since_unix_ms != 0 {
            payload.extend(codec::plain(&self.since_unix_ms));
        }
    }

    fn read_behind<T: DeserializeOwned>(stored: &[u8]) -> Result<(T, Self), Damaged> {
        let misfit = |_| Damaged("its content does not fit its kind");
        let (_, payload) = frame::decode(stored)?;
        let (value, mut rest) = postcard::take_from_bytes(payload).map_err(misfit)?;
        let mut waits = Self::default();
        if !rest.is_empty() {
            (waits.passed, rest) = postcard::take_from_bytes(rest).map_err(misfit)?;
        }
        if !rest.is_empty() {
            waits.since_unix_ms = codec::from_plain(rest)?;
        }
        Ok((value, waits))
    }
}

/// Deliveries that a message told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ToldRow {
    pub(super) held: Held,
    pub(super) channel: String,
    pub(super) severity: Severity,
    pub(super) told_unix_ms: i64,
    /// Where the destination has the message. Stands behind the rest; none where an earlier version told it.
    #[serde(skip)]
    pub(super) posted: Option<Posted>,
}

impl ToldRow {
    pub(super) fn stored(&self, message: u64) -> Vec<u8> {
        frame::single(Kind::Told, message, &extended(self, &self.posted))
    }

    pub(super) fn read(stored: &[u8]) -> Result<Self, Damaged> {
        let (row, posted) = read_extended(stored)?;
        Ok(Self { posted, ..row })
    }
}

/// Deliveries that can never be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DeadRow {
    pub(super) held: Held,
    pub(super) channel: String,
    pub(super) severity: Severity,
    pub(super) burial: Burial,
    /// As it waited before.
    #[serde(skip)]
    pub(super) waits: Waits,
}

impl DeadRow {
    pub(super) fn stored(&self, message: u64) -> Vec<u8> {
        let mut payload = codec::plain(self);
        self.waits.put_behind(&mut payload);
        frame::single(Kind::Dead, message, &payload)
    }

    pub(super) fn read(stored: &[u8]) -> Result<Self, Damaged> {
        let (row, waits): (Self, Waits) = Waits::read_behind(stored)?;
        Ok(Self { waits, ..row })
    }
}

/// What a lease stands for, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    pub(super) id: u64,
    pub(super) slices: Vec<Slice>,
    /// Stands behind the rest; 0 where an earlier version sealed it.
    #[serde(skip)]
    pub(super) sealed_unix_ms: i64,
}

impl Seal {
    pub(super) fn stored(&self) -> Vec<u8> {
        frame::single(Kind::Seal, self.id, &extended(self, &self.sealed_unix_ms))
    }

    pub(super) fn read(stored: &[u8]) -> Result<Self, Damaged> {
        let (seal, sealed_unix_ms) = read_extended(stored)?;
        Ok(Self {
            sealed_unix_ms,
            ..seal
        })
    }
}

/// Deliveries `from..to` of those that wait under a key, which go up to `of`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slice {
    pub(super) severity: Severity,
    pub(super) seq: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) of: u32,
}

/// In the log of deliveries: that some of those before it do not wait any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settlement {
    pub(crate) message: u64,
    pub(crate) fate: SettledAs,
    /// The sequence of a record, and which of its deliveries.
    pub(crate) deliveries: Vec<(u64, u32, u32)>,
}

/// What became of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum SettledAs {
    /// Delivered, or given up.
    Gone,
    Dead(Burial),
    /// A dead letter waits again, or is given up.
    Waits,
}

/// A channel's counters, as stored.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct ChannelRow {
    pub(crate) counts: ChannelCounts,
    pub(crate) notices: OtherCounts,
    pub(crate) copies: OtherCounts,
    /// Deliveries that were muted. Stands behind the rest; 0 where an earlier version counted.
    #[serde(skip)]
    pub(crate) muted: u64,
}

impl ChannelRow {
    /// How many deliveries of each class wait and are dead.
    pub(super) fn kept(&self) -> [(Class, u64, u64); 3] {
        [
            (Class::Events, self.counts.waiting, self.counts.dead),
            (Class::Notices, self.notices.waiting, self.notices.dead),
            (Class::Copies, self.copies.waiting, self.copies.dead),
        ]
    }

    /// With the channel's name, so that it can be read without its key.
    pub(super) fn stored(&self, name: &str, commits: u64) -> Vec<u8> {
        frame::single(
            Kind::Channel,
            commits,
            &extended(&(name, self), &self.muted),
        )
    }

    /// The name and the counters.
    pub(super) fn read(stored: &[u8]) -> Result<(String, Self), Damaged> {
        let ((name, row), muted) = read_extended(stored)?;
        Ok((name, Self { muted, ..row }))
    }
}

/// The fixed part of the ledger and what else must survive with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// How many times the index was committed; tells the newest from older ones when a damaged store is
    /// searched.
    pub(crate) commits: u64,
    pub(crate) next_seq: u64,
    /// Counted up by itself, so that it can disagree with the fates.
    pub(crate) received: u64,
    pub(crate) counts: Counts,
    pub(crate) lost: u64,
    pub(crate) quarantine_entries: u64,
    pub(crate) quarantine_bytes: u64,
    /// Appended and not routed as of the last commit; read only when the store is salvaged, since what
    /// was appended after it is in the log alone.
    pub(crate) waiting: u64,
    /// Blocks before it are routed.
    pub(crate) routed_end: Position,
    /// Where the logs of deliveries and of seen keys end; what is behind it belongs to a commit that
    /// was never completed.
    pub(crate) deliveries_end: Position,
    pub(crate) seen_end: Position,
    /// The log of appended events goes at least so far.
    pub(crate) events_end: Position,
    /// Keys of blocks up to this one are forgotten.
    pub(crate) seen_forgotten: u64,
}

/// Every log begins with this segment.
pub(super) const START: Position = Position {
    segment: 1,
    offset: 0,
};

impl Totals {
    pub(super) const EMPTY: Self = Self {
        commits: 0,
        next_seq: 1,
        received: 0,
        counts: Counts {
            duplicates: 0,
            filtered: 0,
            muted: 0,
            quarantined: 0,
            routed: 0,
        },
        lost: 0,
        quarantine_entries: 0,
        quarantine_bytes: 0,
        waiting: 0,
        routed_end: START,
        deliveries_end: START,
        seen_end: START,
        events_end: START,
        seen_forgotten: 0,
    };

    pub(super) fn stored(&self) -> Vec<u8> {
        frame::single(Kind::Totals, self.commits, &codec::plain(self))
    }
}

/// A value with something behind it that earlier versions did not write and do not read. What is as it
/// was for them is left out.
fn extended<T: Serialize, M: Serialize + Default + PartialEq>(value: &T, more: &M) -> Vec<u8> {
    let mut payload = codec::plain(value);
    if *more != M::default() {
        payload.extend(codec::plain(more));
    }
    payload
}

fn read_extended<T: DeserializeOwned, M: DeserializeOwned + Default>(
    stored: &[u8],
) -> Result<(T, M), Damaged> {
    let (_, payload) = frame::decode(stored)?;
    let (value, rest) = postcard::take_from_bytes(payload)
        .map_err(|_| Damaged("its content does not fit its kind"))?;
    let more = match rest {
        [] => M::default(),
        rest => codec::from_plain(rest)?,
    };
    Ok((value, more))
}

/// Reads a record that is not compressed.
pub(super) fn small<T: DeserializeOwned>(stored: &[u8]) -> Result<T, Damaged> {
    let (_, payload) = frame::decode(stored)?;
    codec::from_plain(payload)
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;

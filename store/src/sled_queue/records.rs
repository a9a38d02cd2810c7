//! The small records of the index, and what goes beside deliveries into their log.

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Burial, ChannelCounts, Counts, OtherCounts,
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

    /// As deliveries that wait. `passed` says that the copies for the channel's fallback are behind them,
    /// though their key may not.
    pub(super) fn stored(&self, seq: u64, passed: bool) -> Vec<u8> {
        frame::single(Kind::Waiting, seq, &extended(self, &passed))
    }

    /// Reads deliveries that wait, and whether they were passed.
    pub(super) fn read_waiting(stored: &[u8]) -> Result<(Self, bool), Damaged> {
        read_extended(stored)
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

/// Deliveries that a message told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ToldRow {
    pub(super) held: Held,
    pub(super) channel: String,
    pub(super) severity: Severity,
    pub(super) told_unix_ms: i64,
}

impl ToldRow {
    pub(super) fn stored(&self, message: u64) -> Vec<u8> {
        frame::single(Kind::Told, message, &codec::plain(self))
    }
}

/// Deliveries that can never be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DeadRow {
    pub(super) held: Held,
    pub(super) channel: String,
    pub(super) severity: Severity,
    pub(super) burial: Burial,
    /// The copies for the channel's fallback had passed it while it waited. Stands behind the rest.
    #[serde(skip)]
    pub(super) passed: bool,
}

impl DeadRow {
    pub(super) fn stored(&self, message: u64) -> Vec<u8> {
        frame::single(Kind::Dead, message, &extended(self, &self.passed))
    }

    pub(super) fn read(stored: &[u8]) -> Result<Self, Damaged> {
        let (row, passed) = read_extended(stored)?;
        Ok(Self { passed, ..row })
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
mod tests {
    use super::*;

    /// As it was before anything stood behind it, byte for byte.
    fn old(kind: Kind, payload: &[u8]) -> Vec<u8> {
        frame::single(kind, 9, payload)
    }

    fn held() -> Held {
        Held {
            place: Place {
                start: START,
                bytes: 200,
            },
            record_seq: 300,
            class: Class::Copies,
            plain_bytes: 5,
            first: 0,
            from: 1,
            to: 3,
        }
    }

    /// The bytes of [`held`].
    const HELD: &[u8] = &[1, 0, 200, 1, 172, 2, 1, 5, 0, 1, 3];

    #[test]
    fn a_seal_without_a_time_is_of_time_0_and_one_with_it_keeps_it() {
        // ID 9; one slice: critical, sequence 7, 0..2 of 4.
        let stored = old(Kind::Seal, &[9, 1, 0, 7, 0, 2, 4]);
        let mut seal = Seal::read(&stored).expect("an earlier version's");
        let (slice, at) = (&seal.slices[0], seal.sealed_unix_ms);
        assert_eq!(
            (seal.id, slice.seq, slice.to, slice.of, at),
            (9, 7, 2, 4, 0)
        );
        assert_eq!(seal.stored(), stored);
        for time in [1, 1_700_000_000_000, i64::MAX, i64::MIN] {
            seal.sealed_unix_ms = time;
            assert_eq!(Seal::read(&seal.stored()).expect("whole"), seal);
        }
        assert!(Seal::read(&old(Kind::Seal, &[9, 1, 0, 7])).is_err());
    }

    #[test]
    fn deliveries_that_wait_were_not_passed_unless_it_says_so() {
        let stored = old(Kind::Waiting, HELD);
        let found = Held::read_waiting(&stored).expect("an earlier version's");
        assert_eq!(found, (held(), false));
        assert_eq!(held().stored(9, false), stored);
        let passed = held().stored(9, true);
        assert_eq!(passed, old(Kind::Waiting, &[HELD, &[1]].concat()));
        assert_eq!(Held::read_waiting(&passed).expect("whole"), (held(), true));
        // What was moved is still said to be passed.
        let moved = Held {
            record_seq: 301,
            ..held()
        };
        let moved_row = moved.put_into(&passed).expect("whole");
        assert_eq!(
            Held::read_waiting(&moved_row).expect("whole"),
            (moved, true)
        );
        assert_eq!(Held::read(&passed).expect("whole"), held());
    }

    #[test]
    fn nothing_was_muted_for_a_channel_unless_it_says_so() {
        // Channel `ops`: 7 routed, 300 delivered, 1 waits, 2 dead, 3 and 4 dropped; five of notices; five of copies.
        let row = b"\x03ops\x07\xac\x02\x01\x02\x03\x04\x01\x02\x03\x04\x05\x01\x02\x03\x04\x05";
        let stored = old(Kind::Channel, row);
        let (name, mut row) = ChannelRow::read(&stored).expect("an earlier version's");
        let counts = (row.counts.delivered, row.copies.dropped, row.muted);
        assert_eq!((name.as_str(), counts), ("ops", (300, 5, 0)));
        assert_eq!(row.stored("ops", 9), stored);
        row.muted = 400;
        let stored = row.stored("ops", 9);
        assert_eq!(ChannelRow::read(&stored).expect("whole").1.muted, 400);
        // An earlier version reads no further than it knows.
        let (_, earlier): (String, ChannelRow) = small(&stored).expect("whole");
        assert_eq!(earlier.counts, row.counts);
    }

    #[test]
    fn a_dead_letter_was_not_passed_unless_it_says_so() {
        // Of channel `ops`, critical; reason `no`, twice, at 4 and 5.
        let row = [HELD, b"\x03ops\x00", b"\x02no\x02\x08\x0a"].concat();
        let stored = old(Kind::Dead, &row);
        let mut row = DeadRow::read(&stored).expect("an earlier version's");
        let burial = (row.burial.reason.as_str(), row.burial.attempts);
        assert_eq!((burial, row.burial.last_unix_ms), (("no", 2), 5));
        assert!(!row.passed);
        assert_eq!(row.stored(9), stored);
        row.passed = true;
        assert!(DeadRow::read(&row.stored(9)).expect("whole").passed);
    }
}

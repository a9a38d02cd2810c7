//! Records as earlier versions wrote them, and what stands behind them now: it harms no earlier version.

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
    assert_eq!(found, (held(), Waits::default()));
    assert_eq!(held().stored(9, Waits::default()), stored);
    let was_passed = Waits {
        passed: true,
        since_unix_ms: 0,
    };
    let passed = held().stored(9, was_passed);
    assert_eq!(passed, old(Kind::Waiting, &[HELD, &[1]].concat()));
    let found = Held::read_waiting(&passed).expect("whole");
    assert_eq!(found, (held(), was_passed));
    // What was moved is still said to be passed.
    let moved = Held {
        record_seq: 301,
        ..held()
    };
    let moved_row = moved.put_into(&passed).expect("whole");
    assert_eq!(
        Held::read_waiting(&moved_row).expect("whole"),
        (moved, was_passed)
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
fn a_message_says_where_it_is_unless_an_earlier_version_told_it() {
    // Of channel `ops`, warning, at 5.
    let row = [HELD, b"\x03ops\x01\x0a"].concat();
    let stored = old(Kind::Told, &row);
    let mut row = ToldRow::read(&stored).expect("an earlier version's");
    assert_eq!((row.channel.as_str(), row.told_unix_ms), ("ops", 5));
    assert_eq!(row.posted, None);
    assert_eq!(row.stored(9), stored);
    row.posted = Some(Posted {
        place: "COPS".into(),
        ts: "1700000000.000100".into(),
    });
    let stored = row.stored(9);
    assert_eq!(ToldRow::read(&stored).expect("whole").posted, row.posted);
    // An earlier version reads no further than it knows, and what moves the record keeps the rest.
    let earlier: ToldRow = small(&stored).expect("whole");
    assert_eq!((earlier.told_unix_ms, earlier.posted), (5, None));
    let moved = held().put_into(&stored).expect("whole");
    assert_eq!(ToldRow::read(&moved).expect("whole").posted, row.posted);
}

#[test]
fn a_dead_letter_was_not_passed_unless_it_says_so() {
    // Of channel `ops`, critical; reason `no`, twice, at 4 and 5.
    let row = [HELD, b"\x03ops\x00", b"\x02no\x02\x08\x0a"].concat();
    let stored = old(Kind::Dead, &row);
    let mut row = DeadRow::read(&stored).expect("an earlier version's");
    let burial = (row.burial.reason.as_str(), row.burial.attempts);
    assert_eq!((burial, row.burial.last_unix_ms), (("no", 2), 5));
    assert_eq!(row.waits, Waits::default());
    assert_eq!(row.stored(9), stored);
    row.waits.passed = true;
    assert!(DeadRow::read(&row.stored(9)).expect("whole").waits.passed);
}

#[test]
fn since_when_something_waits_is_kept_and_an_earlier_version_reads_past_it() {
    for since_unix_ms in [1, 1_700_000_000_000, i64::MAX, i64::MIN] {
        for passed in [false, true] {
            let waits = Waits {
                passed,
                since_unix_ms,
            };
            let stored = held().stored(9, waits);
            let found = Held::read_waiting(&stored).expect("whole");
            assert_eq!(found, (held(), waits));
            // Before there was a time, one bit stood there.
            let earlier: (Held, bool) = read_extended(&stored).expect("whole");
            assert_eq!(earlier, (held(), passed));
        }
    }
}

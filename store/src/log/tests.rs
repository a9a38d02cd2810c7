//! A log on real files: what is found again, what is cut off, what is damage.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use super::{scan::Scanned, *};

const TEST_SEGMENT_BYTES: u64 = 64 * 1024;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            dir: tempfile::tempdir().expect("a folder"),
        };
        fixture.files().create(1).expect("made");
        fixture
    }

    fn files(&self) -> LogFiles {
        LogFiles::new(self.dir.path(), "events")
    }

    fn log(&self, end: Position) -> Log {
        Log::open(self.files(), end, TEST_SEGMENT_BYTES).expect("opens")
    }

    fn scan(&self) -> (Vec<u64>, Result<Scanned, ScanError>) {
        let mut seqs = Vec::new();
        let scanned = scan(&self.files(), START, |header, _, _| seqs.push(header.seq));
        (seqs, scanned)
    }

    /// Three commits: records 1 and 2, then 3, then 4 and 5. Where each record begins.
    fn three_commits(&self) -> Vec<Place> {
        let mut log = self.log(START);
        let mut places = Vec::new();
        for commit in [&[1, 2][..], &[3], &[4, 5]] {
            for seq in commit {
                places.push(log.append(Kind::Block, *seq, 1, 9, &[&[*seq as u8; 500]]));
            }
            log.commit().expect("durable");
        }
        places
    }

    fn change(&self, offset: u64) {
        let path = self.files().path(1);
        let mut bytes = fs::read(&path).expect("readable");
        bytes[offset as usize] ^= 1;
        fs::write(&path, bytes).expect("written");
    }
}

const START: Position = Position {
    segment: 1,
    offset: 0,
};

#[test]
fn what_was_committed_is_found_and_read_again() {
    let fixture = Fixture::new();
    let places = fixture.three_commits();
    let (seqs, scanned) = fixture.scan();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    let end = places[4].end();
    assert_eq!(scanned.expect("sound"), Scanned { end, cut_bytes: 0 });
    let record = Reader::new(fixture.files()).read(places[2]).expect("whole");
    assert_eq!((record.header.seq, record.payload()), (3, &[3; 500][..]));
}

#[test]
fn the_end_of_a_commit_that_was_never_acknowledged_is_cut_off() {
    let fixture = Fixture::new();
    let places = fixture.three_commits();
    let file = OpenOptions::new()
        .write(true)
        .open(fixture.files().path(1))
        .expect("opens");
    // The last commit's first record is torn, its second one whole: pages reach the disk in any order.
    fixture.change(places[3].start.offset + 100);
    let (seqs, scanned) = fixture.scan();
    assert_eq!(seqs, [1, 2, 3]);
    let scanned = scanned.expect("a torn end is no damage");
    assert_eq!(scanned.end, places[3].start);
    assert_eq!(scanned.cut_bytes, u64::from(places[3].bytes) * 2);
    // Going on there leaves no rest behind it.
    let mut log = fixture.log(scanned.end);
    log.append(Kind::Block, 6, 1, 9, &[b"new"]);
    log.commit().expect("durable");
    assert_eq!(fixture.scan().0, [1, 2, 3, 6]);
    for cut in 1..600 {
        file.set_len(places[2].end().offset - cut).expect("cut");
        let (seqs, scanned) = fixture.scan();
        assert!(scanned.is_ok() && seqs.len() <= 2, "{cut}: {seqs:?}");
    }
}

#[test]
fn damage_before_a_later_commit_is_told() {
    let fixture = Fixture::new();
    let places = fixture.three_commits();
    for place in &places[..3] {
        let offset = place.start.offset + 60;
        fixture.change(offset);
        let error = fixture.scan().1.expect_err("it was acknowledged");
        assert!(error.to_string().contains("checksum"), "{error}");
        assert!(error.to_string().contains("events-"), "{error}");
        fixture.change(offset);
    }
    // Its length: what follows is not found by hopping.
    fixture.change(places[0].start.offset + 34);
    assert!(fixture.scan().1.is_err());
    fixture.change(places[0].start.offset + 34);
    assert!(fixture.scan().1.is_ok());
}

#[test]
fn a_file_that_is_shorter_than_what_was_acknowledged_does_not_open() {
    let fixture = Fixture::new();
    let end = fixture.three_commits()[4].end();
    let file = OpenOptions::new()
        .write(true)
        .open(fixture.files().path(1))
        .expect("opens");
    file.set_len(end.offset - 1).expect("cut");
    let error = Log::open(fixture.files(), end, TEST_SEGMENT_BYTES).expect_err("a byte is missing");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_full_segment_is_followed_by_another_and_removed_by_itself() {
    let fixture = Fixture::new();
    let mut log = fixture.log(START);
    let large = vec![7; 40 * 1024];
    let mut places = Vec::new();
    for seq in 1..=4 {
        places.push(log.append(Kind::Block, seq, 1, 9, &[&large]));
        log.commit().expect("durable");
        log.roll(|_| false).expect("rolls");
    }
    let segments: Vec<_> = places.iter().map(|place| place.start.segment).collect();
    assert_eq!(segments, [1, 1, 2, 2]);
    assert_eq!(fixture.files().segments().expect("listed"), [1, 2, 3]);
    let (seqs, scanned) = fixture.scan();
    assert_eq!(seqs, [1, 2, 3, 4]);
    let end = Position {
        segment: 3,
        offset: begin::BEGIN_BYTES,
    };
    assert_eq!(scanned.expect("sound").end, end);
    // Damage in a segment that is not the last is no torn end, whatever follows in it.
    let mut file = OpenOptions::new()
        .write(true)
        .open(fixture.files().path(1))
        .expect("opens");
    file.seek(SeekFrom::Start(places[1].start.offset + 50))
        .expect("sought");
    file.write_all(&[8]).expect("written");
    assert!(fixture.scan().1.is_err());
    log.remove(1).expect("removed");
    let from = Position {
        segment: 2,
        offset: 0,
    };
    let mut seqs = Vec::new();
    scan(&fixture.files(), from, |header, _, _| seqs.push(header.seq)).expect("sound");
    assert_eq!(seqs, [3, 4]);
}

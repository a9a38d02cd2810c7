//! What happens to files between two looks, or between a look and a read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use auditrelay_audit::{HashKey, redact::Redactor};

use super::{
    InUse,
    files::{Files, Id},
    find,
    first_line::FirstLine,
    looked::Looked,
};
use crate::prepare::{Advisor, Preparation};

const NOW: i64 = 2_000_000_000_000;

fn key() -> HashKey {
    HashKey::new([1; 32])
}

fn preparation(advisor: Advisor) -> Preparation {
    Preparation {
        redactor: Redactor::new(key()),
        hash_key: key(),
        quarantine_raw: None,
        events_per_list_max: 1,
        advisor,
    }
}

fn event(id: &str) -> String {
    format!("{{\"level\":\"Metadata\",\"stage\":\"Panic\",\"auditID\":\"{id}\"}}\n")
}

struct Case {
    _folder: tempfile::TempDir,
    path: PathBuf,
    files: Files,
}

fn case() -> Case {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    Case {
        files: Files::new(path.clone(), key(), InUse::default(), false),
        path,
        _folder: folder,
    }
}

impl Case {
    fn look(&mut self) -> Vec<Id> {
        self.files.look(&Vec::new, NOW);
        self.files.behind(NOW)
    }

    fn read(&mut self, id: Id) -> u64 {
        let turn = self
            .files
            .read(id, &preparation(Advisor::none()), "prod", 1 << 20, NOW);
        turn.lines
    }
}

#[test]
fn what_was_cut_and_written_anew_since_the_look_is_not_read_from_its_middle() {
    let mut case = case();
    fs::write(&case.path, event("a")).expect("written");
    let [id] = case.look()[..] else {
        panic!("one file");
    };
    assert_eq!(case.read(id), 1);
    fs::write(&case.path, [event("a"), event("b")].concat()).expect("grown");
    assert_eq!(case.look(), [id]);
    // While there is no space: cut, and longer than before.
    let anew: String = ["c", "d", "e", "f"].map(event).concat();
    fs::write(&case.path, &anew).expect("written");
    assert_eq!(case.read(id), 0, "its second half is not all of it");
    assert_eq!(case.look(), [id]);
    assert_eq!(case.read(id), 4);
}

#[test]
fn a_file_that_took_the_place_of_the_listed_one_is_not_taken_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    fs::write(&path, event("a")).expect("written");
    let listing = find::all(&path);
    let found = &listing.files[0];
    let looked = Looked::at(found).expect("it is there");
    assert_eq!(looked.head, FirstLine::of(event("a").as_bytes()));
    fs::rename(&path, folder.path().join("audit.log.1")).expect("rotated");
    fs::write(&path, event("b")).expect("written");
    let error = Looked::at(found).err().expect("another file");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

fn files(path: &Path, nothing_is_old: bool) -> Files {
    Files::new(path.to_owned(), key(), InUse::default(), nothing_is_old)
}

#[test]
fn what_was_rotated_before_is_noted_anew_before_it_could_be_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let rotated = |name: &str| folder.path().join(format!("audit-{name}.log"));
    fs::write(rotated("2026-11-26T04-33-23.001"), event("old")).expect("written");
    fs::write(&path, event("a")).expect("written");
    let mut first = files(&path, false);
    let noted = first.look(&Vec::new, NOW);
    assert_eq!((noted.len(), first.behind(NOW).len()), (1, 1));
    // The file that was opened is remembered later than the note was: so the note comes again, once.
    assert_eq!(first.look(&|| noted.clone(), NOW), noted);
    assert_eq!(first.look(&|| noted.clone(), NOW), []);
    assert_eq!(first.look(&|| noted.clone(), NOW + 3_600_001), noted);
    // Another run: rotated while nobody looked. What the note says holds, and is noted anew.
    fs::rename(&path, rotated("2026-11-26T04-33-23.002")).expect("rotated");
    fs::write(&path, event("b")).expect("written");
    let mut second = files(&path, false);
    assert_eq!(second.look(&|| noted.clone(), NOW), noted);
    assert_eq!(second.behind(NOW).len(), 2);
    // The store was lost: what of them was read is not known, so all are.
    let mut after_loss = files(&path, true);
    let anew = after_loss.look(&Vec::new, NOW);
    assert_eq!(after_loss.behind(NOW).len(), 3);
    let mut next = files(&path, false);
    next.look(&|| anew.clone(), NOW);
    assert_eq!(next.behind(NOW).len(), 3, "and it stays so");
}

#[test]
fn a_line_on_which_the_relay_fails_is_quarantined_and_the_next_is_read() {
    let mut case = case();
    fs::write(&case.path, ["a", "bad", "c"].map(event).concat()).expect("written");
    let [id] = case.look()[..] else {
        panic!("one file");
    };
    let advisor = Advisor::new(1, |event| {
        assert!(
            event.envelope.audit_id.as_str() != "bad",
            "as a mistake of ours would"
        );
        None
    });
    let turn = case
        .files
        .read(id, &preparation(advisor), "prod", 1 << 20, NOW);
    assert_eq!((turn.stored.events, turn.stored.unreadable), (2, 1));
    assert_eq!(case.look(), []);
}

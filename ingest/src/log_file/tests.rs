//! What happens to files between two looks, or between a look and a read.

use std::{
    collections::VecDeque,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use auditrelay_audit::{HashKey, redact::Redactor};
use auditrelay_store::{
    Admitted, EncodedBatch, Engine, Full, InputPosition, Intake, Queue, QueueError, SledOptions,
};
use prometheus::Registry;
use tokio::sync::watch;

use super::{
    Follow, InUse, LogFileMetrics, POLL_INTERVAL,
    files::{Files, Id},
    find,
    first_line::FirstLine,
    looked::Looked,
};
use crate::{
    Metrics,
    prepare::{Advisor, Preparation},
};

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

/// A queue that refuses what it is asked for as often as it is told to, and remembers each batch that it was given.
#[derive(Clone)]
struct Refusing {
    engine: Engine,
    /// What it says to the next batches, and to whoever asks for anything else.
    to_batches: Refusals,
    to_others: Refusals,
    given: Arc<Mutex<Vec<String>>>,
}

type Refusals = Arc<Mutex<VecDeque<QueueError>>>;

fn refuse(refusals: &Refusals) -> Result<(), QueueError> {
    let next = refusals.lock().expect("whole").pop_front();
    next.map_or(Ok(()), Err)
}

/// Full, out of reach, and full again.
fn refuse_thrice(refusals: &Refusals) {
    let full = || QueueError::Full(Full("no room".into()));
    let away = QueueError::Unavailable("no server answers".into());
    let mut refusals = refusals.lock().expect("whole");
    refusals.extend([full(), away, full()]);
}

impl Refusing {
    async fn has_been_given(&self, batches: usize) {
        while self.given.lock().expect("whole").len() < batches {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Intake for Refusing {
    async fn append(&self, batch: EncodedBatch) -> Result<(), QueueError> {
        let given = format!("{batch:?}");
        self.given.lock().expect("whole").push(given);
        refuse(&self.to_batches)?;
        Queue::append(&self.engine, batch).await
    }

    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full> {
        Queue::admit(&self.engine, body_bytes)
    }

    async fn learn_inputs(&self) -> Result<(), QueueError> {
        refuse(&self.to_others)
    }

    fn inputs(&self) -> Vec<InputPosition> {
        Queue::inputs(&self.engine)
    }

    async fn note_inputs(&self, positions: Vec<InputPosition>) -> Result<(), QueueError> {
        refuse(&self.to_others)?;
        Queue::note_inputs(&self.engine, positions).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_or_away_makes_reading_rest_and_each_line_is_taken_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let opened = Engine::open(&SledOptions::new(&folder.path().join("data"), 0)).expect("opens");
    let queue = Refusing {
        engine: opened.queue,
        to_batches: Arc::default(),
        to_others: Arc::default(),
        given: Arc::default(),
    };
    // What was read before is asked for first, and that the path is followed is noted.
    refuse_thrice(&queue.to_others);
    refuse_thrice(&queue.to_others);
    fs::write(&path, ["a", "b"].map(event).concat()).expect("written");
    let registry = Registry::new();
    let follow = Follow {
        queue: queue.clone(),
        preparation: preparation(Advisor::none()).into(),
        hash_key: key(),
        path: path.clone(),
        cluster: "prod".to_owned(),
        metrics: LogFileMetrics::new(&registry).expect("registered"),
        in_use: InUse::default(),
        nothing_is_old: false,
        ingest_metrics: Metrics::new(&registry).expect("registered"),
    };
    let (stop, stopping) = watch::channel(false);
    let following = tokio::spawn(follow.run(stopping));
    queue.has_been_given(1).await;
    for more in ["c", "d", "e"] {
        queue.given.lock().expect("whole").clear();
        refuse_thrice(&queue.to_batches);
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("it");
        file.write_all(event(more).as_bytes()).expect("written");
        queue.has_been_given(4).await;
        let tries = queue.given.lock().expect("whole").clone();
        assert!(tries.iter().all(|one| *one == tries[0]), "the same blocks");
    }
    assert!(queue.to_others.lock().expect("whole").is_empty());
    stop.send(true).expect("it follows");
    following.await.expect("no panic").expect("no failure");
    let blocks = Queue::unrouted(&queue.engine, 100).await.expect("blocks");
    let ids = blocks.iter().flat_map(|block| {
        let texts = block.texts().expect("whole");
        (0..block.items.len()).map(move |item| {
            let read: serde_json::Value = serde_json::from_str(texts.get(item)).expect("JSON");
            read["auditID"].as_str().expect("an ID").to_owned()
        })
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
}

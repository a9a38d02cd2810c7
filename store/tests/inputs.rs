//! How far an input was read, on the files: a torn commit, a kill at any moment, moving and salvaging.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Cursor, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{BatchEncoder, Content, EncodedBatch, Engine, Hint, InputPosition, Queue};
use support::{all_to, balanced, open, options, quick_dir};

/// Where the child of the test below has its queue.
const CHILD_DIR: &str = "AUDITRELAY_TEST_INPUT_DIR";

/// One event, with which input `a` is read up to its number.
fn one(number: u64) -> EncodedBatch {
    let mut batch = BatchEncoder::of_one_block("prod", 7, 0, 0);
    let key = EventKey {
        identity: number,
        fingerprint: u128::from(number).to_be_bytes(),
    };
    let content = Content::Event {
        json: number.to_string().into(),
        body_unreadable: false,
    };
    batch.push(&key, &content, Hint::default());
    let position = InputPosition::new("a".to_owned(), number.to_string());
    batch.finish_at(position.expect("short"))
}

fn several(numbers: std::ops::RangeInclusive<u64>) -> EncodedBatch {
    numbers
        .map(one)
        .reduce(|mut all, next| {
            all.join(next);
            all
        })
        .expect("some")
}

fn reached(queue: &Engine) -> u64 {
    let inputs = queue.inputs();
    let state = inputs.first().map(|one| one.state.clone());
    state.map_or(0, |state| state.parse().expect("a number"))
}

#[tokio::test]
async fn what_is_left_of_a_torn_commit_and_how_far_was_read_agree() {
    let dir = quick_dir();
    let queue = open(dir.path());
    queue.append(one(1)).await.expect("durable");
    let log = events_log(dir.path());
    let whole = fs::metadata(&log).expect("there").len();
    queue.append(several(2..=4)).await.expect("durable");
    // As a killed process leaves it: nothing says where the log ends.
    std::mem::forget(queue);
    let bytes = fs::read(&log).expect("readable");
    let mut seen = std::collections::BTreeSet::new();
    for cut in whole..bytes.len() as u64 {
        let torn = quick_dir();
        copy(&dir.path().join("queue"), &torn.path().join("queue"));
        let _ = fs::remove_file(torn.path().join("queue/CLOSED"));
        let log = events_log(torn.path());
        fs::write(&log, &bytes[..cut as usize]).expect("written");
        let queue = open(torn.path());
        assert_eq!(reached(&queue), queue.ledger().received, "cut at {cut}");
        seen.insert(reached(&queue));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

/// The only file of the log of appended events.
fn events_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("queue")).expect("a store");
    let mut paths = files.map(|file| file.expect("an entry").path());
    let is_log = |path: &PathBuf| path.to_string_lossy().contains("/events-");
    paths.find(is_log).expect("there")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Reads its input, a few events at a time, and routes them, until it is killed.
#[tokio::test]
#[ignore = "the child of killed_at_any_moment_an_input_is_read_once"]
async fn reads_until_it_is_killed() {
    let dir = PathBuf::from(std::env::var_os(CHILD_DIR).expect("a parent"));
    let queue = open(&dir);
    loop {
        let next = reached(&queue) + 1;
        queue
            .append(several(next..=next + 2))
            .await
            .expect("durable");
        if next.is_multiple_of(2) {
            let blocks = queue.unrouted(5).await.expect("blocks");
            let routed = all_to("ops", Severity::Info, &blocks);
            queue.route(routed).await.expect("routed");
        }
        println!("read {next}");
    }
}

#[tokio::test]
async fn killed_at_any_moment_an_input_is_read_once() {
    let dir = tempfile::tempdir().expect("a folder");
    for round in 0..10u64 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "reads_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let works = said.any(|line| line.is_ok_and(|line| line.contains("read ")));
        assert!(works, "the child reads");
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let queue = open(dir.path());
        assert_eq!(reached(&queue), queue.ledger().received);
        balanced(&queue).await;
    }
}

#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn exported(queue: &Engine) -> String {
    let out = Out::default();
    let moved = queue.export(out.clone(), |_, _| {}).await;
    moved.expect("exported");
    let bytes = out.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn a_queue_that_moves_takes_along_how_far_its_inputs_were_read() {
    let (from, to) = (quick_dir(), quick_dir());
    let queue = open(from.path());
    assert!(
        exported(&queue)
            .await
            .starts_with("{\"kind\":\"header\",\"version\":1,")
    );
    queue.append(several(1..=3)).await.expect("durable");
    let note = InputPosition::new("b".to_owned(), "noted".to_owned());
    let note = note.expect("short");
    queue.note_inputs(vec![note]).await.expect("noted");
    let lines = exported(&queue).await;
    assert!(
        lines.starts_with("{\"kind\":\"header\",\"version\":2,"),
        "{lines}"
    );
    let moved = open(to.path());
    let import = moved.import(Cursor::new(lines), |_| {}).await;
    import.expect("imported");
    drop(moved);
    let moved = open(to.path());
    assert_eq!(moved.inputs(), queue.inputs());
    assert_eq!(moved.ledger(), queue.ledger());
}

#[tokio::test]
async fn what_is_salvaged_does_not_set_a_reader_back() {
    let dir = quick_dir();
    let queue = open(dir.path());
    queue.append(several(1..=3)).await.expect("durable");
    drop(queue);
    fs::write(dir.path().join("queue.damaged"), "for this test").expect("written");
    let opened = Engine::open(&options(dir.path())).expect("opens");
    let (queue, aside) = (opened.queue, opened.moved_aside.expect("moved"));
    // The reader began anew: nobody knows any more what became of what it had read.
    assert_eq!(queue.inputs(), []);
    queue.append(several(1..=2)).await.expect("durable");
    let salvaged = queue.salvage(&aside.path, |_, _| {}).await;
    assert_eq!(salvaged.expect("salvaged").unrouted_events, 3);
    assert_eq!(reached(&queue), 2);
    drop(queue);
    let queue = open(dir.path());
    assert_eq!((reached(&queue), queue.ledger().received), (2, 5));
    balanced(&queue).await;
}

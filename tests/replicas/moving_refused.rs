//! What is not moved, and why: a queue that is led, one that was used, half an import, an export that is not all.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::Duration,
};

use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use crate::{
    Bench, leads,
    moving::{CONFIG, archive, command, start, stderr, stop},
    support::{PATIENCE, Running, ids, list, run},
    until_leads, until_told,
};

/// Waits for a line of a relay's log.
async fn until_logged(relay: &mut Running, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !relay.logs().contains(what) {
        assert!(Instant::now() < deadline, "{what}: {}", relay.logs());
        sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_led_or_was_used() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let folder = bench.place_on_streams("one", "moved");
    let refused = |args: &[&str], parts: &[&str]| {
        let (code, _, why) = run(&folder, &[], &[args, CONFIG.as_slice()].concat());
        assert!(code != 0, "{args:?}");
        for part in parts {
            assert!(why.contains(part), "{args:?} without {part}: {why}");
        }
    };
    let mut one = start(&folder);
    until_leads(&one, PATIENCE).await;
    crate::post(&one, &ids("a", 3).collect::<Vec<_>>()).await;
    one.drained().await;
    refused(
        &["export", "q.jsonl"],
        &["one leads the queue moved", "stop all relays of it first"],
    );
    assert!(!folder.join("q.jsonl").exists());
    stop(&mut one).await;
    let exported = run(
        &folder,
        &[],
        &[&["export", "q.jsonl"], CONFIG.as_slice()].concat(),
    );
    assert_eq!(exported.0, 0, "{exported:?}");
    refused(&["import", "q.jsonl"], &["not empty", "never used"]);
    let (code, _, why) = run(&folder, &[], &["export", "r.jsonl", "--data-dir", "data"]);
    assert!(code == 70 && why.contains("is on NATS JetStream"), "{why}");
    // It is as it was: the copy in a file is no end.
    let one = start(&folder);
    until_leads(&one, PATIENCE).await;
    crate::post(&one, &ids("a", 3).collect::<Vec<_>>()).await;
    let deadline = Instant::now() + PATIENCE;
    while one.ledger().await["duplicates"] != 3 {
        assert!(Instant::now() < deadline, "{}", one.ledger().await);
        sleep(Duration::from_millis(30)).await;
    }
    // A key that is not there is not made.
    let other = bench.place_on_streams("other", "other");
    fs::remove_file(other.join("data/dedup.key")).expect("removed");
    let import = ["import", "../one/q.jsonl"];
    let (code, _, why) = run(&other, &[], &[&import, CONFIG.as_slice()].concat());
    assert!(
        code == 78 && why.contains("key of the old relay"),
        "{code}: {why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_import_is_led_by_nobody_and_begun_anew() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let (disk, folder) = (
        bench.place("disk", ""),
        bench.place_on_streams("one", "moved"),
    );
    // What waits for a channel that nobody can post to yet.
    archive(&bench.slack);
    let mut old = start(&disk);
    let held: Vec<String> = ids("held", 6).collect();
    for id in &held {
        crate::post(&old, std::slice::from_ref(id)).await;
        sleep(Duration::from_millis(20)).await;
    }
    while old.ledger().await["channels"]["ops"]["waiting"] != 6 {
        sleep(Duration::from_millis(20)).await;
    }
    stop(&mut old).await;
    let (code, _, why) = run(
        &disk,
        &[],
        &[&["export", "q.jsonl"], CONFIG.as_slice()].concat(),
    );
    assert_eq!(code, 0, "{why}");
    bench.slack.reset();
    let whole = fs::read_to_string(disk.join("q.jsonl")).expect("text");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    // Cut short: killed while it waits for more.
    let mut import = command(&folder, &[&["import", "-"], CONFIG.as_slice()].concat());
    let import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut import = import.expect("it starts");
    let mut said = BufReader::new(import.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("text");
    assert!(line.contains("waiting for an export"), "{line}");
    let mut input = import.stdin.take().expect("piped");
    let half = lines[..lines.len() - 3].concat();
    input.write_all(half.as_bytes()).expect("taken");
    input.flush().expect("taken");
    sleep(Duration::from_millis(300)).await;
    import.kill().expect("it runs");
    import.wait().expect("it ends");
    let mut one = start(&folder);
    until_logged(&mut one, "an import into it is not complete").await;
    assert!(!leads(&one).await);
    let (status, _) = one
        .post("/webhook", list("alice", "get", ids("new", 3)))
        .await;
    assert_eq!(status, StatusCode::OK);
    // An export that ends early is no better.
    fs::write(folder.join("half.jsonl"), half).expect("written");
    let import = ["import", "half.jsonl"];
    let (code, _, why) = run(&folder, &[], &[&import, CONFIG.as_slice()].concat());
    assert!(code == 70 && why.contains("ends early"), "{why}");
    assert!(why.contains("begins anew"), "{why}");
    assert!(!leads(&one).await && bench.slack.posts().is_empty());
    let import = ["import", "../disk/q.jsonl"];
    let (code, said, why) = run(&folder, &[], &[&import, CONFIG.as_slice()].concat());
    assert_eq!(code, 0, "{why}");
    assert!(said.contains("6 events waiting"), "{said}");
    until_leads(&one, PATIENCE).await;
    let all: Vec<String> = held.into_iter().chain(ids("new", 3)).collect();
    until_told(&bench.slack, &all).await;
    let ledger = one.drained().await;
    assert_eq!(ledger["received"], 9, "{ledger}");
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let (plain, marked) = crate::support::told(&bench.slack);
    let times: u32 = plain.values().chain(marked.values()).sum();
    assert_eq!(times, 9, "{plain:?} {marked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_while_a_relay_takes_batches_has_no_end() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let (first, second) = (
        bench.place_on_streams("one", "moved"),
        bench.place_on_streams("two", "moved"),
    );
    archive(&bench.slack);
    let mut one = start(&first);
    until_leads(&one, PATIENCE).await;
    // More than a pipe holds.
    for batch in 0..10 {
        let many: Vec<String> = ids(&format!("b{batch}"), 40).collect();
        crate::post(&one, &many).await;
    }
    while one.ledger().await["channels"]["ops"]["waiting"] != 400 {
        sleep(Duration::from_millis(20)).await;
    }
    stop(&mut one).await;
    let mut export = command(&first, &[&["export", "-"], CONFIG.as_slice()].concat());
    let mut export = export.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(export.stdout.take().expect("piped"));
    let mut header = String::new();
    lines.read_line(&mut header).expect("text");
    assert!(header.contains("\"header\""), "{header}");
    let two = start(&second);
    crate::post(&two, &ids("late", 2).collect::<Vec<_>>()).await;
    let rest: Vec<String> = lines.lines().map_while(Result::ok).collect();
    let output = export.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(70));
    let why = stderr(&output);
    assert!(why.contains("took a batch meanwhile"), "{why}");
    let last = rest.last().expect("lines");
    assert!(last.contains("\"ledger\""), "{last}");
}

//! Commands and pages of a replica that does not lead are those of the one that does.

use std::{fs, time::Duration};

use hyper::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Bench, command, leads, nobody_who_leads, post, status,
    support::{PATIENCE, Running, ids, metric, run},
    until_leads, until_told,
};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_asked_the_one_that_leads_answers() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let two = bench.replica("two");
    let told: Vec<_> = ids("a", 12).collect();
    post(&two, &told).await;
    until_told(&bench.slack, &told).await;
    one.drained().await;
    let (first, second) = (bench.folder("one"), bench.folder("two"));
    for args in [
        ["ledger", "--json"].as_slice(),
        &["dead", "list", "--json"],
        &["quarantine", "list", "--json"],
        &["mute", "list", "--json"],
    ] {
        let (theirs, ours) = (command(&first, args), command(&second, args));
        assert_eq!(theirs.0, 0, "{args:?}: {theirs:?}");
        assert_eq!(theirs, ours, "{args:?}");
    }
    // What changes something, changes it there.
    let mute = [
        "mute", "add", "--user", "alice", "--for", "1h", "--author", "me", "--reason", "quiet",
    ];
    let (code, _, why) = run(
        &second,
        &[],
        &[&mute, ["--config", "c.yaml"].as_slice()].concat(),
    );
    assert_eq!(code, 0, "{why}");
    let (_, mutes, _) = command(&first, &["mute", "list", "--json"]);
    assert!(mutes.contains("quiet"), "{mutes}");
    let trace = ["trace", "a-3", "--json", "--config", "c.yaml"];
    let (code, traced, why) = run(&second, &[], &trace);
    assert_eq!(code, 0, "{why}");
    assert!(
        traced.contains("\"auditID\":\"a-3\"") || traced.contains("a-3"),
        "{traced}"
    );

    of_the_leader_but_for_its_own(&one, &two).await;
    // Of the inbox, which is one for both, either knows.
    until_inbox_is_known(&two).await;
    let (_, shown, why) = run(&second, &[], &["status", "--config", "c.yaml"]);
    assert!(shown.contains("\ninbox "), "{shown}{why}");
    assert!(shown.contains(" on two (one leads): "), "{shown}{why}");
    // What is of a process is asked of that one.
    let debug = ["log-filter", "debug", "--data-dir", "data"];
    assert_eq!(run(&second, &[], &debug).0, 0);
    let filter = |folder| run(folder, &[], &["log-filter", "--data-dir", "data"]).1;
    assert!(filter(&second).contains("debug"), "{}", filter(&second));
    assert!(!filter(&first).contains("debug"), "{}", filter(&first));
    // An import says where it has to be run.
    fs::write(second.join("a.log"), "{}\n").expect("written");
    let (code, _, why) = run(&second, &[], &["import", "a.log", "--config", "c.yaml"]);
    assert!(code != 0 && why.contains("beside one"), "{code}: {why}");
}

/// What a replica that does not lead says of itself and of the queue.
async fn of_the_leader_but_for_its_own(one: &Running, two: &Running) {
    let (ours, theirs) = (status(two).await, status(one).await);
    for key in ["received", "delivered", "muted", "balanced"] {
        assert_eq!(ours["ledger"][key], theirs["ledger"][key], "{key}");
    }
    assert_eq!(
        (&ours["leads"], &theirs["leads"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        (&ours["leader"], &theirs["leader"]),
        (&"one".into(), &"one".into())
    );
    let metrics = two.get("/metrics").await.1;
    assert!(metric(&metrics, "auditrelay_leader{queue=\"auditrelay\"}") < 0.5);
    assert!(metric(&metrics, "auditrelay_queue_reachable") > 0.5);
    for absent in [
        "auditrelay_ledger_",
        "auditrelay_backlog_",
        "auditrelay_queue_bytes",
    ] {
        assert!(!metrics.contains(absent), "{absent} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_leads_status_tells_it_and_commands_say_so() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let (_servers, held) = nobody_who_leads(&bench.options()).await;
    let two = bench.replica("two");
    let folder = bench.folder("two");
    let asked = |args: &'static [&'static str]| {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || command(&folder, args))
    };
    let (status, ledger, mutes) = tokio::join!(
        asked(&["status", "--json"]),
        asked(&["ledger"]),
        asked(&["mute", "list"])
    );
    let nobody = "no relay leads now";
    let (code, told, why) = status.expect("no panic");
    assert_eq!(code, 1, "{told}{why}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert!(told["no_leader"].to_string().contains(nobody), "{told}");
    assert_eq!(told["replica"], "two", "{told}");
    for refused in [ledger, mutes] {
        let (code, _, why) = refused.expect("no panic");
        assert!(code != 0 && why.contains(nobody), "{code}: {why}");
    }
    held.resign().await;
    until_leads(&two, PATIENCE).await;
    let (_, told, why) = command(&folder, &["status", "--json"]);
    let told: Value = serde_json::from_str(&told).expect(&why);
    assert_eq!(told["no_leader"], Value::Null, "{told}");
    assert_eq!(command(&folder, &["ledger"]).0, 0);
    two.kill();
    let (code, _, why) = command(&folder, &["ledger"]);
    assert!(
        code != 0 && why.contains("no relay runs on data"),
        "{code}: {why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_is_asked_nothing_once_another_one_leads() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let (two, three) = (bench.replica("two"), bench.replica("three"));
    // Its connection stays.
    one.signal("-STOP");
    let deadline = Instant::now() + PATIENCE;
    let (other, asked, leader) = loop {
        match (leads(&two).await, leads(&three).await) {
            (true, _) => break ("three", &three, "two"),
            (_, true) => break ("two", &two, "three"),
            _ => assert!(Instant::now() < deadline, "nobody leads"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    // It may hear of it a moment later.
    while status(asked).await["leader"] != leader {
        assert!(Instant::now() < deadline, "{other} does not see {leader}");
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..8 {
        let (code, _, why) = command(&bench.folder(other), &["mute", "list"]);
        assert_eq!(code, 0, "{why}");
    }
    one.kill();
}

const SERVE: [&str; 7] = [
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
    "--config",
    "c.yaml",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_dedup_key_does_not_start() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    let folder = bench.folder("other");
    fs::create_dir_all(folder.join("data")).expect("made");
    fs::write(folder.join("data/dedup.key"), [8; 32]).expect("written");
    bench.write_config("other");
    let (code, _, why) = run(&folder, &[], &SERVE);
    assert!(code == 78 && why.contains("dedup key"), "{code}: {why}");
    assert_eq!(one.get("/readyz").await.0, StatusCode::OK);
}

/// Before it asks NATS for anything, which nobody answers here.
#[test]
fn a_replica_without_a_dedup_key_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "queue: {jetstream: {servers: ['nats://127.0.0.1:1'], accept_replicated_without_fsync: true}}\n\
                  channels: {a: {preview: true}}\ndefault_channel: a\n";
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let (code, _, why) = run(folder.path(), &[], &SERVE);
    assert!(code == 78 && why.contains("head -c 32"), "{code}: {why}");
}

/// Waits until a relay says what its inbox takes, as a metric and in its status.
async fn until_inbox_is_known(relay: &crate::support::Running) {
    let max = "auditrelay_inbox_bytes_max{queue=\"auditrelay\"}";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (metrics, said) = (relay.get("/metrics").await.1, status(relay).await);
        if metrics.contains(max) && said["inbox"]["bytes_max"].is_u64() {
            assert!(metric(&metrics, max) > 1.0);
            let oldest = "auditrelay_inbox_oldest_age_seconds{queue=\"auditrelay\"}";
            assert!(metric(&metrics, oldest) < 60.0);
            return;
        }
        assert!(Instant::now() < deadline, "{said}\n{metrics}");
        sleep(Duration::from_millis(50)).await;
    }
}

//! Starting, stopping, being killed: what the process promises about itself.

mod support;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Method, StatusCode, body::Bytes};
use support::{PATIENCE, Running, list, request, run, slack, told};
use tokio::time::Instant;

fn rounds() -> usize {
    std::env::var("AUDITRELAY_KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

/// One round: four clients post until the relay is killed under them.
async fn post_until_killed(folder: &Path, round: usize, acknowledged: &Arc<Mutex<Vec<String>>>) {
    let relay = Running::start(folder, &[], &["--config", "c.yaml"]);
    let posters = (0..4).map(|poster| {
        let (webhook, acknowledged) = (relay.webhook, Arc::clone(acknowledged));
        tokio::spawn(async move {
            for n in 0.. {
                let ids: Vec<String> = (0..5)
                    .map(|event| format!("r{round}-p{poster}-n{n}-e{event}"))
                    .collect();
                let body = Bytes::from(list("alice", "get", ids.clone()));
                match request(webhook, Method::POST, "/webhook", body).await {
                    Some((StatusCode::OK, _)) => acknowledged.lock().expect("no panic").extend(ids),
                    Some((status, _)) => panic!("{status}"),
                    None => return,
                }
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        })
    });
    let posters: Vec<_> = posters.collect();
    tokio::time::sleep(Duration::from_millis(250 + 70 * (round as u64 % 5))).await;
    relay.kill();
    for poster in posters {
        poster.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_batches_come_in_it_loses_none_and_counts_none_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::ZERO).await;
    // Few events a message, so that each is told by its audit ID.
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 600}}
channels: {{ops: {{slack_channel: COPS, message_interval_milliseconds: 100, message_events_max: 20, sentences_max: 20}}}}
",
        slack.api_url()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let acknowledged = Arc::new(Mutex::new(Vec::<String>::new()));
    for round in 0..rounds() {
        post_until_killed(folder.path(), round, &acknowledged).await;
        let (code, text, errors) = run(folder.path(), &[], &["ledger", "--config", "c.yaml"]);
        assert_eq!(code, 0, "round {round}: {text}{errors}");
    }
    let acknowledged = acknowledged.lock().expect("no panic").clone();
    assert!(
        acknowledged.len() > 20 * rounds(),
        "only {} events",
        acknowledged.len()
    );
    let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let ledger = relay.drained_within(PATIENCE * rounds() as u32).await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let (plain, marked) = told(&slack);
    for id in &acknowledged {
        assert!(
            plain.contains_key(id) || marked.contains_key(id),
            "{id} was acknowledged and is lost"
        );
    }
    for (id, times) in &plain {
        assert_eq!(
            *times, 1,
            "{id} was told twice in messages that are not marked as repeated"
        );
    }
    let unique = plain
        .keys()
        .chain(marked.keys())
        .collect::<std::collections::BTreeSet<_>>()
        .len() as u64;
    assert_eq!(ledger["channels"]["ops"]["delivered"], unique, "{ledger}");
    // What was acknowledged before any of the kills is still known.
    let again = list("alice", "get", acknowledged.iter().take(5).cloned());
    relay.post("/webhook", again).await;
    assert_eq!(
        relay.drained().await["duplicates"].as_u64(),
        ledger["duplicates"].as_u64().map(|n| n + 5)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_in_order_within_ten_seconds() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut relay = Running::start(folder.path(), &[], &[]);
        relay
            .post("/webhook", list("alice", "get", ["a".to_owned()]))
            .await;
        let asked = Instant::now();
        relay.signal(signal);
        let status = relay.wait().await;
        assert_eq!(status.code(), Some(0), "{}", relay.logs());
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert!(!folder.path().join("auditrelay-data/admin.address").exists());
        let (code, text, _) = run(folder.path(), &[], &["ledger"]);
        assert!(code == 0 && text.contains("balanced"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_under_way_is_finished_and_a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::ZERO).await;
    let api_url = slack.api_url();
    let env = [
        ("SLACK_TOKEN", "xoxb-test"),
        ("CHANNEL_ID", "C1"),
        ("SLACK_API_URL", api_url.as_str()),
    ];
    let slow = |ms| {
        let effect = auditrelay_loadtest::slack::Effect::delay(Duration::from_millis(ms));
        slack.inject(auditrelay_loadtest::slack::Fault::new(effect));
    };
    slow(1_500);
    let mut relay = Running::start(folder.path(), &env, &[]);
    relay
        .post("/webhook", list("alice", "get", ["a".to_owned()]))
        .await;
    while slack.posts().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0));
    let (_, text, _) = run(folder.path(), &[], &["ledger", "--json"]);
    let ledger: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(ledger["channels"]["default"]["delivered"], 1, "{ledger}");

    // A message that takes longer than all of the shutdown: whoever is not ended by the second signal ends otherwise.
    slow(60_000);
    let long = ("AUDITRELAY__SLACK__TIMEOUT_SECONDS", "60");
    let env = [env.as_slice(), &[long]].concat();
    let mut relay = Running::start(folder.path(), &env, &[]);
    relay
        .post("/webhook", list("alice", "get", ["b".to_owned()]))
        .await;
    while slack.posts().len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    relay.signal("-TERM");
    while !relay.logs().contains("a second signal ends at once") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = Instant::now();
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(130));
    // The first one alone gives it 8 s.
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn mistakes_in_the_configuration_end_with_78_and_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    file("typo.yaml", "slack:\n  tokn: xoxb-test\n");
    file("bounds.yaml", "ingest:\n  connections_max: 0\n");
    file("good.yaml", "channels: {ops: {preview: true}}\n");
    for (args, parts) in [
        (
            &["check", "--config", "typo.yaml"][..],
            &["typo.yaml", "slack.tokn", "token"][..],
        ),
        (
            &["check", "--config", "bounds.yaml"],
            &["bounds.yaml", "ingest.connections_max", "1"],
        ),
        (&["check", "--config", "missing.yaml"], &["missing.yaml"]),
        (&["serve", "--config", "typo.yaml"], &["slack.tokn"]),
        (&["serve", "--listen", "0.0.0.0:0"], &["allow"]),
        (&["--config", "missing.yaml"], &["missing.yaml"]),
    ] {
        let (code, stdout, stderr) = run(folder.path(), &[], args);
        assert_eq!((code, stdout.as_str()), (78, ""), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{args:?}: no {part} in {stderr}");
        }
    }
    let (code, stdout, _) = run(folder.path(), &[], &["check", "--config", "good.yaml"]);
    assert!(
        code == 0 && stdout.contains("the configuration is valid"),
        "{stdout}"
    );
    assert!(
        !folder.path().join("auditrelay-data").exists(),
        "check opened a queue"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_relay_owns_a_data_directory_and_the_ledger_asks_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Running::start(folder.path(), &[], &[]);
    relay
        .post(
            "/webhook",
            list("alice", "get", ["a".to_owned(), "b".to_owned()]),
        )
        .await;
    relay.drained().await;
    let (code, text, _) = run(
        folder.path(),
        &[],
        &["ledger", "--data-dir", "auditrelay-data", "--json"],
    );
    let ledger: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &ledger), (0, &relay.ledger().await));
    let second = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let (code, _, stderr) = run(folder.path(), &[], &second);
    assert_eq!(code, 74, "{stderr}");
    assert!(stderr.contains("in use by another process"), "{stderr}");
    assert_eq!(
        run(folder.path(), &[], &["ledger", "--data-dir", "nowhere"]).0,
        70
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_of_a_killed_relay_is_its_own_whoever_has_its_port_now() {
    let (mine, other) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let relay = Running::start(mine.path(), &[], &[]);
    relay
        .post("/webhook", list("alice", "get", ["a".to_owned()]))
        .await;
    relay.drained().await;
    relay.kill();
    let relay = Running::start(other.path(), &[], &[]);
    let left = mine.path().join("auditrelay-data/admin.address");
    assert!(left.exists(), "a killed relay leaves its address");
    fs::write(left, relay.admin.to_string()).expect("written");
    let (_, text, errors) = run(mine.path(), &[], &["ledger", "--json"]);
    let ledger: serde_json::Value = serde_json::from_str(&text).expect(&errors);
    assert_eq!(ledger["received"], 1, "{ledger}");
}

//! What a reload answers, and that one which cannot be done changes nothing.

use std::{fs, time::Duration};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    ask, channel, config, in_use, lines, load, reload, reloads, start,
    support::{list, run, slack, told},
    token, until_reloads, value, write,
};

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one reload, looked at from every side"
)]
async fn what_changed_is_told_and_what_needs_a_restart() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let base = config(&slack, &channel("a", ""), "cluster: one");
    let mut relay = start(folder, &base);
    assert_eq!(
        value(&relay, "auditrelay_config_last_reload_successful").await,
        1.0
    );
    let loaded = "auditrelay_config_last_reload_success_timestamp_seconds";
    assert!(value(&relay, loaded).await > 1e9);
    assert_eq!(
        reload(folder, 0).0,
        "the configuration was loaded again, nothing changed\n"
    );
    let new = config(
        &slack,
        &[channel("a", ", sentences_max: 3"), channel("b", "")].join(", "),
        "cluster: two\nlisten: 127.0.0.1:4\ndedup: {entries_max: 5000, window_seconds: 400}\n\
         routes: [{name: all, channel: b}]\ntls: {}\nclients: [{name: x, token_file: t}]",
    );
    write(folder, &new);
    let (status, body) = ask(&relay, Method::POST, Some(&token(folder))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let report: Value = serde_json::from_str(&body).expect("JSON");
    let keys = |of: &str| {
        let list = report[of].as_array().expect("a list").clone();
        let key = |one: Value| one["key"].as_str().expect("a key").to_owned();
        list.into_iter().map(key).collect::<Vec<_>>()
    };
    assert_eq!(
        keys("changed"),
        [
            "channels.a.sentences_max",
            "channels.b",
            "dedup.window_seconds",
            "routes.all"
        ]
    );
    // The port is one that the command line sets, which is stronger.
    let restart = ["clients.x", "cluster", "dedup.entries_max"];
    assert_eq!(keys("restart_needed"), restart);
    let pending = "auditrelay_config_restart_pending";
    assert_eq!(value(&relay, pending).await, 3.0);
    let warned = lines(&mut relay, "only after a restart").await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("WARN") && restart.iter().all(|key| warned[0].contains(key)),
        "{warned:?}"
    );
    let counts = in_use(&relay).await;
    assert_eq!(
        (
            &counts["cluster"],
            &counts["dedup"]["window_seconds"],
            &counts["routes"][0]["name"]
        ),
        (&json!("one"), &json!(400), &json!("all"))
    );
    let (shown, _) = reload(folder, 0);
    assert!(
        shown.contains("cluster") && shown.contains("after a restart"),
        "{shown}"
    );
    relay
        .post("/webhook", list("alice", "delete", ["e-1".to_owned()]))
        .await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["b"]["delivered"], 1, "{ledger}");
    load(folder, &base);
    assert_eq!(value(&relay, pending).await, 0.0);
    assert_eq!(reloads(&relay).await, (4.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_changes_nothing_and_says_why() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let good = config(&slack, &channel("a", ""), "");
    let mut relay = start(folder, &good);
    let before = in_use(&relay).await;
    let with = |channels: &str, rest: &str| config(&slack, channels, rest);
    let a = channel("a", "");
    for (bad, key) in [
        ("channels: {a: [".to_owned(), "line 2"),
        (with(&a, "no_such_key: 1"), "no_such_key"),
        (
            with(&a, "routes: [{name: x, channel: nowhere}]"),
            "routes[0].channel",
        ),
        (
            with(&a, "ingest: {connections_max: 0}"),
            "ingest.connections_max",
        ),
        (
            with(&channel("a", ", sentence: '{{ oops'"), ""),
            "channels.a.sentence",
        ),
        (
            with(
                &channel("a", ", token_file: nowhere"),
                "routes: [{name: x, channel: a}]",
            ),
            "channels.a.token_file",
        ),
        (
            with(&a, "queue: {dead_bytes_max: 8589934592}"),
            "queue.dead_bytes_max",
        ),
    ] {
        write(folder, &bad);
        let (status, reason) = ask(&relay, Method::POST, Some(&token(folder))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{reason}");
        assert!(
            reason.contains(key) && reason.starts_with("c.yaml:") && reason.lines().count() == 1,
            "{key}: {reason}"
        );
        let said = lines(&mut relay, key).await;
        assert!(
            said.len() == 1 && said[0].contains("ERROR") && said[0].contains("c.yaml"),
            "{said:?}"
        );
        assert_eq!(in_use(&relay).await, before, "{key}");
    }
    assert_eq!(reloads(&relay).await, (0.0, 7.0));
    let successful = "auditrelay_config_last_reload_successful";
    assert_eq!(value(&relay, successful).await, 0.0);
    // Whether the command reads it first, for the data directory, or only the relay does.
    for place in [["--config", "c.yaml"], ["--data-dir", "auditrelay-data"]] {
        let args = [&["reload"][..], &place].concat();
        let (code, _, told_why) = run(folder, &[], &args);
        assert_eq!(code, 78, "{told_why}");
        assert!(
            told_why.contains("queue.dead_bytes_max") && told_why.contains("goes on"),
            "{told_why}"
        );
    }
    relay
        .post("/webhook", list("alice", "delete", ["e-1".to_owned()]))
        .await;
    relay.drained().await;
    assert_eq!(told(&slack).0.get("e-1"), Some(&1));
    load(folder, &good);
    assert_eq!(value(&relay, successful).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_give_commands_may_have_it_reloaded() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(folder, &config(&slack, &channel("a", ""), ""));
    let (_, nobody) = reload(folder, 1);
    assert!(nobody.contains("no relay runs"), "{nobody}");
    let mut relay = start(folder, &config(&slack, &channel("a", ""), ""));
    let token = token(folder);
    for (method, given, expected) in [
        (Method::POST, None, 401),
        (Method::POST, Some("wrong"), 401),
        (Method::GET, Some(token.as_str()), 405),
    ] {
        let (status, text) = ask(&relay, method, given).await;
        assert_eq!(status.as_u16(), expected, "{text}");
    }
    assert_eq!(reloads(&relay).await, (0.0, 0.0));
    relay.signal("-HUP");
    until_reloads(&mut relay, (1.0, 0.0)).await;
    let (status, _) = ask(&relay, Method::POST, Some(&token)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(reloads(&relay).await, (2.0, 0.0));
    fs::remove_file(folder.join("c.yaml")).expect("it is there");
    relay.signal("-HUP");
    until_reloads(&mut relay, (2.0, 1.0)).await;
}

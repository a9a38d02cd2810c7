//! Which lines are written, and who has the say: `RUST_LOG`, `log.filter`, a command for a while.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    CONFIG, said,
    support::{PATIENCE, Running, ids, list, run},
};

fn configure(folder: &Path, filter: &str) {
    let config = format!(
        "channels: {{ops: {{preview: true, message_interval_milliseconds: 100}}}}\nlog: {{filter: '{filter}'}}\n"
    );
    fs::write(folder.join("c.yaml"), config).expect("written");
}

fn ask(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let args: Vec<&str> = ["log-filter"]
        .iter()
        .chain(args)
        .chain(&CONFIG)
        .copied()
        .collect();
    run(folder, &[], &args)
}

fn shown(folder: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
    let (code, stdout, stderr) = ask(folder, &args);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).expect("JSON")
}

async fn post(relay: &Running, prefix: &str) {
    let (status, _) = relay
        .post("/webhook", list("alice", "get", ids(prefix, 1)))
        .await;
    assert!(status.is_success(), "{status}");
    relay.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_changes_it_for_a_while_and_it_goes_back_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    configure(path, "auditrelay_store=warn");
    // The configuration is stronger: under `off` nothing would say that it is ready.
    let mut relay = Running::start(path, &[("RUST_LOG", "off")], &CONFIG);
    let (_, text, _) = ask(path, &[]);
    assert_eq!(text, "info,auditrelay_store=warn (from: log.filter)\n");
    post(&relay, "quiet").await;
    assert!(!relay.logs().contains("\"posted\""), "{}", relay.logs());

    // For so long that a message is told, and shorter.
    for time in ["1h", "1s"] {
        let now = shown(path, &["auditrelay_dispatch=debug", "--for", time]);
        assert_eq!(now["filter"], "info,auditrelay_dispatch=debug");
        assert_eq!(now["source"], "command");
        assert_eq!(now["back_to"], "info,auditrelay_store=warn");
        assert!(now["until_unix_ms"].is_i64(), "{now}");
        if time == "1h" {
            post(&relay, "told").await;
            said(&mut relay, "\"posted\"").await;
        }
    }
    said(&mut relay, "the time of a command is over").await;
    assert_eq!(shown(path, &[])["source"], "log.filter");

    // Without an end it stays until another word.
    let (_, text, _) = ask(path, &["trace"]);
    assert!(
        text.starts_with("trace (from: command)\nuntil the relay starts again"),
        "{text}"
    );
    let (_, text, _) = ask(path, &["--reset"]);
    assert_eq!(text, "info,auditrelay_store=warn (from: log.filter)\n");
    assert_eq!(
        relay
            .logs()
            .matches("a command changes which lines")
            .count(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_it_and_a_wrong_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    configure(path, "info");
    let mut relay = Running::start(path, &[], &CONFIG);
    shown(path, &["trace"]);
    configure(path, "warn,nothing");
    relay.signal("-HUP");
    said(&mut relay, "the new configuration cannot be used").await;
    said(&mut relay, "log.filter: found").await;
    assert_eq!(shown(path, &[])["filter"], "trace");
    configure(path, "info,auditrelay_dispatch=debug");
    relay.signal("-HUP");
    said(&mut relay, "what changed counts from now on").await;
    let now = shown(path, &[]);
    assert_eq!(
        now["filter"], "info,auditrelay_dispatch=debug",
        "a command's word has ended"
    );
    assert_eq!(now["source"], "log.filter");
    post(&relay, "told").await;
    said(&mut relay, "\"posted\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_filter_is_refused_with_the_reason_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    configure(path, "info");
    let (code, _, stderr) = ask(path, &["debug"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("no relay runs on"), "{stderr}");
    let relay = Running::start(path, &[], &CONFIG);
    let (code, _, stderr) = ask(path, &["inof"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("found \"inof\", expected a level (off, error"),
        "{stderr}"
    );
    assert_eq!(shown(path, &[])["filter"], "info", "nothing was changed");
    drop(relay);
    configure(path, "info,auditrelay_dispach=debug");
    for args in [["check"], ["serve"]] {
        let args: Vec<&str> = args.iter().chain(&CONFIG).copied().collect();
        let (code, _, stderr) = run(path, &[], &args);
        assert_eq!(code, 78, "{args:?}: {stderr}");
        let line =
            "auditrelay: log.filter: found \"auditrelay_dispach\", which the relay does not have (";
        assert!(stderr.contains(line), "{args:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_environment_is_told_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("c.yaml"),
        "channels: {ops: {preview: true}}\n",
    )
    .expect("written");
    let mut relay = Running::start(folder.path(), &[("RUST_LOG", "wran")], &CONFIG);
    assert!(
        relay.logs().contains("RUST_LOG is no filter"),
        "{}",
        relay.logs()
    );
    assert_eq!(shown(folder.path(), &[])["source"], "default");
    let metrics = tokio::time::timeout(PATIENCE, relay.get("/metrics")).await;
    let metrics = metrics.expect("an answer").1;
    let warned = crate::support::metric(&metrics, "auditrelay_log_lines_total{level=\"warn\"}");
    assert!(warned >= 1.0, "{metrics}");
}

//! The operator's commands, with the real binary: on a relay that runs, and on one that is stopped.

#[path = "../support/mod.rs"]
mod support;

mod address;
mod dead;
mod harmless;
mod look;
mod port;
mod quarantine;
mod stores;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use hyper::StatusCode;
use serde_json::Value;
use support::{Running, ids, list, run};

pub(crate) const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// A folder with a configuration of one channel; `queue` is what it says of the queue.
pub(crate) fn folder(slack: &LocalSlack, channel: &str, queue: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 600}}
channels: {{ops: {{slack_channel: COPS, message_interval_milliseconds: 100, {channel}}}}}
{queue}
",
        slack.api_url()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    folder
}

pub(crate) fn start(folder: &Path) -> Running {
    Running::start(folder, &[], &CONFIG)
}

/// Runs a command to its end, which has to be this one.
pub(crate) fn ends(folder: &Path, code: i32, args: &[&str]) -> String {
    let args: Vec<&str> = args.iter().chain(&CONFIG).copied().collect();
    let (found, stdout, stderr) = run(folder, &[], &args);
    assert_eq!(found, code, "{args:?}: {stdout}{stderr}");
    if code == 0 { stdout } else { stderr }
}

pub(crate) fn json_of(folder: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
    serde_json::from_str(&ends(folder, 0, &args)).expect("JSON")
}

/// Refuses a message with its blocks and without them.
pub(crate) fn refuse(slack: &LocalSlack, messages: u32) {
    let code = "invalid_blocks".into();
    slack.inject(Fault::new(Effect::Error { code }).times(2 * messages));
}

/// Lets nothing through any more.
pub(crate) fn archive(slack: &LocalSlack) {
    let code = "is_archived".into();
    slack.inject(Fault::new(Effect::Error { code }).times(1_000));
}

/// Buries so many deletions, one by one.
pub(crate) async fn bury(relay: &Running, slack: &LocalSlack, prefix: &str, events: usize) {
    for id in ids(prefix, events) {
        refuse(slack, 1);
        let body = list("alice", "delete", [id]);
        assert_eq!(relay.post("/webhook", body).await.0, StatusCode::OK);
        relay.drained().await;
    }
}

pub(crate) async fn stop(relay: &mut Running) {
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0), "{}", relay.logs());
}

/// How often an audit ID stands in what was posted.
pub(crate) fn told(slack: &LocalSlack, id: &str) -> usize {
    let posts = slack.posts().into_iter();
    let needle = format!("audit ID {id}\"");
    posts
        .map(|post| post.body.to_string().matches(&needle).count())
        .sum()
}

/// What the relay wrote for commands.
pub(crate) fn token(folder: &Path) -> String {
    let file = folder.join("auditrelay-data/admin.address");
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(file).expect("text");
    text.lines().nth(1).expect("a token").to_owned()
}

#[test]
fn what_is_asked_wrongly_ends_with_2_and_a_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("c.yaml"),
        "channels: {ops: {preview: true}}\n",
    )
    .expect("written");
    for (code, args, part) in [
        (2, &["dead", "redrive"][..], "--all"),
        (2, &["dead", "drop", "1", "--all"], "--all"),
        (2, &["dead", "list", "--since", "yesterday"], "2h"),
        (
            2,
            &["dead", "list", "--since", "1h", "--until", "2h"],
            "before",
        ),
        (2, &["dead", "show", "x"], "invalid"),
        (2, &["quarantine", "show", "1", "--raw"], "--key"),
        (2, &["quarantine", "show", "1", "--key", "none"], "none"),
        (70, &["quarantine", "list"], "no queue"),
        (2, &["events"], "--message"),
        (2, &["replay"], "--since"),
        (70, &["dead", "list"], "no queue"),
        (70, &["export", "q.jsonl"], "no queue"),
        (70, &["import", "missing.jsonl"], "missing.jsonl"),
        (70, &["salvage"], "auditrelay-data"),
    ] {
        let stderr = ends(folder.path(), code, args);
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
    assert!(
        !folder.path().join("auditrelay-data").exists(),
        "a command that only looks made a queue"
    );
}

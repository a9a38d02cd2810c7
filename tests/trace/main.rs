//! `auditrelay trace`, with the real binary and a local Slack: what is told of an event is what became of it, on a relay
//! that runs and on one that is stopped.

#[path = "../support/mod.rs"]
mod support;

mod delivered;
mod kept_back;
mod not_delivered;
mod received;
mod went_early;

use std::{fs, path::Path, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use hyper::StatusCode;
use serde_json::Value;
use support::{PATIENCE, Running, list, run};

pub(crate) const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// Deletions go to `sec` and are critical, patches through a webhook, reads to `ops`; nobody wants a watch, and no
/// route takes an update. `more` goes on with the configuration.
pub(crate) fn folder(slack: &LocalSlack, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 600, lookups_per_minute: 600}}
default_channel: ops
channels:
  ops: {{slack_channel: COPS, message_interval_milliseconds: 100, sentences_max: 3}}
  sec: {{slack_channel: CSEC, message_interval_milliseconds: 100, sentences_max: 3, fallback: ops}}
  hook: {{webhook_url: '{}', message_interval_milliseconds: 100}}
routes:
- {{name: noise, level: None, verbs: [watch]}}
- {{name: deletions, channel: sec, severity: critical, verbs: [delete]}}
- {{name: patches, channel: hook, verbs: [patch]}}
- {{name: reads, channel: ops, severity: info, verbs: [get, create]}}
{more}
",
        slack.api_url(),
        slack.webhook_url("CHOOK"),
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    folder
}

pub(crate) fn start(folder: &Path) -> Running {
    Running::start(folder, &[], &CONFIG)
}

pub(crate) async fn stop(relay: &mut Running) {
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0), "{}", relay.logs());
}

/// Runs a command to its end, which has to be this one; what it printed.
pub(crate) fn ends(folder: &Path, code: i32, args: &[&str]) -> String {
    let args: Vec<&str> = args.iter().chain(&CONFIG).copied().collect();
    let (found, stdout, stderr) = run(folder, &[], &args);
    assert_eq!(found, code, "{args:?}: {stdout}{stderr}");
    if code == 0 { stdout } else { stderr }
}

/// A trace for people.
pub(crate) fn text(folder: &Path, id: &str) -> String {
    ends(folder, 0, &["trace", id])
}

/// A trace for scripts.
pub(crate) fn trace(folder: &Path, id: &str) -> Value {
    let text = ends(folder, 0, &["trace", id, "--json"]);
    serde_json::from_str(&text).expect("JSON")
}

/// The only event of a trace.
pub(crate) fn event(folder: &Path, id: &str) -> Value {
    let trace = trace(folder, id);
    let events = trace["events"].as_array().expect("an array");
    assert_eq!(events.len(), 1, "{trace:#}");
    events[0].clone()
}

/// The state of the first delivery, if there is one yet, and of its lane.
pub(crate) fn state(folder: &Path, id: &str) -> (String, String) {
    let first = trace(folder, id)["events"][0]["deliveries"][0].clone();
    let text = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("lane"))
}

/// The only delivery of the only event.
pub(crate) fn delivery(folder: &Path, id: &str) -> Value {
    let event = event(folder, id);
    let deliveries = event["deliveries"].as_array().expect("an array");
    assert_eq!(deliveries.len(), 1, "{event:#}");
    deliveries[0].clone()
}

pub(crate) async fn send(relay: &Running, verb: &str, ids: impl IntoIterator<Item = String>) {
    post(relay, "/webhook", list("alice", verb, ids)).await;
}

pub(crate) async fn post(relay: &Running, path: &str, body: String) {
    assert_eq!(relay.post(path, body).await.0, StatusCode::OK);
}

pub(crate) fn one(id: &str) -> [String; 1] {
    [id.to_owned()]
}

/// Waits until it is so; only a broken relay is waited for in vain.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[track_caller]
pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

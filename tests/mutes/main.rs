//! `auditrelay mute`, with the real binary and a local Slack: what is held back, what is said of it, and what a kill
//! changes about that.

#[path = "../support/mod.rs"]
mod support;

mod asked;
mod kept;

use std::{fs, path::Path, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use hyper::StatusCode;
use serde_json::Value;
use support::{PATIENCE, Running, list, run};

const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// Deletions go to both channels, all else to the default one.
fn folder(slack: &LocalSlack) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 600}}
default_channel: ops
channels:
  ops: {{slack_channel: COPS, message_interval_milliseconds: 100, sentences_max: 10}}
  sec: {{slack_channel: CSEC, message_interval_milliseconds: 100, sentences_max: 10}}
routes:
- {{name: deletions, channel: [ops, sec], verbs: [delete]}}
- {{name: rest, channel: ops}}
",
        slack.api_url()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    folder
}

fn start(folder: &Path) -> Running {
    Running::start(folder, &[], &CONFIG)
}

/// Runs `auditrelay mute` to its end, which has to be this one; what it printed.
fn mute(folder: &Path, code: i32, args: &[&str]) -> String {
    command(folder, code, &[&["mute"], args].concat())
}

fn command(folder: &Path, code: i32, args: &[&str]) -> String {
    let args: Vec<&str> = args.iter().chain(&CONFIG).copied().collect();
    let (found, stdout, stderr) = run(folder, &[], &args);
    assert_eq!(found, code, "{args:?}: {stdout}{stderr}");
    if code == 0 { stdout } else { stderr }
}

fn json_of(folder: &Path, args: &[&str]) -> Value {
    let text = command(folder, 0, &[args, &["--json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

async fn send(relay: &Running, user: &str, verb: &str, ids: impl IntoIterator<Item = String>) {
    let answer = relay.post("/webhook", list(user, verb, ids)).await;
    assert_eq!(answer.0, StatusCode::OK);
}

/// What Slack was told in a channel, as JSON text.
fn posted(slack: &LocalSlack, channel: &str) -> Vec<String> {
    let posts = slack.posts().into_iter();
    let own = posts.filter(|post| post.body["channel"] == channel);
    own.map(|post| post.body.to_string()).collect()
}

/// Waits until a message in the channel has this text.
async fn hears(slack: &LocalSlack, channel: &str, text: &str) {
    let heard = async {
        while !posted(slack, channel)
            .iter()
            .any(|body| body.contains(text))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, heard).await;
    assert!(
        in_time.is_ok(),
        "{channel} never heard {text:?}: {:#?}",
        posted(slack, channel)
    );
}

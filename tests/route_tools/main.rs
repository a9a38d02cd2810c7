//! `auditrelay routes` and the tests of routes, with the real binary; and the simulated lanes against real ones, on a
//! local Slack.

#[path = "../support/mod.rs"]
mod support;

use std::{fs, path::Path, process::Output, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use serde_json::Value;

const ROUTES: &str = r#"
routes:
- {name: quiet, level: None, verbs: [watch]}
- {name: deletes, channel: ops, severity: warning, verbs: [delete]}
- {name: reads, channel: sec, verbs: [get]}
"#;

fn auditrelay(folder: &Path, args: &[&str]) -> Output {
    let mut command = support::command(folder);
    command.args(args).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An `EventList` of so many requests.
fn list(verb: &str, count: usize) -> String {
    support::list(
        "alice",
        verb,
        (0..count).map(|number| format!("{verb}-{number}")),
    )
}

#[test]
fn a_test_of_a_route_that_does_not_hold_fails_the_check_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = |expect: &str| {
        format!(
            "channels: {{ops: {{preview: true}}, sec: {{preview: true}}}}\ndefault_channel: ops\n{ROUTES}tests:
- name: t
  event: {{level: Metadata, stage: ResponseComplete, verb: get, user: {{username: alice}}}}
  expect: [{{channel: {expect}}}]
"
        )
    };
    fs::write(folder.path().join("c.yaml"), config("sec")).expect("written");
    let held = auditrelay(folder.path(), &["check", "--config", "c.yaml"]);
    assert!(held.status.success(), "{}", text(&held.stderr));
    assert!(text(&held.stdout).contains("1 test of the routes: all hold\n"));
    fs::write(folder.path().join("c.yaml"), config("ops")).expect("written");
    let failed = auditrelay(folder.path(), &["check", "--config", "c.yaml"]);
    assert_eq!(failed.status.code(), Some(1));
    let told = text(&failed.stdout);
    assert!(
        told.contains("test t does not hold: expected ops; found: told in sec"),
        "{told}"
    );
    assert!(told.contains("verbs: get is not delete"), "{told}");
    let json = auditrelay(folder.path(), &["check", "--config", "c.yaml", "--json"]);
    let answer: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(answer["tests"][0]["holds"], false);
}

/// Messages that the local Slack has of a channel.
fn posted(slack: &LocalSlack, channel: &str) -> u64 {
    let posts = slack.posts();
    posts.iter().filter(|one| one.channel == channel).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_lanes_post_as_many_messages_as_real_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = support::slack(Duration::from_millis(50)).await;
    let config = format!(
        "slack: {{token: xoxb-test, api_url: \"{}\", messages_per_minute: 6000}}
default_channel: ops
channels:
  ops: {{slack_channel: C1, message_interval_milliseconds: 100, message_events_max: 10}}
  sec: {{slack_channel: C2, message_interval_milliseconds: 100, message_events_max: 7, sentences_max: 8}}
{ROUTES}",
        slack.api_url()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let bodies = [list("delete", 45), list("get", 23), list("watch", 9)];
    fs::write(folder.path().join("log.jsonl"), bodies.join("\n")).expect("written");
    let simulated = auditrelay(
        folder.path(),
        &[
            "routes",
            "simulate",
            "--log",
            "log.jsonl",
            "--config",
            "c.yaml",
            "--json",
        ],
    );
    let report: Value = serde_json::from_slice(&simulated.stdout).expect("JSON");
    let relay = support::Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    for body in &bodies {
        let (status, _) = relay.post("/webhook", body.clone()).await;
        assert_eq!(status, 200);
    }
    let expected = |number: usize| {
        report["channels"][number]["messages"]
            .as_u64()
            .expect("a number")
    };
    // 45 in tens, 23 in sevens: whatever the pace, a message is as full as it may be.
    assert_eq!((expected(0), expected(1)), (5, 4));
    assert_eq!(report["filtered"][0]["route"], "quiet");
    relay.drained().await;
    drop(relay);
    assert_eq!(
        (posted(&slack, "C1"), posted(&slack, "C2")),
        (expected(0), expected(1))
    );
}

#[test]
fn what_a_replay_cannot_do_is_said_before_the_log_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "channels: {{ops: {{preview: true}}, sec: {{preview: true}}}}\ndefault_channel: ops\n{ROUTES}"
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    fs::write(folder.path().join("log"), list("get", 3)).expect("written");
    let run = |log: &str, more: &[&str]| {
        let usual = ["routes", "simulate", "--config", "c.yaml", "--log", log];
        let output = auditrelay(folder.path(), &[&usual, more].concat());
        let code = output.status.code().expect("a code");
        (code, text(&output.stdout), text(&output.stderr))
    };
    // The log is not even there.
    for (more, told) in [
        (&["--svg", "none/a.svg"][..], "cannot write none/a.svg"),
        (&["--for", "1"], "give --speed real, too"),
    ] {
        let (code, out, err) = run("nowhere", more);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(told), "{err}");
    }
    fs::write(
        folder.path().join("a.svg"),
        "old, and longer than a picture: ".repeat(9_999),
    )
    .expect("written");
    let (code, out, err) = run("log", &["--svg", "a.svg"]);
    assert_eq!(code, 0, "{out}{err}");
    let picture = fs::read_to_string(folder.path().join("a.svg")).expect("written");
    assert!(
        picture.starts_with("<svg") && !picture.contains("longer than a picture"),
        "{picture}"
    );
}

#[test]
fn a_test_of_a_misspelt_event_does_not_hold_for_the_wrong_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    for (test, told) in [
        (
            "event: {level: metadata, stage: Panic}, expect: []",
            "found metadata as its level",
        ),
        (
            "event: {level: Metadata, stage: Panic, objectref: {}}, expect: []",
            "found objectref in event",
        ),
        ("event: {level: Metadata, stage: Panic}", "expect"),
    ] {
        let config = format!(
            "channels: {{ops: {{preview: true}}, sec: {{preview: true}}}}\ndefault_channel: ops\n{ROUTES}tests:\n- {{name: t, {test}}}\n"
        );
        fs::write(folder.path().join("c.yaml"), config).expect("written");
        let output = auditrelay(folder.path(), &["check", "--config", "c.yaml"]);
        assert_eq!(output.status.code(), Some(78), "{test}");
        let err = text(&output.stderr);
        assert!(err.contains("tests[0]") && err.contains(told), "{err}");
    }
}

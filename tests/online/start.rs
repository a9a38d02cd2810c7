//! The start of the relay.

use std::{net::TcpListener, time::Duration};

use auditrelay_loadtest::slack::Channel;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    ONE, public, slack_of,
    support::{PATIENCE, Running, ids, list},
    token, write,
};

/// Waits for a line in the relay's log.
async fn logged(relay: &mut Running, words: &str) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let logs = relay.logs();
        if logs.contains(words) {
            assert!(!logs.contains("never-shown"), "{logs}");
            return logs
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
        }
        assert!(start.elapsed() < PATIENCE, "no {words}: {logs}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_asks_at_its_start_in_the_turns_of_its_lanes() {
    let folder = tempfile::tempdir().expect("a folder");
    let channels =
        ["a", "b", "c"].map(|name| Channel::new(&format!("C0{}XX", name.to_uppercase()), name));
    let slack = slack_of(vec![token(&[])], channels.to_vec()).await;
    let config = "channels: { a: { slack_channel: C0AXX }, b: { slack_channel: C0BXX }, c: { slack_channel: C0CXX } }\n\
                  default_channel: a\n";
    write(folder.path(), &slack.api_url(), config);
    let env = [("AUDITRELAY__SLACK__LOOKUPS_PER_MINUTE", "60")];
    let mut relay = Running::start(folder.path(), &env, &["--config", "c.yaml"]);
    let logs = logged(&mut relay, "Slack is as it should be").await;
    let levels: Vec<&Value> = logs.iter().map(|log| &log["level"]).collect();
    assert!(levels.iter().all(|level| **level == "INFO"), "{logs:?}");
    // Slack counts each method by itself.
    for method in ["conversations.info", "conversations.history"] {
        let looks: Vec<u64> = slack
            .attempts()
            .into_iter()
            .filter(|one| one.method == method)
            .map(|one| one.elapsed_ms)
            .collect();
        assert_eq!(looks.len(), 3, "{looks:?}");
        // A second each; the first may have been late.
        assert!(
            looks[2] - looks[0] >= 1_000,
            "faster than the lanes' turns: {looks:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_start_is_logged_and_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let archived = Channel {
        archived: true,
        ..Channel::new("C0OLD", "old")
    };
    let slack = slack_of(vec![token(&[])], vec![public(), archived]).await;
    let config = "channels: { ops: { slack_channel: C0AUDIT }, old: { slack_channel: C0OLD } }\ndefault_channel: ops\n";
    write(folder.path(), &slack.api_url(), config);
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    relay
        .post("/webhook", list("alice", "get", ids("a", 1)))
        .await;
    relay.drained().await;
    let logs = logged(&mut relay, "the channel is archived").await;
    let told: Vec<&Value> = logs
        .iter()
        .filter(|log| log["checked"] != json!(null))
        .collect();
    assert_eq!(told.len(), 1, "one line for one finding: {logs:?}");
    assert_eq!(
        (&told[0]["level"], &told[0]["checked"]),
        (&json!("ERROR"), &json!("old"))
    );
    assert_eq!(
        told[0]["what_to_do"],
        "unarchive the channel or name another one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slack_that_never_answers_delays_neither_start_nor_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    // Connections wait in its backlog for ever.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api_url = format!("http://{}/api/", mute.local_addr().expect("an address"));
    write(folder.path(), &api_url, ONE);
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let (status, _) = relay.get("/readyz").await;
    assert!(status.is_success(), "{status}");
    let start = Instant::now();
    relay.signal("-TERM");
    assert!(relay.wait().await.success());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_relay_asks_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack_of(vec![token(&[])], vec![public()]).await;
    let config = format!(
        "channels: {{ hook: {{ webhook_url: '{}' }}, shown: {{ preview: true }} }}\ndefault_channel: hook\n",
        slack.webhook_url("C0AUDIT"),
    );
    write(folder.path(), &slack.api_url(), &config);
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    relay
        .post("/webhook", list("alice", "get", ids("a", 1)))
        .await;
    relay.drained().await;
    let attempts = slack.attempts();
    assert!(
        attempts.iter().all(|one| one.method == "webhook"),
        "{attempts:?}"
    );
    assert!(!relay.logs().contains("Slack is as it should be"));
}

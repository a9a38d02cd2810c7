//! A storm holds back nothing that says the relay is alive.

use std::{fs, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;

use super::{
    DELIVERED, started,
    support::{Running, ids, list, slack},
    switch::Switch,
    until_metric,
};

fn config(slack: &LocalSlack, more: &str) -> String {
    format!(
        "cluster: prod\nslack: {{token: xoxb-1, api_url: '{}'}}\n\
         channels: {{ops: {{slack_channel: C0OPS, message_events_max: 50, message_interval_milliseconds: 1000}}}}\n{more}",
        slack.api_url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_minutes_is_overtaken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (slack, switch) = (slack(Duration::from_secs(1)).await, Switch::start().await);
    let running: Running = started(folder.path(), &switch, &config(&slack, ""));
    // A hundred messages of work.
    for n in 0..5 {
        let storm = list("alice", "delete", ids(&format!("storm{n}"), 1_000));
        assert_eq!(running.post("/webhook", storm).await.0, 200);
    }
    while running.ledger().await["waiting"] != 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(running);
    fs::remove_file(folder.path().join("c.yaml")).expect("it was there");
    let config = config(&slack, "watchdog: {channel: ops}\n");
    let running = started(folder.path(), &switch, &config);
    until_metric(&running, DELIVERED, |at| at > 0.0).await;
    let waiting = running.ledger().await["channels"]["ops"]["waiting"].as_u64();
    assert!(
        waiting.is_some_and(|waiting| waiting > 2_500),
        "{waiting:?}"
    );
}

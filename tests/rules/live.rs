//! The rules in a real Prometheus, against a real relay: silent while it is well, and heard when it is not.
//!
//! The copy that is loaded differs from the file in one thing: where a rule waits for a while (`for`), it waits
//! for a second. What the cases of `promtool` cannot show is shown here: that every expression meets the metrics
//! as they are really served, with their labels.

use std::{path::Path, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    prometheus::{Prometheus, scraping},
    read, rules,
    support::{PATIENCE, Running, ids, list, slack},
};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL }
cluster: prod
channels:
  security: { slack_channel: CSECURITY, message_interval_milliseconds: 100, park_retry_seconds: 1 }
  dev: { slack_channel: CDEV, message_interval_milliseconds: 100 }
default_channel: dev
routes:
  - { name: deletes, channel: security, severity: critical, verbs: [delete] }
  - { name: rest, channel: dev }
";

/// The rules with every wait shortened to a second.
fn impatient(file: &str) -> String {
    let mut changed = 0;
    let lines = file
        .lines()
        .map(|line| match line.strip_prefix("        for: ") {
            None => format!("{line}\n"),
            Some(_) => {
                changed += 1;
                "        for: 1s\n".to_owned()
            }
        });
    let text = lines.collect();
    assert!(changed > 20, "waits were not found");
    text
}

async fn start(folder: &Path, slack: &LocalSlack) -> (Running, Option<Prometheus>) {
    let file = folder.join("relay.yaml");
    std::fs::write(&file, CONFIG.replace("API_URL", &slack.api_url())).expect("written");
    let relay = Running::start(folder, &[], &["--config", file.to_str().expect("text")]);
    std::fs::write(folder.join("rules.yaml"), impatient(&read(rules::FILE))).expect("written");
    let config = scraping(&[("auditrelay", relay.admin)]) + "rule_files: [rules.yaml]\n";
    let prometheus = Prometheus::start(folder, &config).await;
    (relay, prometheus)
}

/// Alerts that are not inactive; without those that tell how busy the machine is that the tests run on.
fn raised(rules: &[Value], is_scraped: bool) -> Vec<String> {
    let names = rules
        .iter()
        .filter(|rule| rule["type"] == "alerting" && rule["state"] != "inactive")
        .map(|rule| rule["name"].as_str().expect("a name").to_owned());
    names
        .filter(|name| name != "AuditRelayCommitSlow")
        .filter(|name| is_scraped || name != "AuditRelayDown")
        .collect()
}

/// Whether each scrape so far was answered within its second.
async fn is_scraped(prometheus: &Prometheus) -> bool {
    let missed = "min_over_time(up{job=\"auditrelay\"}[1h]) == 0";
    prometheus.query(missed).await.expect("a query").is_empty()
}

/// Waits until this alert fires.
async fn fires(prometheus: &Prometheus, name: &str) {
    let firing = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
    prometheus.until(&firing).await;
}

/// Waits until each rule was evaluated after now, and says what is the matter with any.
async fn evaluated(prometheus: &Prometheus) -> Vec<Value> {
    let begun = prometheus.value("time()").await;
    let stamp = |rule: &Value| {
        let text = rule["lastEvaluation"].as_str().expect("a time");
        let time: jiff::Timestamp = text.parse().expect("RFC 3339");
        time.as_second() as f64
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rules = prometheus.rules().await;
        if !rules.is_empty() && rules.iter().all(|rule| stamp(rule) > begun + 1.0) {
            for rule in &rules {
                assert_eq!(rule["health"], "ok", "{rule:#}");
            }
            return rules;
        }
        assert!(Instant::now() < deadline, "not evaluated: {rules:#?}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fires_while_the_relay_is_well_and_the_right_alert_when_it_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::from_millis(50)).await;
    let (relay, Some(prometheus)) = start(folder.path(), &slack).await else {
        return;
    };
    prometheus.until("up{job=\"auditrelay\"} == 1").await;
    for round in 0..3 {
        for verb in ["get", "delete"] {
            let batch = list("alice", verb, ids(&format!("{verb}-{round}"), 5));
            relay.post("/webhook", batch).await;
        }
        relay.drained().await;
        evaluated(&prometheus).await;
    }
    // What the records are made of is there, so their silence is none of missing series.
    for record in [
        "instance:auditrelay_ingest_request_duration_seconds:within_1s_ratio_rate5m >= 0",
        "channel:auditrelay_posts_total:failed_ratio_rate15m{channel=\"security\"} == 0",
        "cluster:auditrelay_cluster_last_event_timestamp_seconds:max{cluster=\"prod\"} > 0",
        "channel:auditrelay_backlog_oldest_age_seconds:critical_within_60s{channel=\"security\"} == 1",
        "cluster:auditrelay_cluster_events_total:duplicate_ratio_rate10m{cluster=\"prod\"} == 0",
        "workspace:auditrelay_workspace_messages_total:budget_ratio_rate10m > 0",
        "channel:auditrelay_delivery_delay_seconds:within_60s_ratio_rate1h{channel=\"dev\"} >= 0",
        "instance:auditrelay_ingest_requests_total:accepted_ratio_rate5m == 1",
        "instance:auditrelay_ingest_commit_duration_seconds:p99_rate5m > 0",
    ] {
        prometheus.until(record).await;
    }
    let rules = evaluated(&prometheus).await;
    let raised_now = raised(&rules, is_scraped(&prometheus).await);
    assert_eq!(raised_now, Vec::<String>::new());

    slack.change_channel("CSECURITY", |channel| channel.archived = true);
    relay
        .post("/webhook", list("alice", "delete", ids("parked", 1)))
        .await;
    fires(&prometheus, "AuditRelayChannelParked").await;
    let rules = evaluated(&prometheus).await;
    let raised_now = raised(&rules, is_scraped(&prometheus).await);
    let beside = raised_now
        .iter()
        .filter(|name| *name != "AuditRelayChannelParked");
    // The refusals themselves, and the line about them.
    let expected = ["AuditRelaySlackFailing", "AuditRelayLogErrors"];
    let unexpected: Vec<_> = beside
        .filter(|name| !expected.contains(&name.as_str()))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");

    relay.kill();
    fires(&prometheus, "AuditRelayDown").await;
}

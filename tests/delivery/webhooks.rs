//! What incoming webhooks answer, and what the relay does about it: docs/slack.md, row by row.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault, Limits, LocalSlack, Options, StatusCode};
use serde_json::Value;

use crate::{
    relay, started,
    support::{Running, ids, list, metric, told},
    until,
};

/// A row of the page's table: the answer, the outcome and the advice.
struct Row {
    code: String,
    outcome: String,
    advice: String,
}

/// The rows of the table of webhooks: its answers begin with a status.
fn rows() -> Vec<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/slack.md");
    let page = fs::read_to_string(page).expect("the page");
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').splitn(4, '|').map(str::trim);
        let (answer, outcome, _source) = (cells.next()?, cells.next()?, cells.next()?);
        let (status, code) = answer.split_once(' ')?;
        let is_status = status.len() == 3 && status.starts_with(|one: char| one.is_ascii_digit());
        is_status.then(|| Row {
            code: code.trim_matches('`').to_owned(),
            outcome: outcome.to_owned(),
            advice: cells.next().unwrap_or_default().to_owned(),
        })
    };
    page.lines().filter_map(row).collect()
}

/// Channels `n0`, `n1` … with a webhook each, and each with a user of its own.
fn config(slack: &LocalSlack, channels: usize) -> String {
    let mut config = String::from(
        "slack: { messages_per_minute: 6000, timeout_seconds: 30 }\ndefault_channel: n0\nchannels:\n",
    );
    let mut routes = String::from("routes:\n");
    for n in 0..channels {
        let url = slack.webhook_url(&format!("CHOOK{n}"));
        config.push_str(&format!(
            "  n{n}: {{ webhook_url: '{url}', message_interval_milliseconds: 100, park_retry_seconds: 2, retry_max_seconds: 1 }}\n"
        ));
        routes.push_str(&format!(
            "  - {{ name: n{n}, channel: n{n}, users: [user{n}] }}\n"
        ));
    }
    config + &routes
}

async fn quick() -> LocalSlack {
    started(Options {
        message_interval: Duration::from_millis(50),
        limits: Limits::none(),
        ..Options::default()
    })
    .await
}

async fn one(relay: &Running, n: usize) {
    let body = list(&format!("user{n}"), "delete", ids(&format!("n{n}"), 1));
    assert_eq!(relay.post("/webhook", body).await.0, 200);
}

fn attempts(slack: &LocalSlack, n: usize) -> usize {
    let channel = format!("CHOOK{n}");
    let attempts = slack.attempts().into_iter();
    attempts
        .filter(|one| one.channel.as_deref() == Some(&channel))
        .count()
}

/// The log lines about each channel.
fn by_channel(logs: &str) -> BTreeMap<String, Vec<Value>> {
    let mut by: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in logs.lines() {
        let log: Value = serde_json::from_str(line).expect("JSON");
        assert!(log["message"].is_string(), "{line}");
        if let Some(channel) = log["channel"].as_str() {
            by.entry(channel.to_owned()).or_default().push(log.clone());
        }
    }
    by
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_of_a_webhook_means_what_the_page_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let rows = rows();
    assert_eq!(rows.len(), 17, "rows of the table of webhooks");
    let mut relay = relay(folder.path(), &slack, &config(&slack, rows.len()));
    for (n, row) in rows.iter().enumerate() {
        slack.set_webhook(&format!("CHOOK{n}"), Some(&row.code));
        one(&relay, n).await;
    }
    // Each was tried again: plainer, after a rest, or after a pause.
    until("second tries", || {
        (0..rows.len()).all(|n| attempts(&slack, n) >= 2)
    })
    .await;
    for n in 0..rows.len() {
        slack.set_webhook(&format!("CHOOK{n}"), None);
    }
    let ledger = relay.drained().await;
    let metrics = relay.get("/metrics").await.1;
    relay.signal("-TERM");
    relay.wait().await;
    let logs = relay.all_logs();
    assert!(!logs.contains("services/T000"), "a webhook's URL: {logs}");
    let by = by_channel(&logs);
    let (plain, marked) = told(&slack);
    for (n, row) in rows.iter().enumerate() {
        let (channel, id, code) = (format!("n{n}"), format!("n{n}-0"), &row.code);
        let told = (plain.contains_key(&id), marked.contains_key(&id));
        let is_dead = ledger["channels"][&channel]["dead"] == 1;
        let logs = &by[&channel];
        let lines = |words: &str| {
            let is = |log: &&Value| log["message"].as_str().unwrap_or_default().contains(words);
            logs.iter().filter(is).collect::<Vec<_>>()
        };
        let parked = lines("the channel is parked");
        let series = format!("auditrelay_parked_total{{channel=\"{channel}\"}}");
        assert_eq!(metric(&metrics, &series), parked.len() as f64, "{code}");
        match row.outcome.as_str() {
            "park" => {
                assert_eq!((told, is_dead), ((true, false), false), "{code}: {logs:?}");
                assert_eq!(parked.len(), 1, "{code}: {logs:?}");
                let reason = parked[0]["reason"].as_str().expect("text");
                assert!(reason.contains(code.as_str()), "{reason}");
                assert!(reason.contains(&row.advice), "{code}: {reason}");
                assert_eq!(lines("the channel takes messages again").len(), 1, "{code}");
            }
            "never" => {
                assert_eq!((told, is_dead), ((false, false), true), "{code}: {logs:?}");
                assert!(parked.is_empty(), "{code}");
                let dead = lines("it is a dead letter now");
                assert_eq!(dead.len(), 1, "{code}: {logs:?}");
                let reason = dead[0]["reason"].as_str().expect("text");
                assert!(reason.contains(code.as_str()), "{reason}");
            }
            "unknown" => {
                assert_eq!((told, is_dead), ((false, true), false), "{code}: {logs:?}");
                assert!(parked.is_empty(), "{code}");
            }
            other => panic!("{code}: {other}"),
        }
    }
}

/// What is no word of a webhook's: statuses, and a page that a proxy makes of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_from_a_webhook_is_told_apart_by_its_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let cases = [
        (408, "later"),
        (503, "unknown"),
        (302, "park"),
        (403, "park"),
        // Somebody's page: no webhook's answer, so it is not known what became of the message.
        (200, "unknown"),
        (429, "later"),
    ];
    let mut relay = relay(folder.path(), &slack, &config(&slack, cases.len()));
    for (n, (status, _)) in cases.into_iter().enumerate() {
        let effect = match status {
            429 => Effect::RetryAfter { seconds: 2 },
            status => Effect::HttpStatus {
                status: StatusCode::from_u16(status).expect("a status"),
            },
        };
        slack.inject(Fault::new(effect).on(format!("CHOOK{n}")));
        one(&relay, n).await;
    }
    let ledger = relay.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    relay.signal("-TERM");
    relay.wait().await;
    let logs = relay.all_logs();
    let by = by_channel(&logs);
    let (plain, marked) = told(&slack);
    for (n, (status, outcome)) in cases.into_iter().enumerate() {
        let id = format!("n{n}-0");
        let told = (plain.contains_key(&id), marked.contains_key(&id));
        let wanted = match outcome {
            "unknown" => (false, true),
            _ => (true, false),
        };
        assert_eq!(told, wanted, "{status}: {:?}", by.get(&format!("n{n}")));
        let parked = by[&format!("n{n}")]
            .iter()
            .filter_map(|log| log["reason"].as_str().filter(|_| log["level"] == "ERROR"));
        let parked: Vec<&str> = parked.collect();
        assert_eq!(parked.len(), usize::from(outcome == "park"), "{status}");
        if status == 302 {
            assert!(
                parked[0].contains("redirects are not followed"),
                "{parked:?}"
            );
        }
    }
}

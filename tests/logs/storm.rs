//! A storm of incidents: few lines, each incident once, and its end.

use std::{fs, io::Write, path::Path, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault};
use flate2::{Compression, write::GzEncoder};
use hyper::{Method, body::Bytes};
use tokio::task::JoinSet;

use crate::{
    CONFIG, lines, said,
    support::{Running, ids, list, metric, request, slack},
};

/// What the whole storm may write: its start and stop, and a few lines for each of its four incidents.
const LINES_MAX: usize = 24;
const GARBAGE: usize = 5_000;

/// Half of a packed file: it cannot be read on.
fn broken(path: &Path) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for number in 0..5_000_u32 {
        writeln!(
            encoder,
            "{{\"auditID\":\"{number}-{}\"}}",
            number.wrapping_mul(2_654_435_761)
        )
        .expect("memory");
    }
    let packed = encoder.finish().expect("memory");
    fs::write(path, &packed[..packed.len() / 2]).expect("written");
}

async fn attack(relay: &Running) {
    let webhook = relay.webhook;
    let mut attackers = JoinSet::new();
    for _ in 0..8 {
        attackers.spawn(async move {
            for _ in 0..GARBAGE / 8 {
                let body = Bytes::from_static(b"{\"kind\": \"nonsense\"");
                let answer = request(webhook, Method::POST, "/webhook", body).await;
                let (status, _) = answer.expect("an answer");
                assert!(status.is_client_error(), "{status}");
            }
        });
    }
    while let Some(ended) = attackers.join_next().await {
        ended.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_a_few_lines_and_each_incident_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack(Duration::ZERO).await;
    let code = "is_archived".to_owned();
    slack.inject(Fault::new(Effect::Error { code }).times(3).on("COPS"));
    // A rate limit, again and again, is one incident too.
    slack.inject(
        Fault::new(Effect::RetryAfter { seconds: 1 })
            .times(4)
            .on("CSLOW"),
    );
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 6000}}
channels:
  ops: {{slack_channel: COPS, message_interval_milliseconds: 100, park_retry_seconds: 1}}
  slow: {{slack_channel: CSLOW, message_interval_milliseconds: 100}}
default_channel: ops
routes: [{{name: slow, channel: slow, users: [bob]}}, {{name: rest, channel: ops}}]
inputs: {{log_file: [{{path: '*.log.gz'}}]}}
",
        slack.api_url()
    );
    fs::write(path.join("c.yaml"), config).expect("written");
    broken(&path.join("audit.log.gz"));
    let mut relay = Running::start(path, &[], &CONFIG);
    for batch in 0..10 {
        let events = list("alice", "delete", ids(&format!("storm{batch}"), 1_000));
        let (status, answer) = relay.post("/webhook", events).await;
        assert!(status.is_success(), "{answer}");
    }
    let slow = list("bob", "delete", ids("slow", 1));
    assert!(relay.post("/webhook", slow).await.0.is_success());
    attack(&relay).await;
    said(&mut relay, "the channel takes messages again").await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let metrics = relay.get("/metrics").await.1;
    relay.signal("-TERM");
    assert!(relay.wait().await.success());
    let logs = relay.all_logs();
    for (incident, times) in [
        ("the channel is parked", 1),
        ("the destination takes no message for now", 1),
        ("the channel takes messages again", 2),
        ("a log file cannot be read on", 1),
        ("refused what was sent to the audit webhook", 1),
    ] {
        assert_eq!(logs.matches(incident).count(), times, "{incident}: {logs}");
    }
    let lines = lines(&logs);
    assert!(lines.len() <= LINES_MAX, "{} lines: {logs}", lines.len());
    for line in &lines {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "no {key}: {line}");
        }
    }
    let counted: f64 = ["error", "warn", "info"]
        .map(|level| {
            metric(
                &metrics,
                &format!("auditrelay_log_lines_total{{level=\"{level}\"}}"),
            )
        })
        .iter()
        .sum();
    assert!(
        counted >= 5.0 && counted <= lines.len() as f64,
        "{counted}: {logs}"
    );
}

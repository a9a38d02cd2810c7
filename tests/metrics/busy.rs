//! A relay with a little of everything: repetitions, what nobody can read, what no route wants, a mute, a channel that
//! Slack refuses, a copy for its fallback, a log file, several clusters.

use std::{fs, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use hyper::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PATIENCE, Running, ids, list, run, slack};

pub const PROD_EVENTS: usize = 12;
pub const STRANGERS: usize = 5;

const CHANNELS: [&str; 3] = ["broken", "ops", "sec"];
const CLUSTERS: [&str; 5] = ["files", "home", "other", "prod", "silent"];

pub struct Busy {
    pub relay: Running,
    pub folder: TempDir,
    _slack: LocalSlack,
}

/// Whether a label's value is a name of the configuration, or what the page says of such a label.
pub fn is_configured(label: &str, value: &str) -> bool {
    match label {
        "channel" | "workspace" => CHANNELS.contains(&value),
        "cluster" => CLUSTERS.contains(&value),
        "route" => ["quiet", "deletions"].contains(&value),
        "path" => value.ends_with("audit.log"),
        "version" => value == env!("CARGO_PKG_VERSION"),
        _ => false,
    }
}

impl Busy {
    pub async fn start() -> Self {
        let slack = slack(Duration::ZERO).await;
        slack.change_channel("CBROKEN", |channel| channel.archived = true);
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "cluster: home
slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 600}}
default_channel: ops
channels:
  ops: {{slack_channel: COPS, message_interval_milliseconds: 100}}
  sec: {{slack_channel: CSEC, message_interval_milliseconds: 100}}
  broken: {{slack_channel: CBROKEN, fallback: sec, message_interval_milliseconds: 100}}
routes:
- {{name: quiet, level: None, users: [probe]}}
- {{name: deletions, channel: [broken, sec], severity: critical, verbs: [delete]}}
- {{name: rest, channel: ops}}
inputs: {{log_file: [{{path: audit.log, cluster: files}}]}}
metrics: {{clusters: [prod, silent]}}
",
            slack.api_url()
        );
        fs::write(folder.path().join("c.yaml"), config).expect("written");
        fs::write(folder.path().join("audit.log"), "").expect("written");
        let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
        let busy = Self {
            relay,
            folder,
            _slack: slack,
        };
        busy.work().await;
        busy
    }

    async fn work(&self) {
        for _ in 0..2 {
            let list = list("alice", "create", ids("prod", PROD_EVENTS));
            self.post("/webhook/prod", list).await;
        }
        for number in 0..STRANGERS {
            let path = format!("/webhook/stranger-{number}");
            self.post(&path, list("eve", "get", ids("strange", 1)))
                .await;
        }
        self.post("/webhook", list("probe", "get", ids("probe", 3)))
            .await;
        self.post("/webhook", list("bob", "delete", ids("gone", 4)))
            .await;
        self.post("/webhook", requests()).await;
        let junk =
            json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [{"a": 1}]});
        self.post("/webhook", junk.to_string()).await;
        let (status, _) = self.relay.post("/nowhere", "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        self.mute();
        self.post("/webhook", list("carol", "get", ids("held", 2)))
            .await;
        self.quiet().await;
    }

    fn mute(&self) {
        let args = [
            "mute", "add", "--for", "1h", "--user", "carol", "--reason", "a test", "--author",
            "alice", "--config", "c.yaml",
        ];
        let (code, stdout, stderr) = run(self.folder.path(), &[], &args);
        assert_eq!(code, 0, "{stdout}{stderr}");
    }

    async fn post(&self, path: &str, list: String) {
        let (status, answer) = self.relay.post(path, list).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// Waits until only the parked channel has something left and all that can be told is told.
    async fn quiet(&self) {
        let mut before = Value::Null;
        let settled = async {
            loop {
                let ledger = self.relay.ledger().await;
                let waits = |part: &str, channel: &str| {
                    ledger[part][channel]["waiting"]
                        .as_u64()
                        .unwrap_or_default()
                };
                let open = ["ops", "sec"].iter().all(|channel| {
                    let parts = ["channels", "notices", "copies"];
                    parts.iter().all(|part| waits(part, channel) == 0)
                });
                let is_copied = ledger["copies"]["sec"]["delivered"].as_u64() > Some(0);
                let is_quiet = open && is_copied && ledger["waiting"] == 0;
                if is_quiet && ledger["muted"].as_u64() > Some(0) && before == ledger {
                    return;
                }
                before = ledger;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, settled).await;
        assert!(
            in_time.is_ok(),
            "not quiet: {:#}",
            self.relay.ledger().await
        );
    }
}

/// Two requests from their beginning to their end, as a policy reports them that leaves no stage out.
fn requests() -> String {
    let mut both: Value =
        serde_json::from_str(&list("dan", "update", ids("whole", 2))).expect("JSON");
    let items = both["items"].as_array_mut().expect("items");
    let mut begun = items.clone();
    for event in &mut begun {
        event["stage"] = "RequestReceived".into();
        event
            .as_object_mut()
            .expect("an event")
            .remove("responseStatus");
    }
    items.splice(0..0, begun);
    both.to_string()
}

//! A bad day: one relay with five channels. `payments` is parked, `everything` is in a storm and gets a 429, `legacy` has
//! dead letters, one of them dropped, `security` loses an answer; batches come twice, some hold what is no event, some
//! are no batches at all, and somebody muted a bot. Three clusters post, a fourth writes a log file.
//!
//! The day begins calmly, so that a picture of it shows how it began: [`Storm::step`] is one moment of it.

use std::{fs, io::Write, path::PathBuf, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Running, run, slack};

const CONFIG: &str = "
cluster: prod-eu
slack: {token: xoxb-test, api_url: 'API_URL', messages_per_minute: 240, lookups_per_minute: 60}
metrics: {clusters: [prod-us, staging]}
watchdog: {channel: platform, interval_seconds: 10}
inputs: {log_file: [{path: audit.log, cluster: edge}]}
default_channel: platform
channels:
  platform: {slack_channel: CPLATFORM}
  security: {slack_channel: CSECURITY, fallback: platform}
  payments: {slack_channel: CPAYMENTS, fallback: platform}
  everything: {slack_channel: CEVERYTHING}
  legacy: {slack_channel: CLEGACY}
routes:
- {name: deletions, channel: [security, everything], severity: critical, users: [eve], verbs: [delete]}
- {name: payments, channel: payments, severity: critical, users: [payments-bot], verbs: [delete]}
- {name: payments-too, channel: payments, severity: warning, users: [payments-bot]}
- {name: legacy, channel: legacy, users: [legacy-bot]}
- {name: watched, channel: everything, severity: warning, verbs: [update, patch]}
- {name: all, channel: everything}
";

pub(crate) const CHANNELS: [&str; 5] = ["platform", "security", "payments", "everything", "legacy"];

/// The word of which Slack wants to hear nothing.
const POISON: &str = "unspeakable";

pub(crate) struct Storm {
    pub(crate) relay: Running,
    pub(crate) folder: tempfile::TempDir,
    slack: LocalSlack,
    steps: u64,
    events: u64,
}

impl Storm {
    pub(crate) async fn start() -> Self {
        let slack = slack(Duration::from_secs(1)).await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = CONFIG.replace("API_URL", &slack.api_url());
        fs::write(folder.path().join("c.yaml"), config).expect("written");
        fs::write(folder.path().join("audit.log"), "").expect("written");
        let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
        let code = "invalid_blocks".to_owned();
        let poison = Fault::new(Effect::Error { code }).containing(POISON);
        slack.inject(poison.times(1_000));
        Self {
            relay,
            folder,
            slack,
            steps: 0,
            events: 0,
        }
    }

    /// Half a second of the day; `is_storm` says whether it has begun.
    pub(crate) async fn step(&mut self, is_storm: bool) {
        let step = self.steps;
        self.steps += 1;
        self.calm(step).await;
        if step == 120 {
            // Somebody lets it load its configuration again, as it is.
            self.relay.signal("-HUP");
        }
        if !is_storm {
            return;
        }
        self.slack
            .change_channel("CPAYMENTS", |channel| channel.archived = true);
        let waves = [90, 140, 60, 180];
        let wave = waves[usize::try_from(step / 10 % 4).expect("small")];
        self.post("prod-eu", "eve", "delete", wave / 4).await;
        self.post("prod-eu", "controller", "update", wave).await;
        self.post("prod-us", "payments-bot", "patch", 3).await;
        if step.is_multiple_of(8) {
            self.post("prod-us", "payments-bot", "delete", 1).await;
            self.mishaps(step).await;
        }
    }

    /// What every day has.
    async fn calm(&mut self, step: u64) {
        self.post("prod-eu", "alice", "update", 2).await;
        self.post("prod-us", "ci-bot", "update", 3).await;
        if step.is_multiple_of(4) {
            self.post("staging", "bob", "create", 2).await;
            let line = self.event("node-7", "get").to_string();
            let mut log = fs::OpenOptions::new().append(true).open(self.log());
            writeln!(log.as_mut().expect("it is there"), "{line}").expect("written");
        }
        if step == 0 {
            self.mute();
        }
    }

    /// What goes wrong beside the storm.
    async fn mishaps(&mut self, step: u64) {
        // An answer that the API server did not hear: the same batch again.
        let batch = self.batch("ci-bot", "update", 6);
        for _ in 0..2 {
            self.sends("/webhook/prod-us", batch.clone(), StatusCode::OK)
                .await;
        }
        let unreadable = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {},
            "items": [{"auditID": step}]});
        self.sends("/webhook/staging", unreadable, StatusCode::OK)
            .await;
        let elsewhere = self.batch("alice", "get", 1);
        self.sends("/events", elsewhere, StatusCode::NOT_FOUND)
            .await;
        if step.is_multiple_of(64) {
            let limited = Fault::new(Effect::RetryAfter { seconds: 12 });
            self.slack.inject(limited.on("CEVERYTHING"));
        }
        if step.is_multiple_of(32) {
            let unheard = Fault::new(Effect::CloseAfterStoring);
            self.slack.inject(unheard.on("CSECURITY"));
            let mut batch = self.batch("legacy-bot", "create", 1);
            batch["items"][0]["objectRef"]["name"] = POISON.into();
            self.sends("/webhook/staging", batch, StatusCode::OK).await;
        } else {
            self.post("staging", "legacy-bot", "create", 2).await;
        }
    }

    /// Somebody gives up the first dead letter there is; says whether there was one.
    pub(crate) fn drop_a_dead_letter(&self) -> bool {
        let letters = self.auditrelay(&["dead", "list", "--json"]);
        let letters: Value = serde_json::from_str(&letters).expect("JSON");
        let Some(letter) = letters.as_array().and_then(|list| list.first()) else {
            return false;
        };
        let id = letter["id"].to_string();
        self.auditrelay(&["dead", "drop", &id]);
        true
    }

    fn mute(&self) {
        let bot = ["mute", "add", "--for", "1h", "--user", "ci-bot"];
        let why = ["--reason", "a rollout", "--author", "alice"];
        self.auditrelay(&[&bot[..], &why].concat());
    }

    fn auditrelay(&self, args: &[&str]) -> String {
        let args = [args, &["--config", "c.yaml"]].concat();
        let (code, stdout, stderr) = run(self.folder.path(), &[], &args);
        assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
        stdout
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    async fn post(&mut self, cluster: &str, user: &str, verb: &str, count: u64) {
        let batch = self.batch(user, verb, count);
        let path = format!("/webhook/{cluster}");
        self.sends(&path, batch, StatusCode::OK).await;
    }

    async fn sends(&self, path: &str, batch: Value, status: StatusCode) {
        let answer = self.relay.post(path, batch.to_string()).await;
        assert_eq!(answer.0, status, "{path}: {}", answer.1);
    }

    fn batch(&mut self, user: &str, verb: &str, count: u64) -> Value {
        let items: Vec<Value> = (0..count).map(|_| self.event(user, verb)).collect();
        json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items})
    }

    /// An event of this moment.
    fn event(&mut self, user: &str, verb: &str) -> Value {
        self.events += 1;
        let number = self.events;
        let name = format!("api-{}", number % 40);
        let now = Timestamp::now().to_string();
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata", "auditID": format!("{number:08}-0000-4000-8000-000000000000"),
            "stage": "ResponseComplete", "verb": verb,
            "requestURI": format!("/api/v1/namespaces/shop/pods/{name}"),
            "user": {"username": user, "groups": ["system:authenticated"]}, "sourceIPs": ["10.0.0.9"],
            "objectRef": {"resource": "pods", "namespace": "shop", "name": name, "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 200},
            "requestReceivedTimestamp": now, "stageTimestamp": now,
        })
    }
}

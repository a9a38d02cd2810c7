//! Two real relays on one real nats-server: one leads, both take batches and answer commands, and whoever is left goes on.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod door;
mod files;
mod leads;
mod left;
mod moving;
mod moving_refused;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use auditrelay_loadtest::{
    nats::{NatsOptions, NatsServer},
    slack::LocalSlack,
};
use auditrelay_store::jetstream::{
    Credentials, Durability, JetStream, JetStreamOptions, Leadership, Tls,
};
use serde_json::Value;
use support::{PATIENCE, Running, list, slack};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// A server, a Slack and a folder for each replica.
pub(crate) struct Bench {
    pub(crate) nats: NatsServer,
    pub(crate) slack: LocalSlack,
    folder: TempDir,
    config: String,
    keys: Keys,
}

/// The default, which [`CRASH`] is promised for. A shorter one ends where a busy machine holds a relay up.
pub(crate) const LEASE_SECONDS: u64 = 6;
/// The promise: so soon after a crash another one leads.
pub(crate) const CRASH: Duration = Duration::from_secs(15);
/// For servers and relays that share a busy machine.
pub(crate) const PATIENT: &str = "append_timeout_milliseconds: 15000";

/// Keys that stand beside those of every replica, each with a comma before it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keys {
    pub(crate) slack: &'static str,
    pub(crate) channels: &'static str,
    pub(crate) ingest: &'static str,
    pub(crate) jetstream: &'static str,
    /// Instead of [`LEASE_SECONDS`].
    pub(crate) lease_seconds: Option<u64>,
}

impl Bench {
    /// None where there is no nats-server, which is said. `config` is added to that of each replica.
    pub(crate) async fn start(config: &str) -> Option<Self> {
        let nats = NatsServer::start(&NatsOptions::default()).expect("a server")?;
        Some(Self {
            nats,
            slack: slack(Duration::ZERO).await,
            folder: tempfile::tempdir().expect("a folder"),
            config: config.to_owned(),
            keys: Keys::default(),
        })
    }

    /// The same with these keys, for replicas that are started from now on.
    pub(crate) fn with(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// The queue of the replicas, for a test that acts as one of them.
    pub(crate) fn options(&self) -> JetStreamOptions {
        let monitoring = self.nats.monitoring().parse().expect("an address");
        JetStreamOptions {
            servers: vec![self.nats.address()],
            credentials: Credentials::None,
            tls: Tls::default(),
            replicas: 1,
            name: "auditrelay".to_owned(),
            inbox_bytes_max: 64 << 20,
            ledger_bytes_max: 256 << 20,
            lease: Duration::from_secs(LEASE_SECONDS),
            append_timeout: Duration::from_secs(5),
            durability: Durability::Synced(vec![monitoring]),
        }
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A replica of this name. All of them have one dedup key.
    pub(crate) fn replica(&self, name: &str) -> Running {
        let folder = self.folder(name);
        fs::create_dir_all(folder.join("data")).expect("made");
        let key = folder.join("data/dedup.key");
        if !key.exists() {
            fs::write(&key, [7; 32]).expect("written");
        }
        self.write_config(name);
        Running::start(&folder, &[], &["--config", "c.yaml"])
    }

    pub(crate) fn write_config(&self, name: &str) {
        let (servers, monitoring) = (self.nats.address(), self.nats.monitoring());
        let api_url = self.slack.api_url();
        let Keys {
            slack,
            channels,
            ingest,
            jetstream,
            lease_seconds,
        } = self.keys;
        let lease = lease_seconds.unwrap_or(LEASE_SECONDS);
        let text = format!(
            "data_dir: data
slack: {{token: xoxb-test, api_url: '{api_url}', messages_per_minute: 600{slack}}}
channels: {{ops: {{slack_channel: COPS, message_interval_milliseconds: 100, sentences_max: 20}}{channels}}}
queue: {{jetstream: {{servers: ['{servers}'], monitoring: ['{monitoring}'], replicas: 1, relay_name: {name}, \
             lease_seconds: {lease}, {PATIENT}{jetstream}}}}}
ingest: {{ack_timeout_milliseconds: 20000{ingest}}}
{}
",
            self.config
        );
        fs::write(self.folder(name).join("c.yaml"), text).expect("written");
    }
}

/// Somebody who holds the lease, answers nobody and takes nothing out of the inbox. However busy the machine is, nobody else
/// leads before it is given up.
pub(crate) async fn nobody_who_leads(options: &JetStreamOptions) -> (JetStream, Leadership) {
    let options = JetStreamOptions {
        lease: Duration::from_secs(60),
        ..options.clone()
    };
    let servers = JetStream::connect_when_there(&options).await;
    let servers = servers.expect("connected");
    let held = servers.lead("nobody").await.expect("the lease");
    (servers, held)
}

pub(crate) async fn leads(relay: &Running) -> bool {
    let metrics = relay.get("/metrics").await.1;
    // Whatever its queue is called.
    let mut lines = metrics.lines();
    lines.any(|line| line.starts_with("auditrelay_leader{") && line.ends_with(" 1"))
}

/// Waits until a relay leads.
pub(crate) async fn until_leads(relay: &Running, within: Duration) {
    let deadline = Instant::now() + within;
    while !leads(relay).await {
        assert!(
            Instant::now() < deadline,
            "it does not lead within {within:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until so many posts of Slack tell of an audit ID, and no longer.
pub(crate) async fn until_told(slack: &LocalSlack, ids: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (plain, marked) = support::told(slack);
        if ids
            .iter()
            .all(|id| plain.contains_key(id) || marked.contains_key(id))
        {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "not told: {ids:?}, but {plain:?} {marked:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn post(relay: &Running, ids: &[String]) {
    let (status, answer) = relay
        .post("/webhook", list("alice", "get", ids.to_vec()))
        .await;
    assert_eq!(status, 200, "{answer}");
}

pub(crate) async fn status(relay: &Running) -> Value {
    serde_json::from_str(&relay.get("/status").await.1).expect("JSON")
}

/// The exit code and what a command says, run beside a replica.
pub(crate) fn command(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut args = args.to_vec();
    args.extend(["--data-dir", "data"]);
    support::run(folder, &[], &args)
}

//! What is measured: the relay, the bare servers, JetStream, a plain file.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::bare::Work;
use crate::{
    log::Log,
    process::{Process, Usage},
    slack::{LocalSlack, Options},
    storm::Target,
};

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The relay with the routes of a careful team: few events are delivered.
    Relay,
    /// The relay with no routes: every event goes to the default channel.
    RelayAllRouted,
    /// A bare server.
    Bare(
        /// What it does.
        #[serde(skip)]
        Work,
    ),
    /// NATS JetStream, a file store with `sync_interval: always`, bodies opaque.
    JetStream,
    /// A plain file of this process.
    Plain,
}

impl Kind {
    /// What a person reads.
    pub fn title(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::RelayAllRouted => "relay, every event routed",
            Self::Bare(Work::Discard) => "bare server: read, discard (not durable)",
            Self::Bare(Work::Append) => "bare server: collect, append, sync",
            Self::Bare(Work::Keys) => "bare server: split, read keys, append, sync",
            Self::Bare(Work::KeysAndCompress) => "bare server: the same, compressed",
            Self::JetStream => "NATS JetStream, sync always, bodies opaque",
            Self::Plain => "no network: append, sync",
        }
    }
}

/// The programs that subjects run.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `auditrelay`.
    pub relay: PathBuf,
    /// `nats-server`, where there is one.
    pub nats_server: Option<PathBuf>,
    /// This program: it serves as the bare servers too.
    pub limits: PathBuf,
}

/// A subject that runs.
#[derive(Debug)]
pub struct Subject {
    /// Where its load goes.
    pub target: Target,
    process: Option<Process>,
    admin: Option<SocketAddr>,
    slack: Option<LocalSlack>,
}

impl Subject {
    /// Starts it with an empty folder of its own.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start(kind: Kind, programs: &Programs, folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        match kind {
            Kind::Relay => Self::relay(programs, folder, &Setup::careful()).await,
            Kind::RelayAllRouted => Self::relay(programs, folder, &Setup::all_routed()).await,
            Kind::Bare(work) => Self::bare(programs, folder, work).await,
            Kind::JetStream => Self::jetstream(programs, folder).await,
            Kind::Plain => {
                let log = Log::create(&folder.join("log"))?;
                Ok(Self::without_process(Target::Log(Arc::new(log))))
            }
        }
    }

    fn without_process(target: Target) -> Self {
        Self {
            target,
            process: None,
            admin: None,
            slack: None,
        }
    }

    /// The relay as users run it: redaction and quarantine on, routing, and a Slack that takes one
    /// message a second and channel.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn relay(programs: &Programs, folder: &Path, setup: &Setup) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        // Two hundred channels together would soon have the workspace's messages of a minute.
        let mut options = Options::default();
        options.limits.messages = 0;
        let slack = LocalSlack::start(loopback, options).await?;
        let api_url = slack.api_url();
        // A dead Slack: nobody listens at its address any more.
        let slack = match setup.dead_slack {
            true => {
                slack.stop().await;
                None
            }
            false => Some(slack),
        };
        let channel =
            |name: &String| (name.clone(), json!({ "slack_channel": format!("#{name}") }));
        let mut config = json!({
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "data_dir": folder.join("data"),
            "default_channel": setup.channels[0],
            "slack": { "api_url": api_url, "token": "xoxb-test" },
            "channels": setup.channels.iter().map(channel).collect::<serde_json::Map<_, _>>(),
            "routes": setup.routes,
        });
        if let Some((section, key_file)) = &setup.streams {
            config["queue"] = json!({ "jetstream": section });
            config["dedup"] = json!({ "key_file": key_file });
        }
        let file = folder.join("relay.yaml");
        // JSON is YAML.
        fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        let mut command = Command::new(&programs.relay);
        command.env_clear().arg("serve").arg("--config").arg(&file);
        let mut process = Process::start("auditrelay", &mut command, folder.join("relay.log"))?;
        let (webhook, admin) = process.wait_for_line(ready).await?;
        Ok(Self {
            target: Target::Http {
                address: webhook,
                path: "/webhook/bench".to_owned(),
            },
            process: Some(process),
            admin: Some(admin),
            slack,
        })
    }

    async fn bare(programs: &Programs, folder: &Path, work: Work) -> anyhow::Result<Self> {
        let name = clap::ValueEnum::to_possible_value(&work).context("each work has a name")?;
        let mut command = Command::new(&programs.limits);
        command
            .arg("bare")
            .arg(name.get_name())
            .arg("--folder")
            .arg(folder);
        let mut process = Process::start("bare server", &mut command, folder.join("bare.log"))?;
        let address = process
            .wait_for_line(|line| line.strip_prefix("listening on ")?.parse().ok())
            .await?;
        Ok(Self {
            process: Some(process),
            ..Self::without_process(Target::Http {
                address,
                path: "/".to_owned(),
            })
        })
    }

    async fn jetstream(programs: &Programs, folder: &Path) -> anyhow::Result<Self> {
        let program = programs
            .nats_server
            .as_ref()
            .context("there is no nats-server")?;
        let config = folder.join("nats.conf");
        let store = folder.join("store");
        // It finds a free port itself and writes it into `ports_file_dir`.
        let text = format!(
            "listen: \"127.0.0.1:-1\"\nmax_payload: 64MB\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n",
            store.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&config);
        let mut process = Process::start("nats-server", &mut command, folder.join("nats.log"))?;
        let address = process
            .wait_for_line(|line| {
                line.split_once("Listening for client connections on ")?
                    .1
                    .trim()
                    .parse::<SocketAddr>()
                    .ok()
            })
            .await?;
        process
            .wait_for_line(|line| line.contains("Server is ready").then_some(()))
            .await?;
        let url = format!("nats://{address}");
        let client = async_nats::connect(&url).await?;
        let stream = async_nats::jetstream::stream::Config {
            name: "audit".to_owned(),
            subjects: vec!["audit.bench".to_owned()],
            ..Default::default()
        };
        async_nats::jetstream::new(client)
            .create_stream(stream)
            .await
            .context("cannot create the stream")?;
        Ok(Self {
            process: Some(process),
            ..Self::without_process(Target::JetStream {
                url,
                subject: "audit.bench".to_owned(),
            })
        })
    }

    /// What it has used; nothing where it is part of this process.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        match &self.process {
            Some(process) => process.usage(),
            None => Ok(Usage::default()),
        }
    }

    /// Events that the relay has acknowledged and not yet routed.
    ///
    /// # Errors
    /// The relay does not answer.
    pub async fn unrouted(&self) -> anyhow::Result<Option<u64>> {
        let Some(ledger) = self.ledger().await? else {
            return Ok(None);
        };
        Ok(ledger["waiting"].as_u64())
    }

    /// The relay's ledger.
    ///
    /// # Errors
    /// The relay does not answer.
    pub async fn ledger(&self) -> anyhow::Result<Option<Value>> {
        let Some(admin) = self.admin else {
            return Ok(None);
        };
        let stream = TcpStream::connect(admin).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get("/ledger")
            .header(HOST, admin.to_string())
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Some(serde_json::from_slice(&body)?))
    }

    /// The local Slack of a relay.
    pub fn slack(&self) -> Option<&LocalSlack> {
        self.slack.as_ref()
    }

    /// Ends it.
    ///
    /// # Errors
    /// It had ended already, or does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process.take() {
            process.stop().await?;
        }
        if let Some(slack) = self.slack.take() {
            slack.stop().await;
        }
        Ok(())
    }
}

fn ready(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let log: Value = serde_json::from_str(line).ok()?;
    if log["message"] != "ready" {
        return None;
    }
    let address = |field: &str| {
        let url = log[field].as_str()?.trim_start_matches("http://");
        url.trim_end_matches("/webhook").parse().ok()
    };
    Some((address("webhook")?, address("admin")?))
}

/// A relay's configuration, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Names of channels; the first is the default.
    pub channels: Vec<String>,
    /// Routes, as in the configuration.
    pub routes: Value,
    /// Nothing can be delivered, so that all of it waits.
    pub dead_slack: bool,
    /// The section `queue.jetstream` and the key that relays on it share, where the queue is there.
    pub streams: Option<(Value, PathBuf)>,
}

impl Setup {
    /// What a team that cares wants to hear of: one event in twelve of [`crate::events`].
    pub fn careful() -> Self {
        let changes = ["create", "update", "patch", "delete"];
        let routes = json!([
            { "name": "shells", "channel": "security", "severity": "critical",
              "resources": [{ "resources": ["pods/exec", "pods/attach", "pods/portforward"] }] },
            { "name": "rbac", "channel": "security", "severity": "warning", "verbs": changes,
              "resources": [{ "group": "rbac.authorization.k8s.io" }] },
            { "name": "secrets-by-people", "channel": "security", "severity": "warning",
              "userGroups": ["platform-engineering"],
              "resources": [{ "resources": ["secrets"] }] },
            { "name": "deployments", "channel": "ops", "verbs": changes,
              "resources": [{ "group": "apps", "resources": ["deployments"] }] },
            { "name": "namespaces", "channel": "ops", "verbs": ["create", "delete"],
              "resources": [{ "resources": ["namespaces"] }] },
        ]);
        Self {
            channels: vec!["ops".to_owned(), "security".to_owned()],
            routes,
            dead_slack: false,
            streams: None,
        }
    }

    /// No routes: every event goes to the one channel.
    pub fn all_routed() -> Self {
        Self {
            channels: vec!["ops".to_owned()],
            routes: json!([]),
            dead_slack: false,
            streams: None,
        }
    }

    /// Two hundred routes, each a namespace's, to so many channels: four events in ten are delivered.
    pub fn by_namespace(channels: usize) -> Self {
        let channel = |number: usize| format!("team-{}", number % channels);
        let route = |number: usize| {
            json!({ "name": format!("team-{number}"), "channel": channel(number),
                    "namespaces": [format!("team-{number}")] })
        };
        Self {
            channels: (0..channels).map(channel).collect(),
            routes: (0..200).map(route).collect(),
            dead_slack: false,
            streams: None,
        }
    }

    /// So many routes that an event has to be told from, and none that wants it.
    pub fn unmatched(routes: usize) -> Self {
        let route = |number: usize| {
            json!({ "name": format!("r{number}"), "channel": "ops", "verbs": ["update", "patch"],
                    "users": [format!("user-{number}")],
                    "resources": [{ "group": "*", "resources": [format!("kind{number}"), "pods"] }] })
        };
        Self {
            routes: (0..routes).map(route).collect(),
            ..Self::all_routed()
        }
    }
}

//! Three relays, three nats-servers, API servers and Slack, and what is done to them.

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use auditrelay_loadtest::{
    apiserver::{self, Report},
    nats::{NatsCluster, NatsOptions},
    slack::{LocalSlack, Options},
};
use hyper::{Method, StatusCode, body::Bytes};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, block_in_place},
    time::{Instant, sleep, timeout},
};

use crate::{
    service::Service,
    support::{PATIENCE, Running, request},
    wire::{Posts, wire},
};

pub const RELAYS: usize = 3;
pub const MESSAGE_INTERVAL_MILLISECONDS: u64 = 250;
/// What relays say of themselves when they begin to lead.
const LEADS: &str = "this replica leads: it routes";
/// Events of each API server.
const EVENTS_PER_SECOND: u32 = 12;
/// How long a relay is asked that may end meanwhile; one that is stopped is not asked.
const ASKED: Duration = Duration::from_secs(20);

/// All of it.
pub struct Bench {
    pub nats: NatsCluster,
    pub slack: LocalSlack,
    pub service: Service,
    pub relays: Vec<Replica>,
    pub posts: Posts,
    folder: tempfile::TempDir,
    lease_seconds: u32,
    promise: Promise,
    /// What was logged by relays that have ended.
    logs: Vec<String>,
}

/// What relays are told that an acknowledgement rests on.
#[derive(Debug, Clone, Copy)]
pub enum Promise {
    Synced,
    Replicated,
}

/// A relay, or the place of one.
pub struct Replica {
    pub running: Option<Running>,
    is_stopped: bool,
    slack: SocketAddr,
}

/// Slack ten times as fast: 54 messages in six seconds. The pace of each channel is looked at afterwards (`settled`): on a
/// busy machine a message that was held up and the next one may come to Slack close together.
fn slack_options() -> Options {
    let mut options = Options {
        message_interval: Duration::ZERO,
        time_scale: 10,
        ..Options::default()
    };
    options.limits.messages = 54;
    options
}

impl Bench {
    /// None where there is no nats-server, which is said.
    pub async fn start(lease_seconds: u32) -> Option<Self> {
        Self::with(lease_seconds, &NatsOptions::default(), Promise::Synced).await
    }

    /// The same with servers of another kind.
    pub async fn with(lease_seconds: u32, options: &NatsOptions, promise: Promise) -> Option<Self> {
        let nats = block_in_place(|| NatsCluster::start(3, options)).expect("a cluster")?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let slack = LocalSlack::start(free, slack_options())
            .await
            .expect("a free port");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("dedup.key"), [7; 32]).expect("written");
        let posts = Posts::default();
        let mut relays = Vec::new();
        for relay in 0..RELAYS {
            relays.push(Replica {
                running: None,
                is_stopped: false,
                slack: wire(relay, slack.addr(), posts.clone()).await,
            });
        }
        let mut bench = Self {
            nats,
            slack,
            service: Service::start(RELAYS).await,
            relays,
            posts,
            folder,
            lease_seconds,
            promise,
            logs: Vec::new(),
        };
        for relay in 0..RELAYS {
            bench.start_relay(relay);
        }
        bench.until_one_leads(PATIENCE).await;
        Some(bench)
    }

    pub fn folder(&self, relay: usize) -> PathBuf {
        self.folder.path().join(format!("r{relay}"))
    }

    /// The budget of all is 360 a minute: 36 in six seconds, and a second's worth (6) at once after a pause, also after one
    /// before a relay began to lead. So with two changes of who leads in six seconds there are 54 at the most; two that
    /// post at the same time come to 72. Few events a message: so each is told by its audit ID.
    fn config(&self, relay: usize) -> String {
        let list = |urls: &[String]| {
            let quoted: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
            quoted.join(", ")
        };
        let promise = match self.promise {
            Promise::Synced => format!("monitoring: [{}]", list(&self.nats.monitoring())),
            Promise::Replicated => "accept_replicated_without_fsync: true".to_owned(),
        };
        format!(
            "data_dir: data
dedup: {{key_file: '{}', window_seconds: 3600}}
queue: {{jetstream: {{servers: [{}], {promise}, relay_name: r{relay}, lease_seconds: {}}}}}
slack: {{token: xoxb-test, api_url: 'http://{}/api/', messages_per_minute: 360, lookups_per_minute: 300, timeout_seconds: 3}}
channels:
  reads: {{slack_channel: CREADS, message_interval_milliseconds: {MESSAGE_INTERVAL_MILLISECONDS}, message_events_max: 20, sentences_max: 20, retry_max_seconds: 2}}
  writes: {{slack_channel: CWRITES, message_interval_milliseconds: {MESSAGE_INTERVAL_MILLISECONDS}, message_events_max: 20, sentences_max: 20, retry_max_seconds: 2}}
default_channel: writes
routes:
  - {{name: reads, channel: reads, verbs: [get, list, watch]}}
  - {{name: rest, channel: writes}}
",
            self.folder.path().join("dedup.key").display(),
            list(&self.nats.addresses()),
            self.lease_seconds,
            self.relays[relay].slack,
        )
    }

    /// Starts a relay that does not run.
    pub fn start_relay(&mut self, relay: usize) {
        let folder = self.folder(relay);
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("c.yaml"), self.config(relay)).expect("written");
        let args = ["--config", "c.yaml"];
        // The default: API servers come again.
        let env = [("AUDITRELAY__INGEST__ACK_TIMEOUT_MILLISECONDS", "900")];
        let running = block_in_place(|| Running::start(&folder, &env, &args));
        self.service.set(relay, Some(running.webhook));
        self.relays[relay].running = Some(running);
    }

    pub fn relay(&mut self, relay: usize) -> &mut Running {
        self.relays[relay].running.as_mut().expect("it runs")
    }

    /// Kills a relay (SIGKILL), whatever it does.
    pub async fn kill_relay(&mut self, relay: usize) {
        self.service.set(relay, None);
        let mut running = self.relays[relay].running.take().expect("it runs");
        running.signal("-KILL");
        running.wait().await;
        self.relays[relay].is_stopped = false;
        self.logs.push(running.all_logs());
    }

    /// Ends a relay as Kubernetes does: no more requests, SIGTERM.
    pub async fn end_relay(&mut self, relay: usize) {
        self.service.set(relay, None);
        let mut running = self.relays[relay].running.take().expect("it runs");
        running.signal("-TERM");
        let status = running.wait().await;
        let logs = running.all_logs();
        assert!(status.success(), "{status}: {logs}");
        self.logs.push(logs);
    }

    /// Stops a relay (SIGSTOP): it neither runs nor closes its connections.
    pub fn stop_relay(&mut self, relay: usize) {
        self.relay(relay).signal("-STOP");
        self.relays[relay].is_stopped = true;
    }

    pub fn cont_relay(&mut self, relay: usize) {
        self.relay(relay).signal("-CONT");
        self.relays[relay].is_stopped = false;
    }

    /// Who leads among those that run and are not stopped, as each of them says of itself.
    pub async fn leaders(&self) -> Vec<usize> {
        let mut leaders = Vec::new();
        for (at, relay) in self.relays.iter().enumerate() {
            let Some(running) = relay.running.as_ref().filter(|_| !relay.is_stopped) else {
                continue;
            };
            let metrics = ask(running.admin, "/metrics").await.map(|(_, text)| text);
            if metrics
                .is_some_and(|text| text.contains("\nauditrelay_leader{queue=\"auditrelay\"} 1"))
            {
                leaders.push(at);
            }
        }
        leaders
    }

    /// Waits until one leads, and says how long that took.
    pub async fn until_one_leads(&mut self, within: Duration) -> (usize, Duration) {
        let begun = Instant::now();
        loop {
            if let [one] = self.leaders().await[..] {
                return (one, begun.elapsed());
            }
            if begun.elapsed() >= within {
                panic!("nobody leads within {within:?}\n{}", self.told_by_relays());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// How often a relay began to lead.
    pub fn terms(&mut self) -> usize {
        self.told_by_relays().matches(LEADS).count()
    }

    /// Everything that relays logged.
    pub fn told_by_relays(&mut self) -> String {
        let mut told = self.logs.clone();
        for relay in &mut self.relays {
            told.extend(relay.running.as_mut().map(Running::logs));
        }
        told.join("\n")
    }

    /// What stands in the way of the test is that no relay ended by itself.
    pub fn nobody_ended(&mut self) {
        for (at, relay) in self.relays.iter_mut().enumerate() {
            if let Some(running) = &mut relay.running {
                let state = fs::read_to_string(format!("/proc/{}/stat", running.pid()));
                let is_zombie = state.map_or(true, |state| state.contains(") Z "));
                assert!(!is_zombie, "relay {at} ended: {}", running.all_logs());
            }
        }
    }
}

/// What a port answers; `None` where it does not.
pub async fn ask(address: SocketAddr, path: &str) -> Option<(StatusCode, String)> {
    let asking = request(address, Method::GET, path, Bytes::new());
    let (status, body) = timeout(ASKED, asking).await.ok()??;
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// API servers under way.
pub struct ApiServers {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Report>,
}

impl ApiServers {
    /// Three, which send small batches and try again sooner than real ones do: within seconds, not minutes.
    pub fn start(service: &Service) -> Self {
        let target = format!("http://{}/webhook", service.address);
        let count = |value| NonZeroU32::new(value).expect("not zero");
        let options = apiserver::Options {
            events_per_second: count(EVENTS_PER_SECOND),
            duration: Duration::from_secs(86_400),
            api_servers: count(3),
            max_wait: Duration::from_millis(300),
            initial_backoff: Duration::from_millis(500),
            try_timeout: Duration::from_secs(4),
            ..apiserver::Options::new(target.parse().expect("loopback"))
        };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let running = tokio::spawn(apiserver::run(options, shutdown));
        Self { stop, running }
    }

    /// No more events; what was made is sent to its end.
    pub async fn end(self) -> Report {
        // It may have ended.
        let _ = self.stop.send(());
        let ended = timeout(2 * PATIENCE, self.running).await;
        ended
            .expect("API servers come to an end")
            .expect("no panic")
    }
}

/// Runs a command beside a relay.
pub fn command(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let args = [args, &["--data-dir", "data"]].concat();
    block_in_place(|| crate::support::run(folder, &[], &args))
}

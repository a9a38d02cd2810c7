//! Several relays as one, on real NATS servers, beside one relay on a disk of the same machine: what they acknowledge and
//! what they route.
//!
//! Contract:
//! * arrangements take turns for several rounds, the disk among them, so that a machine that slows down slows all of
//!   them; a figure is the median of its rounds, and what is told is its ratio to the disk's;
//! * all take the same load from as many connections, which are shared among the relays;
//! * what was acknowledged is routed, all of it, or there is no figure: the ledger says so.
//!
//! Relays, servers, Slack and the load share this machine, so with few processors more relays cannot bring more events.

pub mod report;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    limits::{Programs, Setup, Subject},
    nats::{NatsCluster, NatsOptions, NatsServer},
    storm::{self, Load},
};

/// How long relays may take to lead, and to route what is left when the load ends.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// How the queue lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Arrangement {
    /// One relay with a disk.
    Disk,
    /// Relays on JetStream.
    JetStream {
        /// How many servers, each of which holds every message.
        servers: usize,
        /// Whether each message is synced before it is acknowledged.
        is_synced: bool,
        /// How many relays.
        relays: usize,
    },
}

impl Arrangement {
    /// All of them, the disk first.
    pub fn all() -> Vec<Self> {
        let on = |servers, is_synced| {
            (1..=3).map(move |relays| Self::JetStream {
                servers,
                is_synced,
                relays,
            })
        };
        let all = [on(1, true), on(3, true), on(3, false)];
        std::iter::once(Self::Disk)
            .chain(all.into_iter().flatten())
            .collect()
    }

    /// What a person reads.
    pub fn title(self) -> String {
        match self {
            Self::Disk => "1 relay, disk".to_owned(),
            Self::JetStream {
                servers,
                is_synced,
                relays,
            } => {
                let relays = match relays {
                    1 => "1 relay".to_owned(),
                    more => format!("{more} relays"),
                };
                let servers = match servers {
                    1 => "1 server".to_owned(),
                    more => format!("{more} servers"),
                };
                let synced = match is_synced {
                    true => "sync always",
                    false => "without",
                };
                format!("{relays}, {servers}, {synced}")
            }
        }
    }
}

/// Of one arrangement in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Events acknowledged in a second, while the load lasted.
    pub acknowledged_per_second: f64,
    /// Events acknowledged by the time from the first batch until the last of them was routed.
    pub routed_per_second: f64,
    /// Median latency of an acknowledgement, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// Processor seconds of all relays for a million events.
    pub cpu_seconds_per_million: f64,
    /// Batches that were not acknowledged.
    pub refused: u64,
}

/// Runs one load on one arrangement.
///
/// # Errors
/// Something does not start or ends, or not everything is routed.
pub async fn measure(
    arrangement: Arrangement,
    programs: &Programs,
    folder: &Path,
    load: Load,
) -> anyhow::Result<Figures> {
    let mut stand = Stand::start(arrangement, programs, folder).await?;
    // First connections, allocations and page faults are not what is measured.
    let warm_up = Load {
        duration: Duration::from_millis(500),
        ..load
    };
    let before = stand.put_under(warm_up).await?.events;
    stand.until_routed(before).await?;
    let cpu_before = stand.cpu_seconds()?;
    let begun = Instant::now();
    let outcome = stand.put_under(load).await?;
    stand.until_routed(before + outcome.events).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    let cpu = stand.cpu_seconds()? - cpu_before;
    stand.stop().await?;
    ensure!(outcome.events > 0, "nothing was acknowledged");
    Ok(Figures {
        acknowledged_per_second: outcome.events_per_second(),
        routed_per_second: outcome.events as f64 / elapsed,
        p50_ms: outcome.latency_ms(50.0),
        p99_ms: outcome.latency_ms(99.0),
        cpu_seconds_per_million: cpu / (outcome.events as f64 / 1e6),
        refused: outcome.refused.values().sum(),
    })
}

/// One server is no cluster.
fn start_servers(count: usize, options: &NatsOptions) -> anyhow::Result<Option<NatsCluster>> {
    if count > 1 {
        return NatsCluster::start(count, options);
    }
    let server = NatsServer::start(options)?;
    Ok(server.map(|server| NatsCluster {
        servers: vec![server],
    }))
}

/// Relays and servers that run.
struct Stand {
    relays: Vec<Subject>,
    /// After the relays: they go first.
    _servers: Option<NatsCluster>,
}

impl Stand {
    async fn start(
        arrangement: Arrangement,
        programs: &Programs,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let Arrangement::JetStream {
            servers,
            is_synced,
            relays,
        } = arrangement
        else {
            let relay = Subject::relay(programs, folder, &Setup::careful()).await?;
            return Ok(Self {
                relays: vec![relay],
                _servers: None,
            });
        };
        let options = NatsOptions {
            sync_always: is_synced,
            ..NatsOptions::default()
        };
        let cluster = tokio::task::spawn_blocking(move || start_servers(servers, &options));
        let cluster = cluster.await??.context("there is no nats-server")?;
        let key_file = folder.join("dedup.key");
        fs::write(&key_file, [7; 32])?;
        let mut section = json!({ "servers": cluster.addresses(), "replicas": servers });
        match is_synced {
            true => section["monitoring"] = json!(cluster.monitoring()),
            false => section["accept_replicated_without_fsync"] = json!(true),
        }
        let mut stand = Self {
            relays: Vec::new(),
            _servers: Some(cluster),
        };
        for number in 1..=relays {
            let name = format!("relay-{number}");
            section["relay_name"] = json!(name);
            let setup = Setup {
                streams: Some((section.clone(), key_file.clone())),
                ..Setup::careful()
            };
            let relay = Subject::relay(programs, &folder.join(&name), &setup).await?;
            stand.relays.push(relay);
        }
        stand.until_routed(0).await?;
        Ok(stand)
    }

    async fn put_under(&self, load: Load) -> anyhow::Result<storm::Outcome> {
        let targets: Vec<_> = self
            .relays
            .iter()
            .map(|relay| relay.target.clone())
            .collect();
        storm::run_on(load, &targets).await
    }

    /// Waits until so many events were received in all, and none of them waits to be routed.
    async fn until_routed(&self, events: u64) -> anyhow::Result<()> {
        let relay = self.relays.first().context("no relay")?;
        let mut last = Value::Null;
        let routed = timeout(PATIENCE, async {
            loop {
                // Before one leads, nobody knows.
                if let Ok(Some(ledger)) = relay.ledger().await {
                    let received = ledger["received"].as_u64();
                    if received > Some(events) {
                        bail!("{events} events were acknowledged: {ledger}");
                    }
                    if received == Some(events) && ledger["waiting"] == 0 {
                        return Ok(());
                    }
                    last = ledger;
                }
                sleep(PAUSE).await;
            }
        });
        let routed = routed.await;
        routed.with_context(|| format!("{events} events are not routed: {last}"))?
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for relay in &self.relays {
            sum += relay.usage()?.cpu_seconds;
        }
        Ok(sum)
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        for relay in &mut self.relays {
            relay.stop().await?;
        }
        Ok(())
    }
}

//! Real nats-servers for tests and measurements: one, or a cluster of three.
//!
//! Contract:
//! * a server listens on loopback only, on ports that were free, below the range that outgoing connections take theirs
//!   from; a start that finds one taken tries others. A restart has the same ports, name and files, and no other server
//!   of tests on this machine gets the ports of one that is killed;
//! * who gets a server gets one that is ready: JetStream answers, and in a cluster the meta leader is known and every
//!   server is current;
//! * a server ends with its value, and its files are removed with it;
//! * nothing here needs a runtime, and it may be called inside of one: servers are processes, so waiting for them is of
//!   the real clock.
//!
//! The program is `AUDITRELAY_NATS_SERVER`, else what `tests/nats/install.sh` put below `target`, else `nats-server`
//! of the path. Where there is none a line says so, and there is no server: the test is skipped.

mod config;
mod monitor;
mod server;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

pub use monitor::get;
pub use server::NatsServer;

use anyhow::{Context, bail};
use serde_json::Value;

/// Longest wait for servers to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often other ports are tried.
const STARTS_MAX: usize = 5;

/// What servers are started with.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Whether each message is synced before it is acknowledged (`sync_interval: always`).
    pub sync_always: bool,
    /// Whether there is JetStream at all.
    pub jetstream: bool,
    /// The most bytes of files of all streams of a server; what streams may take at most is reserved from it.
    pub file_store_bytes_max: u64,
    /// The largest message, where it is not the default of 1 MiB.
    pub payload_bytes_max: Option<u64>,
    /// The user that clients must name, and its password.
    pub user: Option<(String, String)>,
    /// The token that clients must name.
    pub token: Option<String>,
    /// TLS, which clients must use then.
    pub tls: Option<NatsTls>,
    /// What servers of a cluster tell each other to be let in; one with another is cut off from them.
    pub route_password: String,
    /// Further lines of the configuration file.
    pub lines: String,
    /// Environment of the servers: of all of them, or of the one with this index.
    pub environment: Vec<(Option<usize>, OsString, OsString)>,
    /// A program that becomes the server: it is given the server's own program and its arguments.
    pub wrapper: Option<PathBuf>,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            sync_always: true,
            jetstream: true,
            file_store_bytes_max: 64 << 30,
            payload_bytes_max: None,
            user: None,
            token: None,
            tls: None,
            route_password: "route".to_owned(),
            lines: String::new(),
            environment: Vec::new(),
            wrapper: None,
        }
    }
}

/// Certificates of a server.
#[derive(Debug, Clone)]
pub struct NatsTls {
    /// Its own, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Who signs certificates of clients, PEM; clients must have one then.
    pub client_ca_file: Option<PathBuf>,
}

/// Several servers that are one cluster.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers.
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts so many servers as a cluster, with its meta leader; `None` where there is no program.
    ///
    /// # Errors
    /// They do not start, or are not ready in a minute.
    pub fn start(count: usize, options: &NatsOptions) -> anyhow::Result<Option<Self>> {
        let Some(program) = program() else {
            return Ok(None);
        };
        let mut last = None;
        for _ in 0..STARTS_MAX {
            match Self::start_once(&program, count, options) {
                Ok(started) => return Ok(Some(started)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no start was tried")?)
    }

    fn start_once(program: &Path, count: usize, options: &NatsOptions) -> anyhow::Result<Self> {
        let mut places = Vec::new();
        for index in 0..count {
            places.push(config::Place::find(index)?);
        }
        let routes: Vec<u16> = places.iter().map(|place| place.cluster_port).collect();
        let mut servers = Vec::new();
        for place in places {
            servers.push(NatsServer::begin(program, place, &routes, options)?);
        }
        let mut cluster = Self { servers };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Waits until each server that was not killed or stopped is ready and they know their meta leader.
    ///
    /// # Errors
    /// That takes a minute, or a server ended.
    pub fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        for server in &mut self.servers {
            if server.is_running() {
                server.wait_until_ready()?;
            }
        }
        let mut patience = monitor::Patience::new(PATIENCE);
        while self.meta_leader().is_none_or(|at| !self.is_whole(at)) {
            patience.wait().context("the cluster has no meta leader")?;
        }
        Ok(())
    }

    /// Whether its meta leader sees every other server that runs as current.
    fn is_whole(&self, meta_leader: usize) -> bool {
        let meta = self.servers[meta_leader].monitor("/jsz");
        let current = |name: &str| {
            let replicas = meta
                .as_ref()
                .ok()
                .and_then(|jsz| jsz["meta_cluster"]["replicas"].as_array());
            replicas.into_iter().flatten().any(|replica| {
                replica["name"] == name
                    && replica["current"] == true
                    && replica["offline"] != Value::Bool(true)
            })
        };
        let mut others = self.servers.iter().enumerate();
        others
            .all(|(at, server)| at == meta_leader || !server.is_running() || current(server.name()))
    }

    /// Which server leads JetStream as a whole.
    pub fn meta_leader(&self) -> Option<usize> {
        let mut running = self.servers.iter().filter(|server| server.is_running());
        let leader = running.find_map(|server| {
            let jsz = server.monitor("/jsz").ok()?;
            Some(jsz["meta_cluster"]["leader"].as_str()?.to_owned())
        })?;
        self.index_of(&leader)
    }

    /// Which server leads a stream of the global account.
    pub fn stream_leader(&self, stream: &str) -> Option<usize> {
        let mut running = self.servers.iter().filter(|server| server.is_running());
        let leader = running.find_map(|server| {
            let jsz = server.monitor("/jsz?streams=true").ok()?;
            let accounts = jsz["account_details"].as_array()?;
            let mut streams = accounts
                .iter()
                .filter_map(|account| account["stream_detail"].as_array())
                .flatten();
            let found = streams.find(|found| found["name"] == stream)?;
            Some(found["cluster"]["leader"].as_str()?.to_owned())
        })?;
        self.index_of(&leader)
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        let mut servers = self.servers.iter();
        servers.position(|server| server.name() == name && server.is_running())
    }

    /// Addresses for clients, of every server.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::address).collect()
    }

    /// Addresses of the monitoring ports, of every server.
    pub fn monitoring(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::monitoring).collect()
    }
}

/// The program; says why there is none.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub fn program() -> Option<PathBuf> {
    if let Some(named) = env::var_os("AUDITRELAY_NATS_SERVER") {
        return Some(PathBuf::from(named));
    }
    // Tests run in the folder of their package, which is below that of the workspace.
    let here = env::current_dir().ok()?;
    let installed = here
        .ancestors()
        .map(|folder| folder.join("target/nats/nats-server"))
        .find(|path| path.is_file());
    let on_path = || {
        let folders = env::var_os("PATH")?;
        env::split_paths(&folders)
            .map(|folder| folder.join("nats-server"))
            .find(|path| path.is_file())
    };
    let found = installed.or_else(on_path);
    if found.is_none() {
        println!("skipped: there is no nats-server (bash tests/nats/install.sh)");
    }
    found
}

impl NatsServer {
    /// Starts one server; `None` where there is no program.
    ///
    /// # Errors
    /// It does not start, or is not ready in a minute.
    pub fn start(options: &NatsOptions) -> anyhow::Result<Option<Self>> {
        let Some(program) = program() else {
            return Ok(None);
        };
        let mut last = None;
        for _ in 0..STARTS_MAX {
            let mut server = Self::begin(&program, config::Place::find(0)?, &[], options)?;
            match server.wait_until_ready() {
                Ok(()) => return Ok(Some(server)),
                Err(error) => last = Some(error),
            }
        }
        let Some(error) = last else {
            bail!("no start was tried");
        };
        Err(error)
    }
}

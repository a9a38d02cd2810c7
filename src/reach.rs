//! Where a command finds the queue: it opens the store itself, or finds the relay that has it.
//!
//! * The lock decides. Who has it and does not say where to ask is another command, or a relay that starts
//!   or stops: it is waited for, for a while.
//! * An address may be of a relay that was killed: it counts only if whoever answers there knows its token.
//! * A relay whose queue is on NATS JetStream has no store here: it is asked, and where none runs a command says so.
//! * A relay is found by a page that it answers with ([`Page`]): `status` asks for nothing that needs somebody to lead.
//! * A command leaves a damaged store where it is, and gives up nothing that the relay's own limits would
//!   let go: what is kept and for how long is the relay's business.

use std::{net::SocketAddr, path::Path, time::Duration};

use auditrelay_config::Config;
use auditrelay_store::{Engine, Limits, OpenError, SledOptions};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    Failure,
    data_dir::sled_options,
    relay::{ADMIN_ADDRESS_FILE, Replica},
    status,
};

/// How long somebody may have the store without answering.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(5);
const IN_USE_PAUSE: Duration = Duration::from_millis(100);
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// About a hundred years: a command lets nothing expire.
const NEVER_MS: i64 = 100 * 365 * 24 * 3_600_000;

/// Where a running relay is to be asked, and with which token.
#[derive(Clone)]
pub(crate) struct AdminAddress {
    pub(crate) address: SocketAddr,
    token: String,
}

impl AdminAddress {
    /// Allows commands.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// What the relay of a data directory has written.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data_dir.join(ADMIN_ADDRESS_FILE)).ok()?;
        let mut lines = text.lines();
        Some(Self {
            address: lines.next()?.trim().parse().ok()?,
            token: lines.next().unwrap_or_default().trim().to_owned(),
        })
    }
}

/// How a command opens a store.
pub(crate) fn command_options(data_dir: &Path) -> SledOptions {
    SledOptions {
        limits: command_limits(),
        ..sled_options(data_dir, None)
    }
}

/// What a command lets go: nothing.
pub(crate) fn command_limits() -> Limits {
    Limits {
        detail_ms: NEVER_MS,
        detail_bytes_max: u64::MAX,
        retain_ms: NEVER_MS,
        retain_bytes_max: u64::MAX,
        ..Limits::default()
    }
}

/// There is no queue in a folder; that of a relay may be elsewhere.
pub(crate) fn no_queue(data_dir: &Path) -> Failure {
    let path = data_dir.display();
    Failure::Other(match Replica::of(data_dir) {
        Replica::Never => format!("there is no queue in {path}; name it with --data-dir"),
        _ => format!(
            "there is no queue in {path}: that of the relay whose folder it is is on NATS JetStream; name its configuration with \
             --config instead"
        ),
    })
}

/// Where the queue is on JetStream a relay has to run: what is left of an older one on the disk is not asked for it.
pub(crate) fn needs_relay(config: &Config) -> Result<(), Failure> {
    let is_elsewhere = config.queue.jetstream.is_some();
    match is_elsewhere && Replica::of(&config.data_dir) != Replica::Runs {
        true => Err(no_relay(&config.data_dir)),
        false => Ok(()),
    }
}

fn no_relay(data_dir: &Path) -> Failure {
    let path = data_dir.display();
    Failure::Other(format!(
        "no relay runs on {path}, and its queue is on NATS JetStream: start it, or ask where another one runs"
    ))
}

/// A page by which a relay is found: where it is, and a key of it.
pub(crate) type Page = (&'static str, &'static str);

/// Of the relay that leads.
pub(crate) const LEDGER: Page = ("/ledger", "balanced");
/// Of any relay.
pub(crate) const STATUS: Page = (status::PATH, "ledger");

/// Who has the queue.
pub(crate) enum Found {
    /// This process.
    Store(Box<Engine>),
    /// A relay that runs, and the page that was asked for.
    Relay { address: AdminAddress, page: Value },
}

/// Opens the store, or finds the relay that has it.
pub(crate) async fn reach(data_dir: &Path, options: &SledOptions) -> Result<Found, Failure> {
    reach_page(data_dir, options, LEDGER).await
}

/// The same by another page.
pub(crate) async fn reach_page(
    data_dir: &Path,
    options: &SledOptions,
    page: Page,
) -> Result<Found, Failure> {
    if !data_dir.join("queue").is_dir() || Replica::of(data_dir) == Replica::Runs {
        return reach_replica(data_dir, page).await;
    }
    let asked = Instant::now();
    loop {
        let in_use = match Engine::open(options) {
            Ok(opened) => return Ok(Found::Store(Box::new(opened.queue))),
            Err(in_use @ OpenError::InUse(_)) => in_use,
            Err(error) => return Err(error.into()),
        };
        let written = AdminAddress::read(data_dir);
        if let Some(address) = &written {
            let (path, key) = page;
            let told = fetch(address, path).await;
            if let Some(page) = told.filter(|told| told.get(key).is_some()) {
                let address = address.clone();
                return Ok(Found::Relay { address, page });
            }
        }
        if asked.elapsed() > IN_USE_TIMEOUT {
            return Err(match &written {
                Some(address) => silent(address),
                None => Failure::Other(format!(
                    "{in_use}; it does not say its admin address: a relay that starts or stops, or another command"
                )),
            });
        }
        sleep(IN_USE_PAUSE).await;
    }
}

/// Finds the relay whose queue is elsewhere.
async fn reach_replica(data_dir: &Path, (path_of_page, _): Page) -> Result<Found, Failure> {
    let path = data_dir.display();
    let asked = Instant::now();
    loop {
        let address = match Replica::of(data_dir) {
            Replica::Runs => AdminAddress::read(data_dir),
            Replica::Stopped => return Err(no_relay(data_dir)),
            Replica::Never => {
                return Err(Failure::Other(format!(
                    "there is no queue in {path}; name it with --data-dir"
                )));
            }
        };
        let answer = match &address {
            Some(address) => ask(address, path_of_page).await,
            None => None,
        };
        match (address, answer) {
            (Some(address), Some((StatusCode::OK, body))) => {
                let page = serde_json::from_slice(&body).map_err(|_| silent(&address))?;
                return Ok(Found::Relay { address, page });
            }
            (_, Some((status, reason))) => {
                let reason = String::from_utf8_lossy(&reason);
                let reason = auditrelay_dispatch::escape::clean(reason.trim(), 300);
                return Err(Failure::Other(format!(
                    "the relay answered {status}: {reason}"
                )));
            }
            (Some(address), None) if asked.elapsed() > IN_USE_TIMEOUT => {
                return Err(silent(&address));
            }
            (None, None) if asked.elapsed() > IN_USE_TIMEOUT => {
                return Err(Failure::Other(format!(
                    "the relay on {path} does not say its admin address: it starts, waits for NATS, or stops"
                )));
            }
            (_, None) => sleep(IN_USE_PAUSE).await,
        }
    }
}

pub(crate) fn silent(relay: &AdminAddress) -> Failure {
    let address = relay.address;
    Failure::Other(format!(
        "the relay that has the queue does not answer on its admin port {address}"
    ))
}

/// What the relay that wrote the address says at a path. Whoever else has its port now has another token.
pub(crate) async fn fetch(relay: &AdminAddress, path: &str) -> Option<Value> {
    let (status, body) = ask(relay, path).await?;
    let value = serde_json::from_slice(&body).ok()?;
    (status == StatusCode::OK).then_some(value)
}

async fn ask(relay: &AdminAddress, path: &str) -> Option<(StatusCode, Bytes)> {
    let answer = timeout(ANSWER_TIMEOUT, ask_in_time(relay, path)).await;
    answer.ok().flatten()
}

async fn ask_in_time(relay: &AdminAddress, path: &str) -> Option<(StatusCode, Bytes)> {
    let address = relay.address;
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(AUTHORIZATION, relay.bearer());
    let response = client
        .send_request(request.body(Empty::<Bytes>::new()).ok()?)
        .await
        .ok()?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .ok()?;
    connection.abort();
    Some((status, body.to_bytes()))
}

//! The whole relay as one value: opened from a configuration, run until a shutdown.
//!
//! Invariants: no batch is taken before the queue is open and the dedup window filled, but probes are answered; when storage
//! fails, everything stops and the error is returned (the supervisor restarts the process); at a
//! shutdown the door closes first, then what is under way is finished, within the configured time.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use auditrelay_config::Config;
use auditrelay_dispatch::{Metrics, Routes, Templates};
use auditrelay_ingest::Keyring;
use auditrelay_store::{
    Engine, Queue,
    jetstream::{Inbox, JetStream},
};
use prometheus::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::{
    Failure, admin,
    commands_port::Token,
    data_dir::write_durably,
    metrics::LedgerMetrics,
    parts::{Parts, warn_of_orphans},
    reload::Source,
    term::{self, Loaded, drain, first_to_end},
};

mod ending;
mod holds;
mod lead;
mod open;
mod start;

pub(crate) use open::Replica;
use open::{Only, Opened};

/// How long a failed queue's callers have to get their answer.
const FAILURE_GRACE: Duration = Duration::from_secs(1);
/// Where a running relay writes the address of its admin port, and behind it the token that commands
/// need, inside the data directory.
pub(crate) const ADMIN_ADDRESS_FILE: &str = "admin.address";

/// How events come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// By the webhook, and from the files of `inputs.log_file`.
    Webhook,
    /// From the files alone.
    FilesOnly,
}

/// Where the webhook is received, and what who comes in is judged by.
struct Webhook {
    listener: TcpListener,
    keyring: Arc<Keyring>,
}

/// Where the queue is.
enum Place {
    /// On this machine's disk, and open: this relay is the only one, and leads as long as it runs.
    Disk(Engine, Box<Loaded>),
    /// On NATS JetStream: whichever of several relays leads opens it.
    /// Its inbox is one: doors and the leader have clones of it, so that doors see what the leader's engine knows.
    JetStream(JetStream, Inbox, Only),
}

/// An opened relay.
pub struct Relay {
    data_dir: PathBuf,
    parts: Parts,
    place: Place,
    registry: Registry,
    dispatch_metrics: Metrics,
    ledger_metrics: LedgerMetrics,
    /// None where log files are the only door.
    webhook: Option<Webhook>,
    admin: admin::Port,
    token: Token,
    /// To be loaded again, also when asked.
    source: Option<(Source, mpsc::Receiver<()>)>,
}

impl Relay {
    /// Opens the queue and the ports; serves nothing yet.
    ///
    /// # Errors
    /// A template cannot work; the queue, the dedup key or a port is not to be had.
    pub async fn open(config: Config) -> Result<Self, Failure> {
        Self::open_with(config, Door::Webhook).await
    }

    /// The same without a webhook: `inputs.log_file` is the only door.
    ///
    /// # Errors
    /// As [`Relay::open`].
    pub async fn open_for_files(config: Config) -> Result<Self, Failure> {
        Self::open_with(config, Door::FilesOnly).await
    }

    async fn open_with(config: Config, door: Door) -> Result<Self, Failure> {
        let templates = Templates::all(&config).map_err(Failure::Template)?;
        // Its files are of no concern where nobody comes in.
        let keyring = match door {
            Door::Webhook => Some(keyring(&config)?),
            Door::FilesOnly => None,
        };
        let admin = admin::Port::bind(&config).await?;
        let opened = Opened::new(&config, &admin).await?;
        forget_address(&config.data_dir);
        let queue = opened.on_disk();
        let relay = Self::open_around(config, keyring, admin, templates, opened).await;
        if let (true, Some(queue)) = (relay.is_err(), queue) {
            // The process ends with this error, whatever the disk says now.
            let _ = queue.finish().await;
        }
        relay
    }

    async fn open_around(
        config: Config,
        keyring: Option<Keyring>,
        admin: admin::Port,
        templates: BTreeMap<String, Arc<Templates>>,
        opened: Opened,
    ) -> Result<Self, Failure> {
        let hash_key = opened.hash_key(&config).await?;
        let registry = Registry::new();
        let dispatch_metrics = Metrics::new(&registry).map_err(other)?;
        let ledger_metrics = LedgerMetrics::new(&registry).map_err(other)?;
        ledger_metrics
            .store_moved_aside
            .set(i64::from(opened.is_moved_aside()));
        // Ingest and router meet in the queue alone; both have the table.
        let routes = Arc::new(Routes::of_relay(&config, &hash_key));
        let is_alone = opened.on_disk().is_some();
        let parts = Parts::new(config.clone(), &routes, &templates, hash_key, is_alone)?;
        let place = match opened {
            Opened::Disk(queue, _) => {
                admin.doing("reading which events were received lately");
                let loaded = term::load(queue.clone(), &parts, &dispatch_metrics).await?;
                Place::Disk(queue, Box::new(loaded))
            }
            Opened::JetStream(queue, only) => {
                let inbox = queue.inbox();
                Place::JetStream(queue, inbox, only)
            }
        };
        let webhook = match keyring {
            Some(keyring) => Some(Webhook {
                listener: bound(config.listen, auditrelay_ingest::listen(config.listen))?,
                keyring: Arc::new(keyring),
            }),
            None => None,
        };
        if let Place::Disk(queue, _) = &place {
            warn_of_orphans(&config, queue);
        }
        // Before anybody is told that the relay is ready: a command may come at once.
        let token = Token::new().map_err(other)?;
        let address = admin.address_from_here();
        let address_and_token = format!("{address}\n{}\n", token.reveal());
        let file = config.data_dir.join(ADMIN_ADDRESS_FILE);
        write_durably(&file, address_and_token.as_bytes())
            .map_err(|error| Failure::Disk(format!("cannot write {}: {error}", file.display())))?;
        admin.opened();
        Ok(Self {
            data_dir: config.data_dir,
            parts,
            place,
            registry,
            dispatch_metrics,
            ledger_metrics,
            webhook,
            admin,
            token,
            source: None,
        })
    }

    /// Loads the configuration again from where it came: when it changes, when it is asked for, and on each of
    /// `hangups`.
    #[must_use]
    pub(crate) fn reloading(mut self, source: Source, hangups: mpsc::Receiver<()>) -> Self {
        self.source = Some((source, hangups));
        self
    }

    /// Where audit events are received, if they are.
    ///
    /// # Errors
    /// The system does not know.
    pub fn webhook_address(&self) -> io::Result<Option<SocketAddr>> {
        let webhook = self.webhook.as_ref();
        webhook
            .map(|webhook| webhook.listener.local_addr())
            .transpose()
    }

    /// Where metrics, health and the ledger are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The queue, to look at; `None` where another relay may have it.
    pub fn queue(&self) -> Option<Engine> {
        match &self.place {
            Place::Disk(queue, _) => Some(queue.clone()),
            Place::JetStream(..) => None,
        }
    }

    /// Runs until `shutdown`, or until storage on a disk fails.
    ///
    /// # Errors
    /// What ended it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
        let queue = self.queue();
        let outcome = self.run_until(shutdown).await;
        let finished = match queue {
            Some(queue) => queue.finish().await,
            // Whoever opened it has closed it.
            None => Ok(()),
        };
        outcome.and(finished.map_err(Failure::Storage))
    }

    async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
        let (stop, stopped) = watch::channel(false);
        let data_dir = self.data_dir.clone();
        let queue = self.queue();
        let failed = async {
            match &queue {
                Some(queue) => queue.failed().await,
                // It ends a term.
                None => std::future::pending().await,
            }
        };
        let (mut tasks, current) = self.start(&stopped)?;
        let outcome = tokio::select! {
            biased;
            () = shutdown => Ok(()),
            error = failed => Err(error),
            reason = first_to_end(&mut tasks) => Err(reason),
        };
        // Everybody may have gone already.
        let _ = stop.send(true);
        let grace = if outcome.is_ok() {
            current.load().ingest.shutdown()
        } else {
            FAILURE_GRACE
        };
        let drained = tokio::time::timeout(grace, drain(&mut tasks));
        if drained.await.is_err() && outcome.is_ok() {
            tracing::warn!(
                "what was under way did not finish within ingest.shutdown_seconds; a message that was being posted will be \
                 looked for before it is repeated"
            );
        }
        forget_address(&data_dir);
        outcome.map_err(Failure::Storage)
    }
}

/// Reads certificates, keys, tokens and passwords.
pub(crate) fn keyring(config: &Config) -> Result<Keyring, Failure> {
    Keyring::open(&config.tls, &config.clients)
        .map_err(|error| Failure::Credentials(error.to_string()))
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

/// Nobody answers there: the relay stops, or it starts after another one was killed.
fn forget_address(data_dir: &Path) {
    let file = data_dir.join(ADMIN_ADDRESS_FILE);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, file = %file.display(), "cannot remove the file of the admin address: a command may ask where nobody answers, and says so; remove it");
        }
        _ => {}
    }
}

fn bound(address: SocketAddr, listener: io::Result<TcpListener>) -> Result<TcpListener, Failure> {
    listener.map_err(|error| Failure::Other(format!("cannot listen on {address}: {error}")))
}

//! The whole relay as one value: opened from a configuration, run until a shutdown.
//!
//! Invariants: nothing listens before the queue is open and the dedup window filled; when storage
//! fails, everything stops and the error is returned (the supervisor restarts the process); at a
//! shutdown the door closes first, then what is under way is finished, within the configured time.

use std::{
    fs,
    io::{self, IsTerminal},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auditrelay_audit::HashKey;
use auditrelay_config::{Config, Destination};
use auditrelay_dispatch::{
    Budget, Lane, Metrics, Router, Routes,
    preview::Preview,
    slack::{Http, SlackApi, SlackWebhook},
};
use auditrelay_ingest::{Advisor, Ingest, Preparation};
use auditrelay_store::{MovedAside, Opened, Queue, QueueError, SledOptions, SledQueue};
use prometheus::Registry;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    Failure, admin,
    data_dir::{hash_key, write_durably},
    metrics::LedgerMetrics,
};

/// Lanes that may hold the text of a lease in memory at a time.
const RENDERING_MAX: usize = 2;
/// How long a failed queue's callers have to get their answer.
const FAILURE_GRACE: Duration = Duration::from_secs(1);
/// Where a running relay writes the address of its admin port, inside the data directory.
pub(crate) const ADMIN_ADDRESS_FILE: &str = "admin.address";

/// An opened relay.
pub struct Relay {
    config: Config,
    queue: SledQueue,
    hash_key: HashKey,
    router: Router<SledQueue>,
    registry: Registry,
    dispatch_metrics: Metrics,
    ledger_metrics: LedgerMetrics,
    webhook: TcpListener,
    admin: TcpListener,
}

impl Relay {
    /// Opens the queue and the ports; serves nothing yet.
    ///
    /// # Errors
    /// The queue, the dedup key or a port is not to be had.
    pub async fn open(config: Config) -> Result<Self, Failure> {
        let (queue, moved_aside) = open_queue(&config).await?;
        let opened = Self::open_around(config, queue.clone(), moved_aside.is_some()).await;
        leave_open_if_failed(&opened, queue);
        opened
    }

    async fn open_around(
        config: Config,
        queue: SledQueue,
        is_moved_aside: bool,
    ) -> Result<Self, Failure> {
        let hash_key = hash_key(&config.dedup_key_file())?;
        let registry = Registry::new();
        let dispatch_metrics = Metrics::new(&registry).map_err(other)?;
        let ledger_metrics = LedgerMetrics::new(&registry).map_err(other)?;
        ledger_metrics
            .store_moved_aside
            .set(i64::from(is_moved_aside));
        let router = Router::load(
            queue.clone(),
            Routes::new(&config),
            config.dedup.window(),
            config.dedup.entries_max.as_usize(),
            dispatch_metrics.clone(),
        )
        .await?;
        let webhook = bind(config.listen).await?;
        let admin = bind(config.admin_listen).await?;
        warn_of_orphans(&config, &queue);
        Ok(Self {
            config,
            queue,
            hash_key,
            router,
            registry,
            dispatch_metrics,
            ledger_metrics,
            webhook,
            admin,
        })
    }

    /// Where audit events are received.
    ///
    /// # Errors
    /// The system does not know.
    pub fn webhook_address(&self) -> io::Result<SocketAddr> {
        self.webhook.local_addr()
    }

    /// Where metrics, health and the ledger are served.
    ///
    /// # Errors
    /// The system does not know.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// The queue, to look at.
    pub fn queue(&self) -> SledQueue {
        self.queue.clone()
    }

    /// Runs until `shutdown`, or until storage fails.
    ///
    /// # Errors
    /// What ended it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
        let queue = self.queue.clone();
        let outcome = self.run_until(shutdown).await;
        leave_open_if_failed(&outcome, queue);
        outcome
    }

    async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
        let (stop, stopped) = watch::channel(false);
        let address_file = self.config.data_dir.join(ADMIN_ADDRESS_FILE);
        let admin_address = self.admin_address().map_err(other)?;
        write_durably(&address_file, admin_address.to_string().as_bytes()).map_err(|error| {
            Failure::Disk(format!("cannot write {}: {error}", address_file.display()))
        })?;
        let grace = self.config.ingest.shutdown();
        let queue = self.queue.clone();
        let mut tasks = self.start(&stopped)?;
        let outcome = tokio::select! {
            () = shutdown => Ok(()),
            error = queue.failed() => Err(error),
            // Nothing ends by itself before a shutdown, so whatever does is a failure.
            ended = tasks.join_next() => Err(ended.and_then(Result::ok).and_then(Result::err)
                .unwrap_or(QueueError::Closed)),
        };
        // Everybody may have gone already.
        let _ = stop.send(true);
        let grace = if outcome.is_ok() {
            grace
        } else {
            FAILURE_GRACE
        };
        let drained = tokio::time::timeout(grace, async {
            while let Some(ended) = tasks.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::error!(%error, "a part of the relay ended with an error");
                }
            }
        });
        if drained.await.is_err() && outcome.is_ok() {
            tracing::warn!(
                "what was under way did not finish in time; a message that was being posted will be \
                 repeated and marked so"
            );
        }
        if let Err(error) = fs::remove_file(&address_file) {
            tracing::warn!(%error, file = %address_file.display(), "cannot remove the file");
        }
        outcome.map_err(Failure::Storage)
    }

    fn start(
        self,
        stopped: &watch::Receiver<bool>,
    ) -> Result<JoinSet<Result<(), QueueError>>, Failure> {
        let mut tasks = JoinSet::new();
        let ingest_metrics = auditrelay_ingest::Metrics::new(&self.registry).map_err(other)?;
        // Ingest and router meet in the queue alone; both have the table.
        let routes = Routes::new(&self.config);
        let preparation = Preparation {
            hash_key: self.hash_key,
            quarantine_raw: self.config.queue.quarantine_raw,
            events_per_list_max: self.config.ingest.events_per_list_max.as_usize(),
            advisor: Advisor::new(routes.id(), move |event| routes.hint(event)),
        };
        let ingest = Ingest::new(
            self.queue.clone(),
            preparation,
            &self.config.ingest,
            self.config.cluster.clone(),
            ingest_metrics,
        );
        let mut stop = stopped.clone();
        let webhook = self.webhook;
        tasks.spawn(async move {
            let stopping = async move { drop(stop.wait_for(|stop| *stop).await) };
            auditrelay_ingest::serve(webhook, Arc::new(ingest), stopping).await;
            Ok(())
        });
        let lanes = Lanes {
            config: &self.config,
            queue: &self.queue,
            metrics: &self.dispatch_metrics,
            http: Http::new(self.config.slack.timeout()),
            budget: Budget::new(self.config.slack.messages_per_minute.get()),
            rendering: Arc::new(Semaphore::new(RENDERING_MAX)),
        };
        lanes.start(&mut tasks, stopped)?;
        tasks.spawn(self.router.run(stopped.clone()));
        let admin = admin::Admin {
            queue: self.queue,
            metrics: self.ledger_metrics,
        };
        let mut stop = stopped.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = admin::serve(self.admin, Arc::new(admin)) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            Ok(())
        });
        Ok(tasks)
    }
}

struct Lanes<'a> {
    config: &'a Config,
    queue: &'a SledQueue,
    metrics: &'a Metrics,
    http: Http,
    budget: Budget,
    rendering: Arc<Semaphore>,
}

impl Lanes<'_> {
    fn start(
        &self,
        tasks: &mut JoinSet<Result<(), QueueError>>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        for name in self.config.channels.keys() {
            match self.config.destination(name) {
                Some(Destination::SlackApi { channel, token }) => {
                    let api_url = &self.config.slack.api_url;
                    let slack = SlackApi::new(self.http.clone(), api_url, token, channel)
                        .map_err(Failure::Other)?;
                    tasks.spawn(self.lane(name.as_str(), slack, true).run(stopped.clone()));
                }
                Some(Destination::Webhook { url }) => {
                    let webhook = SlackWebhook::new(self.http.clone(), url);
                    tasks.spawn(self.lane(name.as_str(), webhook, true).run(stopped.clone()));
                }
                Some(Destination::Preview) | None => {
                    let preview = Preview::new(name.as_str(), io::stdout().is_terminal());
                    tasks.spawn(
                        self.lane(name.as_str(), preview, false)
                            .run(stopped.clone()),
                    );
                }
            }
        }
        Ok(())
    }

    fn lane<D: auditrelay_dispatch::Destination>(
        &self,
        name: &str,
        destination: D,
        in_workspace: bool,
    ) -> Lane<SledQueue, D> {
        let config = self
            .config
            .channels
            .iter()
            .find(|(channel, _)| channel.as_str() == name);
        let (_, config) = config.expect("the name comes from the same map");
        Lane::new(
            self.queue.clone(),
            destination,
            name,
            config,
            in_workspace.then(|| self.budget.clone()),
            self.metrics.clone(),
            Arc::clone(&self.rendering),
        )
    }
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

/// How the queue of a configuration is opened, by the relay and by commands.
pub(crate) fn sled_options(data_dir: &Path, config: Option<&Config>) -> SledOptions {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SledOptions {
        data_dir: data_dir.to_owned(),
        cache_bytes_max: config.map_or(16 << 20, |config| config.queue.cache_bytes_max.get()),
        quarantine_entries_max: config
            .map_or(u64::MAX, |config| config.queue.quarantine_entries_max.get()),
        now_unix_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        // A command that only looks leaves everything where it is.
        move_damaged_aside: config.is_some(),
    }
}

async fn open_queue(config: &Config) -> Result<(SledQueue, Option<MovedAside>), Failure> {
    let options = sled_options(&config.data_dir, Some(config));
    let opened = tokio::task::spawn_blocking(move || SledQueue::open(&options)).await;
    // sled panics where it cannot sync while it closes what it has just opened.
    let opened = opened.map_err(|_panic| {
        let path = config.data_dir.display();
        Failure::Disk(format!("the queue in {path} panicked while it was opened"))
    })?;
    let Opened { queue, moved_aside } = opened?;
    if let Some(moved) = &moved_aside {
        tracing::error!(
            reason = moved.reason, moved_to = %moved.path.display(),
            "the queue's store is damaged and was moved aside; the relay starts with an empty one. \
             Events that waited in the old store are not delivered: keep it for recovery"
        );
    }
    Ok((queue, moved_aside))
}

/// sled panics when it is closed on a disk that fails. The process ends, and its files with it.
fn leave_open_if_failed<T>(outcome: &Result<T, Failure>, queue: SledQueue) {
    if outcome.is_err() {
        std::mem::forget(queue);
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Other(format!("cannot listen on {address}: {error}")))
}

/// The backlog of a channel that is not configured any more stays; somebody has to know.
fn warn_of_orphans(config: &Config, queue: &SledQueue) {
    for (name, counts) in queue.ledger().channels {
        if counts.waiting > 0
            && !config
                .channels
                .keys()
                .any(|channel| channel.as_str() == name)
        {
            tracing::warn!(
                channel = name,
                waiting = counts.waiting,
                "events wait for a channel that is not configured any more; they stay until it is again"
            );
        }
    }
}

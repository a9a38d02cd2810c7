//! The watchdog: an event of its own, every so often, through the relay's own door.
//!
//! Contract: what it sends comes the way that an API server's events come (accept loop, TLS, authentication, body,
//! commit, dedup, router, route, lane, post), so that its absence at the other end says that the way is
//! broken, wherever. The first goes at once. A failure is told once until one is accepted again. It never holds up
//! anything else, and follows `watchdog.interval_seconds` and whether there is a channel for it.
//!
//! There is none without a webhook: log files are no door that an event of the relay's own could take.

use std::{sync::Arc, time::Duration};

use auditrelay_audit::HashKey;
use auditrelay_config::Config;
use auditrelay_dispatch::{
    Board, Metrics,
    watchdog::{CLUSTER, Heartbeat, Heartbeats},
};
use auditrelay_ingest::{Attempt, OwnDoor};
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};

use crate::parts::Parts;

/// Of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Of all tries together, where the interval is no shorter. An API server tries a batch for about 90 s.
const ALL_TRIES: Duration = Duration::from_secs(60);

/// What sends it.
pub(crate) struct Watchdog {
    door: Arc<OwnDoor>,
    key: HashKey,
    metrics: Heartbeats,
    board: Board,
    configs: watch::Receiver<Arc<Config>>,
}

/// What of the configuration counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    /// None: there is no watchdog.
    every: Option<Duration>,
    /// What people know the relay by.
    cluster: String,
}

impl Settings {
    fn of(config: &Config) -> Self {
        let is_on = config.watchdog.channel().is_some();
        Self {
            every: is_on.then(|| config.watchdog.interval()),
            cluster: config.cluster.to_string(),
        }
    }
}

impl Watchdog {
    /// Of a relay with this door.
    pub(crate) fn new(door: Arc<OwnDoor>, parts: &Parts, metrics: &Metrics) -> Self {
        Self {
            door,
            key: parts.hash_key.clone(),
            metrics: metrics.watchdog.clone(),
            board: metrics.board.clone(),
            configs: parts.current.changes(),
        }
    }

    /// Says so where there is to be one, and no door.
    pub(crate) fn warn_without_door(config: &Config) {
        if config.watchdog.channel().is_some() {
            tracing::warn!(
                "watchdog: there is no webhook here that an event of its own could come through, so none is sent"
            );
        }
    }

    /// Sends until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut is_failing = false;
        loop {
            let settings = Settings::of(&self.configs.borrow_and_update());
            let seconds = settings.every.map_or(0, |every| every.as_secs());
            self.metrics.every(seconds);
            let changed = other(self.configs.clone(), &settings);
            tokio::select! {
                () = changed => {}
                () = self.send_every(&settings, &mut is_failing) => {}
            }
        }
    }

    async fn send_every(&self, settings: &Settings, is_failing: &mut bool) {
        let Some(every) = settings.every else {
            return std::future::pending().await;
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sent = self.send(&settings.cluster, every.min(ALL_TRIES)).await;
            self.metrics.sent(sent.is_ok());
            tell(&sent, is_failing, &self.board);
        }
    }

    /// Sends one, again where the door asks for it, as an API server would.
    async fn send(&self, cluster: &str, within: Duration) -> Result<(), String> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| format!("no random bytes: {error}"))?;
        let random = u64::from_be_bytes(random);
        let heartbeat = Heartbeat::new(&self.key, Timestamp::now(), random, cluster);
        let list = Bytes::from(heartbeat.list);
        let until = Instant::now() + within;
        self.metrics.begins(&heartbeat.audit_id);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let tried = self.door.post(CLUSTER, list.clone(), left.min(TRY_TIMEOUT));
            match tried.await {
                Ok(()) => return Ok(()),
                Err(Attempt::Failed(reason)) => return Err(reason),
                Err(Attempt::Later { after, reason }) => {
                    let slept = timeout_at(until, sleep(after)).await;
                    slept.map_err(|_| reason)?;
                }
            }
        }
    }
}

/// Ends when other settings count, or never.
async fn other(mut configs: watch::Receiver<Arc<Config>>, settings: &Settings) {
    let changed = configs.wait_for(|config| Settings::of(config) != *settings);
    if changed.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One line an incident.
fn tell(sent: &Result<(), String>, is_failing: &mut bool, board: &Board) {
    match sent {
        Err(reason) if !*is_failing => {
            let text =
                format!("the relay's own webhook did not accept the watchdog's event: {reason}");
            board.incident("watchdog", None, &text);
            tracing::error!(
                reason,
                "the watchdog's event was not accepted by the relay's own webhook, so API servers may not get theirs in \
                 either; mend what the reason names (docs/watchdog.md)"
            );
        }
        Ok(()) if *is_failing => {
            board.incident("watchdog", None, "its events are accepted again");
            tracing::info!("the watchdog's events are accepted again by the relay's own webhook");
        }
        _ => {}
    }
    *is_failing = sent.is_err();
}

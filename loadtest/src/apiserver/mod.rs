//! A simulated API server: it makes audit events and sends them as the audit webhook backend of
//! kube-apiserver does in batch mode, so that a sink can be measured and tested without a cluster.
//!
//! Contract:
//! * events are made in an open loop: a slow sink does not slow the maker down;
//! * an event waits in a buffer of bounded size; when that is full the *newest* event is dropped,
//!   before it was ever sent, and counted;
//! * a batch is closed by size or by age, waits for the throttle, and is then sent beside all others
//!   under way: their number has no limit, as it has none in the API server;
//! * a batch is tried five times with the same bytes, and after that it is lost (`retry`);
//! * which answers accept a batch is client-go's rule, not common sense (`exchange`): a batch whose
//!   POST is redirected with 303 counts as accepted by an answer to a GET that carried no event;
//! * when the time is over or `shutdown` completes no more events are made, the buffer is flushed
//!   through the throttle, and [`run`] returns only when every batch has been accepted or lost;
//! * therefore, in every [`Report`], `made = accepted + lost + dropped`, and every request has
//!   exactly one entry under `answers`;
//! * nothing is sent anywhere but to loopback, redirects included.
//!
//! Over https (`kubeconfig`) requests share one HTTP/2 connection where the sink's ALPN offers that.
//!
//! Left out: blocking modes, truncation, `exec` plugins; over HTTP/2 a second connection when the sink
//! allows no more streams (requests wait for one), and a request that the sink says it did not look at
//! (GOAWAY, REFUSED_STREAM) is sent again by Go itself, here by the next try.
//! Memory is bounded by nothing but the buffer and what is in flight: as in the API server, whose
//! behaviour on a hanging sink is part of what this shows.

mod access;
mod backend;
mod buffer;
mod connect;
mod exchange;
mod kubeconfig;
mod multiplex;
mod report;
mod retry;
mod tally;
mod target;
mod throttle;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::events::Shape;
pub use kubeconfig::KubeconfigError;
pub use report::{Latency, Report};
pub use target::{Target, TargetError};

use tally::Tally;

/// How the simulated API servers behave; [`Options::new`] has the API server's own defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the batches go.
    pub target: Target,
    /// How many events each API server makes a second.
    pub events_per_second: NonZeroU32,
    /// For how long events are made.
    pub duration: Duration,
    /// What the events look like.
    pub shape: Shape,
    /// How many API servers send at the same time. Each has a buffer, a throttle and connections of
    /// its own.
    pub api_servers: NonZeroU32,
    /// `--audit-webhook-batch-buffer-size`.
    pub buffer_events: NonZeroU32,
    /// `--audit-webhook-batch-max-size`.
    pub batch_events: NonZeroU32,
    /// `--audit-webhook-batch-max-wait`, counted from when the batch before was let go.
    pub max_wait: Duration,
    /// `--audit-webhook-batch-throttle-qps`: batches a second.
    pub qps: NonZeroU32,
    /// `--audit-webhook-batch-throttle-burst`: batches at once after a pause.
    pub burst: NonZeroU32,
    /// `--audit-webhook-initial-backoff`.
    pub initial_backoff: Duration,
    /// How long one try may take, redirects and its inner retries included. The API server has no
    /// flag for it, and neither has the command line here; tests make it short. The query string
    /// says `timeout=30s` whatever it is.
    pub try_timeout: Duration,
}

impl Options {
    /// Kubernetes: the defaults of `--audit-webhook-batch-*` and `--audit-webhook-initial-backoff`,
    /// with as many events as the default throttle lets through.
    pub fn new(target: Target) -> Self {
        let count = |value| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        Self {
            target,
            events_per_second: count(4_000),
            duration: Duration::from_secs(10),
            shape: Shape::Metadata,
            api_servers: count(1),
            buffer_events: count(10_000),
            batch_events: count(400),
            max_wait: Duration::from_secs(30),
            qps: count(10),
            burst: count(15),
            initial_backoff: Duration::from_secs(10),
            try_timeout: Duration::from_secs(30),
        }
    }
}

/// Runs the API servers until their time is over or `shutdown` completes, and then until their last
/// batch has been accepted or lost.
///
/// `shutdown` is what SIGTERM is to an API server: the buffer is still flushed. To give up at once,
/// drop the future.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Report {
    let started = Instant::now();
    let tally = Arc::new(Tally::new());
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    for _ in 0..options.api_servers.get() {
        servers.spawn(backend::run(
            options.clone(),
            Arc::clone(&tally),
            stopped.clone(),
        ));
    }
    let mut ended = std::pin::pin!(servers.join_all());
    tokio::select! {
        _ = &mut ended => {}
        () = shutdown => {
            stop.send_replace(true);
            ended.await;
        }
    }
    tally.report(options.api_servers.get(), started.elapsed())
}

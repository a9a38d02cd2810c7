//! The way of a request: read, split, key, redact, quarantine, append, answer.
//!
//! Invariants:
//! * `Ok` comes out of [`Ingest::accept`] only after the queue made the batch durable (P1), or when
//!   there was nothing to store;
//! * after a body's last byte the answer takes `ack_timeout_milliseconds` at most, parsing and waiting
//!   for a processor included (P7);
//! * work that was begun is finished, also when its client was told 503 or is gone. The batch may then
//!   be stored and sent again: it is recognised as a duplicate. Were it dropped instead, a batch that
//!   is too slow once would be too slow at every try, and lost;
//! * memory, and space in the queue, stay reserved until what they were reserved for is gone or
//!   stored, not until the answer;
//! * a queue without space, or out of reach, is no reason to wait, nor a failure that lasts: its client is told to
//!   come again.

use std::{
    convert::Infallible,
    net::SocketAddr,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use auditrelay_config::{ClusterName, IngestConfig};
use auditrelay_store::{Admitted, Intake, QueueError};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    http::request::Parts,
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    answer,
    body::{self, BodyLimits, Budget, Received},
    clock::{Exchange, Patience},
    connection::IDLE_TIMEOUT,
    encoding::{Encoding, gunzip},
    keyring::{Keyring, Peer},
    metrics::Metrics,
    prepare::{InForce, Stored},
    refusal::{Reason, Refusal},
    refusal_log::RefusalLog,
};

/// What every request needs.
pub struct Ingest<Q> {
    queue: Q,
    preparation: InForce,
    default_cluster: ClusterName,
    pub(crate) keyring: Arc<Keyring>,
    limits: ArcSwap<Limits>,
    pub(crate) metrics: Metrics,
    pub(crate) log: RefusalLog,
    budget: Budget,
    /// Bodies worked on at once: more than there are processors would only make each of them later,
    /// and each takes memory of its own.
    processors: Semaphore,
    refusals: AtomicU64,
}

/// [`IngestConfig`], as this crate counts.
pub(crate) struct Limits {
    body: BodyLimits,
    decoded_bytes_max: usize,
    ack_timeout: Duration,
    pub(crate) connections_max: usize,
    pub(crate) http2_streams_max: u32,
    pub(crate) handshake_timeout: Duration,
    pub(crate) patience: Patience,
}

impl Limits {
    fn new(config: &IngestConfig) -> Self {
        let body_bytes_per_second_min = config.body_bytes_per_second_min.get();
        Self {
            body: BodyLimits {
                bytes_max: config.body_bytes_max.as_usize(),
                timeout: config.body_timeout(),
                bytes_per_second_min: body_bytes_per_second_min,
            },
            decoded_bytes_max: config.decoded_bytes_max.as_usize(),
            ack_timeout: config.ack_timeout(),
            connections_max: config.connections_max.as_usize(),
            http2_streams_max: u32::try_from(config.http2_streams_max.get()).unwrap_or(u32::MAX),
            handshake_timeout: config.handshake_timeout(),
            patience: Patience {
                header: config.header_timeout(),
                idle: IDLE_TIMEOUT,
                body_bytes_per_second_min,
            },
        }
    }
}

/// What is asked for: all that is kept of a request's head, which may be 64 KiB for each of many.
struct Asked {
    cluster: ClusterName,
    encoding: Encoding,
}

impl<Q: Intake> Ingest<Q> {
    /// Ingest into `queue`. Without a name in its path, a request is from `default_cluster`.
    pub fn new(
        queue: Q,
        preparation: impl Into<InForce>,
        config: &IngestConfig,
        default_cluster: ClusterName,
        keyring: Arc<Keyring>,
        metrics: Metrics,
    ) -> Self {
        let bytes_max = config.bytes_in_flight_max.as_usize();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            queue,
            preparation: preparation.into(),
            default_cluster,
            keyring,
            limits: ArcSwap::from_pointee(Limits::new(config)),
            budget: Budget::new(bytes_max, metrics.bytes_in_flight.clone()),
            metrics,
            log: RefusalLog::new(),
            processors: Semaphore::new(processors),
            refusals: AtomicU64::new(0),
        }
    }

    /// Exchanges the limits: what begins from now on has these, a connection or a request under way keeps those that
    /// it began with.
    pub fn set_limits(&self, config: &IngestConfig) {
        self.limits.store(Arc::new(Limits::new(config)));
        self.budget
            .set_bytes_max(config.bytes_in_flight_max.as_usize());
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// Answers one request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        mut exchange: Exchange,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, mut body) = request.into_parts();
        let asked = self.judge(&head, &peer);
        drop(head);
        let outcome = match asked {
            Ok(asked) => self.accept(asked, &mut body, &exchange).await,
            Err(refusal) => Err(refusal),
        };
        let code = match &outcome {
            Ok(_) => StatusCode::OK,
            Err(refusal) => refusal.reason.status(),
        };
        // Who broke its body off hears no answer.
        let is_broken = |refusal: &Refusal| refusal.reason == Reason::BodyBroken;
        if !outcome.as_ref().is_err_and(is_broken) {
            exchange.answered(outcome.is_ok());
            self.metrics.answered(code);
        }
        let duration = exchange.started.elapsed();
        self.metrics
            .request_duration_seconds
            .observe(duration.as_secs_f64());
        match outcome {
            Ok(stored) => Ok(answer::success(&stored)),
            Err(refusal) => {
                self.metrics.refused(refusal.reason);
                self.log
                    .warn(refusal.reason, &refusal.message, peer.address);
                if !body.is_end_stream() {
                    tokio::spawn(body::discard(body, exchange));
                }
                let turn = self.refusals.fetch_add(1, Ordering::Relaxed);
                Ok(answer::refused(&refusal, turn))
            }
        }
    }

    /// Who is not known, or asks for what there is not, is refused before memory is taken for its body.
    fn judge(&self, head: &Parts, peer: &Peer) -> Result<Asked, Refusal> {
        let claimed = claimed_cluster(head.uri.path())?;
        let cluster = self
            .keyring
            .cluster(peer, &head.headers, claimed, &self.default_cluster)?;
        require_post(&head.method)?;
        let encoding = Encoding::of(&head.headers)?;
        // The same for who would be refused in the end.
        drop(self.admit(0)?);
        Ok(Asked { cluster, encoding })
    }

    /// Steps 1 to 4 of an event's way.
    async fn accept(
        self: &Arc<Self>,
        asked: Asked,
        body: &mut Incoming,
        exchange: &Exchange,
    ) -> Result<Stored, Refusal> {
        let limits = self.limits();
        let received = body::read(body, limits.body, &self.budget, &self.metrics, exchange).await?;
        exchange.complete();
        let admitted = self.admit(received.bytes.len())?;

        // A task of its own, so that it ends well whatever becomes of the client and of this wait.
        let deadline = Instant::now() + limits.ack_timeout;
        let work = tokio::spawn(Arc::clone(self).store(asked, received, admitted));
        match tokio::time::timeout_at(deadline, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panicked)) => Err(internal()),
            Err(_elapsed) => Err(Refusal::new(
                Reason::AckTimeout,
                "the batch was not durable within ingest.ack_timeout_milliseconds; send again, it is \
                 stored once",
            )),
        }
    }

    /// Space in the queue for a body of this length.
    fn admit(&self, body_bytes: usize) -> Result<Admitted, Refusal> {
        let admitted = self.queue.admit(body_bytes as u64);
        // What the queue says of itself quotes nothing that was sent.
        admitted.map_err(|full| Refusal::new(Reason::QueueFull, full.0))
    }

    /// Makes a body's events durable.
    async fn store(
        self: Arc<Self>,
        asked: Asked,
        received: Received,
        admitted: Admitted,
    ) -> Result<Stored, Refusal> {
        let received_unix_ms = now_unix_ms();
        let processor = self.processors.acquire().await.map_err(|_| internal())?;
        let ingest = Arc::clone(&self);
        // The reservation goes where the bytes go, and with the batch into the queue.
        let prepared = tokio::task::spawn_blocking(move || {
            let (received, admitted) = ingest.decode(asked.encoding, received, admitted)?;
            let Received { bytes, reservation } = received;
            let preparation = ingest.preparation.load();
            let cluster = asked.cluster.as_str();
            let mut stages = ingest.metrics.clusters.gaps.stages(cluster);
            let prepared = preparation.batch(cluster, received_unix_ms, &bytes, &mut stages)?;
            Ok::<_, Refusal>((prepared, (asked.cluster, stages), (reservation, admitted)))
        });
        let ((batch, stored), (cluster, stages), reserved) =
            prepared.await.map_err(|_| internal())??;
        drop(processor);
        if stored == Stored::default() {
            return Ok(stored);
        }

        let (begun, bytes) = (Instant::now(), batch.stored_bytes());
        let appended = self.queue.append(batch).await;
        let duration = begun.elapsed();
        self.metrics
            .commit_duration_seconds
            .observe(duration.as_secs_f64());
        drop(reserved);
        appended.map_err(not_appended)?;
        self.metrics.stored(cluster.as_str(), &stored, bytes);
        self.metrics
            .clusters
            .gaps
            .durable(cluster.as_str(), &stages);
        Ok(stored)
    }

    /// The body itself, with memory and space in the queue for its real length.
    fn decode(
        &self,
        encoding: Encoding,
        received: Received,
        admitted: Admitted,
    ) -> Result<(Received, Admitted), Refusal> {
        if encoding == Encoding::Identity {
            return Ok((received, admitted));
        }
        drop(admitted);
        let decoded = gunzip(received, self.limits().decoded_bytes_max, &self.budget)?;
        let admitted = self.admit(decoded.bytes.len())?;
        Ok((decoded, admitted))
    }

    /// Counts and tells of a connection that came to no request, or to no further one.
    pub(crate) fn refuse_connection(&self, reason: Reason, message: &str, peer: SocketAddr) {
        self.metrics.refused(reason);
        self.log.warn(reason, message, peer);
    }
}

/// The cluster that a path names, if it names one. The query is not looked at (the API server adds
/// `?timeout=30s`), and no path is decoded: a name needs no escapes.
fn claimed_cluster(path: &str) -> Result<Option<ClusterName>, Refusal> {
    let named = match path.strip_prefix("/webhook") {
        Some("" | "/") => return Ok(None),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    named
        .map(|name| name.strip_suffix('/').unwrap_or(name))
        .and_then(|name| ClusterName::from_str(name).ok())
        .map(Some)
        .ok_or_else(|| {
            Refusal::new(
                Reason::Path,
                "post to /webhook or /webhook/<cluster>; a cluster's name has 1 to 63 characters \
                 A-Z a-z 0-9 . _ -, the first a letter or digit",
            )
        })
}

fn require_post(method: &Method) -> Result<(), Refusal> {
    if method == Method::POST {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::Method,
        "audit events are posted; use POST",
    ))
}

/// What the queue says of itself quotes nothing that was sent.
fn not_appended(error: QueueError) -> Refusal {
    match error {
        QueueError::Full(full) => Refusal::new(Reason::QueueFull, full.0),
        QueueError::Unavailable(_) => Refusal::new(
            Reason::QueueUnavailable,
            format!("{error}; send again, here or to another replica"),
        ),
        _ => Refusal::new(
            Reason::Queue,
            "the queue's storage failed; send again, another process takes it",
        ),
    }
}

fn internal() -> Refusal {
    Refusal::new(
        Reason::Internal,
        "the relay failed on this body; its log says where, please report it",
    )
}

/// The one place where wall time enters.
fn now_unix_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is no reason to refuse events.
    since_1970.map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;

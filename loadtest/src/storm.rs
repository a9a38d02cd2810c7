//! Load on one target: as fast as it acknowledges, or at a fixed rate.
//!
//! Contract:
//! * every batch is new (see [`EventSource`]); a connection has one batch in flight;
//! * at a fixed rate a batch's latency counts from the moment it was due, so a target that stalls
//!   cannot hide the batches that had to wait for it;
//! * otherwise it counts from the request's first byte, which only ever makes the target look slower
//!   than its promise, which counts from the last;
//! * whatever is not a 200 is counted by its code and not repeated.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    events::{EventSource, Shape},
    log::Log,
};

/// What is sent, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Batches in flight at most.
    pub connections: u32,
    /// Events of one batch.
    pub events_per_batch: usize,
    /// What kind of events.
    pub shape: Shape,
    /// For how long.
    pub duration: Duration,
    /// All connections together; none means as fast as the target takes them.
    pub batches_per_second: Option<f64>,
}

/// Where it is sent.
#[derive(Debug, Clone)]
pub enum Target {
    /// An HTTP server that answers 200 when it has the batch.
    Http {
        /// Its address.
        address: SocketAddr,
        /// The path to post to.
        path: String,
    },
    /// A JetStream stream's subject; the publish acknowledgement is awaited.
    JetStream {
        /// The server's URL.
        url: String,
        /// The subject.
        subject: String,
    },
    /// A file of this process, without any network.
    Log(Arc<Log>),
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Batches acknowledged.
    pub batches: u64,
    /// Their events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Answers other than 200, by status code.
    pub refused: BTreeMap<u16, u64>,
    /// From the first batch's begin to the last one's end.
    pub elapsed: Duration,
    /// Of acknowledged batches, in microseconds.
    pub latency_us: Histogram<u64>,
}

impl Outcome {
    fn empty() -> anyhow::Result<Self> {
        Ok(Self {
            batches: 0,
            events: 0,
            bytes: 0,
            refused: BTreeMap::new(),
            elapsed: Duration::ZERO,
            // Up to ten minutes, three digits exact.
            latency_us: Histogram::new_with_bounds(1, 600_000_000, 3)?,
        })
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.batches += other.batches;
        self.events += other.events;
        self.bytes += other.bytes;
        for (code, count) in &other.refused {
            *self.refused.entry(*code).or_default() += count;
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latency_us.add(&other.latency_us)?;
        Ok(())
    }

    /// Acknowledged events in a second.
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// A percentile of the latency, in milliseconds.
    pub fn latency_ms(&self, percentile: f64) -> f64 {
        self.latency_us.value_at_percentile(percentile) as f64 / 1_000.0
    }
}

/// Sends until the time is over and every batch in flight is answered.
///
/// # Errors
/// A connection that cannot be made or breaks: a target under test must not do that.
pub async fn run(load: Load, target: &Target) -> anyhow::Result<Outcome> {
    run_on(load, std::slice::from_ref(target)).await
}

/// The same on several targets, among which the connections are shared.
///
/// # Errors
/// See [`run`]; or there is no target.
pub async fn run_on(load: Load, targets: &[Target]) -> anyhow::Result<Outcome> {
    let mut senders = JoinSet::new();
    let begun = Instant::now();
    let targets = targets.iter().cycle().take(load.connections as usize);
    for (number, target) in (0..).zip(targets) {
        let link = Link::open(target).await?;
        senders.spawn(send(load, link, number, begun));
    }
    let mut total = Outcome::empty()?;
    while let Some(sender) = senders.join_next().await {
        total.add(&sender.context("a sender panicked")??)?;
    }
    Ok(total)
}

async fn send(load: Load, mut link: Link, number: u32, begun: Instant) -> anyhow::Result<Outcome> {
    let mut source = EventSource::new(load.shape);
    let mut outcome = Outcome::empty()?;
    let end = begun + load.duration;
    let interval = load
        .batches_per_second
        .map(|rate| Duration::from_secs_f64(f64::from(load.connections) / rate));
    let offset = interval.map(|whole| whole * number / load.connections);
    let mut due = begun + offset.unwrap_or_default();
    let mut capacity = 0;
    loop {
        let mut body = Vec::with_capacity(capacity);
        source.batch(load.events_per_batch, &mut body);
        capacity = capacity.max(body.len() + 1_024);
        if interval.is_some() {
            sleep_until(due).await;
        } else {
            due = Instant::now();
        }
        if due >= end {
            return Ok(outcome);
        }
        let bytes = body.len() as u64;
        let code = link.deliver(body.into()).await?;
        let now = Instant::now();
        outcome.elapsed = now - begun;
        if code == 200 {
            let latency = u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX);
            outcome.latency_us.saturating_record(latency);
            outcome.batches += 1;
            outcome.events += load.events_per_batch as u64;
            outcome.bytes += bytes;
        } else {
            *outcome.refused.entry(code).or_default() += 1;
        }
        if let Some(interval) = interval {
            due += interval;
        }
    }
}

/// One connection to a target.
enum Link {
    Http {
        sender: SendRequest<Full<Bytes>>,
        host: String,
        path: String,
    },
    JetStream {
        context: async_nats::jetstream::Context,
        subject: String,
    },
    Log(Arc<Log>),
}

impl Link {
    async fn open(target: &Target) -> anyhow::Result<Self> {
        match target {
            Target::Http { address, path } => {
                let stream = TcpStream::connect(address)
                    .await
                    .with_context(|| format!("cannot connect to {address}"))?;
                stream.set_nodelay(true)?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                // Its end shows as an error of the sender.
                tokio::spawn(connection);
                Ok(Self::Http {
                    sender,
                    host: address.to_string(),
                    path: path.clone(),
                })
            }
            Target::JetStream { url, subject } => {
                let client = async_nats::connect(url)
                    .await
                    .with_context(|| format!("cannot connect to {url}"))?;
                Ok(Self::JetStream {
                    context: async_nats::jetstream::new(client),
                    subject: subject.clone(),
                })
            }
            Target::Log(log) => Ok(Self::Log(Arc::clone(log))),
        }
    }

    async fn deliver(&mut self, body: Bytes) -> anyhow::Result<u16> {
        match self {
            Self::Http { sender, host, path } => {
                let request = Request::post(path.as_str())
                    .header(HOST, host.as_str())
                    .header(CONTENT_TYPE, "application/json")
                    .body(Full::new(body))?;
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                let code = response.status().as_u16();
                response.into_body().collect().await?;
                Ok(code)
            }
            Self::JetStream { context, subject } => {
                let ack = context.publish(subject.clone(), body).await?.await?;
                if ack.duplicate {
                    bail!("JetStream took a batch for a duplicate");
                }
                Ok(200)
            }
            Self::Log(log) => {
                log.append(body).await?;
                Ok(200)
            }
        }
    }
}

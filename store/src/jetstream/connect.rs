//! The value that stands for the servers, and the runtime that its connection lives on.
//!
//! Contract:
//! * the first connection is bounded in time; once there was one it is made again for as long as the value lives, also
//!   after a refusal: a password that is being changed must not end a relay that runs;
//! * its runtime is its own: plain threads can block on it, and a caller's clock and runtime do not matter to it.

use std::{
    future::Future,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{Client, connection::State, jetstream::Context};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::Instant,
};

use super::{
    JetStreamOptions, client,
    error::JetStreamError,
    lease::{LeaseWatch, Register},
    promises,
    silence::Silence,
    streams::Streams,
};

/// How often and how far apart a relay that waits for NATS says so and tries it.
const WAITING_LINE: Duration = Duration::from_secs(60);
const WAITING_TRY: Duration = Duration::from_secs(1);

/// A connection to NATS whose servers keep what they promise, with the streams of this queue. Clones are one.
#[derive(Debug, Clone)]
pub struct JetStream(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    options: JetStreamOptions,
    client: Client,
    context: Context,
    /// Of the lease alone: on the other one as many publications as can be may wait for an answer.
    lease_context: Context,
    streams: Streams,
    is_durable: AtomicBool,
    silence: Arc<Silence>,
    lease: OnceLock<LeaseWatch>,
    runtime: OwnRuntime,
}

/// A runtime may not be dropped where others are driven, and the last clone may be dropped anywhere.
#[derive(Debug)]
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start() -> io::Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("jetstream")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is taken by drop only").handle()
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl JetStream {
    /// Connects, looks at what the servers promise, and creates or checks the streams.
    ///
    /// # Errors
    /// Nobody answers (each address is tried once, for at most 5 s), or something has to be changed first;
    /// [`JetStreamError::is_of_the_moment`] tells which.
    pub async fn connect(options: &JetStreamOptions) -> Result<Self, JetStreamError> {
        client::check(options)?;
        let runtime = OwnRuntime::start()
            .map_err(|error| JetStreamError::failed("begin: no thread", &error))?;
        let own = options.clone();
        let silence = Arc::new(Silence::default());
        let listens = Arc::clone(&silence);
        let connected = runtime.handle().spawn(async move {
            let client = client::connect(&own, listens).await?;
            let context = client::context(&client);
            client::is_enabled(&context, &own).await?;
            let streams = Streams::open(&context, &own).await?;
            promises::check(&context, &streams, &own).await?;
            let contexts = (context, client::context(&client));
            Ok((client, contexts, streams))
        });
        let (client, (context, lease_context), streams) = match connected.await {
            Ok(connected) => connected?,
            Err(error) => return Err(JetStreamError::failed("connect", &error)),
        };
        let inner = Arc::new(Inner {
            options: options.clone(),
            client,
            context,
            lease_context,
            streams,
            is_durable: AtomicBool::new(true),
            silence,
            lease: OnceLock::new(),
            runtime,
        });
        promises::watch(&inner);
        Ok(Self(inner))
    }

    /// Connects, and waits for that for as long as nobody answers: a relay that ended for it would not be there
    /// when NATS is.
    ///
    /// # Errors
    /// Something has to be changed first.
    pub async fn connect_when_there(options: &JetStreamOptions) -> Result<Self, JetStreamError> {
        let mut said: Option<Instant> = None;
        loop {
            match Self::connect(options).await {
                Err(error) if error.is_of_the_moment() => {
                    if said.is_none_or(|said| said.elapsed() >= WAITING_LINE) {
                        said = Some(Instant::now());
                        tracing::warn!(%error, "NATS cannot be the queue yet; it is tried again every second");
                    }
                    tokio::time::sleep(WAITING_TRY).await;
                }
                connected => return connected,
            }
        }
    }

    /// Asks the servers now whether they keep what is asked of them for an acknowledged message, and remembers it for
    /// [`JetStream::is_durable`]; what cannot be asked changes nothing.
    pub async fn ask_whether_durable(&self) -> bool {
        let inner = self.0.clone();
        let asked = self.handle().spawn(async move {
            let answer = promises::check(&inner.context, &inner.streams, &inner.options).await;
            promises::note(&inner, answer);
        });
        if asked.await.is_err() {
            tracing::debug!("asking NATS how it keeps messages ended early");
        }
        self.is_durable()
    }

    /// Its runtime. What runs there for long must not hold a clone of this value, which would then never end.
    pub(crate) fn handle(&self) -> &Handle {
        self.0.runtime.handle()
    }

    /// Waits for a future on a plain thread, or one for what blocks; it runs with this connection's runtime.
    ///
    /// # Panics
    /// On a thread that drives a runtime.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle().block_on(future)
    }

    /// What the value was connected with.
    pub(crate) fn options(&self) -> &JetStreamOptions {
        &self.0.options
    }

    /// JetStream's API. While there is no connection requests are kept until there is one, and time out.
    pub(crate) fn context(&self) -> &Context {
        &self.0.context
    }

    /// The connection, for plain messages.
    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// The streams.
    pub(crate) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// The key of the lease.
    pub(super) fn register(&self) -> Register {
        let streams = &self.0.streams;
        Register::new(&self.0.lease_context, &streams.lease, self.0.options.lease)
    }

    /// The watch of the lease, which runs from when it is asked for first.
    pub(super) fn lease(&self) -> &LeaseWatch {
        self.0.lease.get_or_init(|| {
            let client = self.client().clone();
            LeaseWatch::start(self.handle(), client, self.register(), self.0.options.lease)
        })
    }

    /// The largest message, header and payload, that the connected server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.0.client.max_payload()
    }

    /// Whether there is a connection now. Without one a message that is published waits for the next one, whoever waits
    /// for its acknowledgement: it may be stored long after that was given up.
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    /// How often there was a connection: one that was lost and made again in a moment is another one.
    pub fn connections(&self) -> u64 {
        self.0.client.statistics().connects.load(Relaxed)
    }

    /// Whether servers answer on the connection, and which questions they did not.
    pub(super) fn silence(&self) -> &Silence {
        &self.0.silence
    }

    /// Goes to another server where the one that there is a connection to has been silent for too long; whether it does.
    pub(super) async fn leave_if_silent(&self) -> bool {
        let is_to_leave = self.is_connected() && self.silence().is_to_leave();
        if is_to_leave && let Err(error) = self.client().force_reconnect().await {
            tracing::debug!(%error, "the connection to NATS is closed");
        }
        is_to_leave
    }

    /// Whether an acknowledgement can be had now, and is a promise.
    ///
    /// # Errors
    /// Why not.
    pub fn promises(&self) -> Result<(), &'static str> {
        let is_silent = self.silence().is_silent();
        match (self.is_connected(), is_silent, self.is_durable()) {
            (false, ..) => Err("there is no connection to a NATS server"),
            (_, true, _) => Err(
                "NATS does not answer: the server that the relay is connected to is cut off, or most servers are gone",
            ),
            (.., false) => {
                Err("the NATS servers do not promise any more that what they acknowledge is kept")
            }
            _ => Ok(()),
        }
    }

    /// Whether the servers, when they were last asked, kept what is asked of them for an acknowledged message. It is
    /// asked again every few minutes; a server may have been started anew with other settings.
    pub fn is_durable(&self) -> bool {
        self.0.is_durable()
    }
}

impl Inner {
    pub(super) fn options(&self) -> &JetStreamOptions {
        &self.options
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    pub(super) fn is_durable(&self) -> bool {
        self.is_durable.load(Relaxed)
    }

    /// Remembers it, and says whether it was otherwise before.
    pub(super) fn set_durable(&self, is_durable: bool) -> bool {
        self.is_durable.swap(is_durable, Relaxed) != is_durable
    }
}

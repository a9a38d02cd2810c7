//! The connection, and the runtime that it lives on.
//!
//! Contract:
//! * the first connection is bounded in time; once there was one it is made again for as long as the value lives, also
//!   after a refusal: a password that is being changed must not end a relay that runs;
//! * its runtime is its own: plain threads can block on it, and a caller's clock and runtime do not matter to it;
//! * nothing that is logged or returned holds a credential, and an address that holds one is refused.

use std::{
    error::Error as _,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event,
    connection::State,
    jetstream::context::{Context, ContextBuilder},
    rustls,
};
use secrecy::ExposeSecret as _;
use tokio::runtime::{Builder, Handle, Runtime};

use super::{
    Credentials, JetStreamOptions,
    error::{JetStreamError, VERSION_MIN},
    promises,
    streams::Streams,
};

/// How long one server has for a connection with everything that belongs to it.
const CONNECTION: Duration = Duration::from_secs(5);
/// A server that is stopped or cut off is noticed after three of them.
const PING: Duration = Duration::from_secs(2);
/// Longest pause between attempts to connect again.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a request to JetStream's API takes at most.
const REQUEST: Duration = Duration::from_secs(5);

/// A connection to NATS whose servers keep what they promise, with the streams of this queue. Clones are one.
#[derive(Debug, Clone)]
pub struct JetStream(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    options: JetStreamOptions,
    client: Client,
    context: Context,
    streams: Streams,
    is_durable: AtomicBool,
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
        check(options)?;
        let runtime = OwnRuntime::start()
            .map_err(|error| JetStreamError::failed("begin: no thread", &error))?;
        let own = options.clone();
        let connected = runtime.handle().spawn(async move {
            let client = connect(&own).await?;
            let context = context(&client);
            let streams = Streams::open(&context, &own).await?;
            promises::check(&context, &streams, &own).await?;
            Ok((client, context, streams))
        });
        let (client, context, streams) = match connected.await {
            Ok(connected) => connected?,
            Err(error) => return Err(JetStreamError::failed("connect", &error)),
        };
        let inner = Arc::new(Inner {
            options: options.clone(),
            client,
            context,
            streams,
            is_durable: AtomicBool::new(true),
            runtime,
        });
        promises::watch(&inner);
        Ok(Self(inner))
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

    /// The largest message, header and payload, that the connected server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.0.client.max_payload()
    }

    /// Whether there is a connection now. Without one a message that is published waits for the next one, whoever waits
    /// for its acknowledgement: it may be stored long after that was given up.
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    /// Whether the servers, when they were last asked, kept what is asked of them for an acknowledged message. It is
    /// asked again every few minutes; a server may have been started anew with other settings.
    pub fn is_durable(&self) -> bool {
        self.0.is_durable.load(Relaxed)
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

    /// Remembers it, and says whether it was otherwise before.
    pub(super) fn set_durable(&self, is_durable: bool) -> bool {
        self.is_durable.swap(is_durable, Relaxed) != is_durable
    }
}

fn context(client: &Client) -> Context {
    ContextBuilder::new()
        .timeout(REQUEST)
        .ack_timeout(REQUEST)
        .build(client.clone())
}

/// What can be wrong without asking anybody.
fn check(options: &JetStreamOptions) -> Result<(), JetStreamError> {
    let refuse = |why: &str| Err(JetStreamError::Options(why.to_owned()));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if options.name.is_empty() || !options.name.bytes().all(is_name) {
        return refuse("name: letters, digits, - and _ only");
    }
    if options.servers.is_empty() {
        return refuse("servers: at least one is needed");
    }
    for server in &options.servers {
        let Ok(address) = server.parse::<async_nats::ServerAddr>() else {
            return refuse(
                "servers: one is no address such as nats://host:4222 or tls://host:4222",
            );
        };
        if address.has_user_pass() || address.username().is_some() {
            return refuse(
                "servers: an address holds a user or a token; give it by user and password_file, or token_file",
            );
        }
    }
    Ok(())
}

/// Hosts and ports of servers, for a reader.
fn shown(options: &JetStreamOptions) -> String {
    let shown: Vec<String> = options
        .servers
        .iter()
        .filter_map(|server| server.parse::<async_nats::ServerAddr>().ok())
        .map(|address| format!("{}:{}", address.host(), address.port()))
        .collect();
    shown.join(", ")
}

async fn connect(options: &JetStreamOptions) -> Result<Client, JetStreamError> {
    let mut with = ConnectOptions::new()
        .name("auditrelay")
        .connection_timeout(CONNECTION)
        .ping_interval(PING)
        .request_timeout(Some(REQUEST))
        .reconnect_delay_callback(reconnect_delay)
        .require_tls(options.tls.required)
        .event_callback(|event| async move { report(&event) });
    with = match &options.credentials {
        Credentials::None => with,
        Credentials::User(user, password) => {
            with.user_and_password(user.clone(), password.expose_secret().to_owned())
        }
        Credentials::Token(token) => with.token(token.expose_secret().to_owned()),
        Credentials::File(path) => {
            let file = |error: io::Error| JetStreamError::File {
                path: path.clone(),
                why: error.to_string(),
            };
            with.credentials_file(path).await.map_err(file)?
        }
    };
    if let Some(path) = &options.tls.ca_file {
        readable(path).await?;
        with = with.add_root_certificates(path.clone());
    }
    if let Some((cert, key)) = &options.tls.client {
        readable(cert).await?;
        readable(key).await?;
        with = with.add_client_certificate(cert.clone(), key.clone());
    }
    let client = with
        .connect(options.servers.as_slice())
        .await
        .map_err(|error| refused(options, &error))?;
    check_version(&client)?;
    Ok(client)
}

async fn readable(path: &std::path::Path) -> Result<(), JetStreamError> {
    match tokio::fs::File::open(path).await {
        Ok(_) => Ok(()),
        Err(error) => Err(JetStreamError::File {
            path: path.to_owned(),
            why: error.to_string(),
        }),
    }
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.min(10)).unwrap_or(10);
    let delay = Duration::from_millis(10) * 2_u32.pow(doublings);
    if attempts <= 1 {
        Duration::ZERO
    } else {
        delay.min(RECONNECT_MAX)
    }
}

/// What a first connection failed of.
fn refused(options: &JetStreamOptions, error: &async_nats::ConnectError) -> JetStreamError {
    let servers = shown(options);
    let tls = tls_error(error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            JetStreamError::Unauthorized {
                servers,
                credentials: match options.credentials {
                    Credentials::None => "having no credentials",
                    Credentials::User(..) => "user and password",
                    Credentials::Token(_) => "token",
                    Credentials::File(_) => "credentials file",
                },
            }
        }
        ConnectErrorKind::Tls => JetStreamError::Tls {
            servers,
            why: innermost(error),
        },
        _ if tls.is_some() => JetStreamError::Tls {
            servers,
            why: tls.unwrap_or_default(),
        },
        kind => JetStreamError::Unreachable {
            servers,
            why: match error.source() {
                Some(_) => innermost(error),
                None => kind.to_string(),
            },
        },
    }
}

/// What TLS said, if it was TLS. A handshake's failure comes as an error of the connection.
fn tls_error(error: &async_nats::ConnectError) -> Option<String> {
    let mut source = error.source();
    while let Some(at) = source {
        if let Some(tls) = at.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls.to_string());
        }
        source = at.source();
    }
    None
}

fn innermost(error: &async_nats::ConnectError) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

fn check_version(client: &Client) -> Result<(), JetStreamError> {
    let info = client.server_info();
    let mut numbers = info.version.split('.').map(|part| part.parse::<u64>());
    let is_enough = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= VERSION_MIN,
        _ => false,
    };
    if is_enough {
        return Ok(());
    }
    Err(JetStreamError::TooOld {
        server: info.server_name,
        version: info.version,
    })
}

/// One line when the connection ends and one when it is there again; the rest is what somebody looks for on purpose.
fn report(event: &Event) {
    match event {
        Event::Disconnected => tracing::warn!(
            "the connection to NATS is lost; it is made again as soon as a server answers, batches are refused until then"
        ),
        Event::Connected => tracing::info!("connected to NATS"),
        other => tracing::debug!(event = %other, "the connection to NATS"),
    }
}

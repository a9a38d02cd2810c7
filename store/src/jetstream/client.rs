//! The connection to the servers: who the relay says it is, and why it is refused.
//!
//! Contract: nothing that is logged or returned holds a credential, and an address that holds one is refused. A first
//! connection that fails says why; one that is lost is made again for ever.

use std::{
    error::Error as _,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{
    Auth, AuthError, Client, ClientError, ConnectErrorKind, ConnectOptions, Event,
    jetstream::{
        ErrorCode,
        account::Account,
        context::{Context, ContextBuilder, RequestErrorKind},
        response::Response,
    },
    rustls,
};
use nkeys::KeyPair;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::{
    Credentials, JetStreamOptions,
    error::{JetStreamError, VERSION_MIN},
    silence::Silence,
};

/// How long one server has for a connection with everything that belongs to it.
const CONNECTION: Duration = Duration::from_secs(5);
/// A server that is stopped or cut off is noticed after three of them.
const PING: Duration = Duration::from_secs(2);
/// Longest pause between attempts to connect again.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long JetStream may be away from servers that begin, before it counts as not enabled.
const ENABLED: Duration = Duration::from_secs(2);
/// How long a request to JetStream's API takes at most.
const REQUEST: Duration = Duration::from_secs(5);

/// Whether anybody answers for JetStream. Where an account has none, nobody does, as on servers that begin.
pub(super) async fn is_enabled(
    context: &Context,
    options: &JetStreamOptions,
) -> Result<(), JetStreamError> {
    let not_enabled = || JetStreamError::NotEnabled {
        servers: shown(options),
    };
    let begun = Instant::now();
    loop {
        let answer: Result<Response<Account>, _> = context.request("INFO", &()).await;
        match answer {
            Ok(Response::Ok(_)) => return Ok(()),
            Ok(Response::Err { error }) => match error.error_code() {
                ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                    return Err(not_enabled());
                }
                _ => return Err(JetStreamError::failed("answer", &error)),
            },
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                if begun.elapsed() > ENABLED {
                    return Err(not_enabled());
                }
                tokio::time::sleep(ENABLED / 8).await;
            }
            Err(error) => return Err(JetStreamError::failed("answer", &error)),
        }
    }
}

/// JetStream's API on a connection.
pub(super) fn context(client: &Client) -> Context {
    ContextBuilder::new()
        .timeout(REQUEST)
        .ack_timeout(REQUEST)
        .build(client.clone())
}

/// What can be wrong without asking anybody.
pub(super) fn check(options: &JetStreamOptions) -> Result<(), JetStreamError> {
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

/// Connects once to whichever server takes it.
pub(super) async fn connect(
    options: &JetStreamOptions,
    silence: Arc<Silence>,
) -> Result<Client, JetStreamError> {
    let is_refused = Arc::new(AtomicBool::new(false));
    let chooses = Arc::clone(&silence);
    let mut with = as_whom(&options.credentials)
        .await?
        .name("auditrelay")
        .connection_timeout(CONNECTION)
        .ping_interval(PING)
        .request_timeout(Some(REQUEST))
        .reconnect_delay_callback(reconnect_delay)
        .reconnect_to_server_callback(move |known, _| std::future::ready(chooses.next(&known)))
        .require_tls(options.tls.required)
        .event_callback(move |event| {
            let (is_refused, silence) = (is_refused.clone(), silence.clone());
            async move { report(&event, &is_refused, &silence) }
        });
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

async fn as_whom(credentials: &Credentials) -> Result<ConnectOptions, JetStreamError> {
    let path = match credentials {
        Credentials::None => return Ok(ConnectOptions::new()),
        Credentials::User(user, password) => {
            let password = password.expose_secret().to_owned();
            return Ok(ConnectOptions::with_user_and_password(
                user.clone(),
                password,
            ));
        }
        Credentials::Token(token) => {
            return Ok(ConnectOptions::with_token(token.expose_secret().to_owned()));
        }
        Credentials::File(path) => path.clone(),
    };
    let refused = |why: String| JetStreamError::File {
        path: path.clone(),
        why,
    };
    credentials_of(&path).await.map_err(refused)?;
    // Read for each connection: such credentials expire, and are then written anew.
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let path = path.clone();
        async move {
            let (token, key) = credentials_of(&path).await.map_err(AuthError::new)?;
            let mut auth = Auth::new();
            auth.signature = Some(key.sign(&nonce).map_err(AuthError::new)?);
            auth.jwt = Some(token);
            Ok(auth)
        }
    }))
}

/// The signed token of a `.creds` file and the key that proves it is the relay's; says what is wrong without quoting it.
async fn credentials_of(path: &Path) -> Result<(String, KeyPair), String> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| error.to_string())?;
    let text = SecretString::from(text);
    let below = |heading: &str| {
        let mut lines = text.expose_secret().lines().map(str::trim);
        lines.find(|line| line.starts_with("---") && line.contains(heading))?;
        lines.find(|line| !line.is_empty())
    };
    let token =
        below("BEGIN NATS USER JWT").ok_or("it holds no token of a user (NATS USER JWT)")?;
    let seed = below("BEGIN USER NKEY SEED").ok_or("it holds no key (USER NKEY SEED)")?;
    let key = KeyPair::from_seed(seed).map_err(|_| "its key (USER NKEY SEED) is damaged")?;
    Ok((token.to_owned(), key))
}

async fn readable(path: &Path) -> Result<(), JetStreamError> {
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

/// One line when the connection ends and one when it is there again, one for a refusal meanwhile; the rest is what
/// somebody looks for on purpose.
fn report(event: &Event, is_refused: &AtomicBool, silence: &Silence) {
    let refusals = [
        ConnectErrorKind::AuthorizationViolation,
        ConnectErrorKind::Authentication,
    ]
    .map(|kind| kind.to_string());
    let is_refusal = |why: &str| refusals.iter().any(|refusal| why.starts_with(refusal));
    match event {
        // That servers are silent is said; who is left for it is not news.
        Event::Disconnected if silence.is_leaving() => {
            tracing::debug!("a NATS server that does not answer is left");
        }
        Event::Disconnected => tracing::warn!(
            "the connection to NATS is lost; it is made again as soon as a server answers, batches are refused until then"
        ),
        Event::Connected => {
            is_refused.store(false, Relaxed);
            match silence.connected() {
                true => tracing::debug!("connected to another NATS server"),
                false => tracing::info!("connected to NATS"),
            }
        }
        Event::ClientError(ClientError::Other(why)) if is_refusal(why) => {
            if !is_refused.swap(true, Relaxed) {
                tracing::error!(
                    "NATS refuses the relay's credentials, which it took before; they are tried again, batches are refused until then"
                );
            }
        }
        other => tracing::debug!(event = %other, "the connection to NATS"),
    }
}

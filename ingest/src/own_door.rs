//! The relay's own door, from outside: a connection like an API server's, so that everything on the way is passed.
//!
//! Contract: one request on a connection of its own; bounded in time; what it shows ([`Keyring`]'s `itself`) stands in
//! no error.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, pki_types::ServerName},
};

use crate::{Keyring, KeyringError};

/// More of an answer is not looked at: the relay's own are a line.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Posts to the relay itself.
pub struct OwnDoor {
    address: SocketAddr,
    keyring: Arc<Keyring>,
    token: SecretString,
}

/// Why a post came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Attempt {
    /// The door asks to come again.
    #[error("{reason}")]
    Later {
        /// Not before.
        after: Duration,
        /// What it said.
        reason: String,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl OwnDoor {
    /// The door of a listener, as this machine reaches it.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(listening: SocketAddr, keyring: Arc<Keyring>) -> Result<Self, KeyringError> {
        let ip = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(Self {
            address: SocketAddr::new(ip, listening.port()),
            token: keyring.token_of_itself()?,
            keyring,
        })
    }

    /// Posts a list as what happened in a cluster; `within` bounds all of it.
    ///
    /// # Errors
    /// It was not accepted, or that is not known.
    pub async fn post(&self, cluster: &str, list: Bytes, within: Duration) -> Result<(), Attempt> {
        let posting = timeout(within, self.exchange(cluster, list)).await;
        posting.unwrap_or_else(|_| {
            let seconds = within.as_secs();
            Err(Attempt::Failed(format!("no answer within {seconds} s")))
        })
    }

    async fn exchange(&self, cluster: &str, list: Bytes) -> Result<(), Attempt> {
        let address = self.address;
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| failed("no connection", &error))?;
        let tls = self.keyring.tls_of_itself();
        match tls.map_err(|error| Attempt::Failed(error.to_string()))? {
            None => self.request(stream, cluster, list).await,
            Some(config) => {
                let name = ServerName::from(address.ip());
                let connector = TlsConnector::from(Arc::new(config));
                let encrypted = connector.connect(name, stream).await;
                let encrypted = encrypted.map_err(|error| Attempt::Failed(of_handshake(&error)))?;
                self.request(encrypted, cluster, list).await
            }
        }
    }

    async fn request(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        cluster: &str,
        list: Bytes,
    ) -> Result<(), Attempt> {
        let broken = |error: hyper::Error| failed("the connection broke", &error);
        let (mut client, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let asking = async {
            let response = client.send_request(self.head(cluster, list)?).await;
            let (head, body) = response.map_err(broken)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            judged(head.status, head.headers.get(RETRY_AFTER), &body)
        };
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            // It ends with the answer, or before it; in either case that is known by who asks.
            _ = connection => asking.await,
        }
    }

    fn head(&self, cluster: &str, list: Bytes) -> Result<Request<Full<Bytes>>, Attempt> {
        let token = format!("Bearer {}", self.token.expose_secret());
        let unfit = |_| Attempt::Failed("the request cannot be written".to_owned());
        let mut token = HeaderValue::try_from(token).map_err(|_| unfit(()))?;
        token.set_sensitive(true);
        Request::post(format!("/webhook/{cluster}"))
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, token)
            .body(Full::new(list))
            .map_err(|_| unfit(()))
    }
}

fn judged(status: StatusCode, after: Option<&HeaderValue>, body: &[u8]) -> Result<(), Attempt> {
    if status == StatusCode::OK {
        return Ok(());
    }
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let words = answer["message"].as_str().unwrap_or_default();
    let words: String = words.chars().take(300).collect();
    let reason = format!("the webhook answered {}: {words}", status.as_u16());
    let is_passing = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let seconds = after.and_then(|after| after.to_str().ok()?.trim().parse().ok());
    Err(match seconds.filter(|_| is_passing) {
        Some(seconds) => Attempt::Later {
            after: Duration::from_secs(seconds),
            reason,
        },
        None => Attempt::Failed(reason),
    })
}

fn failed(what: &str, error: &dyn std::error::Error) -> Attempt {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Attempt::Failed(format!("{what}: {cause}"))
}

/// Our own words, where they are ours.
fn of_handshake(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::General(words)) => words.clone(),
        _ => format!("no encrypted connection: {error}"),
    }
}

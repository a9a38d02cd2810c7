//! The one HTTP/2 connection that all requests to an https sink share.
//!
//! Contract: there is one at a time, opened when it is needed and opened again once it is closed. A
//! sink that speaks no HTTP/2 is asked for it once; the connection that told so becomes the first of
//! the HTTP/1.1 ones.
//!
//! Go: `http2.Transport`, configured as client-go does.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;

use super::connect::Connector;

const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// client-go: `HTTP2_READ_IDLE_TIMEOUT_SECONDS`, after which it pings.
const READ_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// client-go: `HTTP2_PING_TIMEOUT_SECONDS`.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

type Sender = SendRequest<Full<Bytes>>;

#[derive(Debug)]
pub(super) struct Multiplex {
    connector: Connector,
    sink: Mutex<Sink>,
}

/// What is known of the sink.
#[derive(Debug)]
enum Sink {
    Unknown,
    Http2(Sender),
    Http1,
}

impl Multiplex {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            sink: Mutex::new(Sink::Unknown),
        }
    }

    /// What sends over the connection; `None` if the sink speaks HTTP/1.1 only.
    pub(super) async fn sender(&self, uri: &Uri) -> io::Result<Option<Sender>> {
        let mut sink = self.sink.lock().await;
        match &*sink {
            Sink::Http1 => return Ok(None),
            Sink::Http2(sender) if !sender.is_closed() => return Ok(Some(sender.clone())),
            Sink::Http2(_) | Sink::Unknown => {}
        }
        let connection = self.connector.connect(uri, PROTOCOLS).await?;
        if !connection.is_http2 {
            let spare = self.connector.spare.lock();
            *spare.unwrap_or_else(PoisonError::into_inner) = Some(connection);
            *sink = Sink::Http1;
            return Ok(None);
        }
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(READ_IDLE_TIMEOUT)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let handshake = builder.handshake(connection).await;
        let (sender, driver) = handshake.map_err(io::Error::other)?;
        // What breaks the connection fails its requests, which tell it.
        tokio::spawn(driver);
        self.connector.tally.multiplexed();
        *sink = Sink::Http2(sender.clone());
        Ok(Some(sender))
    }
}

/// Sends what was made for HTTP/1.1 as Go sends it over HTTP/2.
pub(super) async fn send(
    mut sender: Sender,
    mut request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let headers = request.headers_mut();
    // `:authority` says it.
    headers.remove(HOST);
    let agent = HeaderValue::from_static("Go-http-client/2.0");
    headers.insert(USER_AGENT, agent);
    sender.ready().await?;
    sender.send_request(request).await
}

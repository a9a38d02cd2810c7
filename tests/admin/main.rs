//! The admin port and `auditrelay status` on the real binary: probes from the first moment on, tokens, and what is said
//! of a relay that is well, parked, refusing, or stopped.

#[path = "../support/mod.rs"]
mod support;

mod pages;
mod probes;
mod status;
mod strangers;
mod tokens;
mod top;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use auditrelay_loadtest::slack::{LocalSlack, Options};
use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use support::{PATIENCE, Running};
use tokio::net::TcpStream;

/// A relay with two channels, of which `API_URL` stands for the local Slack's address.
pub(crate) const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL }
channels:
  security: { slack_channel: CSECURITY, park_retry_seconds: 30, message_interval_milliseconds: 100 }
  platform: { slack_channel: CPLATFORM, message_interval_milliseconds: 100 }
default_channel: platform
routes:
  - { name: deletes, channel: security, verbs: [delete] }
  - { name: rest, channel: platform }
";

pub(crate) async fn slack() -> LocalSlack {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = Options {
        message_interval: Duration::from_millis(100),
        ..Options::default()
    };
    LocalSlack::start(free, options).await.expect("a free port")
}

/// Writes the configuration; more of it behind.
pub(crate) fn configured(folder: &Path, slack: &LocalSlack, more: &str) {
    let config = CONFIG.replace("API_URL", &slack.api_url()) + more;
    fs::write(folder.join("c.yaml"), config).expect("written");
}

pub(crate) fn started(folder: &Path) -> Running {
    Running::start(folder, &[], &["--config", "c.yaml"])
}

/// A page with an `Authorization` header, or without.
pub(crate) async fn page(
    address: SocketAddr,
    path: &str,
    authorization: Option<&str>,
) -> Option<(StatusCode, HeaderMap, String)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).header(HOST, address.to_string());
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let (head, body) = client.send_request(request).await.ok()?.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    connection.abort();
    let body = String::from_utf8(body.to_vec()).expect("text");
    Some((head.status, head.headers, body))
}

/// Waits until a look at the world brings something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    looking.await.unwrap_or_else(|_| panic!("never: {what}"))
}

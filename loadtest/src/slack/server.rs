//! The HTTP/1.1 server: connections, their time limits and their end, and the routes.
//!
//! Contract: connections are kept alive; one that sends no complete request head
//! within 30 s is closed; on stop the port is freed first, answers under way get a
//! second, then every connection is closed. [`serve`] also ends, at once, when its
//! owner is dropped.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::record::Outcome;
use super::reply::{self, Reply};
use super::request::{BODY_MAX_BYTES, BodyError, FILE_MAX_BYTES, read_body};
use super::state::Shared;
use super::submit::Failure;
use super::{control, files, web_api, webhook};

const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_GRACE: Duration = Duration::from_secs(1);
/// The pause after a failed accept: out of file descriptors, it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connection is to be closed without an answer. Given to hyper as the service's
/// error, it does just that.
#[derive(Debug)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

/// Holds an answer back. No delay is no wait at all: a timer would round it up to a
/// millisecond on every message.
pub(super) async fn hold_back(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}

/// Gives an answer that is none.
pub(super) async fn fail(failure: Failure) -> Result<Reply, Closed> {
    match failure {
        Failure::Close(after) => {
            hold_back(after).await;
            Err(Closed)
        }
        Failure::Page(status) => Ok(reply::page(status)),
        Failure::Truncated => Ok(reply::truncated()),
    }
}

/// Serves until `stop` changes or its sender is gone.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared), stop.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    if stop.has_changed().is_ok() {
        let drained = async { while connections.join_next().await.is_some() {} };
        let _in_time = timeout(STOP_GRACE, drained).await;
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    // Small answers should leave at once; without this they are only later, not wrong.
    let _best_effort = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(&shared, request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ended = connection.as_mut() => return,
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    // Its errors are the client's doing, or a fault's: neither is news here.
    let _ended = connection.await;
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Closed> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let upload = path.strip_prefix(files::UPLOADS);
    let max_bytes = upload.map_or(BODY_MAX_BYTES, |_| FILE_MAX_BYTES);
    let body = match read_body(body, max_bytes).await {
        Ok(body) => body,
        Err(BodyError::Broken) => return Err(Closed),
        Err(BodyError::TooLarge) => return Ok(too_large(shared, path)),
    };
    if let Some(method) = path.strip_prefix("/api/") {
        web_api::call(shared, method, &parts, &body).await
    } else if let Some(path) = path.strip_prefix("/services/") {
        webhook::post(shared, path, &parts, &body).await
    } else if let Some(id) = upload {
        Ok(files::upload(shared, id, &parts, &body))
    } else {
        Ok(control::answer(shared, &parts.method, path, &body))
    }
}

fn too_large(shared: &Shared, path: &str) -> Reply {
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    let outcome = Outcome::HttpStatus {
        status: status.as_u16(),
    };
    if let Some(method) = path.strip_prefix("/api/") {
        shared.note(method, None, "", outcome);
    } else if path.starts_with("/services/") {
        shared.note(webhook::METHOD, None, "", outcome);
    }
    reply::page(status)
}

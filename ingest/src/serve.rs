//! The life of a connection.
//!
//! Invariants:
//! * nobody waits to be let in: past `connections_max` a connection is told 503 and closed;
//! * an idle connection is closed much later than the API server would close it itself (90 s);
//! * a failing `accept` (out of file descriptors) slows the loop down and never ends it;
//! * on shutdown no connection is taken any more, idle ones are closed, and what is being received is
//!   answered. How long that may take is the caller's decision: dropping the future of [`serve`] ends
//!   every connection at once.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use auditrelay_store::Queue;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};

use crate::{
    Ingest, answer,
    clock::{Clock, Clocked, Expired},
    keyring::Peer,
    metrics::Counted,
    refusal::Reason,
    refusal_log::Gate,
};

/// Twice the API server's own idle timeout; also frees the connections of peers that vanished.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Largest head of a request, and what a connection may buffer. The API server's are under 4 KiB.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Connections that may linger at once to be told that they are one too many.
const TURNED_AWAY_MAX: usize = 256;
/// How long one of them lingers.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long accepting rests after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the webhook on `listener` until `shutdown` completes and every request under way is answered.
pub async fn serve<Q: Queue>(
    listener: TcpListener,
    ingest: Arc<Ingest<Q>>,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(ingest.limits.connections_max));
    let exits = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut accept_failures = Gate::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = shutdown.as_mut() => break,
            Some(ended) = connections.join_next() => {
                report_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let ingest = Arc::clone(&ingest);
                    connections.spawn(converse(stream, peer, ingest, stopping.clone(), place));
                    continue;
                }
                ingest.metrics.refused(Reason::Connections);
                let message = "ingest.connections_max are open";
                ingest.log.warn(Reason::Connections, message, peer);
                // Without an exit it is closed at once: telling must not cost what is short.
                if let Ok(exit) = Arc::clone(&exits).try_acquire_owned() {
                    connections.spawn(turn_away(stream, exit));
                }
            }
            // The peer gave up before it was let in.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if let Some(suppressed) = accept_failures.pass(Instant::now()) {
                    tracing::error!(%error, suppressed, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    while let Some(ended) = connections.join_next().await {
        report_panic(ended);
    }
}

async fn converse<Q: Queue>(
    stream: TcpStream,
    peer: SocketAddr,
    ingest: Arc<Ingest<Q>>,
    mut stopping: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    let _counted = Counted::new(&ingest.metrics.connections);
    // Dropped before the count: whoever sees the count fall finds the place free.
    let _place = place;
    // Answers are one small write each; waiting to send them only adds to the batch's time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let clock = Clock::start(ingest.limits.header_timeout, IDLE_TIMEOUT);
    let io = TokioIo::new(Clocked {
        stream,
        clock: Arc::clone(&clock),
    });
    let caller = Peer::plain(peer);
    let service =
        service_fn(|request| Arc::clone(&ingest).answer(request, caller.clone(), clock.begin()));
    let connection = http1::Builder::new()
        .header_read_timeout(None::<Duration>) // The clock does it; hyper's own also ends idle ones.
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    report_early_end(&ingest, peer, &error);
                }
                return;
            }
            () = stopped(&mut stopping), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            expired = clock.expired() => {
                if expired == Expired::Head {
                    ingest.metrics.refused(Reason::HeaderTimeout);
                    let message = "a request's head took longer than ingest.header_timeout_seconds";
                    ingest.log.warn(Reason::HeaderTimeout, message, peer);
                }
                return;
            }
        }
    }
}

fn report_early_end<Q: Queue>(ingest: &Ingest<Q>, peer: SocketAddr, error: &hyper::Error) {
    if error.is_parse() {
        ingest.metrics.refused(Reason::MalformedHead);
        let message =
            "not HTTP/1.1, or its head is too large; does its URL say https instead of http?";
        ingest.log.warn(Reason::MalformedHead, message, peer);
    } else {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender goes away only when everything is torn down: then stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Says 503 and closes. What the peer sends is read away meanwhile: closing over unread bytes would
/// reset the connection, and the peer's kernel would drop the answer.
async fn turn_away(mut stream: TcpStream, _exit: OwnedSemaphorePermit) {
    let telling = async {
        stream.write_all(&answer::too_many_connections()).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 4096];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    // Either way it is over: nobody is left to tell.
    let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, telling).await;
}

fn report_panic(ended: Result<(), JoinError>) {
    // Without the panic's own words: they may quote what was being worked on.
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("a connection's task panicked");
    }
}

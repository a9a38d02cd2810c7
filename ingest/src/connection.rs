//! The life of a connection: a handshake if the port is encrypted, then requests, then an end.
//!
//! Invariants:
//! * every limit of a connection is a constant here or a knob of `ingest`, and has a name;
//! * what a connection may hold in memory beside the bodies that the budget counts is bounded: on
//!   HTTP/1.1 [`BUFFER_BYTES_MAX`], on HTTP/2 [`HTTP2_CONNECTION_WINDOW_BYTES`] and one head. Bodies are
//!   read as they come, and those refused are read away, so these are peaks and no states;
//! * an idle connection that has to go is told first, so that a client that just wrote tries again;
//! * on shutdown what is under way is finished and nothing new begun.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use auditrelay_store::Intake;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::Instant,
};

use crate::{
    Ingest, answer,
    clock::{Clock, Expired, RESETS_IN_A_ROW_MAX},
    clocked::Clocked,
    handshake::{self, NoHandshake, TLS_FIRST_BYTE},
    keyring::Peer,
    metrics::Counted,
    places::Place,
    refusal::Reason,
    turned_away::turn_away,
};

/// Twice the API server's own idle timeout; also frees the connections of peers that vanished.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Largest head of a request, and what an HTTP/1.1 connection may buffer. The API server's are under
/// 4 KiB.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What one HTTP/2 request may send before it is read: a batch of 28.8 MB takes 29 round trips, and ten of
/// them at once, as after an outage, stay within a body's 25 s up to 170 ms of network.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for a connection, all requests together.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Requests taken back by the client before we have seen them; one more ends the connection
/// (CVE-2023-44487).
const HTTP2_RESETS_UNSEEN_MAX: usize = 20;
/// Requests that we had to reset as they broke the protocol; one more ends the connection
/// (CVE-2025-8671).
const HTTP2_RESETS_OF_OURS_MAX: usize = 128;
/// An answer is a few hundred bytes.
const HTTP2_SEND_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// After so long without a byte an HTTP/2 peer is asked whether it is there, and has so long to answer.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one that was told to go has before it is closed, if it is not in the middle of a request.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection and who is at its other end.
struct Caller<Q> {
    ingest: Arc<Ingest<Q>>,
    peer: Peer,
    clock: Arc<Clock>,
    stopping: watch::Receiver<bool>,
}

/// Serves one connection until it ends, has to, or everything stops.
pub(crate) async fn converse<Q: Intake>(
    stream: TcpStream,
    address: SocketAddr,
    ingest: Arc<Ingest<Q>>,
    clock: Arc<Clock>,
    mut stopping: watch::Receiver<bool>,
    place: Place,
) {
    let _counted = Counted::new(&ingest.metrics.connections);
    // Dropped before the count: whoever sees the count fall finds the place free.
    let _place = place;
    // Answers are one small write each; waiting to send them only adds to the batch's time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %address, %error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = ingest.keyring.tls() else {
        let peer = Peer::plain(address);
        return Caller::new(ingest, peer, clock, stopping)
            .http1(stream)
            .await;
    };
    let meeting = handshake::meet(stream, tls, ingest.limits().handshake_timeout);
    let met = tokio::select! {
        biased;
        met = meeting => met,
        () = clock.gave_way() => return gave_way(&ingest, address),
        () = stopped(&mut stopping) => return,
    };
    match met {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let peer = Peer::encrypted(address, session.peer_certificates());
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let caller = Caller::new(ingest, peer, clock, stopping);
            if is_http2 {
                caller.http2(stream).await;
            } else {
                caller.http1(stream).await;
            }
        }
        Err(no_handshake) => report_no_handshake(&ingest, address, no_handshake).await,
    }
}

impl<Q: Intake> Caller<Q> {
    fn new(
        ingest: Arc<Ingest<Q>>,
        peer: Peer,
        clock: Arc<Clock>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            ingest,
            peer,
            clock,
            stopping,
        }
    }

    /// What each request needs.
    fn parts(&self) -> (Arc<Ingest<Q>>, Peer, Arc<Clock>) {
        let (ingest, clock) = (Arc::clone(&self.ingest), Arc::clone(&self.clock));
        (ingest, self.peer.clone(), clock)
    }

    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let clock = Arc::clone(&self.clock);
        let io = TokioIo::new(Clocked { stream, clock });
        let (ingest, peer, clock) = self.parts();
        let service = service_fn(move |request| {
            Arc::clone(&ingest).answer(request, peer.clone(), clock.begin())
        });
        let connection = http1::Builder::new()
            .half_close(true) // Whoever has sent all may say so, and is answered.
            .header_read_timeout(None::<Duration>) // The clock does it; hyper's own also ends idle ones.
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(io, service);
        self.drive(connection).await;
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        self.clock.speaks_http2();
        let clock = Arc::clone(&self.clock);
        let io = TokioIo::new(Clocked { stream, clock });
        let (ingest, peer, clock) = self.parts();
        let service = service_fn(move |request| {
            Arc::clone(&ingest).answer(request, peer.clone(), clock.begin())
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.ingest.limits().http2_streams_max)
            .max_header_list_size(BUFFER_BYTES_MAX as u32)
            .max_pending_accept_reset_streams(HTTP2_RESETS_UNSEEN_MAX)
            .max_local_error_reset_streams(HTTP2_RESETS_OF_OURS_MAX)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .serve_connection(io, service);
        self.drive(connection).await;
    }

    /// Lets a connection run until its end, its limits, or a shutdown.
    async fn drive(&self, connection: impl GracefulConnection<Error = hyper::Error>) {
        let address = self.peer.address;
        let mut connection = pin!(connection);
        let mut stopping = self.stopping.clone();
        let mut is_stopping = false;
        let mut leaves_at = None;
        loop {
            // First of all what came and what is to be said: an answer that is ready is sent.
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        report_early_end(&self.ingest, address, &self.clock, &error);
                    }
                    return;
                }
                () = stopped(&mut stopping), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                    // Half a head, or a peer that is gone, is not waited for.
                    leaves_at = Some(Instant::now() + LEAVE_TIMEOUT);
                }
                () = reached(leaves_at), if leaves_at.is_some() => {
                    if !self.clock.is_busy() {
                        return;
                    }
                    // It wrote before it knew. What it sends has limits of its own.
                    leaves_at = Some(Instant::now() + LEAVE_TIMEOUT);
                }
                expired = self.clock.expired(), if leaves_at.is_none() => {
                    report_expired(&self.ingest, address, expired);
                    let is_quiet = matches!(
                        expired,
                        Expired::Idle | Expired::GaveWay { is_quiet: true }
                    );
                    if !is_quiet {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    leaves_at = Some(Instant::now() + LEAVE_TIMEOUT);
                }
            }
        }
    }
}

async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender goes away only when everything is torn down: then stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn report_expired<Q: Intake>(ingest: &Ingest<Q>, address: SocketAddr, expired: Expired) {
    match expired {
        Expired::Idle => {}
        Expired::GaveWay { .. } => gave_way(ingest, address),
        Expired::Head => ingest.refuse_connection(
            Reason::HeaderTimeout,
            "a request's head took longer than ingest.header_timeout_seconds; the connection was closed",
            address,
        ),
        Expired::Unread => ingest.refuse_connection(
            Reason::AnswerUnread,
            "a client did not read its answers for 10 s; the connection was closed",
            address,
        ),
        Expired::Resets => ingest.refuse_connection(
            Reason::Resets,
            &format!(
                "more than {RESETS_IN_A_ROW_MAX} requests in a row were taken back by the client before they \
                 were answered; the connection was closed"
            ),
            address,
        ),
    }
}

fn gave_way<Q: Intake>(ingest: &Ingest<Q>, address: SocketAddr) {
    ingest.refuse_connection(
        Reason::GaveWay,
        "ingest.connections_max are open, and the connection that kept the relay waiting longest gave way \
         to a new one; find who opens so many",
        address,
    );
}

async fn report_no_handshake<Q: Intake>(
    ingest: &Ingest<Q>,
    address: SocketAddr,
    no_handshake: NoHandshake,
) {
    match no_handshake {
        NoHandshake::Gone(error) => {
            tracing::debug!(peer = %address, %error, "a connection ended before its handshake did");
        }
        NoHandshake::Timeout => ingest.refuse_connection(
            Reason::HandshakeTimeout,
            "a TLS handshake took longer than ingest.handshake_timeout_seconds; the connection was closed",
            address,
        ),
        NoHandshake::Failed(message) => {
            ingest.refuse_connection(Reason::HandshakeFailed, message, address);
        }
        NoHandshake::PlainHttp(stream) => {
            let message = answer::SPEAK_HTTPS;
            ingest.refuse_connection(Reason::PlainHttp, message, address);
            turn_away(stream, &answer::speak_https()).await;
        }
    }
}

fn report_early_end<Q: Intake>(
    ingest: &Ingest<Q>,
    address: SocketAddr,
    clock: &Clock,
    error: &hyper::Error,
) {
    let broke_http2 = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.is_go_away() && error.is_library());
    if error.is_parse() && clock.first_byte() == Some(TLS_FIRST_BYTE) {
        ingest.refuse_connection(
            Reason::UnexpectedTls,
            "TLS was spoken to a port that speaks plain HTTP: set tls.certificate_file and tls.key_file, or \
             let the kubeconfig's URL begin with http",
            address,
        );
    } else if error.is_parse() {
        let message = "not HTTP/1.1, or its head is larger than 64 KiB";
        ingest.refuse_connection(Reason::MalformedHead, message, address);
    } else if broke_http2 {
        let message =
            "a client broke the rules of HTTP/2, or flooded it; the connection was closed";
        ingest.refuse_connection(Reason::Http2, message, address);
    } else {
        tracing::debug!(peer = %address, %error, "a connection ended early");
    }
}

//! Taking connections.
//!
//! Invariants:
//! * nobody waits to be let in: past `connections_max` a newcomer takes the place of the connection that
//!   has kept us waiting longest (`places`), or is told 503 and closed;
//! * open files are bounded: connections that are open, that are leaving, and that are being told 503;
//! * a failing `accept` (out of file descriptors) slows the loop down and never ends it;
//! * on shutdown no connection is taken any more, idle ones are closed, and what is being received is
//!   answered. How long that may take is the caller's decision: dropping the future of [`serve`] ends
//!   every connection at once.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use auditrelay_store::Intake;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};

use crate::{
    Ingest, answer, clock::Clock, connection::converse, places::Places, refusal::Reason,
    refusal_log::Gate, turned_away::turn_away,
};

/// Connections that the kernel completes before they are taken (Linux: at most `net.core.somaxconn`).
/// When it is full a newcomer's first packet is dropped, and sent again after a second.
const BACKLOG: u32 = 4_096;
/// Connections that may linger at once to be told that they are one too many.
const TURNED_AWAY_MAX: usize = 256;
/// How long accepting rests after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens for what [`serve`] serves.
///
/// # Errors
/// The address is taken, or not to be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait until the kernel has forgotten the last connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves the webhook on `listener` until `shutdown` completes and every request under way is answered.
pub async fn serve<Q: Intake>(
    listener: TcpListener,
    ingest: Arc<Ingest<Q>>,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    let mut hall = Hall {
        places: Places::new(ingest.limits().connections_max),
        exits: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
        connections: JoinSet::new(),
        ingest,
        stopping,
    };
    let mut accept_failures = Gate::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = shutdown.as_mut() => break,
            Some(ended) = hall.connections.join_next() => {
                report_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => hall.take(stream, peer),
            // The peer gave up before it was let in.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if let Some(suppressed) = accept_failures.pass(Instant::now()) {
                    tracing::error!(
                        %error,
                        suppressed,
                        "cannot accept connections: tried again by itself, API servers wait and send again; where \
                         files are what lacks, raise their limit (LimitNOFILE) or lower ingest.connections_max"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    while let Some(ended) = hall.connections.join_next().await {
        report_panic(ended);
    }
}

/// All connections.
struct Hall<Q> {
    ingest: Arc<Ingest<Q>>,
    places: Arc<Places>,
    exits: Arc<Semaphore>,
    connections: JoinSet<()>,
    stopping: watch::Receiver<bool>,
}

impl<Q: Intake> Hall<Q> {
    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        let ingest = Arc::clone(&self.ingest);
        let limits = ingest.limits();
        self.places.set_max(limits.connections_max);
        let clock = Clock::start(limits.patience);
        if let Some(place) = self.places.enter(&clock) {
            let stopping = self.stopping.clone();
            self.connections
                .spawn(converse(stream, peer, ingest, clock, stopping, place));
            return;
        }
        let message = "ingest.connections_max are open, and none of them can give way just now";
        ingest.refuse_connection(Reason::Connections, message, peer);
        // On an encrypted port it could be told only after a handshake, which costs what is short.
        if ingest.keyring.tls().is_some() {
            return;
        }
        // Without an exit it is closed at once, for the same reason.
        if let Ok(exit) = Arc::clone(&self.exits).try_acquire_owned() {
            self.connections.spawn(async move {
                turn_away(stream, &answer::too_many_connections()).await;
                drop(exit);
            });
        }
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    // Without the panic's own words: they may quote what was being worked on.
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(
            "a connection's task panicked: its client sends again, others are not touched; please report it"
        );
    }
}

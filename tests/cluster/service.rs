//! What API servers send through: it spreads requests over the relays as a Service does, and keeps what was promised.
//!
//! Contract:
//! * each request goes to a relay picked by chance, and to another one only where the connection is refused: what a relay has
//!   may be stored, so only the API server sends it again;
//! * an event counts as promised from the moment a relay's 200 is there, whether or not the API server lived to see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::PATIENCE;

/// What API servers send to.
#[derive(Clone)]
pub struct Service {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    endpoints: Vec<Option<SocketAddr>>,
    sent: BTreeSet<String>,
    promised: BTreeSet<String>,
    answers: BTreeMap<String, u64>,
}

impl Service {
    pub async fn start(relays: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let service = Self {
            address: listener.local_addr().expect("an address"),
            inner: Arc::default(),
        };
        service.inner().endpoints = vec![None; relays];
        let accepting = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = accepting.clone();
                let pass = service_fn(move |request| {
                    let service = service.clone();
                    async move { service.pass(request).await }
                });
                let serving = server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), pass);
                // A relay that was killed ends the connection of whoever asked it.
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        service
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }

    /// Where a relay listens now, or that it does not.
    pub fn set(&self, relay: usize, endpoint: Option<SocketAddr>) {
        self.inner().endpoints[relay] = endpoint;
    }

    /// Audit IDs that a relay said 200 for.
    pub fn promised(&self) -> BTreeSet<String> {
        self.inner().promised.clone()
    }

    /// Audit IDs that were sent at all.
    pub fn sent(&self) -> BTreeSet<String> {
        self.inner().sent.clone()
    }

    /// How often which answer was given.
    pub fn answers(&self) -> BTreeMap<String, u64> {
        self.inner().answers.clone()
    }

    /// Waits until so many more events are promised.
    pub async fn goes_on(&self, events: usize) {
        let wanted = self.inner().promised.len() + events;
        let going_on = async {
            while self.inner().promised.len() < wanted {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let goes_on = tokio::time::timeout(PATIENCE, going_on).await;
        assert!(
            goes_on.is_ok(),
            "nothing is promised any more: {:?}",
            self.answers()
        );
    }

    fn count(&self, answer: &str) {
        *self.inner().answers.entry(answer.to_owned()).or_default() += 1;
    }

    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let ids = ids_of(&body);
        self.inner().sent.extend(ids.iter().cloned());
        let Some(stream) = self.connect().await else {
            self.count("no relay");
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (mut relay, connection) = client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let sent = relay
            .send_request(Request::from_parts(head, Full::new(body)))
            .await;
        let answer = sent.inspect_err(|_| self.count("no answer"));
        let (head, body) = answer.map_err(io::Error::other)?.into_parts();
        self.count(head.status.as_str());
        if head.status == StatusCode::OK {
            self.inner().promised.extend(ids);
        }
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        connection.abort();
        Ok(Response::from_parts(head, Full::new(body)))
    }

    async fn connect(&self) -> Option<TcpStream> {
        let mut endpoints: Vec<SocketAddr> =
            self.inner().endpoints.iter().flatten().copied().collect();
        fastrand::shuffle(&mut endpoints);
        for endpoint in endpoints {
            if let Ok(stream) = TcpStream::connect(endpoint).await {
                return Some(stream);
            }
        }
        None
    }
}

fn ids_of(body: &[u8]) -> Vec<String> {
    let name = br#""auditID":""#;
    let ids = memchr::memmem::find_iter(body, name).map(|at| {
        let id = body[at + name.len()..]
            .iter()
            .take_while(|byte| **byte != b'"');
        id.map(|byte| char::from(*byte)).collect()
    });
    ids.collect()
}

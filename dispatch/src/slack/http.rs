//! HTTP to Slack, one request at a time.
//!
//! Contract: a request is bounded by a timeout; redirects are not followed; TLS is verified against the
//! public roots; a proxy is used only where one is configured; an answer is bounded. A request that
//! failed says whether anything of its body can have left this machine: [`Broken::sent`] is false only
//! where that is certain. A request that changes something ([`Http::send`]) gives its body away only while the
//! [`Term`] allows it and the [`Place`] takes it, which counts it from that moment. No token and no webhook URL ever stands in an error.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use auditrelay_config::Proxy;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::{Body, Frame, SizeHint},
    header::{HeaderMap, RETRY_AFTER},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use prometheus::HistogramVec;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{Term, pace::Place};

/// Slack's answers are small, but for a page of a channel's history.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Shorter than any peer's: a connection that dies under a request leaves a message's fate unknown.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// An HTTPS client; clones share its connections.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<Connector>, Tracked>,
    timeout: Duration,
    /// Who is asked, in words.
    peer: &'static str,
    /// How long requests took, by what was asked.
    durations: Option<HistogramVec>,
    gate: Gate,
}

/// When requests that change something may begin; always, as far as there is none of these.
#[derive(Clone, Default)]
struct Gate {
    term: Option<Term>,
    place: Option<Place>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; what is no UTF-8 in it is replaced.
    pub body: String,
}

/// Why nothing whole came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Whether some of the request's body may have been sent.
    pub sent: bool,
    /// Whether it was not sent because the term did not allow it, or the place did not take it yet.
    pub withheld: bool,
    /// What happened.
    pub reason: String,
}

impl Answer {
    /// The `Retry-After` header, as it stands there.
    pub fn retry_after(&self) -> Option<&str> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()
    }
}

impl Http {
    /// A client that gives a request so long.
    pub fn new(timeout: Duration, proxy: Option<&Proxy>) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        // Before the whole request's: while there is no connection, nothing can have been posted.
        direct.set_connect_timeout(Some(timeout / 2));
        // What the kernel holds for a peer that is away is not brought there later, when it was looked for in vain.
        #[cfg(target_os = "linux")]
        direct.set_tcp_user_timeout(Some(timeout));
        let proxies = proxy.map(|proxy| match proxy {
            Proxy::Environment => Matcher::from_env(),
            Proxy::Url(url) => Matcher::builder().all(url.as_str()).build(),
        });
        // The configuration allows plain HTTP for loopback addresses only.
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector {
                direct,
                proxies: proxies.map(Arc::new),
            });
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_timer(TokioTimer::new())
                .build(connector),
            timeout,
            peer: "Slack",
            durations: None,
            gate: Gate::default(),
        }
    }

    /// Another one, without a proxy.
    #[must_use]
    pub fn direct(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            ..Self::new(self.timeout, None)
        }
    }

    /// The same, which changes something only within a term.
    #[must_use]
    pub fn within(mut self, term: Term) -> Self {
        self.gate.term = Some(term);
        self
    }

    /// The same, whose requests that change something count to the pace of a place: each of them is a message there.
    #[must_use]
    pub fn paced(mut self, place: Option<Place>) -> Self {
        self.gate.place = place;
        self
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same to somebody else than Slack, whose name stands in errors.
    #[must_use]
    pub fn to(self, peer: &'static str) -> Self {
        Self {
            peer,
            durations: None,
            ..self
        }
    }

    /// The same, and how long each request took is observed.
    #[must_use]
    pub fn timed(self, durations: HistogramVec) -> Self {
        Self {
            durations: Some(durations),
            ..self
        }
    }

    /// Sends a request that changes something and reads its whole answer. `method` is what metrics call it.
    ///
    /// # Errors
    /// No whole answer came within the timeout, or it may not be sent now.
    pub async fn send(
        &self,
        method: &'static str,
        request: Request<Bytes>,
    ) -> Result<Answer, Broken> {
        self.exchange(method, request, self.gate.clone()).await
    }

    /// The same for a request that changes nothing: it is sent at any time.
    ///
    /// # Errors
    /// No whole answer came within the timeout.
    pub async fn ask(
        &self,
        method: &'static str,
        request: Request<Bytes>,
    ) -> Result<Answer, Broken> {
        self.exchange(method, request, Gate::default()).await
    }

    async fn exchange(
        &self,
        method: &'static str,
        request: Request<Bytes>,
        gate: Gate,
    ) -> Result<Answer, Broken> {
        // Observes when it is dropped: a request that was given up took its time too.
        let durations = self.durations.as_ref();
        let _timer = durations.map(|by| by.with_label_values(&[method]).start_timer());
        let taken = Arc::new(AtomicU8::new(NOT_ASKED_FOR));
        let request = request.map(|bytes| Tracked {
            bytes: Some(bytes),
            taken: Arc::clone(&taken),
            gate,
        });
        let broken = |reason: String| {
            let taken = given_up(&taken);
            Broken {
                sent: taken == TAKEN,
                withheld: taken == WITHHELD,
                reason,
            }
        };
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let cause = root_cause(&error);
                broken(if error.is_connect() {
                    format!("cannot connect to {}: {cause}", self.peer)
                } else {
                    format!("the connection broke: {cause}")
                })
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = match body {
                Ok(body) => body.to_bytes(),
                // Its head says everything.
                Err(_) if head.status == StatusCode::TOO_MANY_REQUESTS => Bytes::new(),
                Err(error) => return Err(broken(format!("the answer was cut short: {error}"))),
            };
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        answer.unwrap_or_else(|_| {
            let (peer, seconds) = (self.peer, self.timeout.as_secs());
            Err(broken(format!("no answer from {peer} within {seconds} s")))
        })
    }
}

/// The innermost error: the outer ones only say "error" around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

const NOT_ASKED_FOR: u8 = 0;
const TAKEN: u8 = 1;
const WITHHELD: u8 = 2;
const GIVEN_UP: u8 = 3;

/// What had become of a body when its request was given up. One that was not asked for is not given any more: its
/// connection, which runs beside this, may still have it.
fn given_up(taken: &AtomicU8) -> u8 {
    let nobody =
        taken.compare_exchange(NOT_ASKED_FOR, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
    nobody.unwrap_or_else(|taken| taken)
}

/// A body that tells when hyper began to take it: before that nothing can have been posted. Where the term does not
/// allow it any more, or the place not yet, or its request was given up, it is not given: the connection breaks instead.
struct Tracked {
    bytes: Option<Bytes>,
    taken: Arc<AtomicU8>,
    gate: Gate,
}

impl Gate {
    /// Whether it may be sent now; it is, then.
    fn opens(&self) -> bool {
        let is_in_term = self.term.as_ref().is_none_or(Term::may_post);
        is_in_term && self.place.as_ref().is_none_or(Place::leaves)
    }
}

/// Why a body is not given.
#[derive(Debug, thiserror::Error)]
#[error("it may not be sent now")]
struct Withheld;

impl Body for Tracked {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        // Of a request that was given up nothing counts; where that happens at this very moment, the place has counted a
        // message more than leaves, which is slower and no harm.
        let is_open = self.taken.load(Ordering::Acquire) == NOT_ASKED_FOR && self.gate.opens();
        let fate = if is_open { TAKEN } else { WITHHELD };
        let (set, seen) = (Ordering::AcqRel, Ordering::Acquire);
        let taken = self.taken.compare_exchange(NOT_ASKED_FOR, fate, set, seen);
        let is_given = is_open && taken.is_ok();
        Poll::Ready(Some(match is_given {
            true => Ok(Frame::data(bytes)),
            false => Err(Withheld),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Connects directly, or through the proxy that is configured for an address.
#[derive(Clone)]
struct Connector {
    direct: HttpConnector,
    proxies: Option<Arc<Matcher>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Connecting {
        let through = self
            .proxies
            .as_ref()
            .and_then(|proxies| proxies.intercept(&to));
        let mut direct = self.direct.clone();
        match through {
            None => Box::pin(async move { direct.call(to).await.map_err(Into::into) }),
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::pin(async move { tunnel.call(to).await.map_err(Into::into) })
            }
        }
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

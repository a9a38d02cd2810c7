//! One POST of a batch: the request as it is on the wire, redirects, and what the answer means.
//!
//! Contract:
//! * the head of a request is the API server's, header by header and in its order;
//! * whatever becomes of a request is counted exactly once: under its status code, or as what kept it
//!   from having one;
//! * [`judge`] is client-go's: 200 to 206 accept, whatever the body says, unless the `Content-Type`
//!   is malformed; 429 and 5xx with `Retry-After` in whole seconds ask to wait; all else is refused,
//!   a date in `Retry-After` included;
//! * 301, 302 and 303 are followed with GET and without the events, 307 and 308 with the same POST,
//!   at most ten requests in a row, and never away from loopback.
//!
//! Kubernetes: `rest.Request.request` and `transformResponse`; Go: `http.Client.do`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
    HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use super::connect::{Connector, LastWrite};
use super::multiplex::{self, Multiplex};
use super::retry::Answer;
use super::tally::Tally;
use super::target::{Target, is_reachable};

/// Go: `http.Client` gives up before the eleventh.
const REQUESTS_MAX: u32 = 10;
/// Go: `IdleConnTimeout` as client-go sets it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Go: `http2.Transport.RoundTripOpt` tries a request that was not sent on so many connections.
const UNSENT_MAX: u32 = 7;
/// client-go: `idleConnsPerHost`.
const IDLE_CONNECTIONS_MAX: usize = 25;

/// One API server's client, with its own connections.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client<Connector, Full<Bytes>>,
    multiplex: Option<Multiplex>,
    target: Target,
    tally: Arc<Tally>,
}

/// A response whose body has been read and thrown away.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    /// From the last byte written to the head of the response.
    latency: Duration,
}

/// What kept a request from being answered, as the report calls it.
type Failure = &'static str;
const NOT_CONNECTED: Failure = "not connected";
const BROKEN_OFF: Failure = "broken off";
const TIMED_OUT: Failure = "timed out";

impl Exchange {
    pub(super) fn new(target: Target, tally: Arc<Tally>) -> Self {
        let connector = Connector {
            access: Arc::clone(target.access()),
            tally: Arc::clone(&tally),
            spare: Arc::default(),
        };
        let is_encrypted = target.url().scheme() == "https";
        let multiplex = is_encrypted.then(|| Multiplex::new(connector.clone()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_title_case_headers(true)
            .build(connector);
        Self {
            client,
            multiplex,
            target,
            tally,
        }
    }

    /// Posts the batch and follows redirects, all of it within `deadline`.
    pub(super) async fn post(&self, batch: Bytes, deadline: Instant) -> Answer {
        let mut url = self.target.url().clone();
        let mut body = Some(batch);
        for _ in 0..REQUESTS_MAX {
            let Some(reply) = self.request(&url, body.clone(), deadline).await else {
                return Answer::Refused;
            };
            match reply.status.as_u16() {
                301..=303 => body = None,
                307 | 308 => {}
                _ => return judge(reply.status, &reply.headers, body.is_some()),
            }
            match redirect(&url, &reply.headers) {
                Some(next) => url = next,
                None => return Answer::Refused,
            }
        }
        Answer::Refused
    }

    /// One request, counted; `None` if it had no answer.
    async fn request(&self, url: &Url, body: Option<Bytes>, deadline: Instant) -> Option<Reply> {
        let with_body = body.is_some();
        let authorization = self.target.access().authorization(url);
        let is_target = url.origin() == self.target.url().origin();
        let request = request(url, body, authorization);
        let asked = match timeout_at(deadline, self.ask(request, is_target)).await {
            Ok(asked) => asked,
            Err(_elapsed) => Err(TIMED_OUT),
        };
        match &asked {
            Ok(reply) if is_accepting(reply.status) && is_malformed(&reply.headers) => {
                let code = reply.status.as_str();
                self.tally.failed(&format!("{code}, bad Content-Type"));
            }
            Ok(reply) => {
                if reply.status == StatusCode::UNAUTHORIZED {
                    self.target.access().was_refused();
                }
                let is_ack = is_accepting(reply.status) && with_body;
                let latency = reply.latency;
                self.tally.answered(reply.status.as_str(), is_ack, latency);
            }
            Err(failure) => self.tally.failed(failure),
        }
        asked.ok()
    }

    async fn ask(&self, request: Request<Full<Bytes>>, is_target: bool) -> Result<Reply, Failure> {
        let begun = Instant::now();
        let response = self.send(request, is_target).await?;
        let answered = Instant::now();
        let (head, mut body) = response.into_parts();
        let written = head.extensions.get::<LastWrite>().map(LastWrite::get);
        // The connection may have gone to another request before its clock was read: rather a latency
        // that is too long than one that is too short.
        let written = written.filter(|written| (begun..=answered).contains(written));
        while let Some(frame) = body.frame().await {
            if frame.is_err() && is_accepting(head.status) {
                return Err(BROKEN_OFF);
            }
            if frame.is_err() {
                break;
            }
        }
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            latency: answered - written.unwrap_or(begun),
        })
    }

    /// Over the one HTTP/2 connection if there can be one, else over one of many. A redirect to
    /// somewhere else is followed over HTTP/1.1.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        is_target: bool,
    ) -> Result<Response<Incoming>, Failure> {
        if let (Some(multiplex), true) = (&self.multiplex, is_target) {
            for _ in 0..UNSENT_MAX {
                let sender = multiplex.sender(request.uri()).await;
                let Some(sender) = sender.map_err(|_| NOT_CONNECTED)? else {
                    break;
                };
                match multiplex::send(sender, request.clone()).await {
                    // It never left: the connection was about to close.
                    Err(error) if error.is_canceled() || error.is_closed() => {}
                    sent => return sent.map_err(|_| BROKEN_OFF),
                }
            }
        }
        self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                NOT_CONNECTED
            } else {
                BROKEN_OFF
            }
        })
    }
}

/// The request as Go writes it over HTTP/1.1: POST with a body, else GET.
fn request(
    url: &Url,
    body: Option<Bytes>,
    authorization: Option<HeaderValue>,
) -> Request<Full<Bytes>> {
    let method = match body {
        Some(_) => Method::POST,
        None => Method::GET,
    };
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    // What is a URL but no URI keeps the default `/`, which is no absolute URI: the client refuses it.
    *request.uri_mut() = url[..Position::AfterQuery].parse().unwrap_or_default();
    let headers = request.headers_mut();
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    if let Ok(host) = HeaderValue::from_str(authority) {
        headers.insert(HOST, host);
    }
    let agent = HeaderValue::from_static("Go-http-client/1.1");
    headers.insert(USER_AGENT, agent);
    if let Some(body) = &body {
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let accept = HeaderValue::from_static("application/json, */*");
    headers.insert(ACCEPT, accept);
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, value);
    }
    if body.is_some() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    *request.body_mut() = Full::new(body.unwrap_or_default());
    request
}

/// Where a redirect leads, if it leads anywhere that may be gone to.
fn redirect(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let next = from.join(location).ok()?;
    is_reachable(from, &next).then_some(next)
}

fn judge(status: StatusCode, headers: &HeaderMap, with_body: bool) -> Answer {
    if is_accepting(status) && !is_malformed(headers) {
        return Answer::Accepted { with_body };
    }
    let may_wait = status == StatusCode::TOO_MANY_REQUESTS || status.as_u16() >= 500;
    match seconds_to_wait(headers) {
        Some(seconds) if may_wait => Answer::Later(Duration::from_secs(seconds)),
        _ => Answer::Refused,
    }
}

fn is_accepting(status: StatusCode) -> bool {
    (200..=206).contains(&status.as_u16())
}

/// Whole seconds; less than none is none. Go: `strconv.Atoi`.
fn seconds_to_wait(headers: &HeaderMap) -> Option<u64> {
    let seconds: i64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Whether the `Content-Type` is one that the client cannot read; having none is fine.
///
/// Go: `mime.ParseMediaType`, but for parameters whose quoted value holds a semicolon.
fn is_malformed(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return true;
    };
    if value.is_empty() {
        return false;
    }
    let (media_type, parameters) = value.split_once(';').unwrap_or((value, ""));
    let mut names = media_type.trim().splitn(2, '/');
    let is_type = names.all(is_token);
    let parameters = parameters.trim().trim_end_matches(';');
    let is_parameter = |text: &str| match text.trim().split_once('=') {
        Some((name, value)) => is_token(name) && (value.starts_with('"') || is_token(value)),
        None => false,
    };
    !is_type || !(parameters.is_empty() || parameters.split(';').all(is_parameter))
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))]
            .into_iter()
            .collect()
    }

    fn judged(code: u16, headers: &HeaderMap) -> Answer {
        judge(StatusCode::from_u16(code).expect("a code"), headers, true)
    }

    #[test]
    fn only_200_to_206_accept() {
        for code in 100..=599 {
            let accepted = judged(code, &HeaderMap::new()) == Answer::Accepted { with_body: true };
            assert_eq!(accepted, (200..=206).contains(&code), "{code}");
        }
    }

    #[test]
    fn only_429_and_5xx_may_ask_to_wait() {
        let header = headers(RETRY_AFTER, "7");
        let wait = Answer::Later(Duration::from_secs(7));
        for code in [429, 500, 501, 502, 503, 504, 505, 529, 599] {
            assert_eq!(judged(code, &header), wait, "{code}");
        }
        for code in [400, 401, 403, 404, 408, 413, 422, 301, 304, 226] {
            assert_eq!(judged(code, &header), Answer::Refused, "{code}");
        }
        assert_eq!(judged(202, &header), Answer::Accepted { with_body: true });
    }

    #[test]
    fn only_whole_seconds_are_understood() {
        let seconds = |value| seconds_to_wait(&headers(RETRY_AFTER, value));
        for (value, understood) in [("0", 0), ("1", 1), ("120", 120), ("-3", 0), ("+2", 2)] {
            assert_eq!(seconds(value), Some(understood), "{value}");
        }
        for value in [
            "",
            "1.5",
            "5s",
            "Wed, 21 Oct 2026 07:28:00 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(value), None, "{value}");
        }
    }

    #[test]
    fn a_malformed_content_type_is_told_from_a_strange_one() {
        for fine in [
            "",
            "application/json",
            "text/html; charset=utf-8",
            "text",
            "a/b;",
            "a/b; c=\"d e\"; f=g",
        ] {
            assert!(!is_malformed(&headers(CONTENT_TYPE, fine)), "{fine}");
        }
        for malformed in [
            ";",
            "/",
            "a/",
            "application/json/x",
            "a b",
            "a/b; c",
            "a/b; =c",
        ] {
            assert!(
                is_malformed(&headers(CONTENT_TYPE, malformed)),
                "{malformed}"
            );
        }
        assert!(!is_malformed(&HeaderMap::new()));
    }

    #[test]
    fn redirects_do_not_leave_loopback() {
        let from = Url::parse("http://127.0.0.1:8080/webhook/a?timeout=30s").expect("a URL");
        let next = |location| redirect(&from, &headers(LOCATION, location)).map(String::from);
        assert_eq!(
            next("b").as_deref(),
            Some("http://127.0.0.1:8080/webhook/b")
        );
        assert_eq!(next("//[::1]:9/").as_deref(), Some("http://[::1]:9/"));
        for away in [
            "http://192.0.2.1/",
            "https://127.0.0.1/",
            "//example.com/",
            "file:///x",
        ] {
            assert_eq!(next(away), None, "{away}");
        }
        assert_eq!(redirect(&from, &HeaderMap::new()), None);
    }
}

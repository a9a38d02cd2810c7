//! `POST /command` of the admin port: the running relay does what an operator's command asks.
//!
//! Everybody on the machine may connect to the port, and others where it is not on loopback; and these requests change
//! things.
//! So:
//! * only who can read `admin.address` in the data directory (mode 0600) knows the token of this run, and
//!   without it nothing is done; it is compared in constant time and stands in no log;
//! * a request is JSON of at most 1 MiB and says so in its content type, which no form of a web page can;
//! * requests that change something are done one at a time, and a few others beside them.
//!
//! The answer is a JSON line for each [`Line`]. While nothing happens the last progress is said again, so
//! that the work ends soon after its client went away.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use auditrelay_store::jetstream::JetStream;
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{
    Method, StatusCode,
    body::{Body, Bytes, Frame, Incoming},
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use subtle::ConstantTimeEq;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};

use crate::{
    execute::{execute, execute_nowhere, is_of_process},
    far::{self, Asked, Refused},
    request::{Line, Outcome, Request},
    term::Leading,
};

pub(crate) const PATH: &str = "/command";
const BODY_BYTES_MAX: usize = 1 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that only look, at a time.
const LOOKING_MAX: usize = 4;
/// Lines that wait for a slow client.
pub(crate) const LINES_MAX: usize = 16;
/// How long the answer is silent at most.
const SILENCE_MAX: Duration = Duration::from_secs(2);

pub(crate) type Answer = hyper::Response<BoxBody<Bytes, Infallible>>;

/// Allows commands; new at every start of the relay.
pub(crate) struct Token(String);

impl Token {
    /// A random one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes.map(|byte| format!("{byte:02x}")).concat()))
    }

    /// For the file that only the relay's own user can read.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    fn is_in(&self, header: Option<&HeaderValue>) -> bool {
        let given = header.and_then(|header| header.as_bytes().strip_prefix(b"Bearer "));
        given.is_some_and(|given| bool::from(self.0.as_bytes().ct_eq(given)))
    }
}

/// Answers commands.
pub(crate) struct Commands {
    leading: watch::Receiver<Option<Arc<Leading>>>,
    /// Where another replica that leads is asked.
    replica: Option<JetStream>,
    token: Token,
    looking: Arc<Semaphore>,
    changing: Arc<Semaphore>,
    /// One import at a time.
    pub(crate) importing: Semaphore,
    /// Whether a refusal was logged: anybody on the machine could fill the log with them.
    refused: AtomicBool,
}

impl Commands {
    pub(crate) fn new(
        leading: watch::Receiver<Option<Arc<Leading>>>,
        replica: Option<JetStream>,
        token: Token,
    ) -> Self {
        Self {
            leading,
            replica,
            token,
            looking: Arc::new(Semaphore::new(LOOKING_MAX)),
            changing: Arc::new(Semaphore::new(1)),
            importing: Semaphore::new(1),
            refused: AtomicBool::new(false),
        }
    }

    /// Whether a request comes with this run's token, or with none at all.
    pub(crate) fn is_for_us(&self, header: Option<&HeaderValue>) -> bool {
        header.is_none() || self.token.is_in(header)
    }

    /// Whether a request comes with this run's token.
    pub(crate) fn knows_token(&self, header: Option<&HeaderValue>) -> bool {
        self.token.is_in(header)
    }

    pub(crate) async fn answer(&self, request: hyper::Request<Incoming>) -> Answer {
        let request = match self.accept(request).await {
            Ok(request) => request,
            Err((status, reason)) => return refuse(status, reason),
        };
        let begun = match &self.replica {
            Some(queue) if self.leading().is_none() && !is_of_process(&request) => {
                forwarded(queue, request).await
            }
            _ => self.begin(request),
        };
        match begun {
            Ok(body) => lines(body),
            Err((status, reason)) => refuse(status, reason),
        }
    }

    /// Refuses who does not know this run's token.
    pub(crate) fn needs_token(
        &self,
        header: Option<&HeaderValue>,
    ) -> Result<(), (StatusCode, &'static str)> {
        if self.token.is_in(header) {
            return Ok(());
        }
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a command on the admin port was refused: it came without this run's token, which is in the data directory's \
                 admin.address; said once"
            );
        }
        let reason = "the token in the data directory's admin.address is needed";
        Err((StatusCode::UNAUTHORIZED, reason))
    }

    async fn accept(&self, request: hyper::Request<Incoming>) -> Result<Request, Refused> {
        let refusal = |status, reason: &str| (status, reason.to_owned());
        if request.method() != Method::POST {
            let reason = "only POST is served here";
            return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, reason));
        }
        self.needs_token(request.headers().get(AUTHORIZATION))
            .map_err(|(status, reason)| refusal(status, reason))?;
        let content_type = request.headers().get(CONTENT_TYPE);
        if content_type.is_none_or(|one| one.as_bytes() != b"application/json") {
            let reason = "the content type must be application/json";
            return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let body = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                let reason = "the request is larger than 1 MiB, or broke off";
                return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, reason));
            }
            Err(_) => {
                let reason = "the request did not come within 10 s";
                return Err(refusal(StatusCode::REQUEST_TIMEOUT, reason));
            }
        };
        serde_json::from_slice(&body).map_err(|error| {
            let column = error.column();
            let reason = format!("this is no request of this version, see column {column}");
            (StatusCode::BAD_REQUEST, reason)
        })
    }

    /// The term that runs here.
    pub(crate) fn leading(&self) -> Option<Arc<Leading>> {
        self.leading.borrow().clone()
    }

    /// Who leads, where that is another replica.
    pub(crate) fn leader(&self) -> Option<String> {
        self.replica.as_ref()?.leader().borrow().clone()
    }

    /// Begins to do what is asked, on this replica: the bytes of the answer.
    ///
    /// # Errors
    /// Others are under way.
    pub(crate) fn begin(&self, request: Request) -> Result<mpsc::Receiver<Bytes>, Refused> {
        let places = if request.changes() {
            &self.changing
        } else {
            &self.looking
        };
        let permit = Arc::clone(places).try_acquire_owned().map_err(|_| {
            let reason = "other commands are under way; try again when they are done";
            (StatusCode::TOO_MANY_REQUESTS, reason.to_owned())
        })?;
        let (told, lines) = mpsc::channel(LINES_MAX);
        let (bytes, body) = mpsc::channel(1);
        let leading = self.leading();
        let (name, changes) = (request.name(), request.changes());
        tokio::spawn(async move {
            match leading {
                Some(leading) => execute(&leading.context, request, &told).await,
                None => execute_nowhere(request, &told).await,
            }
            drop(permit);
        });
        tokio::spawn(pump(lines, bytes, changes.then_some(name)));
        Ok(body)
    }
}

/// The answer of the replica that leads.
async fn forwarded(queue: &JetStream, request: Request) -> Result<mpsc::Receiver<Bytes>, Refused> {
    let mut theirs = far::ask(queue, &Asked::Command(request)).await?;
    let (bytes, body) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut is_whole = true;
        loop {
            let piece = tokio::select! {
                piece = theirs.next() => piece,
                // Whoever asked has gone: the leader hears of it when its next piece is not taken.
                () = bytes.closed() => return,
            };
            let text = match piece {
                Ok(Some(piece)) => piece,
                // Who reads a line that has no end knows that the answer broke off.
                Err(error) if is_whole => {
                    let line = serde_json::to_vec(&Line::Error(error.to_string()));
                    let mut line = line.unwrap_or_default();
                    line.push(b'\n');
                    let _ = bytes.send(Bytes::from(line)).await;
                    return;
                }
                Ok(None) | Err(_) => return,
            };
            is_whole = text.last().map_or(is_whole, |last| *last == b'\n');
            if bytes.send(text).await.is_err() {
                return;
            }
        }
    });
    Ok(body)
}

fn lines(body: mpsc::Receiver<Bytes>) -> Answer {
    let mut answer = hyper::Response::new(Lines(body).boxed());
    let value = HeaderValue::from_static("application/jsonl");
    answer.headers_mut().insert(CONTENT_TYPE, value);
    answer
}

/// Brings lines to the client, and says what a command changed in the log.
async fn pump(
    mut lines: mpsc::Receiver<Line>,
    bytes: mpsc::Sender<Bytes>,
    changing: Option<&'static str>,
) {
    let mut progress = Line::Progress { done: 0, total: 0 };
    loop {
        let line = match timeout(SILENCE_MAX, lines.recv()).await {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(_) => progress.clone(),
        };
        match (&line, changing) {
            (Line::Progress { .. }, _) => progress = line.clone(),
            (Line::Result(outcome), Some(command)) => log(command, outcome),
            (Line::Error(reason), Some(command)) => {
                tracing::warn!(
                    command,
                    reason,
                    "a command ended with an error: what it did until then stays done, and it may be made again"
                );
            }
            _ => {}
        }
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        if bytes.send(Bytes::from(text)).await.is_err() {
            // Dropping the lines ends the work after the piece under way.
            tracing::debug!("the client of a command went away");
            return;
        }
    }
}

fn log(command: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Settled {
            letters, events, ..
        } => tracing::info!(command, letters, events, "a command settled dead letters"),
        Outcome::Replayed(replayed) => {
            tracing::info!(
                command,
                events = replayed.events(),
                "a command replayed events"
            );
        }
        Outcome::Salvaged(salvaged) => tracing::info!(
            command,
            unrouted = salvaged.unrouted_events,
            waiting = salvaged.waiting_events,
            dead = salvaged.dead_events,
            lost = salvaged.lost_events,
            "a command salvaged a store"
        ),
        _ => {}
    }
}

/// The body of an answer. The one of `http_body_util` may lose its last frame when its sender is dropped
/// between two looks at it.
struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = ready!(self.0.poll_recv(context));
        Poll::Ready(line.map(|line| Ok(Frame::data(line))))
    }
}

pub(crate) fn refuse(status: StatusCode, reason: String) -> Answer {
    let mut answer = hyper::Response::new(Full::from(reason + "\n").boxed());
    *answer.status_mut() = status;
    let value = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, value);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let value = HeaderValue::from_static("POST");
        answer.headers_mut().insert(ALLOW, value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_command_repeats_its_progress_and_ends_when_its_client_is_gone() {
        let (told, lines) = mpsc::channel(LINES_MAX);
        let (bytes, mut body) = mpsc::channel(1);
        let pump = tokio::spawn(pump(lines, bytes, None));
        let progress = |done| Line::Progress { done, total: 9 };
        told.send(progress(4)).await.expect("heard");
        let said = "{\"progress\":{\"done\":4,\"total\":9}}\n";
        for _ in 0..3 {
            assert_eq!(body.recv().await.expect("a line"), said);
        }
        drop(body);
        pump.await.expect("no panic");
        assert!(told.send(progress(5)).await.is_err(), "the work goes on");
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token::new().expect("random");
        let is_in = |text: &str| token.is_in(Some(&HeaderValue::from_str(text).expect("text")));
        assert_eq!(token.reveal().len(), 64);
        assert!(is_in(&format!("Bearer {}", token.reveal())));
        assert!(!token.is_in(None));
        for text in [
            token.reveal(),
            "Bearer ",
            &format!("Bearer {}0", token.reveal()),
            &format!("Bearer {}", &token.reveal()[1..]),
            &format!("Basic {}", token.reveal()),
        ] {
            assert!(!is_in(text), "{text}");
        }
        assert_ne!(token.reveal(), Token::new().expect("random").reveal());
    }
}

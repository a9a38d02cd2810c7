//! Why something was refused: a closed set, from which status codes, metric labels and log lines come.
//!
//! Invariants:
//! * a message says what is wrong and what can be done, and never quotes what was sent: it goes to
//!   logs, and what was sent may be secret (P8);
//! * refusals are logged at most once a minute per reason, so that whoever can send them cannot fill
//!   a disk; every one is counted.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use auditrelay_audit::list::ListError;
use hyper::StatusCode;
use tokio::time::Instant;

const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No such path, or no name a cluster can have.
    Path,
    /// Not a POST.
    Method,
    /// A compressed body.
    Encoding,
    /// A body longer than `body_bytes_max`.
    BodyTooLarge,
    /// Bodies in memory reached `bytes_in_flight_max`.
    BytesInFlight,
    /// The body took longer than `body_timeout_seconds`.
    BodyTimeout,
    /// The body ended before its end.
    BodyBroken,
    /// Not JSON.
    Malformed,
    /// JSON, but no `EventList`.
    NotAnEventList,
    /// More events than `events_per_list_max`.
    TooManyEvents,
    /// The queue holds as much as it may: `bytes_max` or `disk_free_bytes_min` are near.
    QueueFull,
    /// The queue did not take it.
    Queue,
    /// Not durable within `ack_timeout_milliseconds`.
    AckTimeout,
    /// A bug of ours.
    Internal,
    /// `connections_max` were open.
    Connections,
    /// A request's head took longer than `header_timeout_seconds`; closed without an answer.
    HeaderTimeout,
    /// Not HTTP, or a head too large; hyper answers 400, 414 or 431 without a body.
    MalformedHead,
}

impl Reason {
    /// Every reason; the position of each is its own discriminant.
    pub(crate) const ALL: [Self; 17] = [
        Self::Path,
        Self::Method,
        Self::Encoding,
        Self::BodyTooLarge,
        Self::BytesInFlight,
        Self::BodyTimeout,
        Self::BodyBroken,
        Self::Malformed,
        Self::NotAnEventList,
        Self::TooManyEvents,
        Self::QueueFull,
        Self::Queue,
        Self::AckTimeout,
        Self::Internal,
        Self::Connections,
        Self::HeaderTimeout,
        Self::MalformedHead,
    ];

    /// The value of the metric's label `reason`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Method => "method",
            Self::Encoding => "encoding",
            Self::BodyTooLarge => "body_too_large",
            Self::BytesInFlight => "bytes_in_flight",
            Self::BodyTimeout => "body_timeout",
            Self::BodyBroken => "body_broken",
            Self::Malformed => "malformed",
            Self::NotAnEventList => "not_an_event_list",
            Self::TooManyEvents => "too_many_events",
            Self::QueueFull => "queue_full",
            Self::Queue => "queue",
            Self::AckTimeout => "ack_timeout",
            Self::Internal => "internal",
            Self::Connections => "connections",
            Self::HeaderTimeout => "header_timeout",
            Self::MalformedHead => "malformed_head",
        }
    }

    /// The answer's status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge | Self::TooManyEvents => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BytesInFlight | Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTimeout | Self::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken | Self::Malformed | Self::MalformedHead => StatusCode::BAD_REQUEST,
            Self::NotAnEventList => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Queue | Self::AckTimeout | Self::Connections | Self::Internal => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The `reason` of a Kubernetes `Status` (Kubernetes: `apimachinery/pkg/apis/meta/v1/types.go`).
    pub(crate) fn kubernetes(self) -> &'static str {
        match self {
            Self::Path => "NotFound",
            Self::Method => "MethodNotAllowed",
            Self::Encoding => "UnsupportedMediaType",
            Self::BodyTooLarge | Self::TooManyEvents => "RequestEntityTooLarge",
            Self::BytesInFlight | Self::QueueFull => "TooManyRequests",
            Self::BodyTimeout | Self::HeaderTimeout => "Timeout",
            Self::BodyBroken | Self::Malformed | Self::MalformedHead => "BadRequest",
            Self::NotAnEventList => "Invalid",
            Self::Queue | Self::AckTimeout | Self::Connections | Self::Internal => {
                "ServiceUnavailable"
            }
        }
    }
}

/// A refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        Self::new(
            Reason::BodyTooLarge,
            format!(
                "the body is longer than {bytes_max} bytes; raise ingest.body_bytes_max, or lower \
                 --audit-webhook-batch-max-size of the API server"
            ),
        )
    }

    fn too_many_events(events: usize, events_max: usize) -> Self {
        Self::new(
            Reason::TooManyEvents,
            format!(
                "the list holds {events} events, more than {events_max}; raise \
                 ingest.events_per_list_max, or lower --audit-webhook-batch-max-size of the API server"
            ),
        )
    }
}

impl From<ListError> for Refusal {
    /// Tells where the body is wrong. A [`ListError`] quotes nothing of it.
    fn from(error: ListError) -> Self {
        const EXPECTED: &str = "post an EventList of audit.k8s.io/v1, as a kube-apiserver does";
        let reason = match error {
            ListError::Empty | ListError::Malformed { .. } => Reason::Malformed,
            ListError::TooMany { events, events_max } => {
                return Self::too_many_events(events, events_max);
            }
            ListError::OldVersion(_) => {
                return Self::new(Reason::NotAnEventList, error.to_string());
            }
            ListError::WrongShape { .. }
            | ListError::NoItems
            | ListError::BareEvent
            | ListError::WrongKind => Reason::NotAnEventList,
        };
        Self::new(reason, format!("{error}; {EXPECTED}"))
    }
}

/// Logs refusals, each reason at most once a minute.
#[derive(Debug)]
pub(crate) struct RefusalLog([Mutex<Gate>; Reason::ALL.len()]);

/// Lets one through per [`LOG_INTERVAL`] and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    opened: Option<Instant>,
    suppressed: u64,
}

impl Gate {
    /// Whether to speak now; if so, how many were not spoken of since the last time.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        let is_closed = |opened: Instant| now.duration_since(opened) < LOG_INTERVAL;
        if self.opened.is_some_and(is_closed) {
            self.suppressed += 1;
            return None;
        }
        self.opened = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl RefusalLog {
    pub(crate) fn new() -> Self {
        Self(Reason::ALL.map(|_| Mutex::default()))
    }

    pub(crate) fn warn(&self, reason: Reason, message: &str, peer: SocketAddr) {
        let gate = &self.0[reason as usize];
        let passed = gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pass(Instant::now());
        if let Some(suppressed) = passed {
            tracing::warn!(
                reason = reason.label(),
                %peer,
                suppressed,
                "refused what was sent to the audit webhook: {message}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_opens_once_a_minute_and_tells_what_it_held_back() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass(Instant::now()), Some(0));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(gate.pass(Instant::now()), None);
        assert_eq!(gate.pass(Instant::now()), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(gate.pass(Instant::now()), Some(2));
        assert_eq!(gate.pass(Instant::now()), None);
    }
}

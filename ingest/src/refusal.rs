//! Why something was refused: a closed set, from which status codes, metric labels and log lines come.
//!
//! Invariants:
//! * a message says what is wrong and what can be done, and never quotes what was sent: it goes to
//!   logs, and what was sent may be secret (P8);
//! * every one is counted; how often one is logged is the affair of `refusal_log`.

use std::borrow::Cow;

use auditrelay_audit::list::ListError;
use hyper::StatusCode;

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// The queue cannot be reached now, or did not answer in time.
    QueueUnavailable,
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
    /// A compressed body that is longer than `decoded_bytes_max` in itself.
    DecodedTooLarge,
    /// A body that says it is gzip and is not.
    MalformedGzip,
    /// The body came more slowly than `body_bytes_per_second_min`.
    BodyTooSlow,
    /// A connection that kept us waiting gave its place to another; closed.
    GaveWay,
    /// A TLS handshake took longer than `handshake_timeout_seconds`; closed.
    HandshakeTimeout,
    /// A TLS handshake failed; closed.
    HandshakeFailed,
    /// Plain HTTP on a port that is encrypted.
    PlainHttp,
    /// TLS on a port that is not encrypted.
    UnexpectedTls,
    /// The rules of HTTP/2 were broken, or its frames came as a flood; closed.
    Http2,
    /// Too many requests were taken back before they were answered; closed.
    Resets,
    /// A client did not read its answers; closed.
    AnswerUnread,
    /// Nothing was shown of who it is from.
    Unauthenticated,
    /// The `Authorization` header says nothing valid.
    AuthorizationMalformed,
    /// A bearer token that no client has.
    UnknownToken,
    /// A user or a password that no client has.
    WrongPassword,
    /// Some of what a client has to show, and not all of it.
    CredentialsIncomplete,
    /// The time of a connection's client certificate is over.
    CertificateExpired,
    /// The CA of a connection's client certificate was taken out of `tls.client_ca_file`.
    CertificateUntrusted,
    /// A CA of ours signed the certificate, and no client has its names.
    UnknownCertificate,
    /// The path names a cluster that is not the client's.
    WrongCluster,
}

impl Reason {
    /// Every reason; the position of each is its own discriminant.
    pub(crate) const ALL: [Self; 38] = [
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
        Self::QueueUnavailable,
        Self::AckTimeout,
        Self::Internal,
        Self::Connections,
        Self::HeaderTimeout,
        Self::MalformedHead,
        Self::DecodedTooLarge,
        Self::MalformedGzip,
        Self::BodyTooSlow,
        Self::GaveWay,
        Self::HandshakeTimeout,
        Self::HandshakeFailed,
        Self::PlainHttp,
        Self::UnexpectedTls,
        Self::Http2,
        Self::Resets,
        Self::AnswerUnread,
        Self::Unauthenticated,
        Self::AuthorizationMalformed,
        Self::UnknownToken,
        Self::WrongPassword,
        Self::CredentialsIncomplete,
        Self::CertificateExpired,
        Self::CertificateUntrusted,
        Self::UnknownCertificate,
        Self::WrongCluster,
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
            Self::QueueUnavailable => "queue_unavailable",
            Self::AckTimeout => "ack_timeout",
            Self::Internal => "internal",
            Self::Connections => "connections",
            Self::HeaderTimeout => "header_timeout",
            Self::MalformedHead => "malformed_head",
            Self::DecodedTooLarge => "decoded_too_large",
            Self::MalformedGzip => "malformed_gzip",
            Self::BodyTooSlow => "body_too_slow",
            Self::GaveWay => "gave_way",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeFailed => "handshake_failed",
            Self::PlainHttp => "plain_http",
            Self::UnexpectedTls => "unexpected_tls",
            Self::Http2 => "http2",
            Self::Resets => "resets",
            Self::AnswerUnread => "answer_unread",
            Self::Unauthenticated => "unauthenticated",
            Self::AuthorizationMalformed => "authorization_malformed",
            Self::UnknownToken => "unknown_token",
            Self::WrongPassword => "wrong_password",
            Self::CredentialsIncomplete => "credentials_incomplete",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::UnknownCertificate => "unknown_certificate",
            Self::WrongCluster => "wrong_cluster",
        }
    }

    /// The answer's status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge | Self::DecodedTooLarge | Self::TooManyEvents => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BytesInFlight | Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTimeout
            | Self::BodyTooSlow
            | Self::HeaderTimeout
            | Self::HandshakeTimeout
            | Self::AnswerUnread => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken
            | Self::Malformed
            | Self::MalformedGzip
            | Self::MalformedHead
            | Self::HandshakeFailed
            | Self::PlainHttp
            | Self::UnexpectedTls
            | Self::Http2 => StatusCode::BAD_REQUEST,
            Self::NotAnEventList => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthenticated
            | Self::AuthorizationMalformed
            | Self::UnknownToken
            | Self::WrongPassword
            | Self::CredentialsIncomplete
            | Self::CertificateExpired
            | Self::CertificateUntrusted => StatusCode::UNAUTHORIZED,
            Self::UnknownCertificate | Self::WrongCluster => StatusCode::FORBIDDEN,
            Self::Queue
            | Self::QueueUnavailable
            | Self::AckTimeout
            | Self::Connections
            | Self::Internal
            | Self::GaveWay
            | Self::Resets => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The `reason` of a Kubernetes `Status` (Kubernetes: `apimachinery/pkg/apis/meta/v1/types.go`).
    pub(crate) fn kubernetes(self) -> &'static str {
        match self.status() {
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
            StatusCode::REQUEST_TIMEOUT => "Timeout",
            StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "UnsupportedMediaType",
            StatusCode::UNPROCESSABLE_ENTITY => "Invalid",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            _ => "ServiceUnavailable",
        }
    }
}

/// A refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: Cow<'static, str>,
    /// What a 401 asks for (`WWW-Authenticate`); none where only a certificate would do.
    pub(crate) challenges: Vec<&'static str>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
            challenges: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
    }

    #[test]
    fn the_front_doors_page_has_each_reason_with_its_answer() {
        const PAGE: &str = include_str!("../../docs/front-door.md");
        for reason in Reason::ALL {
            let label = format!("`{}`", reason.label());
            let told = PAGE.lines().find(|line| {
                let mut cells = line.split(" | ");
                let answer = cells.next().unwrap_or_default();
                let is_answer = answer == "| closed" || answer.contains(reason.status().as_str());
                is_answer && cells.next().is_some_and(|when| when.contains(&label))
            });
            assert!(told.is_some(), "{reason:?}");
        }
    }
}

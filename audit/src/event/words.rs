//! The words that an event uses for its stage and level, and ours for how urgent it is.

use serde::{Deserialize, Serialize};

/// The moment of a request at which an event was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// The request has come in and nothing was done with it.
    RequestReceived,
    /// Response headers were sent, the body not yet; only long-running requests and early refusals.
    ResponseStarted,
    /// The response is complete.
    ResponseComplete,
    /// The handler panicked.
    Panic,
    /// One that Kubernetes did not have when this was written; only an event can say so, no configuration.
    #[serde(skip_deserializing)]
    Unknown,
}

impl Stage {
    /// Those that Kubernetes has, in the order of a request's life.
    pub const ALL: [Self; 4] = [
        Self::RequestReceived,
        Self::ResponseStarted,
        Self::ResponseComplete,
        Self::Panic,
    ];

    /// The name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
            Self::Unknown => "Unknown",
        }
    }
}

/// How much of a request the API server's policy logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// The envelope.
    Metadata,
    /// The envelope and the request's body.
    Request,
    /// The envelope and both bodies.
    RequestResponse,
    /// One that Kubernetes did not have when this was written; only an event can say so, no configuration.
    #[serde(skip_deserializing)]
    Unknown,
}

impl Level {
    /// The name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
            Self::Unknown => "Unknown",
        }
    }
}

/// How urgent a routed event is; the order is the order of delivery.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Look now.
    Critical,
    /// Look today.
    Warning,
    /// For the record.
    #[default]
    Info,
}

impl Severity {
    /// Every severity, most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Warning, Self::Info];

    /// The name as configuration, metrics and messages write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

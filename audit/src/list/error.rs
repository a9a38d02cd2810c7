//! Why a body is not a list of events.
//!
//! Contract: an error tells where the body is wrong, in bytes from its beginning, and quotes nothing of it:
//! what was sent may be secret (P8).

use std::fmt;

/// Why a body is not a list of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Nothing, or nothing but whitespace.
    #[error("the body is empty")]
    Empty,
    /// Not JSON, and its items cannot be told apart either.
    #[error("the body is not valid JSON: it {what} at byte offset {offset_bytes}")]
    Malformed {
        /// What is wrong there.
        what: Malformation,
        /// Where, counted from 0.
        offset_bytes: usize,
    },
    /// JSON, but not of the form `{"kind":…,"apiVersion":…,"items":[…]}`.
    #[error(
        "the body is not an EventList: it does not have the form \
         {{\"kind\":…,\"apiVersion\":…,\"items\":[…]}} at byte offset {offset_bytes}"
    )]
    WrongShape {
        /// Where, counted from 0.
        offset_bytes: usize,
    },
    /// Kubernetes always writes `items`; a list without it is not one that nobody put anything into.
    #[error("the body is an EventList without items")]
    NoItems,
    /// More items than allowed.
    #[error("the list holds {events} items, more than {events_max}")]
    TooMany {
        /// How many there are.
        events: usize,
        /// How many there may be.
        events_max: usize,
    },
    /// A list or an event of a version that Kubernetes has given up.
    #[error("{0}")]
    OldVersion(OldVersion),
    /// One event, without a list around it.
    #[error(
        "the body is a single Event; expected kind EventList of apiVersion audit.k8s.io/v1 with the \
         event in its items"
    )]
    BareEvent,
    /// Another kind of object.
    #[error("the body is of another kind: expected kind EventList of apiVersion audit.k8s.io/v1")]
    WrongKind,
}

/// How a body is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformation {
    /// It ends where something must follow.
    EndsEarly,
    /// Something stands where it cannot.
    Syntax,
}

impl fmt::Display for Malformation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::EndsEarly => "ends early",
            Self::Syntax => "has a syntax error",
        })
    }
}

/// A version of the audit API before `audit.k8s.io/v1` (Kubernetes: v1 is there since 1.12, the others were
/// removed with 1.24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldVersion {
    /// `audit.k8s.io/v1alpha1`.
    V1Alpha1,
    /// `audit.k8s.io/v1beta1`.
    V1Beta1,
}

impl OldVersion {
    pub(crate) fn of(api_version: &str) -> Option<Self> {
        match api_version {
            "audit.k8s.io/v1alpha1" => Some(Self::V1Alpha1),
            "audit.k8s.io/v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }

    /// Its name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "audit.k8s.io/v1alpha1",
            Self::V1Beta1 => "audit.k8s.io/v1beta1",
        }
    }
}

impl fmt::Display for OldVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.as_str();
        write!(
            out,
            "{version} is not supported: Kubernetes removed it with 1.24 and has audit.k8s.io/v1 since 1.12; \
             start the API server with --audit-webhook-version=audit.k8s.io/v1"
        )
    }
}

/// Where serde_json's line and column are, in bytes from the beginning and counted from 0.
pub(super) fn offset_bytes(text: &str, error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return text.len();
    }
    let before = error.line().saturating_sub(1);
    let line: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    // Columns are bytes too, counted from 1.
    (line + error.column().saturating_sub(1)).min(text.len())
}

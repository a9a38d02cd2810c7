//! Kubernetes audit events, as the API server writes them (`audit.k8s.io/v1`).
//!
//! A leaf: no I/O, no clock, no queue. What holds for everything in here:
//! * input is hostile: nothing panics, nothing recurses without a bound;
//! * an event is read by its *envelope* (everything but the two bodies), so that a body that
//!   cannot be read never hides the request that carried it;
//! * what leaves [`redact`] holds no secret value (promise P8).

pub mod event;
pub mod key;
pub mod list;
pub mod mask;
mod matcher;
pub mod policy;
pub mod redact;
mod scan;

pub use event::{Annotations, Envelope, Level, NotAnEvent, ObjectRef, Severity, Stage, Text, User};
pub use key::{EventKey, HashKey};
pub use matcher::{AuthorizerDecision, Codes, Event, Glob, Impersonation, Matcher, Network, Risk};

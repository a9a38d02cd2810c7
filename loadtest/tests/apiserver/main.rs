//! The simulated API server against sinks that answer by a script, over real sockets.
//!
//! The rules of time (five tries, `Retry-After`, the throttle, the age of a batch) are held to the
//! second by the tests beside them, on a paused clock. Here short times show that they are wired up;
//! upper bounds are generous, for machines that are busy.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the finding, also in its helpers"
)]

mod answers;
mod binary;
mod flow;
mod redirects;
mod retries;
mod support;
mod tls;
mod tls_server;
mod wire;

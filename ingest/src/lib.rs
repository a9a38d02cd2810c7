//! The audit webhook: HTTP in, durable acknowledgement out.
//!
//! What holds for everything in here:
//! * a 200 is written only after [`Intake::append`](auditrelay_store::Intake::append) said that the
//!   batch is durable (P1);
//! * every request that was read is answered, without waiting for memory or connections to come free:
//!   a 429 or 503 with `Retry-After` now keeps the API server's batch alive, silence loses it (P7);
//! * one event never costs its list the others (P6);
//! * what was not redacted reaches neither queue nor log, metric or answer (P8), except the first
//!   bytes of quarantined items, sealed to a key of the operator's where the configuration names one.
//!
//! Beside the webhook, files of the log backend are read (`log_file`).
//!
//! The way of a request stands in `accept`, what is done to its body in `prepare`, the life of a
//! connection in `connection`, who gets a place in `places`, and how they are taken in `serve`.

mod accept;
mod answer;
mod body;
mod clock;
mod clocked;
mod clusters;
mod connection;
mod encoding;
mod gaps;
mod handshake;
mod keyring;
pub mod log_file;
mod metrics;
mod own_door;
mod places;
mod prepare;
mod refusal;
mod refusal_log;
mod seal;
mod serve;
mod turned_away;

pub use accept::Ingest;
pub use gaps::Stages;
pub use keyring::{Keyring, KeyringError, RELOAD_INTERVAL, TokenFile};
pub use metrics::Metrics;
pub use own_door::{Attempt, OwnDoor};
pub use prepare::{Advisor, InForce, Preparation, Stored};
pub use seal::SealTo;
pub use serve::{listen, serve};

//! The front door of the real binary under those who mean it no good, while an honest client goes on.
//!
//! `AUDITRELAY_FLOOD_CONNECTIONS` (default 2,000) and `AUDITRELAY_FLOOD_SECONDS` (default 12) make them
//! more, and longer.

#[path = "../../ingest/tests/common/frames.rs"]
mod frames;
#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod door;
mod floods;
mod shutdown;
mod stalled;

/// A number that the environment may change.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

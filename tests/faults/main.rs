//! What the relay does when the machine fails it: power lost, a disk that is full or broken, SIGKILL.
//!
//! The real binary runs here under a shim (`shim.c`) that knows what no sync covered, and can fail.
//! Nothing in here knows how the store looks inside: only what it answers, and what it says of itself.

mod burst;
mod errors;
mod journal;
mod kill;
mod load;
mod model;
mod order;
mod power;
mod shim;
#[path = "../support/mod.rs"]
mod support;
mod trace;
mod undo;

use std::io::Write;

/// A number out of the environment: how many rounds, or which seed.
fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// For who reads a test's output.
fn say(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}

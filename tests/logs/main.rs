//! The log of the real binary: what is in it and what is not, how much there is in a storm, and that it can be changed
//! while the relay runs.

#[path = "../support/mod.rs"]
mod support;

mod documented;
mod filter;
mod quiet;
mod source;
mod storm;

use std::time::Duration;

use serde_json::Value;
use support::{PATIENCE, Running};
use tokio::time::Instant;

pub(crate) const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// The lines of a log, each of them JSON.
pub(crate) fn lines(log: &str) -> Vec<Value> {
    let read =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(read).collect()
}

/// Waits until a line with these words was written.
pub(crate) async fn said(relay: &mut Running, words: &str) {
    let start = Instant::now();
    while !relay.logs().contains(words) {
        assert!(start.elapsed() < PATIENCE, "no {words}: {}", relay.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

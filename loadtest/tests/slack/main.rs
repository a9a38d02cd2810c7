//! The local Slack over real sockets, rule by rule.
//!
//! Times: where a message must be refused the interval is an hour, so no slow machine
//! lets it through; where one must be accepted the test waits well past the interval.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the finding, also in its helpers"
)]

mod ambiguity;
mod content;
mod control;
mod directory;
mod faults;
mod files;
mod life;
mod pace;
mod rates;
mod reading;
mod support;
mod updates;
mod web_api;
mod webhook;

//! The relay put together: what `main` calls, and what tests start.
//!
//! [`relay::Relay`] is the whole service as one value: opened from a configuration, run until a
//! shutdown. Subcommands are one file each.

mod admin;
pub mod check;
pub mod cli;
mod demo;
mod failure;
mod health;
mod ledger;
mod limits;
mod logs;
mod metrics;
pub mod relay;
mod serve;
mod space_metrics;

pub use failure::Failure;

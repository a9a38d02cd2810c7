//! The relay put together: what `main` calls, and what tests start.
//!
//! [`relay::Relay`] is the whole service as one value: opened from a configuration, run until a
//! shutdown. Subcommands are one file each.

mod admin;
pub mod check;
pub mod cli;
mod data_dir;
mod demo;
mod failure;
mod ledger;
mod logs;
mod metrics;
pub mod relay;
mod serve;

pub use failure::Failure;

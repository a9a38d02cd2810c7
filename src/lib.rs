//! The relay put together: what `main` calls, and what tests start.
//!
//! [`relay::Relay`] is the whole service as one value: opened from a configuration, run until a
//! shutdown. Subcommands are one file each.

mod admin;
mod backlog_metrics;
pub mod check;
pub mod cli;
mod clusters;
mod commands_port;
mod current;
mod data_dir;
mod dead;
mod demo;
mod door_queue;
mod events;
mod execute;
mod export;
mod failure;
mod far;
mod health;
mod import;
mod init;
mod jetstream_options;
mod lanes;
mod leader_metrics;
mod ledger;
mod limits;
mod log_input;
mod logs;
mod metrics;
mod mute;
mod online;
mod output;
mod parts;
mod policy;
mod preparation;
mod progress;
mod quarantine;
mod reach;
pub mod relay;
mod reload;
mod render;
mod replay;
mod request;
mod routes;
mod salvage;
mod serve;
mod session;
mod shell;
mod space_metrics;
mod status;
mod tail;
mod term;
mod top;
mod trace;
mod watchdog;
mod when;

pub use failure::Failure;

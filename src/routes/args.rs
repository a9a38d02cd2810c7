//! What `auditrelay routes` takes.

use std::path::PathBuf;

use auditrelay_config::ClusterName;
use clap::{Args, Subcommand};

/// What is asked of the routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Say which channels hear of an event and why: each route, and the first key of it that does not match.
    Explain(ExplainArgs),
    /// Replay a log through dedup, routes and the channels' pace: who hears how much, how late, before it goes live.
    Simulate(SimulateArgs),
    /// Print the starter routes, which one line of the configuration turns on.
    Starter,
}

/// What `routes explain` takes.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Files of events: one event, an EventList, an array, or one of these a line; `-` is standard input.
    #[arg(long = "event", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Configuration file (YAML) with the routes.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The cluster that the events are of; the default is the configuration's.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// Only the first so many events.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) first: u64,
    /// Print JSON for scripts: one event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `routes simulate` takes.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Log files, folders of them, plain or packed by gzip or zstd, or bodies of a webhook; `-` is standard input.
    #[arg(long = "log", value_name = "FILE|DIR", required = true)]
    pub(crate) logs: Vec<PathBuf>,
    /// Configuration file (YAML) with the channels and routes.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The cluster that wrote the log; the default is the configuration's.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// In no time, or at the speed at which the log was written, with what happens shown each second.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) speed: Speed,
    /// Ends `--speed real`, which it needs, after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// How long the API server lets events wait for company (--audit-webhook-batch-max-wait).
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) batch_wait: u64,
    /// Warns of a channel that posts digests in more of its minutes than this.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) warn_digests: u64,
    /// Writes a picture of the messages per minute.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How fast a log is replayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Speed {
    /// As fast as it can be computed.
    #[default]
    Fast,
    /// As it was written.
    Real,
}

//! What `auditrelay routes` takes.

use std::path::PathBuf;

use auditrelay_config::ClusterName;
use clap::{Args, Subcommand};

/// What is asked of the routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Say which channels hear of an event and why: each route, and the first key of it that does not match.
    Explain(ExplainArgs),
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

//! What commands about a relay's queue take.

use std::path::PathBuf;

use auditrelay_config::ClusterName;
use clap::{Args, Subcommand};

use crate::when::{self, UnixMs};

/// Which relay.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The relay's data directory; default is the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file (YAML) that names the data directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What `ledger` takes.
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List them, oldest first.
    List(DeadListArgs),
    /// Show what one of them stands for.
    Show(DeadShowArgs),
    /// Let them wait for their channels again. Doing it twice does it once.
    Redrive(SettleArgs),
    /// Give them up for good.
    Drop(SettleArgs),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct DeadFilterArgs {
    /// Only of this channel.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// Only those whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Only those last tried at or after this time (RFC 3339), or within this age (30m, 2h, 1d).
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub(crate) since: Option<UnixMs>,
    /// Only those last tried before this time, or longer ago than this age.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub(crate) until: Option<UnixMs>,
}

/// What `dead list` takes.
#[derive(Debug, Args)]
pub(crate) struct DeadListArgs {
    #[command(flatten)]
    pub(crate) filter: DeadFilterArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print a JSON array for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `dead show` takes.
#[derive(Debug, Args)]
pub(crate) struct DeadShowArgs {
    /// Its ID, as `dead list` tells it.
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `dead redrive` and `dead drop` take.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "channel", "reason", "since", "until", "all"]))]
pub(crate) struct SettleArgs {
    /// Their IDs, as `dead list` tells them.
    #[arg(value_name = "ID", conflicts_with_all = ["channel", "reason", "since", "until", "all"])]
    pub(crate) ids: Vec<u64>,
    #[command(flatten)]
    pub(crate) filter: DeadFilterArgs,
    /// All of them.
    #[arg(long, conflicts_with_all = ["channel", "reason", "since", "until"])]
    pub(crate) all: bool,
    /// Do not ask; needed in scripts unless IDs are named.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `events` takes.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The message's ID, as a digest names it.
    #[arg(long, value_name = "ID")]
    pub(crate) message: u64,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print a JSON array of the events as they are stored, redacted.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `replay` takes.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// What was received at or after this time (RFC 3339), or within this age (30m, 2h, 1d).
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub(crate) since: UnixMs,
    /// What was received before this time, or longer ago than this age; default is now.
    #[arg(long, value_name = "TIME", value_parser = when::parse, default_value = "0s", hide_default_value = true)]
    pub(crate) until: UnixMs,
    /// Only what this route takes.
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<String>,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `salvage` takes.
#[derive(Debug, Args)]
pub(crate) struct SalvageArgs {
    /// The folder that was moved aside, inside the data directory; may be left out if it is the only one.
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to; compressed if its name ends in .zst, `-` is standard output.
    pub(crate) file: PathBuf,
    /// Overwrite a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until the relay that has the queue has stopped.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// What `import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An audit log (JSON lines) or an export, plain or packed by gzip or zstd; `-` is standard input.
    pub(crate) file: PathBuf,
    /// The cluster that wrote the log; the default is the relay's.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// Tell no channel: events are only counted, and kept for `replay` where queue.retain_hours says so.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Read a log from its beginning that was read before.
    #[arg(long)]
    pub(crate) again: bool,
    /// Print the report of a log as JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

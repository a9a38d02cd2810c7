//! The words of `auditrelay quarantine`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::PlaceArgs;

/// What is done with items that could not be read.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List them, oldest first.
    List(ListArgs),
    /// Show one, and with the key what is kept of it.
    Show(ShowArgs),
    /// Make a key that what cannot be read is sealed to (queue.quarantine_raw), and print its public half.
    Keygen(KeygenArgs),
}

/// What `quarantine list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print a JSON array for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `quarantine show` takes.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its ID, as `quarantine list` tells it.
    pub(crate) id: u64,
    /// The file that `quarantine keygen` wrote; opens what is kept of the item.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Write nothing but the opened bytes, as they came. They may be anything: not for a terminal.
    #[arg(long, requires = "key", conflicts_with = "json")]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `quarantine keygen` takes.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where to write the secret half. A file that is there is not overwritten.
    #[arg(long, value_name = "FILE", default_value = "quarantine.key")]
    pub(crate) out: PathBuf,
}

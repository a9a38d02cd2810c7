//! What `status` takes.

use clap::Args;

use crate::cli::PlaceArgs;

/// What `status` takes.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// Print JSON for scripts: what `/status` says.
    #[arg(long)]
    pub(super) json: bool,
}

//! What `top` takes.

use clap::Args;

use crate::cli::PlaceArgs;

/// What `top` takes.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// Between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) interval: u64,
}

//! The words of `auditrelay log-filter`.

use clap::Args;

use crate::{cli::PlaceArgs, when};

/// What `log-filter` takes.
#[derive(Debug, Args)]
pub(crate) struct LogFilterArgs {
    /// Which lines are written from now on: a level, and levels of parts behind commas, such as
    /// info,auditrelay_dispatch=debug. Left out: say which are written now.
    pub(crate) filter: Option<String>,
    /// Go back by itself after this time, such as 10m; without it, at the relay's next start.
    #[arg(long = "for", value_name = "TIME", requires = "filter", value_parser = when::ahead)]
    pub(crate) lasts: Option<i64>,
    /// Go back now to what log.filter, or RUST_LOG, says.
    #[arg(long, conflicts_with = "filter")]
    pub(crate) reset: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

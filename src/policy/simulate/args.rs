//! The words of `auditrelay policy simulate`.

use std::path::PathBuf;

use clap::Args;

/// What `policy simulate` takes.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The policy, YAML or JSON; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Audit logs: files, folders of rotated ones, plain or packed by gzip or zstd, bodies of a webhook; `-` is
    /// standard input.
    #[arg(long, value_name = "LOG", required = true, num_args = 1..)]
    pub(crate) log: Vec<PathBuf>,
    /// Compare with what this policy makes of the log, in place of the log itself.
    #[arg(long, value_name = "OTHER")]
    pub(crate) against: Option<PathBuf>,
    /// How many users, requests, namespaces and clients are told of.
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) top: u16,
    /// Find rules that would cut the most noise, show what they do to the log, and write them, with those of the
    /// policy, to this file; `-` prints them, and the report goes to standard error. Reads the log twice.
    #[arg(long, value_name = "FILE")]
    pub(crate) suggest: Option<PathBuf>,
    /// Suggest so many rules at most.
    #[arg(long, value_name = "N", default_value_t = 20, requires = "suggest",
        value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) rules_max: u16,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

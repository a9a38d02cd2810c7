//! The command line's words.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use auditrelay_config::Overrides;
use clap::{Args, Parser, Subcommand};

use crate::{Failure, check, demo, ledger, logs, serve};

/// A sink for the Kubernetes audit webhook: acknowledges a batch once it is safe on disk, and brings
/// every event that matters to Slack, once, at Slack's pace.
#[derive(Debug, Parser)]
#[command(name = "auditrelay", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay (the default).
    Serve(ServeArgs),
    /// Read the configuration, say what is wrong with it or that it is fine, and end.
    Check(CheckArgs),
    /// Run the relay on real audit events against a local Slack, and show what arrives. Needs nothing.
    Demo,
    /// Show what was received and where it is; exit code 1 if an event is unaccounted for.
    Ledger(LedgerArgs),
}

/// What `serve` takes; stronger than the environment and the file.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (YAML); without one the built-in defaults and the environment count.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to receive audit events.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Receive events unencrypted from other machines too.
    #[arg(long)]
    allow_plain_http: bool,
    /// Where to serve metrics, health and the ledger (loopback only).
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// The folder of the queue.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl ServeArgs {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen,
            allow_plain_http: self.allow_plain_http,
            data_dir: self.data_dir.clone(),
            admin_listen: self.admin_listen,
        }
    }
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What `ledger` takes.
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// The relay's data directory; default is the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file (YAML) that names the data directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs what the command line asks for.
///
/// # Errors
/// One line for the operator, with an exit code.
pub fn run() -> Result<ExitCode, Failure> {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => {
            logs::start();
            block_on(serve::run(&args))?
        }
        Command::Check(args) => check::run(args.config.as_deref()),
        Command::Demo => block_on(demo::run())?,
        Command::Ledger(args) => block_on(ledger::run(&args))?,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(future);
    // A read of the queue or a name look-up may still run; the process does not wait for it.
    runtime.shutdown_background();
    Ok(outcome)
}

/// The environment's variables; those that are not text cannot be ours.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

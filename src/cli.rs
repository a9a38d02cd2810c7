//! The command line's words.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use auditrelay_config::{ClusterName, Overrides};
use clap::{Args, Parser, Subcommand};

use crate::{
    Failure, check, dead, demo, events, export, import, init, ledger, logs, online,
    quarantine::{self, QuarantineCommand},
    render, replay, salvage, serve, tail,
    when::{self, UnixMs},
};

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
    /// Run the relay on log files that API servers write (--audit-log-path), without a webhook.
    Tail(TailArgs),
    /// Read the configuration, say what is wrong with it or that it is fine, and end; with `--online`, ask
    /// Slack too: exit code 1 if something will not be delivered.
    Check(CheckArgs),
    /// Write what connecting a cluster takes: certificates or a token, the API server's files and flags for each
    /// kind of cluster, and the relay's configuration.
    Init(init::InitArgs),
    /// Run the relay on real audit events against a local Slack, and show what arrives. Needs nothing.
    Demo,
    /// Show the messages that audit events would make in a channel. Posts nothing, opens no queue.
    Render(RenderArgs),
    /// Show what was received and where it is; exit code 1 if an event is unaccounted for.
    Ledger(LedgerArgs),
    /// Messages that could never be delivered: list them, look into one, let them go again, give them up.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Items that could not be read: list them, look into one, make the key that they are sealed to.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// List what a message stood for, while that is kept (queue.digest_detail_hours).
    Events(EventsArgs),
    /// Send what was received in a time through today's routes again, as far as it is retained
    /// (queue.retain_hours); messages say that they are replayed.
    Replay(ReplayArgs),
    /// Bring what is whole in a store that was moved aside back into the queue.
    Salvage(SalvageArgs),
    /// Write everything that the queue of a stopped relay holds as JSON lines.
    Export(ExportArgs),
    /// Read an old audit log once, into a relay that runs or one that is stopped; or what `export` wrote, into a
    /// data directory that was never used.
    Import(ImportArgs),
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

/// What `tail` takes.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Files to follow through rotation; a pattern with * ? [...] in quotes follows what will match it too.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The cluster that writes them; the default is the configuration's.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// Configuration file (YAML); without one the built-in defaults and the environment count.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to serve metrics, health and the ledger (loopback only).
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// The folder of the queue.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl TailArgs {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            data_dir: self.data_dir.clone(),
            admin_listen: self.admin_listen,
            ..Overrides::default()
        }
    }
}

/// What `check` takes.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Ask Slack whether tokens, scopes and channels are as they must be. Posts nothing.
    #[arg(long)]
    pub(crate) online: bool,
    /// Print JSON for scripts.
    #[arg(long, requires = "online")]
    pub(crate) json: bool,
    /// How long asking Slack may take; what is left then is not checked.
    #[arg(long, value_name = "SECONDS", requires = "online", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) within: u64,
}

/// What `render` takes.
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// Files of events: an EventList, a JSON array, one event, or one of these a line; `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The channel; the default is the configuration's default channel.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// Configuration file (YAML) of channels, routes and templates.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The cluster that the events are of; the default is the configuration's.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// As text, as what is posted (one JSON body a line), or as a page for a browser.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: RenderFormat,
    /// Only this one of the messages, counted from 1.
    #[arg(long, value_name = "N")]
    pub(crate) message: Option<std::num::NonZeroUsize>,
}

/// What `render` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RenderFormat {
    #[default]
    Terminal,
    Json,
    Html,
}

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
        Command::Tail(args) => {
            logs::start();
            block_on(tail::run(&args))?
        }
        Command::Check(args) if args.online => block_on(online::run(&args))?,
        Command::Check(args) => check::run(args.config.as_deref()),
        Command::Init(args) => init::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Demo => block_on(demo::run())?,
        Command::Ledger(args) => block_on(ledger::run(&args))?,
        Command::Dead(command) => block_on(dead::run(&command))?,
        Command::Quarantine(command) => block_on(quarantine::run(&command))?,
        Command::Events(args) => block_on(events::run(&args))?,
        Command::Replay(args) => block_on(replay::run(&args))?,
        Command::Salvage(args) => block_on(salvage::run(&args))?,
        Command::Export(args) => block_on(export::run(&args))?,
        Command::Import(args) => block_on(import::run(&args))?,
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

//! The command line's words.

mod args;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use auditrelay_config::{ClusterName, Overrides};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    Failure, check, dead, demo, events, export, import, init, ledger, logs,
    mute::{self, MuteCommand},
    online,
    policy::{self, PolicyCommand},
    quarantine::{self, QuarantineCommand},
    reload, render, replay, routes, salvage, serve, shell, status, tail, top, trace,
};

pub(crate) use args::*;

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
    /// Read the configuration, say what is wrong with it or that it is fine, run the tests of its routes, and
    /// end; with `--online`, ask Slack too: exit code 1 if a test does not hold or something will not be delivered.
    Check(CheckArgs),
    /// Write what connecting a cluster takes: certificates or a token, the API server's files and flags for each
    /// kind of cluster, and the relay's configuration.
    Init(init::InitArgs),
    /// Run the relay on real audit events against a local Slack, and show what arrives. Needs nothing.
    Demo,
    /// Show the messages that audit events would make in a channel. Posts nothing, opens no queue.
    Render(RenderArgs),
    /// The API server's audit policy: check one, explain what it does to a request, try it
    /// on a log.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Try routes before they go live: explain what becomes of an event.
    #[command(subcommand)]
    Routes(routes::RoutesCommand),
    /// Show how the relay is: what needs a person, rates, lanes, backlog, last errors. Exit code 1 if something needs a
    /// person or the relay does not run.
    Status(status::StatusArgs),
    /// Watch the running relay live in this terminal: rates, lanes, backlog, last errors.
    Top(top::TopArgs),
    /// Show what was received and where it is; exit code 1 if an event is unaccounted for.
    Ledger(LedgerArgs),
    /// Messages that could never be delivered: list them, look into one, let them go again, give them up.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Items that could not be read: list them, look into one, make the key that they are sealed to.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Hold some events back for a while: begin a mute, list them, end one.
    #[command(subcommand)]
    Mute(MuteCommand),
    /// List what a message stood for, while that is kept (queue.digest_detail_hours).
    Events(EventsArgs),
    /// Tell what became of one event: received, sent again, routed by which rule, waiting, posted as which message, or
    /// why not; exit code 1 if nothing is known of it.
    Trace(trace::TraceArgs),
    /// Send what was received in a time through today's routes again, as far as it is retained
    /// (queue.retain_hours); messages say that they are replayed.
    Replay(ReplayArgs),
    /// Say which lines of the log the running relay writes, or let it write others, for a while.
    LogFilter(logs::LogFilterArgs),
    /// Make the running relay load its configuration again, and show what changed; one that cannot be used changes
    /// nothing: exit code 78.
    Reload(reload::ReloadArgs),
    /// Bring what is whole in a store that was moved aside back into the queue.
    Salvage(SalvageArgs),
    /// Print what makes a shell complete this command line.
    Completion(shell::CompletionArgs),
    /// Print the manual page, or write one for each command.
    Man(shell::ManArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Write everything that the queue of a stopped relay holds as JSON lines.
    Export(ExportArgs),
    /// Read an old audit log once, into a relay that runs or one that is stopped; or what `export` wrote, into a
    /// queue that was never used.
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
    /// Where to serve metrics, health and the ledger (elsewhere than on loopback with admin_token_file only).
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
    /// Where to serve metrics, health and the ledger (elsewhere than on loopback with admin_token_file only).
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
    #[arg(long)]
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
        Command::Check(args) => check::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Routes(command) => routes::run(&command),
        Command::Policy(command) => policy::run(&command),
        Command::Demo => block_on(demo::run())?,
        Command::Status(args) => block_on(status::run(&args))?,
        Command::Top(args) => block_on(top::run(&args))?,
        Command::Ledger(args) => block_on(ledger::run(&args))?,
        Command::Dead(command) => block_on(dead::run(&command))?,
        Command::Quarantine(command) => block_on(quarantine::run(&command))?,
        Command::Mute(command) => block_on(mute::run(&command))?,
        Command::Events(args) => block_on(events::run(&args))?,
        Command::Trace(args) => block_on(trace::run(&args))?,
        Command::Replay(args) => block_on(replay::run(&args))?,
        Command::LogFilter(args) => block_on(logs::run(&args))?,
        Command::Reload(args) => block_on(reload::run(&args))?,
        Command::Salvage(args) => block_on(salvage::run(&args))?,
        Command::Completion(args) => shell::completion(command(), &args),
        Command::Man(args) => shell::man(command(), &args),
        Command::Schema => shell::schema(),
        Command::Export(args) => block_on(export::run(&args))?,
        Command::Import(args) => block_on(import::run(&args))?,
    }
}

/// The whole command line.
pub(crate) fn command() -> clap::Command {
    Cli::command()
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

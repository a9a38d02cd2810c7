//! `limits`: what the relay reaches, beside what this machine would allow.
//!
//! Contract: it prints, for the same load in the same run, the relay's figures over those of bare
//! servers, of JetStream and of a plain file. It sends load to loopback only, to programs that it has
//! started itself, for a bounded time. What goes on is told on standard error, the result on standard
//! output. It exits with 1 if a bound is missed.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use auditrelay_loadtest::{
    events::Shape,
    limits::{
        self, Kind, Programs, bare,
        bare::Work,
        checks::{self, SUITES, Scale},
        report::{Machine, Measured, Report},
    },
    storm::Load,
};
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about = "The relay beside the limits of this machine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the relay and its limits.
    Run(RunArguments),
    /// Be one of the bare servers.
    Bare {
        /// What it does with a body.
        work: Work,
        /// Where its file goes.
        #[arg(long)]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The relay's binary.
    #[arg(long, default_value = "target/release/auditrelay")]
    relay: PathBuf,
    /// nats-server; without it JetStream is not measured.
    #[arg(long)]
    nats_server: Option<PathBuf>,
    /// Where the subjects keep their files: on the disk that is to be measured.
    #[arg(long, default_value = "target/loadtest")]
    folder: PathBuf,
    /// How long each subject is under load in a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many rounds; 0 leaves the comparison out.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Batches in flight.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Events of a batch.
    #[arg(long, default_value_t = 400)]
    events: usize,
    /// What kind of events.
    #[arg(long, value_enum, default_value_t = Shape::Metadata)]
    shape: Shape,
    /// Batches a second; as fast as possible where it is left out.
    #[arg(long)]
    rate: Option<f64>,
    /// Only subjects whose titles begin so.
    #[arg(long)]
    only: Vec<String>,
    /// Suites of checks to run: start, steady, sustained, bodies, backlog, routes, slack or all.
    #[arg(long = "suite")]
    suites: Vec<String>,
    /// How long the sustained storm lasts.
    #[arg(long, default_value_t = 60)]
    sustained_seconds: u64,
    /// How many events wait in the large backlog.
    #[arg(long, default_value_t = 10_000_000)]
    backlog_events: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Also write the tables, the JSON and the charts into this folder.
    #[arg(long)]
    report: Option<PathBuf>,
}

const KINDS: [Kind; 8] = [
    Kind::Relay,
    Kind::RelayAllRouted,
    Kind::Bare(Work::KeysAndCompress),
    Kind::Bare(Work::Keys),
    Kind::Bare(Work::Append),
    Kind::Bare(Work::Discard),
    Kind::JetStream,
    Kind::Plain,
];

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments).await,
        Command::Bare { work, folder } => {
            bare::serve(work, &folder, |address| {
                writeln!(io::stdout(), "listening on {address}")
                    .context("standard output is closed")
            })
            .await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = arguments.folder.canonicalize()?;
    let programs = Programs {
        relay: arguments.relay.clone(),
        nats_server: arguments.nats_server.clone(),
        limits: std::env::current_exe()?,
    };
    let mut report = Report {
        machine: Machine::here(&folder),
        load: load_sentence(arguments),
        ..Report::default()
    };
    if programs.nats_server.is_none() {
        let missing = "JetStream: no nats-server was given";
        report.missing.push(missing.to_owned());
    }
    let subject = folder.join("subject");
    compare(arguments, &programs, &subject, &mut report).await?;
    let scale = Scale {
        seconds: arguments.seconds,
        sustained_seconds: arguments.sustained_seconds,
        backlog_events: arguments.backlog_events,
    };
    for (name, about) in SUITES {
        let chosen = |wanted: &String| wanted == "all" || wanted == name;
        if !arguments.suites.iter().any(chosen) {
            continue;
        }
        progress(&format!("{name}: {about}"))?;
        // One that cannot be run does not cost the report the others.
        match checks::run(name, &programs, &subject, scale).await {
            Ok(found) => report.suites.push((name.to_owned(), found)),
            Err(error) => report.missing.push(format!("{name}: {error:#}")),
        }
    }
    // The last subject's files.
    let _absent = std::fs::remove_dir_all(&subject);
    progress("")?;
    let shown = match arguments.json {
        true => serde_json::to_string_pretty(&report)?,
        false => report.markdown(),
    };
    writeln!(io::stdout(), "{shown}").context("standard output is closed")?;
    if let Some(folder) = &arguments.report {
        report.write(folder)?;
    }
    Ok(match report.holds() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn load_sentence(arguments: &RunArguments) -> String {
    let pace = match arguments.rate {
        Some(rate) => format!("{rate} batches a second"),
        None => "as fast as each takes them".to_owned(),
    };
    format!(
        "{} events a batch ({:?}, every audit ID new), {} connections, {pace}, {} s a round, median of {} \
         rounds.",
        arguments.events,
        arguments.shape,
        arguments.connections,
        arguments.seconds,
        arguments.rounds
    )
}

async fn compare(
    arguments: &RunArguments,
    programs: &Programs,
    folder: &std::path::Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let load = Load {
        connections: arguments.connections,
        events_per_batch: arguments.events,
        shape: arguments.shape,
        duration: Duration::from_secs(arguments.seconds),
        batches_per_second: arguments.rate,
    };
    let is_chosen = |kind: &Kind| {
        let title = kind.title();
        let names = &arguments.only;
        (names.is_empty() || names.iter().any(|name| title.starts_with(name.as_str())))
            && (*kind != Kind::JetStream || programs.nats_server.is_some())
    };
    let kinds: Vec<Kind> = KINDS.into_iter().filter(is_chosen).collect();
    let mut found = vec![Vec::new(); kinds.len()];
    for round in 1..=arguments.rounds {
        for (kind, rounds) in kinds.iter().zip(&mut found) {
            progress(&format!(
                "round {round} of {}: {}",
                arguments.rounds,
                kind.title()
            ))?;
            // The one before it left its files.
            let _absent = std::fs::remove_dir_all(folder);
            let figures = limits::measure(*kind, programs, folder, load).await;
            rounds.push(figures.with_context(|| kind.title())?);
        }
    }
    if arguments.rounds > 0 {
        let measured = kinds.into_iter().zip(found);
        report.subjects = measured
            .map(|(kind, rounds)| Measured::new(kind, rounds))
            .collect();
    }
    Ok(())
}

/// On a terminal one line that changes; elsewhere a line each.
fn progress(what: &str) -> anyhow::Result<()> {
    let mut err = io::stderr();
    match (err.is_terminal(), what) {
        (true, what) => write!(err, "\r\x1b[K{what}"),
        (false, "") => Ok(()),
        (false, what) => writeln!(err, "{what}"),
    }
    .context("standard error is closed")
}

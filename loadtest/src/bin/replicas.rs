//! `replicas`: one relay on a disk, and one, two and three of them on NATS JetStream. See `loadtest/replicas.sh`.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use auditrelay_loadtest::{
    events::Shape,
    limits::{Programs, report::Machine},
    replicas::{
        Arrangement, measure,
        report::{Measured, Report},
    },
    storm::Load,
};
use clap::Parser;

#[derive(Parser)]
#[command(about = "Relays on NATS JetStream beside one on a disk of the same machine.")]
struct Arguments {
    /// The relay's binary.
    #[arg(long, default_value = "target/release/auditrelay")]
    relay: PathBuf,
    /// Where relays keep their files; servers keep theirs where TMPDIR says, which should be the same disk.
    #[arg(long, default_value = "target/loadtest")]
    folder: PathBuf,
    /// How long each arrangement is under load in a round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How many rounds.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Batches in flight, over all relays.
    #[arg(long, default_value_t = 24)]
    connections: u32,
    /// Events of a batch.
    #[arg(long, default_value_t = 400)]
    events: usize,
    /// Only arrangements whose titles begin so.
    #[arg(long)]
    only: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = arguments.folder.canonicalize()?;
    let programs = Programs {
        relay: arguments.relay.clone(),
        nats_server: None,
        limits: std::env::current_exe()?,
    };
    let load = Load {
        connections: arguments.connections,
        events_per_batch: arguments.events,
        shape: Shape::Metadata,
        duration: Duration::from_secs(arguments.seconds),
        batches_per_second: None,
    };
    let is_chosen = |one: &Arrangement| {
        let (title, names) = (one.title(), &arguments.only);
        names.is_empty() || names.iter().any(|name| title.starts_with(name.as_str()))
    };
    let mut arrangements = Arrangement::all();
    arrangements.retain(is_chosen);
    let mut found = vec![Vec::new(); arrangements.len()];
    for round in 1..=arguments.rounds {
        for (arrangement, rounds) in arrangements.iter().zip(&mut found) {
            let title = arrangement.title();
            writeln!(
                io::stderr(),
                "round {round} of {}: {title}",
                arguments.rounds
            )?;
            let place = folder.join("replicas");
            // The one before it left its files.
            let _absent = std::fs::remove_dir_all(&place);
            let figures = measure(*arrangement, &programs, &place, load).await;
            rounds.push(figures.with_context(|| title)?);
        }
    }
    let _absent = std::fs::remove_dir_all(folder.join("replicas"));
    let measured = arrangements.into_iter().zip(found);
    let report = Report {
        machine: Machine::here(&folder),
        load: format!(
            "{} events a batch (Metadata, every audit ID new), {} connections over all relays, as fast as they are taken, {} s \
             a round, median of {}. Ratios are what counts.",
            arguments.events, arguments.connections, arguments.seconds, arguments.rounds
        ),
        measured: measured
            .filter(|(_, rounds)| !rounds.is_empty())
            .map(|(arrangement, rounds)| Measured::new(arrangement, rounds))
            .collect(),
    };
    let shown = match arguments.json {
        true => serde_json::to_string_pretty(&report)?,
        false => report.markdown(),
    };
    writeln!(io::stdout(), "{shown}").context("standard output is closed")
}

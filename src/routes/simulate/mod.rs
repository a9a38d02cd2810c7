//! `auditrelay routes simulate`: a log through dedup, routes, rates and the pace of the channels, in the log's own
//! time, before any of it goes live.
//!
//! Contract: what becomes of an event is decided by the relay's own dedup, routes and rates; when it is posted by
//! [`lanes`], which says what it has in common with the real ones. What is assumed is said in the report.

mod chart;
mod figures;
mod lanes;
mod pace;
mod replay;
mod report;
mod svg;

use std::{fs, path::Path, process::ExitCode, time::Duration};

use auditrelay_config::{Config, Loaded};
use tokio::time::{Instant, sleep};

use super::args::{SimulateArgs, Speed};
use crate::{
    Failure,
    check::loaded,
    output::{line, say, say_json},
};
use lanes::{Delivery, Lanes};
use replay::replay;
use report::Report;

/// How often a live table is shown.
const LIVE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    if args.seconds.is_some() && args.speed != Speed::Real {
        let text = "--for ends a replay at the speed of the log; give --speed real, too";
        return Err(Failure::Usage(text.to_owned()));
    }
    let Loaded { config, .. } = loaded(args.config.as_deref())?;
    args.svg.as_deref().map_or(Ok(()), is_writable)?;
    let replayed = replay(args, &config)?;
    let (mut lanes, shared) = Lanes::new(&config);
    match args.speed {
        Speed::Fast => {
            for batch in batches(&replayed.deliveries) {
                lanes.arrive(batch);
            }
            lanes.run_out();
        }
        Speed::Real => live(args, &config, &mut lanes, &replayed.deliveries)?,
    }
    let report = Report::new(args, &config, &replayed, &lanes, &shared);
    if args.json {
        say_json(&report)?;
    } else {
        say(&report.text())?;
    }
    if let Some(file) = &args.svg {
        fs::write(file, svg::picture(&report)).map_err(|error| {
            let shown = line(&file.display().to_string(), 300);
            Failure::Other(format!(
                "cannot write {shown}: {error}; the report above is whole"
            ))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a path that cannot be written to before the log is read, which may take long.
fn is_writable(path: &Path) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    // What stands there stays until there is a new picture.
    let opened = options.create(true).append(true).open(path);
    opened.map(drop).map_err(|error| {
        let shown = line(&path.display().to_string(), 300);
        Failure::Usage(format!(
            "cannot write {shown}: {error}; give --svg a file in a folder that is there and can be written to"
        ))
    })
}

/// What arrives at the same time.
fn batches(deliveries: &[Delivery]) -> impl Iterator<Item = &[Delivery]> {
    deliveries.chunk_by(|one, next| one.arrives_ms == next.arrives_ms)
}

/// Lets it happen at the speed of the log.
fn live(
    args: &SimulateArgs,
    config: &Config,
    lanes: &mut Lanes,
    deliveries: &[Delivery],
) -> Result<(), Failure> {
    let Some(first) = deliveries.iter().map(|one| one.at_ms).min() else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start a timer: {error}")))?;
    runtime.block_on(async {
        let begun = Instant::now();
        let mut batches = batches(deliveries).peekable();
        loop {
            let elapsed = begun.elapsed();
            let now = first * 1_000 + i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
            while let Some(batch) = batches.next_if(|batch| batch[0].arrives_ms * 1_000 <= now) {
                lanes.arrive(batch);
            }
            lanes.run_until(now);
            if !args.json {
                say(&report::live(config, lanes))?;
            }
            let is_over = batches.peek().is_none() && lanes.is_idle();
            let is_enough = args.seconds.is_some_and(|most| elapsed.as_secs() >= most);
            if is_over || is_enough {
                return Ok(());
            }
            sleep(LIVE_INTERVAL).await;
        }
    })
}

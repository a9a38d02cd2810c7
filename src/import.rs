//! `auditrelay import FILE|-`: lines of an audit log, into a queue that may be in use; or what `export` wrote, into a
//! queue that was never used. The first line tells which.
//!
//! Where that queue is on JetStream and the lines come from standard input, it is held before the first of them is there:
//! what relays take from then on is routed after the import, however long its lines take to come.

mod chunk;
mod log;
mod port;
mod report;
mod target;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::ExitCode,
};

use auditrelay_config::Config;
use auditrelay_ingest::log_file::{Form, Place};
use auditrelay_store::MoveError;

use crate::{
    Failure,
    cli::ImportArgs,
    export::{failure, open_at_rest, told},
    moving::Incoming,
    output::say,
    progress::Progress,
};

pub(crate) use chunk::Importer;
use log::{Source, begin, unreadable};
pub(crate) use port::PATH;

/// An export begins so.
const EXPORT: &[u8] = br#"{"kind":"header","#;

pub(crate) async fn run(args: &ImportArgs) -> Result<ExitCode, Failure> {
    let file = args.file.as_path();
    let progress = Progress::new("importing");
    let streams = args.place.on_streams()?;
    let held = match &streams {
        Some(config) if file == Path::new("-") && !has_flags_of_logs(args) => {
            Some(hold(config).await)
        }
        _ => None,
    };
    // Before anything is made.
    let source = source(file, &progress).map_err(|error| unreadable(file, &error))?;
    if source.head.starts_with(EXPORT) {
        if has_flags_of_logs(args) {
            let reason =
                "--cluster, --quiet, --again and --json are for audit logs; this is an export";
            return Err(Failure::Usage(reason.to_owned()));
        }
        let lines = BufReader::new(source.reader);
        return match (streams, held) {
            (None, _) => queue(args, lines, &progress).await,
            (Some(_), Some(held)) => onto_streams(held?, lines, &progress).await,
            (Some(config), None) => {
                onto_streams(Incoming::open(&config).await?, lines, &progress).await
            }
        };
    }
    if source.head.is_empty() {
        return Err(Failure::Other(format!("{} is empty", file.display())));
    }
    // A relay that leads is no hindrance to a log.
    if let Some(Ok(held)) = held {
        held.give_up().await?;
    }
    log::run(args, source, progress).await
}

/// Holds a queue until the first lines are there.
async fn hold(config: &Config) -> Result<Incoming, Failure> {
    let held = Incoming::open(config).await?;
    held.tell()?;
    Ok(held)
}

fn has_flags_of_logs(args: &ImportArgs) -> bool {
    args.again || args.json || args.quiet || args.cluster.is_some()
}

/// What an export holds, into a queue on JetStream.
async fn onto_streams(
    queue: Incoming,
    lines: impl BufRead + Send + 'static,
    progress: &Progress,
) -> Result<ExitCode, Failure> {
    let moved = queue.run(lines).await;
    progress.end();
    let (name, moved) = moved?;
    say(&format!(
        "read into the queue {name} on JetStream, which relays lead from now on:\n{}",
        told(&moved)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What an export holds, into a data directory.
async fn queue(
    args: &ImportArgs,
    lines: impl BufRead + Send + 'static,
    progress: &Progress,
) -> Result<ExitCode, Failure> {
    let data_dir = args.place.data_dir()?;
    let queue = open_at_rest(&data_dir)?;
    let moved = queue.import(lines, |_| {}).await;
    progress.end();
    let path = data_dir.display();
    let moved = moved.map_err(|error| match error {
        MoveError::Line { .. } => Failure::Other(format!(
            "cannot import: {error}; what was imported so far is of no use, remove the queue in {path}"
        )),
        other => failure(other, "import"),
    })?;
    say(&format!("read into {path}:\n{}", told(&moved)))?;
    if moved.keys > 0 && !data_dir.join("dedup.key").exists() {
        say(
            "copy dedup.key from the old data directory before the relay starts, or repetitions of what it \
             has seen are told twice\n",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a file, whatever it is packed with.
fn source(file: &Path, progress: &Progress) -> io::Result<Source> {
    let (from, place): (Box<dyn Read + Send>, _) = if file == Path::new("-") {
        (Box::new(io::stdin()), Place::default())
    } else {
        let opened = File::open(file)?;
        let place = Place::of(&opened.metadata()?);
        (Box::new(progress.reading(place.size, opened)), place)
    };
    let mut from = from;
    let mut mark = Vec::new();
    (&mut from)
        .take(Form::MARK_BYTES as u64)
        .read_to_end(&mut mark)?;
    let form = Form::of(&mark);
    let whole = io::Cursor::new(mark).chain(from);
    let (head, reader) = begin(whole, form)?;
    Ok(Source {
        reader,
        head,
        place,
    })
}

//! `auditrelay import FILE|-`: lines of an audit log, into a queue that may be in use; or what `export` wrote, into a
//! data directory that was never used. The first line tells which.

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

use auditrelay_ingest::log_file::{Form, Place};

use crate::{
    Failure,
    cli::ImportArgs,
    export::{failure, open_at_rest, told},
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
    // Before anything is made.
    let source = source(file, &progress).map_err(|error| unreadable(file, &error))?;
    if source.head.starts_with(EXPORT) {
        return queue(args, BufReader::new(source.reader), &progress).await;
    }
    if source.head.is_empty() {
        return Err(Failure::Other(format!("{} is empty", file.display())));
    }
    log::run(args, source, progress).await
}

/// What an export holds.
async fn queue(
    args: &ImportArgs,
    lines: impl BufRead + Send + 'static,
    progress: &Progress,
) -> Result<ExitCode, Failure> {
    if args.again || args.json || args.quiet || args.cluster.is_some() {
        let reason = "--cluster, --quiet, --again and --json are for audit logs; this is an export";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let data_dir = args.place.data_dir()?;
    let queue = open_at_rest(&data_dir)?;
    let moved = queue.import(lines, |_| {}).await;
    progress.end();
    let moved = moved.map_err(|error| failure(error, "import"))?;
    let path = data_dir.display();
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

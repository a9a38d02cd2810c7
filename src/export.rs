//! `auditrelay export FILE`: everything that the queue of a stopped relay holds, as JSON lines.
//!
//! The file is there whole or not at all: it is written under a temporary name, synced, and renamed. Only
//! its owner can read it, as it holds events. What goes to standard output has its last line only when it is whole.

mod sink;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use auditrelay_store::{Engine, MoveError, Moved, OpenError, QueueError};
use tokio::time::sleep;

use self::sink::{Shared, Sink};
use crate::{
    Failure,
    cli::ExportArgs,
    moving::Outgoing,
    output::{count, say},
    progress::Progress,
    reach::{AdminAddress, command_options, no_queue},
};

/// For archives: a little smaller than the fastest level, and not yet slow.
const ZSTD_LEVEL: i32 = 3;
/// Standard output or input.
const DASH: &str = "-";
/// How soon a queue in use is looked at again.
const IN_USE_PAUSE: Duration = Duration::from_millis(100);

/// The queue to be exported.
enum Source {
    Disk(Engine),
    Streams(Box<Outgoing>),
}

impl Source {
    async fn open(args: &ExportArgs) -> Result<Self, Failure> {
        if let Some(config) = args.place.on_streams()? {
            let outgoing = Outgoing::open(&config, args.wait).await?;
            return Ok(Self::Streams(Box::new(outgoing)));
        }
        let data_dir = args.place.data_dir()?;
        if !data_dir.join("queue").is_dir() {
            return Err(no_queue(&data_dir));
        }
        loop {
            match open_if_free(&data_dir)? {
                Some(queue) => return Ok(Self::Disk(queue)),
                None if args.wait => sleep(IN_USE_PAUSE).await,
                None => return Err(in_use(&data_dir)),
            }
        }
    }

    fn engine(&self) -> &Engine {
        match self {
            Self::Disk(queue) => queue,
            Self::Streams(outgoing) => outgoing.engine(),
        }
    }

    /// Whether what was written is all there is; on a disk nobody else has the queue.
    async fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Disk(_) => Ok(()),
            Self::Streams(outgoing) => outgoing.check().await,
        }
    }

    async fn end(self) {
        if let Self::Streams(outgoing) = self {
            outgoing.end().await;
        }
    }
}

pub(crate) async fn run(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let file = args.file.as_path();
    let is_stdout = file == Path::new(DASH);
    if !is_stdout && !args.force && file.exists() {
        return Err(exists(file));
    }
    let source = Source::open(args).await?;
    let exported = export(&source, args, is_stdout).await;
    source.end().await;
    exported
}

async fn export(source: &Source, args: &ExportArgs, is_stdout: bool) -> Result<ExitCode, Failure> {
    let file = args.file.as_path();
    let progress = Progress::new("exporting");
    if is_stdout {
        // Who reads along must be told of an error by the exit code alone.
        let out = Box::new(BufWriter::new(io::stdout()));
        write_to(source, Sink::Plain(out), &progress).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = folder_of(file);
    let fail =
        |error: io::Error| Failure::Other(format!("cannot write {}: {error}", file.display()));
    let new = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    let out = new.as_file().try_clone().map_err(fail)?;
    let out: Box<dyn Write + Send> = Box::new(BufWriter::new(out));
    let sink = if is_zstd(file) {
        Sink::Zstd(zstd::Encoder::new(out, ZSTD_LEVEL).map_err(fail)?)
    } else {
        Sink::Plain(out)
    };
    let moved = write_to(source, sink, &progress).await?;
    new.as_file().sync_all().map_err(fail)?;
    if args.force {
        new.persist(file).map_err(|error| fail(error.error))?;
    } else {
        new.persist_noclobber(file).map_err(|error| {
            let is_there = error.error.kind() == io::ErrorKind::AlreadyExists;
            if is_there {
                exists(file)
            } else {
                fail(error.error)
            }
        })?;
    }
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(fail)?;
    say(&format!("wrote {}:\n{}", file.display(), told(&moved)))?;
    Ok(ExitCode::SUCCESS)
}

async fn write_to(source: &Source, sink: Sink, progress: &Progress) -> Result<Moved, Failure> {
    let out = Shared::new(sink);
    let bar = progress.clone();
    let moved = source
        .engine()
        .export(out.clone(), move |done, total| bar.set(done, total))
        .await;
    progress.end();
    let moved = moved.map_err(|error| failure(error, "export"))?;
    source.check().await?;
    out.finish()
        .map_err(|error| Failure::Other(format!("cannot write: {error}")))?;
    Ok(moved)
}

fn exists(file: &Path) -> Failure {
    let file = file.display();
    Failure::Usage(format!("{file} is there already; --force overwrites it"))
}

/// Whether a file's name says that it is compressed.
pub(crate) fn is_zstd(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "zst")
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Opens the queue of a relay that is stopped.
pub(crate) fn open_at_rest(data_dir: &Path) -> Result<Engine, Failure> {
    open_if_free(data_dir)?.ok_or_else(|| in_use(data_dir))
}

fn open_if_free(data_dir: &Path) -> Result<Option<Engine>, Failure> {
    match Engine::open(&command_options(data_dir)) {
        Ok(opened) => Ok(Some(opened.queue)),
        Err(OpenError::InUse(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn in_use(data_dir: &Path) -> Failure {
    let path = data_dir.display();
    let who = match AdminAddress::read(data_dir) {
        Some(relay) => format!("a relay (admin port {}) has it", relay.address),
        None => "another process has it".to_owned(),
    };
    Failure::Other(format!(
        "a queue is moved at rest, and the one in {path} is in use: {who}; stop it first (`export --wait` waits for that)"
    ))
}

/// What was moved, for people.
pub(crate) fn told(moved: &Moved) -> String {
    format!(
        "  {}\n  {} not routed yet\n  {} waiting for channels\n  {} among dead letters\n  {} of the dedup \
         window\n",
        count(moved.lines, "line"),
        count(moved.unrouted_events, "event"),
        count(moved.waiting_events, "event"),
        count(moved.dead_events, "event"),
        count(moved.keys, "key"),
    )
}

pub(crate) fn failure(error: MoveError, what: &str) -> Failure {
    match error {
        MoveError::Queue(error @ QueueError::Unavailable(_)) => {
            Failure::Other(format!("cannot {what}: {error}"))
        }
        MoveError::Queue(error) => Failure::Storage(error),
        MoveError::Open(error) => Failure::Open(error),
        other => Failure::Other(format!("cannot {what}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whether_it_is_compressed() {
        assert!(is_zstd(Path::new("queue.jsonl.zst")) && !is_zstd(Path::new("queue.jsonl")));
    }
}

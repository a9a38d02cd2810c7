//! `auditrelay export FILE`: everything that the queue of a stopped relay holds, as JSON lines.
//!
//! The file is there whole or not at all: it is written under a temporary name, synced, and renamed. Only
//! its owner can read it, as it holds events.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use auditrelay_store::{Engine, MoveError, Moved, OpenError};

use crate::{
    Failure,
    cli::ExportArgs,
    output::{count, say},
    progress::Progress,
    reach::{AdminAddress, command_options},
};

/// For archives: a little smaller than the fastest level, and not yet slow.
const ZSTD_LEVEL: i32 = 3;
/// Standard output or input.
const DASH: &str = "-";

pub(crate) async fn run(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let file = args.file.as_path();
    let is_stdout = file == Path::new(DASH);
    if !is_stdout && !args.force && file.exists() {
        return Err(exists(file));
    }
    let data_dir = args.place.data_dir()?;
    if !data_dir.join("queue").is_dir() {
        let path = data_dir.display();
        return Err(Failure::Other(format!(
            "there is no queue in {path}; name it with --data-dir"
        )));
    }
    let queue = open_at_rest(&data_dir)?;
    let progress = Progress::new("exporting");
    if is_stdout {
        // Who reads along must be told of an error by the exit code alone.
        write_to(
            &queue,
            Sink::Plain(Box::new(BufWriter::new(io::stdout()))),
            &progress,
        )
        .await?;
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
    let moved = write_to(&queue, sink, &progress).await?;
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

async fn write_to(queue: &Engine, sink: Sink, progress: &Progress) -> Result<Moved, Failure> {
    let out = Shared(Arc::new(Mutex::new(Some(sink))));
    let bar = progress.clone();
    let moved = queue
        .export(out.clone(), move |done, total| bar.set(done, total))
        .await;
    progress.end();
    let moved = moved.map_err(|error| failure(error, "export"))?;
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
    match Engine::open(&command_options(data_dir)) {
        Ok(opened) => Ok(opened.queue),
        Err(OpenError::InUse(_)) => {
            let path = data_dir.display();
            let who = match AdminAddress::read(data_dir) {
                Some(relay) => format!("a relay (admin port {}) has it", relay.address),
                None => "another process has it".to_owned(),
            };
            Err(Failure::Other(format!(
                "a queue is moved at rest, and the one in {path} is in use: {who}; stop it first"
            )))
        }
        Err(error) => Err(error.into()),
    }
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
        MoveError::Queue(error) => Failure::Storage(error),
        other => Failure::Other(format!("cannot {what}: {other}")),
    }
}

/// Where the lines go.
enum Sink {
    Plain(Box<dyn Write + Send>),
    Zstd(zstd::Encoder<'static, Box<dyn Write + Send>>),
}

/// The queue takes its writer for good, and a compressed file needs an end.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<Sink>>>);

impl Shared {
    fn finish(&self) -> io::Result<()> {
        let sink = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match sink {
            Some(Sink::Plain(mut out)) => out.flush(),
            Some(Sink::Zstd(encoder)) => encoder.finish()?.flush(),
            None => Ok(()),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sink.as_mut() {
            Some(Sink::Plain(out)) => act(out),
            Some(Sink::Zstd(encoder)) => act(encoder),
            None => Err(io::Error::other("the file is closed")),
        }
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|out| out.flush())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_compressed_file_has_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.jsonl.zst");
        assert!(is_zstd(&path) && !is_zstd(Path::new("queue.jsonl")));
        let out = Box::new(File::create(&path).expect("made"));
        let encoder = zstd::Encoder::new(out as Box<dyn Write + Send>, ZSTD_LEVEL);
        let shared = Shared(Arc::new(Mutex::new(Some(Sink::Zstd(
            encoder.expect("made"),
        )))));
        shared.clone().write_all(b"{}\n").expect("written");
        shared.finish().expect("ended");
        assert!(shared.clone().write_all(b"more").is_err());
        let mut text = String::new();
        zstd::Decoder::new(File::open(&path).expect("there"))
            .expect("zstd")
            .read_to_string(&mut text)
            .expect("whole");
        assert_eq!(text, "{}\n");
    }
}

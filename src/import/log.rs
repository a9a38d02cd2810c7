//! `auditrelay import FILE|-` of an audit log: reads it once, tells exactly what came of it, and goes on where it
//! was when it is run again.

use std::{io::Read, path::Path, process::ExitCode, time::Duration};

use auditrelay_ingest::log_file::{
    Chunk, Cutter, FirstLine, Form, LINE_BYTES_MAX, Mark, Place, Reached, unpacked,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    chunk::{Ask, Said, Take},
    report::Report,
    target::Target,
};
use crate::{
    Failure,
    cli::ImportArgs,
    failure::cut_short,
    output::{count, say, say_json, time},
    progress::Progress,
};

/// Chunks that are read ahead.
const CHUNKS_AHEAD: usize = 2;
/// How soon a full queue is asked again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
const PASS_BYTES: usize = 64 * 1024;

/// What is read.
pub(super) struct Source {
    pub(super) reader: Box<dyn Read + Send>,
    /// How its text begins.
    pub(super) head: Vec<u8>,
    pub(super) place: Place,
}

pub(super) async fn run(
    args: &ImportArgs,
    mut source: Source,
    progress: Progress,
) -> Result<ExitCode, Failure> {
    let mut target = Target::open(&args.place).await?;
    let known = Ask::Known {
        head: FirstLine::of(&source.head),
        place: source.place,
        again: args.again,
    };
    let (marks, new_input) = match target.ask(&known, &[]).await? {
        Said::Known { marks, new_input } => (marks, new_input),
        Said::Refused(reason) => return Err(refused(&args.file.display(), &reason)),
        _ => return Err(unexpected()),
    };
    let mut report = Report {
        quiet: args.quiet,
        file: args.file.display().to_string(),
        from_line: 1,
        ..Report::default()
    };
    let before = marks.into_iter().next().filter(|_| !args.again);
    let (input, reached) = match before {
        None => (new_input, Reached::default()),
        Some((input, mark)) => {
            let reached = pass(&mut source, &mark, &args.file)?;
            is_same(&mut target, &input, &reached, &args.file).await?;
            report.from_line = mark.lines + 1;
            report.read_before_unix_ms = Some(mark.read_unix_ms);
            (input, reached)
        }
    };
    let begun = Instant::now();
    let work = Work {
        cluster: args.cluster.as_ref().map(ToString::to_string),
        path: args.file.display().to_string(),
        place: source.place,
        input,
        quiet: args.quiet,
        before: reached.clone(),
        at: reached.clone(),
    };
    let ended = work
        .take_all(source.reader, reached, &mut target, &mut report)
        .await;
    progress.end();
    report.seconds = begun.elapsed().as_secs_f64();
    report.events_per_second = report.events as f64 / report.seconds.max(0.001);
    report.error = ended.as_ref().err().map(ToString::to_string);
    if args.json {
        say_json(&report)?;
    } else {
        say(&report.told(target.is_relay()))?;
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// Reads over what was read before.
fn pass(source: &mut Source, mark: &Mark, file: &Path) -> Result<Reached, Failure> {
    let mut reached = Reached::default();
    let mut piece = vec![0; PASS_BYTES];
    while reached.offset < mark.offset {
        let left = usize::try_from(mark.offset - reached.offset).unwrap_or(usize::MAX);
        let length = piece.len().min(left);
        match source
            .reader
            .read(&mut piece[..length])
            .map_err(|error| unreadable(file, &error))?
        {
            0 => {
                return Err(Failure::Other(format!(
                    "{} begins like a file of which {} were read on {}, and is shorter; --again reads it from \
                     its beginning",
                    file.display(),
                    count(mark.lines, "line"),
                    time(mark.read_unix_ms)
                )));
            }
            read => reached.pass(&piece[..read]),
        }
    }
    Ok(Reached {
        lines: mark.lines,
        ..reached
    })
}

/// What was read over has to be what was read before.
async fn is_same(
    target: &mut Target,
    input: &str,
    reached: &Reached,
    file: &Path,
) -> Result<(), Failure> {
    let ask = Ask::Same {
        input: input.to_owned(),
        offset: reached.offset,
        tail: reached.tail.clone(),
    };
    match target.ask(&ask, &[]).await? {
        Said::Same(true) => Ok(()),
        Said::Same(false) => Err(Failure::Other(format!(
            "{} begins like a file that was read before, and goes on in another way; --again reads it from its \
             beginning",
            file.display()
        ))),
        _ => Err(unexpected()),
    }
}

struct Work {
    cluster: Option<String>,
    path: String,
    place: Place,
    input: String,
    quiet: bool,
    /// How far the queue knows that the file was read.
    before: Reached,
    /// How far it was read here.
    at: Reached,
}

impl Work {
    async fn take_all(
        mut self,
        reader: Box<dyn Read + Send>,
        reached: Reached,
        target: &mut Target,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let (read, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || cut(reader, reached, &read));
        while let Some(chunk) = chunks.recv().await {
            self.take(chunk, target, report).await?;
        }
        let read_all = reading
            .await
            .map_err(|error| Failure::Other(format!("reading failed: {}", cut_short(&error))))?;
        read_all.map_err(|error| unreadable(Path::new(&path), &error))
    }

    async fn take(
        &mut self,
        mut chunk: Chunk,
        target: &mut Target,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let start = std::mem::replace(&mut self.at, chunk.end.clone());
        let taken = loop {
            match self.ask(&chunk, target).await? {
                Said::Taken(taken) => break taken,
                Said::Moved(mark) if mark.offset >= chunk.end.offset => {
                    // All of these are in; what follows is compared again.
                    self.before = chunk.end;
                    return Ok(());
                }
                Said::Moved(mark) => self.before = cut_off(&mut chunk, &start, &mark),
                Said::Full(_) if target.is_relay() => sleep(FULL_PAUSE).await,
                Said::Full(reason) => {
                    return Err(Failure::Other(format!(
                        "no room in the queue: {reason}. Run it again when the relay has delivered some: it goes \
                         on where it was"
                    )));
                }
                Said::Refused(reason) => return Err(refused(&self.path, &reason)),
                Said::Known { .. } | Said::Same(_) => return Err(unexpected()),
            }
        };
        // With blank lines alone there was nothing to store, and so no place to note how far it is.
        if taken.events + taken.unreadable > 0 {
            self.before = chunk.end;
        }
        report.add(taken, chunk.lines.len() as u64, chunk.bytes);
        Ok(())
    }

    async fn ask(&self, chunk: &Chunk, target: &mut Target) -> Result<Said, Failure> {
        let ask = Ask::Take(Box::new(Take {
            cluster: self.cluster.clone(),
            path: self.path.clone(),
            place: self.place,
            input: self.input.clone(),
            quiet: self.quiet,
            offset_before: self.before.offset,
            tail_before: self.before.tail.clone(),
            chunk: Chunk {
                text: Vec::new(),
                lines: chunk.lines.clone(),
                end: chunk.end.clone(),
                bytes: chunk.bytes,
            },
        }));
        target.ask(&ask, &chunk.text).await
    }
}

/// Takes lines off a chunk that were taken meanwhile; returns where the rest begins.
fn cut_off(chunk: &mut Chunk, start: &Reached, mark: &Mark) -> Reached {
    let mut reached = start.clone();
    let bytes = usize::try_from(mark.offset.saturating_sub(start.offset)).unwrap_or(usize::MAX);
    let bytes = bytes.min(chunk.text.len());
    let rest = chunk.text.split_off(bytes);
    reached.pass(&chunk.text);
    reached.lines = mark.lines;
    chunk.text = rest;
    chunk.bytes -= bytes as u64;
    chunk.lines.retain(|line| line.offset >= mark.offset);
    for line in &mut chunk.lines {
        line.text = line.text.start - bytes..line.text.end - bytes;
    }
    reached
}

/// Cuts what is read into chunks, until nobody wants more.
fn cut(
    mut reader: Box<dyn Read + Send>,
    reached: Reached,
    to: &mpsc::Sender<Chunk>,
) -> std::io::Result<()> {
    let mut cutter = Cutter::at(reached);
    loop {
        while let Some(chunk) = cutter.cut() {
            if to.blocking_send(chunk).is_err() {
                return Ok(());
            }
        }
        if cutter.fill(reader.as_mut())? == 0 {
            break;
        }
    }
    if let Some(rest) = cutter.rest() {
        // Who is gone has told why.
        let _ = to.blocking_send(rest);
    }
    Ok(())
}

fn refused(file: &dyn std::fmt::Display, reason: &str) -> Failure {
    Failure::Other(format!("cannot import {file}: {reason}"))
}

fn unexpected() -> Failure {
    Failure::Other(
        "the relay answered something else than was asked; is it another version?".to_owned(),
    )
}

pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!(
        "cannot read {}: {error}; what was imported before stays, and a next import goes on behind it",
        file.display()
    ))
}

/// The text of something, and its first line, which tells what it is.
pub(super) fn begin(
    from: impl Read + Send + 'static,
    form: Form,
) -> std::io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut reader = unpacked(from, form)?;
    let mut head = Vec::new();
    let mut line = FirstLine::default();
    while !line.is_whole() && head.len() <= LINE_BYTES_MAX {
        let before = head.len();
        let piece = (&mut reader).take(PASS_BYTES as u64);
        if read_some(piece, &mut head)? == 0 {
            break;
        }
        line.pass(&head[before..]);
    }
    let whole = std::io::Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(whole)))
}

/// What came before an error is good.
fn read_some(mut from: impl Read, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let before = into.len();
    let read = from.read_to_end(into);
    match into.len() - before {
        0 => read,
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::HashKey;

    use super::*;

    fn chunk(cutter: &mut Cutter, text: &str) -> Chunk {
        cutter.fill(&mut text.as_bytes()).expect("memory");
        cutter.cut().expect("lines")
    }

    #[test]
    fn what_was_taken_meanwhile_is_cut_off_and_the_rest_is_where_it_was() {
        let mut cutter = Cutter::default();
        chunk(&mut cutter, "zero\n");
        let start = cutter.reached().clone();
        let mut of_three = chunk(&mut cutter, "one\ntwo two\nthree\n");
        let key = HashKey::new([7; 32]);
        let mut reached = start.clone();
        reached.pass(b"one\n");
        reached.lines += 1;
        let mark = Mark::new(&key, Path::new("a"), Place::default(), &reached, 1);
        assert_eq!(cut_off(&mut of_three, &start, &mark), reached);
        let texts: Vec<_> = of_three
            .lines
            .iter()
            .map(|line| (line.number, line.offset, &of_three.text[line.text.clone()]))
            .collect();
        assert_eq!(texts, [(3, 9, &b"two two"[..]), (4, 17, &b"three"[..])]);
        assert_eq!(of_three.bytes, 14);
        assert_eq!(of_three.end, *cutter.reached());
    }
}

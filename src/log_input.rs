//! Audit events out of what operators keep: log files, folders of rotated ones, plain or packed by gzip or zstd,
//! bodies of a webhook, standard input (`-`).
//!
//! Contract:
//! * files are read in the order of their first events' times, whatever they are called, and each to its end;
//! * what cannot be read is counted, with the first places of it, and never costs the others; a file of a folder in
//!   which nothing looks like an event is named, and not read on;
//! * memory is bounded by the longest line ([`auditrelay_ingest::log_file::LINE_BYTES_MAX`]), or by [`WHOLE_BYTES_MAX`] for a file of JSON over
//!   several lines.

use std::{
    fs::{self, File},
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
};

use auditrelay_audit::{
    Envelope,
    list::{ITEMS_MAX, Item, ListError, Readable},
};
use auditrelay_ingest::log_file::{Chunk, Cutter, Form, unpacked};
use jiff::Timestamp;

use crate::{Failure, output::line, progress::Progress};

mod totals;

pub(crate) use totals::Totals;

/// The longest file of JSON that is written over several lines.
const WHOLE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// So much of a file of a folder has to hold an event.
const PEEK_BYTES: u64 = 1024 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Tells of each event in these files and folders. An error of `each` ends it.
///
/// # Errors
/// A file cannot be read, or a file that was named holds no event at all.
pub(crate) fn read<E>(
    paths: &[PathBuf],
    progress: &Progress,
    mut each: E,
) -> Result<Totals, Failure>
where
    E: FnMut(&Item<'_>, &Envelope<'_>) -> Result<(), Failure>,
{
    let mut totals = Totals::default();
    let found = find(paths, &mut totals)?;
    progress.set(0, found.iter().map(|one| one.bytes).sum());
    for file in &found {
        let before = (totals.events, totals.unreadable);
        let opened = open(&file.path).map_err(|error| cannot_read(&file.path, &error))?;
        let reader = unpack(progress.passing(opened));
        let reader = reader.map_err(|error| cannot_read(&file.path, &error))?;
        one_file(&file.path, reader, &mut totals, &mut each)?;
        totals.files += 1;
        if file.is_named && totals.events == before.0 {
            let problem = match totals.unreadable > before.1 {
                true => "nothing in it is an audit event",
                false => "is empty",
            };
            return Err(Failure::Usage(format!("{}: {problem}", shown(&file.path))));
        }
    }
    Ok(totals)
}

/// A file to read.
struct Found {
    path: PathBuf,
    /// By the command line, and not by a folder.
    is_named: bool,
    /// When its first event happened; none where that is not known.
    first: Option<Timestamp>,
    bytes: u64,
}

fn find(paths: &[PathBuf], totals: &mut Totals) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            found.push(Found {
                path: path.clone(),
                is_named: true,
                first: None,
                bytes: 0,
            });
            continue;
        }
        let metadata = fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
        if !metadata.is_dir() {
            let first = match metadata.is_file() {
                true => peek(path).map_err(|error| cannot_read(path, &error))?,
                // A pipe can be read but once.
                false => None,
            };
            found.push(Found {
                path: path.clone(),
                is_named: true,
                first: first.flatten(),
                bytes: metadata.len(),
            });
            continue;
        }
        folder(path, &mut found, totals)?;
    }
    if found.is_empty() {
        let folders: Vec<String> = paths.iter().map(|path| shown(path)).collect();
        return Err(Failure::Usage(format!(
            "{}: there is no file with audit events",
            folders.join(", ")
        )));
    }
    // Stable: what has no time comes last, in the order of the command line and of names.
    found.sort_by_key(|one| (one.first.is_none(), one.first));
    Ok(found)
}

fn folder(path: &Path, found: &mut Vec<Found>, totals: &mut Totals) -> Result<(), Failure> {
    let failed = |error: &io::Error| cannot_read(path, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        let metadata = fs::metadata(entry.path()).map_err(|error| failed(&error))?;
        if metadata.is_file() && !is_hidden {
            names.push((entry.path(), metadata.len()));
        }
    }
    names.sort();
    for (path, bytes) in names {
        match peek(&path).map_err(|error| cannot_read(&path, &error))? {
            None => totals.passed_over.push(shown(&path)),
            Some(first) => found.push(Found {
                path,
                is_named: false,
                first,
                bytes,
            }),
        }
    }
    Ok(())
}

/// The time of a file's first event, as far as it has one; `None`: nothing at its beginning looks like an event.
fn peek(path: &Path) -> io::Result<Option<Option<Timestamp>>> {
    let mut head = Vec::new();
    let read = unpack(open(path)?)?.take(PEEK_BYTES).read_to_end(&mut head);
    if head.is_empty() {
        read?;
    }
    let mut first = None;
    for line in head.split(|byte| *byte == b'\n') {
        events_in(line, |_, envelope| {
            let time = || envelope.stage_timestamp.parse::<Timestamp>().ok();
            first.get_or_insert_with(time);
        });
        if first.is_some() {
            break;
        }
    }
    // A list that is longer than what was looked at, or over several lines, says so in its first bytes, or in its last.
    let names_a_kind = || holds(&head, b"audit.k8s.io/") || holds(&head, b"\"auditID\"");
    Ok(first.or_else(|| names_a_kind().then_some(None)))
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(path)?))
}

/// The text of something, whatever it is packed with.
fn unpack(mut from: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut mark = Vec::new();
    (&mut from)
        .take(Form::MARK_BYTES as u64)
        .read_to_end(&mut mark)?;
    let form = Form::of(&mark);
    unpacked(Cursor::new(mark).chain(from), form)
}

fn one_file<E>(
    path: &Path,
    mut reader: Box<dyn Read + Send>,
    totals: &mut Totals,
    each: &mut E,
) -> Result<(), Failure>
where
    E: FnMut(&Item<'_>, &Envelope<'_>) -> Result<(), Failure>,
{
    let mut cutter = Cutter::default();
    let mut is_first = true;
    loop {
        let filled = cutter
            .fill(reader.as_mut())
            .map_err(|error| cannot_read(path, &error))?;
        let is_end = filled == 0;
        while let Some(mut chunk) = next(&mut cutter, is_end) {
            if std::mem::take(&mut is_first) && is_over_several_lines(&chunk.text) {
                // It is one JSON value, of which the lines are no part that can be read alone.
                whole(cutter, &mut chunk, reader.as_mut())
                    .map_err(|error| cannot_read(path, &error))?;
                return whole_file(path, &chunk.text, totals, each);
            }
            lines(path, &chunk, totals, each)?;
        }
        if is_end {
            return Ok(());
        }
    }
}

fn next(cutter: &mut Cutter, is_end: bool) -> Option<Chunk> {
    let chunk = cutter.cut();
    match chunk {
        None if is_end => cutter.rest(),
        chunk => chunk,
    }
}

/// Whether the first line begins a JSON value that it does not end.
fn is_over_several_lines(text: &[u8]) -> bool {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
    matches!(first.first(), Some(b'{' | b'[')) && !matches!(first.last(), Some(b'}' | b']'))
}

/// The text of the whole file, of which a first chunk was cut.
fn whole(mut cutter: Cutter, chunk: &mut Chunk, reader: &mut dyn Read) -> io::Result<()> {
    while let Some(more) = next(&mut cutter, true) {
        chunk.text.extend_from_slice(&more.text);
    }
    let room = WHOLE_BYTES_MAX + 1;
    reader
        .take(room.saturating_sub(chunk.text.len() as u64))
        .read_to_end(&mut chunk.text)?;
    if chunk.text.len() as u64 > WHOLE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "is one JSON value over several lines and longer than {WHOLE_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn whole_file<E>(path: &Path, text: &[u8], totals: &mut Totals, each: &mut E) -> Result<(), Failure>
where
    E: FnMut(&Item<'_>, &Envelope<'_>) -> Result<(), Failure>,
{
    totals.bytes += text.len() as u64;
    tell(path, 1, text, totals, each)
}

fn lines<E>(path: &Path, chunk: &Chunk, totals: &mut Totals, each: &mut E) -> Result<(), Failure>
where
    E: FnMut(&Item<'_>, &Envelope<'_>) -> Result<(), Failure>,
{
    totals.bytes += chunk.bytes;
    for line in &chunk.lines {
        let text = chunk.text.get(line.text.clone()).unwrap_or_default();
        if line.is_too_long() {
            totals.unreadable(1, path, line.number);
        } else {
            tell(path, line.number, text, totals, each)?;
        }
    }
    Ok(())
}

fn tell<E>(
    path: &Path,
    number: u64,
    text: &[u8],
    totals: &mut Totals,
    each: &mut E,
) -> Result<(), Failure>
where
    E: FnMut(&Item<'_>, &Envelope<'_>) -> Result<(), Failure>,
{
    let mut ended = Ok(());
    let (events, unreadable) = events_in(text, |item, envelope| {
        if ended.is_ok() {
            ended = each(item, envelope);
        }
    });
    totals.events += events;
    totals.unreadable(unreadable, path, number);
    ended
}

/// Tells of the events in some text: one event, an `EventList`, an array. How many there were, and how many things
/// that are none; blank text has neither.
pub(crate) fn events_in(text: &[u8], mut each: impl FnMut(&Item<'_>, &Envelope<'_>)) -> (u64, u64) {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.trim_ascii();
    if text.is_empty() {
        return (0, 0);
    }
    let (mut events, mut unreadable) = (0, 0);
    let is_array = text.first() == Some(&b'[');
    if !is_array {
        Readable::new(text).event(|item, envelope| {
            if let Ok(envelope) = envelope {
                events += 1;
                each(&item, &envelope);
            }
        });
        if events > 0 {
            return (events, 0);
        }
    }
    let mut read = |body: &[u8]| -> Result<(), ListError> {
        let body = Readable::new(body);
        // What is told of before a fault would be worth nothing.
        body.split(ITEMS_MAX)?;
        body.events(ITEMS_MAX, |item, envelope| match envelope {
            Ok(envelope) => {
                events += 1;
                each(&item, &envelope);
            }
            Err(_) => unreadable += 1,
        })
    };
    let read = if is_array {
        let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":"#;
        read(&[head.as_slice(), text, b"}"].concat())
    } else {
        read(text)
    };
    unreadable += u64::from(read.is_err());
    (events, unreadable)
}

fn shown(path: &Path) -> String {
    match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => line(&path.display().to_string(), 300),
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!(
        "cannot read {}: {}; nothing is reported of the rest",
        shown(path),
        line(&error.to_string(), 200)
    ))
}

#[cfg(test)]
mod tests;

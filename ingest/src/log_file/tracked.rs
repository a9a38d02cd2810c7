//! One file that is followed: opened where its mark says, read some lines at a time.
//!
//! Invariants:
//! * a file is read on only while it is still what was read: it is not shorter, and before the place that was
//!   reached there is what was there;
//! * what is compressed is read to its end once; what was rotated is closed at its end and opened again if it
//!   grows, so that open files are few.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    cut::{Chunk, Cutter, Reached},
    find::Found,
    first_line::FirstLine,
    lines::Noted,
    mark::Place,
};

/// A last line without a newline counts as one once a rotated file was not written to for so long.
pub(super) const REST_AFTER_MS: i64 = 60_000;
/// A file that is found under no name any more is let go once it did not grow for so long.
const GONE_AFTER_MS: i64 = 60_000;

/// What a file is read with, and from where.
pub(super) struct Opened {
    /// Only of what is not compressed.
    pub(super) file: Option<File>,
    pub(super) reader: Box<dyn Read + Send>,
    pub(super) reached: Reached,
    pub(super) begins: FirstLine,
}

/// A file that is followed.
pub(super) struct Tracked {
    pub(super) path: PathBuf,
    pub(super) input: String,
    pub(super) place: Place,
    pub(super) is_rotated: bool,
    /// Found under some name when it was looked for last.
    pub(super) is_listed: bool,
    /// When it was first not found, Unix time in milliseconds.
    pub(super) missing_unix_ms: Option<i64>,
    /// Only of what is not compressed.
    file: Option<File>,
    reader: Option<Box<dyn Read + Send>>,
    cutter: Cutter,
    /// The last turn ended before what is there: lines may be read already that were not told of.
    has_more: bool,
    /// An error that is still to be told.
    failed: Option<io::Error>,
    /// How it begins, as far as that was known when it was opened.
    begins: FirstLine,
    /// Why it cannot be read as it is now.
    pub(super) broken: Option<String>,
    said_unreadable: bool,
    said_legacy: bool,
}

/// Some lines that were read.
pub(super) struct SomeLines {
    pub(super) chunks: Vec<Chunk>,
    pub(super) is_at_end: bool,
}

impl Tracked {
    /// A file that is read to its end and lies closed.
    pub(super) fn closed(found: &Found, input: String) -> Self {
        Self {
            path: found.path.clone(),
            input,
            place: found.place,
            is_rotated: found.is_rotated,
            is_listed: true,
            missing_unix_ms: None,
            file: None,
            reader: None,
            cutter: Cutter::default(),
            has_more: false,
            failed: None,
            begins: FirstLine::default(),
            broken: None,
            said_unreadable: false,
            said_legacy: false,
        }
    }

    /// A file that is read from a place on.
    pub(super) fn opened(found: &Found, input: String, opened: Opened) -> Self {
        Self {
            file: opened.file,
            reader: Some(opened.reader),
            cutter: Cutter::at(opened.reached),
            begins: opened.begins,
            ..Self::closed(found, input)
        }
    }

    /// Reads over the first bytes, which were read before; `None` if there are fewer.
    pub(super) fn pass(&mut self, bytes: u64) -> io::Result<Option<Reached>> {
        match &mut self.reader {
            Some(reader) => pass(reader, bytes),
            None => Ok(None),
        }
    }

    /// So far it is read.
    pub(super) fn go_on_at(&mut self, reached: Reached) {
        self.cutter = Cutter::at(reached);
    }

    /// A file that cannot be read until it changes.
    pub(super) fn broken(found: &Found, reason: String) -> Self {
        say_broken(&found.path, &reason);
        Self {
            broken: Some(reason),
            ..Self::closed(found, String::new())
        }
    }

    /// How it begins, as far as that is known.
    pub(super) fn begins(&self) -> &FirstLine {
        &self.begins
    }

    pub(super) fn reached(&self) -> &Reached {
        self.cutter.reached()
    }

    fn read_bytes(&self) -> u64 {
        self.cutter.reached().offset + self.cutter.pending_bytes()
    }

    /// How many bytes are left to read, of a file that is not compressed.
    pub(super) fn lag_bytes(&self) -> u64 {
        match &self.file {
            Some(_) => self.place.size.saturating_sub(self.cutter.reached().offset),
            None => 0,
        }
    }

    /// Whether what is found is still what was read; if so it is noted where and how it lies now.
    pub(super) fn still_is(&mut self, found: &Found) -> bool {
        let is_same = self.place == found.place || self.has_grown(found);
        if is_same {
            self.path.clone_from(&found.path);
            self.place = found.place;
            self.is_rotated = found.is_rotated;
            self.is_listed = true;
            self.missing_unix_ms = None;
        }
        is_same
    }

    fn has_grown(&self, found: &Found) -> bool {
        found.place.size >= self.read_bytes() && self.file.is_some() && self.is_as_it_was()
    }

    /// Whether what was read is still there. It may have been cut, and written anew, since it was looked at: while
    /// reading had to wait for space that can be hours.
    pub(super) fn is_as_it_was(&self) -> bool {
        let Some(file) = &self.file else { return true };
        let reached = self.cutter.reached();
        let mut tail = vec![0; reached.tail.len()];
        let before = reached.offset - reached.tail.len() as u64;
        // A file that cannot be read is opened anew, and that says why.
        let is_long = file
            .metadata()
            .is_ok_and(|now| now.len() >= self.read_bytes());
        is_long
            && read_at(file, &mut tail, before).is_ok_and(|read| read == tail.len())
            && tail == reached.tail
            && self.begins_as_it_did(file)
    }

    fn begins_as_it_did(&self, file: &File) -> bool {
        if self.begins.is_empty() {
            return true;
        }
        FirstLine::read(&mut FromStart { file, offset: 0 }).0 == self.begins
    }

    /// It is found under no name: looks at what is open. False once it is to be let go.
    pub(super) fn stays_without_name(&mut self, now_unix_ms: i64) -> bool {
        let Some(metadata) = self.file.as_ref().and_then(|file| file.metadata().ok()) else {
            return false;
        };
        let place = Place::of(&metadata);
        let is_still = place == self.place;
        self.place = place;
        self.is_listed = false;
        let since = *self.missing_unix_ms.get_or_insert(now_unix_ms);
        let is_deleted = metadata.nlink() == 0;
        let is_read = self.lag_bytes() == 0;
        !(is_still && is_read && (is_deleted || now_unix_ms - since > GONE_AFTER_MS))
    }

    /// Whether there is something to read.
    pub(super) fn is_behind(&self, now_unix_ms: i64) -> bool {
        match &self.file {
            Some(_) => {
                self.has_more
                    || self.place.size > self.read_bytes()
                    || self.is_rest_due(now_unix_ms)
            }
            None => self.reader.is_some(),
        }
    }

    /// Whether what is left without a newline will never get one.
    fn is_rest_due(&self, now_unix_ms: i64) -> bool {
        let idle_ms = now_unix_ms - self.place.modified_ns / 1_000_000;
        let is_over = match self.missing_unix_ms {
            Some(since) => now_unix_ms - since > GONE_AFTER_MS / 2,
            None => self.is_rotated && idle_ms > REST_AFTER_MS,
        };
        is_over && self.cutter.pending_bytes() > 0
    }

    /// Reads lines of about so many bytes.
    pub(super) fn read(&mut self, bytes_max: u64, now_unix_ms: i64) -> io::Result<SomeLines> {
        let rest_is_due = self.file.is_none() || self.is_rest_due(now_unix_ms);
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut bytes = 0;
        let is_at_end = loop {
            let Some(reader) = &mut self.reader else {
                break true;
            };
            if let Some(chunk) = self.cutter.cut() {
                bytes += chunk.bytes;
                chunks.push(chunk);
                if bytes >= bytes_max {
                    break false;
                }
                continue;
            }
            let filled = match self.failed.take() {
                Some(error) => Err(error),
                None => self.cutter.fill(reader.as_mut()),
            };
            let filled = match filled {
                // What came before it is told first.
                Err(error) if !chunks.is_empty() => {
                    self.failed = Some(error);
                    break false;
                }
                filled => filled?,
            };
            if filled == 0 {
                if rest_is_due {
                    chunks.extend(self.cutter.rest());
                }
                break true;
            }
        };
        self.has_more = !is_at_end;
        let is_done = is_at_end && (self.file.is_none() || self.is_rotated) && self.is_listed;
        if is_done && self.cutter.pending_bytes() == 0 {
            self.close();
        }
        Ok(SomeLines { chunks, is_at_end })
    }

    /// Each file says once that there are lines in it that are no events.
    pub(super) fn say_unreadable(&mut self, noted: &[Noted], legacy: u64) {
        let file = self.path.display();
        if legacy > 0 && !self.said_legacy {
            self.said_legacy = true;
            tracing::error!(
                %file,
                "the log file is written in the legacy text format, which holds no events that could be read: its \
                 lines go to quarantine. Start the API server with --audit-log-format=json"
            );
        } else if let Some(Noted { line, reason }) = noted.first()
            && legacy == 0
            && !self.said_unreadable
        {
            self.said_unreadable = true;
            tracing::warn!(%file, line, reason, "a line of the log file is no event and goes to quarantine; said once a file");
        }
    }

    /// Whether it was read to its end and closed.
    pub(super) fn is_closed(&self) -> bool {
        self.reader.is_none()
    }

    /// It cannot be read until it changes.
    pub(super) fn set_broken(&mut self, reason: String) {
        say_broken(&self.path, &reason);
        self.close();
        self.broken = Some(reason);
    }

    fn close(&mut self) {
        self.file = None;
        self.reader = None;
    }
}

/// Reads over the first bytes; `None` if there are fewer.
fn pass(reader: &mut dyn Read, bytes: u64) -> io::Result<Option<Reached>> {
    let mut reached = Reached::default();
    let mut piece = vec![0; 64 * 1024];
    while reached.offset < bytes {
        let left = usize::try_from(bytes - reached.offset).unwrap_or(usize::MAX);
        let length = piece.len().min(left);
        match reader.read(&mut piece[..length])? {
            0 => return Ok(None),
            read => reached.pass(&piece[..read]),
        }
    }
    Ok(Some(reached))
}

/// Reads without moving where the file's reader stands.
struct FromStart<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

pub(super) fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

fn say_broken(file: &Path, reason: &str) {
    tracing::error!(
        file = %file.display(),
        reason,
        "a log file cannot be read on; it is tried again when it changes: if it was damaged, move it away, what was \
         read of it is kept"
    );
}

//! One file that is followed: opened where its mark says, read some lines at a time.
//!
//! Invariants:
//! * a file is read on only while it is still what was read: it is not shorter, and before the place that was
//!   reached there is what was there;
//! * what is compressed is read to its end once; what was rotated is closed at its end and opened again if it
//!   grows, so that open files are few.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
};

use auditrelay_audit::HashKey;

use super::{
    cut::{Chunk, Cutter, Reached},
    find::Found,
    mark::{HEAD_BYTES, Mark, Place},
    open::{Form, unpacked},
};

/// A last line without a newline counts as one once a rotated file was not written to for so long.
const REST_AFTER_MS: i64 = 60_000;
/// A file that is found under no name any more is let go once it did not grow for so long.
const GONE_AFTER_MS: i64 = 60_000;

/// A file that was opened to find out which one it is.
pub(super) struct Looked {
    file: File,
    form: Form,
    pub(super) head: Vec<u8>,
}

impl Looked {
    /// Opens a file and reads how it begins.
    pub(super) fn at(found: &Found) -> io::Result<Self> {
        let file = File::open(&found.path)?;
        let mut first = [0; Form::MARK_BYTES];
        let length = read_at(&file, &mut first, 0)?;
        let form = Form::of(&first[..length]);
        let mut head = Vec::new();
        let read = unpacked(file.try_clone()?, form)?
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut head);
        // What is packed and not complete yet may still have enough of a beginning.
        if head.is_empty() {
            read?;
        }
        Ok(Self { file, form, head })
    }

    pub(super) fn is_packed(&self) -> bool {
        self.form != Form::Plain
    }

    /// Whether there is a line to read.
    pub(super) fn has_a_line(&self) -> bool {
        let is_long = self.head.len() == HEAD_BYTES;
        is_long || self.head.contains(&b'\n') || (self.form != Form::Plain && !self.head.is_empty())
    }

    /// Whether it is the file of this mark; `None` if it may still become it: a copy that is not complete.
    pub(super) fn is_of(
        &self,
        found: &Found,
        mark: &Mark,
        key: &HashKey,
    ) -> io::Result<Option<bool>> {
        if self.form != Form::Plain {
            // Only reading it all would tell more.
            return Ok(Some(true));
        }
        if found.place.size < mark.offset {
            return Ok(None);
        }
        Ok(Some(has_tail(&self.file, mark, key)?))
    }

    /// Reads from the beginning.
    pub(super) fn read_whole(self, found: &Found, input: String) -> io::Result<Tracked> {
        self.read_from(found, input, Reached::default())
    }

    /// Reads on behind a mark; `None` if what is packed is not the file of the mark after all, or not all there.
    pub(super) fn behind(
        self,
        found: &Found,
        input: String,
        mark: &Mark,
        key: &HashKey,
    ) -> io::Result<Option<Tracked>> {
        let mut reached = Reached {
            offset: mark.offset,
            lines: mark.lines,
            head: self.head.clone(),
            tail: Vec::new(),
        };
        let head_bytes = reached
            .head
            .len()
            .min(usize::try_from(mark.offset).unwrap_or(HEAD_BYTES));
        reached.head.truncate(head_bytes);
        if self.form == Form::Plain {
            reached.tail = tail_of(&self.file, mark)?;
            return self.read_from(found, input, reached).map(Some);
        }
        let mut tracked = self.read_from(found, input, Reached::default())?;
        let passed = match &mut tracked.reader {
            Some(reader) => pass(reader, mark.offset)?,
            None => None,
        };
        let is_it = passed.filter(|passed| mark.has_tail(key, &passed.tail));
        Ok(is_it.map(|passed| {
            tracked.cutter = Cutter::at(Reached {
                lines: mark.lines,
                ..passed
            });
            tracked
        }))
    }

    fn read_from(self, found: &Found, input: String, reached: Reached) -> io::Result<Tracked> {
        let Self { file, form, head } = self;
        let mut source = file.try_clone()?;
        let from = match form {
            Form::Plain => reached.offset,
            Form::Gzip | Form::Zstd => 0,
        };
        source.seek(SeekFrom::Start(from))?;
        Ok(Tracked {
            file: (form == Form::Plain).then_some(file),
            reader: Some(unpacked(source, form)?),
            cutter: Cutter::at(reached),
            begins: head,
            ..Tracked::closed(found, input)
        })
    }
}

/// Reads over the first bytes; `None` if there are fewer.
pub(super) fn pass(reader: &mut dyn Read, bytes: u64) -> io::Result<Option<Reached>> {
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
    begins: Vec<u8>,
    /// Why it cannot be read as it is now.
    pub(super) broken: Option<String>,
    pub(super) said_unreadable: bool,
    pub(super) said_legacy: bool,
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
            is_rotated: found.rotated_from.is_some(),
            is_listed: true,
            missing_unix_ms: None,
            file: None,
            reader: None,
            cutter: Cutter::default(),
            has_more: false,
            failed: None,
            begins: Vec::new(),
            broken: None,
            said_unreadable: false,
            said_legacy: false,
        }
    }

    /// A file that cannot be read until it changes.
    pub(super) fn broken(found: &Found, reason: String) -> Self {
        Self {
            broken: Some(reason),
            ..Self::closed(found, String::new())
        }
    }

    /// How it begins, as far as that is known.
    pub(super) fn begins(&self) -> &[u8] {
        let read = &self.cutter.reached().head;
        match read.len() > self.begins.len() {
            true => read,
            false => &self.begins,
        }
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
            self.is_rotated = found.rotated_from.is_some();
            self.is_listed = true;
            self.missing_unix_ms = None;
        }
        is_same
    }

    fn has_grown(&self, found: &Found) -> bool {
        let Some(file) = &self.file else { return false };
        let reached = self.cutter.reached();
        let is_there = |bytes: &[u8], offset: u64| {
            let mut now = vec![0; bytes.len()];
            // A file that cannot be read is opened anew, and that says why.
            read_at(file, &mut now, offset).is_ok() && now == bytes
        };
        let before = reached.offset - reached.tail.len() as u64;
        found.place.size >= self.read_bytes()
            && is_there(&reached.head, 0)
            && is_there(&reached.tail, before)
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

    /// Whether it was read to its end and closed.
    pub(super) fn is_closed(&self) -> bool {
        self.reader.is_none()
    }

    /// It cannot be read until it changes.
    pub(super) fn set_broken(&mut self, reason: String) {
        self.close();
        self.broken = Some(reason);
    }

    fn close(&mut self) {
        self.file = None;
        self.reader = None;
    }
}

fn has_tail(file: &File, mark: &Mark, key: &HashKey) -> io::Result<bool> {
    Ok(mark.has_tail(key, &tail_of(file, mark)?))
}

/// The bytes before a mark's offset, fewer if the file ends within them.
fn tail_of(file: &File, mark: &Mark) -> io::Result<Vec<u8>> {
    let bytes = mark.tail_bytes().min(mark.offset);
    let mut tail = vec![0; usize::try_from(bytes).unwrap_or_default().min(HEAD_BYTES)];
    let read = read_at(file, &mut tail, mark.offset - bytes)?;
    tail.truncate(read);
    Ok(tail)
}

fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

//! Which file is this? Opened to find out, by how it begins and by what stands before the place of a mark.
//!
//! Invariant: what is found out of a path is of the file that was listed under it, not of one that took its place.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
};

use auditrelay_audit::HashKey;

use super::{
    cut::Reached,
    find::Found,
    first_line::FirstLine,
    mark::{Mark, Place, TAIL_BYTES},
    open::{Form, unpacked},
    tracked::{Opened, REST_AFTER_MS, Tracked, read_at},
};

/// A file that was opened to find out which one it is.
pub(super) struct Looked {
    file: File,
    form: Form,
    pub(super) head: FirstLine,
}

impl Looked {
    /// Opens a file and reads how it begins.
    pub(super) fn at(found: &Found) -> io::Result<Self> {
        let file = File::open(&found.path)?;
        // What is read here must not be taken for what lies elsewhere.
        if Place::of(&file.metadata()?).identity() != found.place.identity() {
            // Rotated since it was listed: with the next look each name is again of what lies there.
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut first = [0; Form::MARK_BYTES];
        let length = read_at(&file, &mut first, 0)?;
        let form = Form::of(&first[..length]);
        let mut source = file.try_clone()?;
        source.seek(SeekFrom::Start(0))?;
        // What is packed and not complete yet may still have enough of a beginning.
        match FirstLine::read(&mut unpacked(source, form)?) {
            (head, Some(error)) if !head.is_whole() => Err(error),
            (head, _) => Ok(Self { file, form, head }),
        }
    }

    fn is_packed(&self) -> bool {
        self.form != Form::Plain
    }

    /// Whether there is a line to read; what was rotated long ago will not get the end of one.
    pub(super) fn has_a_line(&self, found: &Found, now_unix_ms: i64) -> bool {
        let idle_ms = now_unix_ms - found.place.modified_ns / 1_000_000;
        let is_over = self.is_packed() || (found.is_rotated && idle_ms > REST_AFTER_MS);
        self.head.is_whole() || (is_over && !self.head.is_empty())
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
    pub(super) fn read_whole(&self, found: &Found, input: String) -> io::Result<Tracked> {
        self.read_from(found, input, Reached::default())
    }

    /// Reads on behind a mark, unless what is packed is not the file of the mark after all, or not all there.
    fn behind(
        &self,
        found: &Found,
        input: String,
        mark: &Mark,
        key: &HashKey,
    ) -> io::Result<Behind> {
        let mut reached = Reached {
            offset: mark.offset,
            lines: mark.lines,
            head: self.head.clone(),
            tail: Vec::new(),
        };
        if self.form == Form::Plain {
            reached.tail = tail_of(&self.file, mark)?;
            let tracked = self.read_from(found, input, reached)?;
            return Ok(Behind::It(Box::new(tracked)));
        }
        let mut tracked = self.read_from(found, input, Reached::default())?;
        Ok(match tracked.pass(mark.offset)? {
            None => Behind::Shorter,
            Some(passed) if mark.has_tail(key, &passed.tail) => {
                tracked.go_on_at(Reached {
                    lines: mark.lines,
                    ..passed
                });
                Behind::It(Box::new(tracked))
            }
            Some(_) => Behind::Another,
        })
    }

    /// Opens a file behind a mark; none if it is another file. What is packed and does not reach so far is not unpacked
    /// again until it changes.
    pub(super) fn read_on(
        &self,
        found: &Found,
        input: &str,
        mark: &Mark,
        key: &HashKey,
    ) -> io::Result<Option<Tracked>> {
        let reason = match self.behind(found, input.to_owned(), mark, key) {
            Ok(Behind::It(tracked)) => return Ok(Some(*tracked)),
            Ok(Behind::Another) => return Ok(None),
            Ok(Behind::Shorter) => "it ends before the place that was reached".to_owned(),
            Err(error) if self.is_packed() => error.to_string(),
            Err(error) => return Err(error),
        };
        Ok(Some(Tracked::broken(found, reason)))
    }

    fn read_from(&self, found: &Found, input: String, reached: Reached) -> io::Result<Tracked> {
        let mut source = self.file.try_clone()?;
        let is_plain = self.form == Form::Plain;
        source.seek(SeekFrom::Start(if is_plain { reached.offset } else { 0 }))?;
        let opened = Opened {
            file: is_plain.then(|| self.file.try_clone()).transpose()?,
            reader: unpacked(source, self.form)?,
            reached,
            begins: self.head.clone(),
        };
        Ok(Tracked::opened(found, input, opened))
    }
}

/// What a packed file turned out to be.
enum Behind {
    It(Box<Tracked>),
    /// It ends before the place that was reached: it is being written, or damaged.
    Shorter,
    Another,
}

fn has_tail(file: &File, mark: &Mark, key: &HashKey) -> io::Result<bool> {
    Ok(mark.has_tail(key, &tail_of(file, mark)?))
}

/// The bytes before a mark's offset, fewer if the file ends within them.
fn tail_of(file: &File, mark: &Mark) -> io::Result<Vec<u8>> {
    let bytes = mark.tail_bytes().min(mark.offset);
    let mut tail = vec![0; usize::try_from(bytes).unwrap_or_default().min(TAIL_BYTES)];
    let read = read_at(file, &mut tail, mark.offset - bytes)?;
    tail.truncate(read);
    Ok(tail)
}

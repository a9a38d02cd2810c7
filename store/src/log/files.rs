//! Where the segments of a log are: files of a folder, or subjects of a ledger stream on JetStream.
//!
//! Both keep what [`Tail::append`] returned `Ok` for across a power loss, and lose nothing but whole ends. On a stream
//! somebody may have deleted messages: what is missing then ([`LogFiles::gaps`]) is an error of who reads it, and of nobody
//! else. All of it blocks.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{Position, begin};
use crate::jetstream::segments::{SegmentBytes, Segments};

/// A log's segments by name.
#[derive(Debug, Clone)]
pub(crate) struct LogFiles {
    at: At,
    name: &'static str,
}

#[derive(Debug, Clone)]
enum At {
    Dir(PathBuf),
    Stream(Arc<Segments>),
}

impl LogFiles {
    pub(crate) fn new(dir: &Path, name: &'static str) -> Self {
        let at = At::Dir(dir.to_owned());
        Self { at, name }
    }

    /// # Errors
    /// How its segments begin cannot be read.
    pub(crate) fn on_stream(segments: Arc<Segments>, name: &'static str) -> io::Result<Self> {
        let at = At::Stream(segments);
        let files = Self { at, name };
        begin::measure(&files)?;
        Ok(files)
    }

    /// Whether reading asks servers.
    pub(crate) fn is_on_stream(&self) -> bool {
        matches!(self.at, At::Stream(_))
    }

    /// The file of a segment; on a stream what its subject ends in.
    pub(crate) fn path(&self, segment: u64) -> PathBuf {
        match &self.at {
            At::Dir(dir) => dir.join(format!("{}-{segment:016}.log", self.name)),
            At::Stream(segments) => segments.subject(segment).into(),
        }
    }

    /// Segments that there are, oldest first.
    pub(crate) fn segments(&self) -> io::Result<Vec<u64>> {
        let dir = match &self.at {
            At::Dir(dir) => dir,
            At::Stream(segments) => return Ok(segments.all()),
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(self.name))
                .and_then(|name| name.strip_prefix('-')?.strip_suffix(".log"))
                .and_then(|number| number.parse::<u64>().ok());
            found.extend(number);
        }
        found.sort_unstable();
        Ok(found)
    }

    /// A segment's bytes.
    pub(crate) fn length(&self, segment: u64) -> io::Result<u64> {
        match &self.at {
            At::Dir(_) => Ok(fs::metadata(self.path(segment))?.len()),
            At::Stream(segments) => segments.length(segment),
        }
    }

    /// What is missing of segments, in order.
    pub(crate) fn gaps(&self) -> Vec<(u64, Range<u64>)> {
        match &self.at {
            At::Dir(_) => Vec::new(),
            At::Stream(segments) => segments.gaps(),
        }
    }

    /// A segment, if there is one, went on up to here: what of it is not there is missing.
    pub(crate) fn reaches(&self, end: Position) {
        if let At::Stream(segments) = &self.at {
            segments.reaches(end.segment, end.offset);
        }
    }

    /// What it takes to hold a segment beside its bytes: on a stream many small commits cost more than these.
    pub(super) fn overhead_bytes(&self, segment: u64) -> u64 {
        match &self.at {
            At::Dir(_) => 0,
            At::Stream(segments) => segments.overhead_bytes(segment),
        }
    }

    /// When a segment was last written to, Unix time in milliseconds.
    pub(crate) fn modified_unix_ms(&self, segment: u64) -> io::Result<i64> {
        let modified = match &self.at {
            At::Dir(_) => fs::metadata(self.path(segment))?.modified()?,
            At::Stream(segments) => return segments.modified_unix_ms(segment),
        };
        let since = modified.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().as_millis();
        Ok(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Makes a log's first segment, which is empty and survives a power loss.
    pub(crate) fn create(&self, segment: u64) -> io::Result<Tail> {
        let dir = match &self.at {
            At::Dir(dir) => dir,
            At::Stream(segments) => {
                segments.write(segment, 0, &[])?;
                return self.tail(segment);
            }
        };
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(self.path(segment))?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Tail::File(file))
    }

    /// Makes the segment that follows the one that ends here. It is there whole or not at all, whenever
    /// the power fails.
    pub(super) fn follow(&self, end: Position) -> io::Result<Tail> {
        let segment = end.segment + 1;
        let begin = begin::frame(segment, end.offset);
        let dir = match &self.at {
            At::Dir(dir) => dir,
            At::Stream(segments) => {
                segments.write(segment, 0, &begin)?;
                return self.tail(segment);
            }
        };
        let path = self.path(segment);
        // No segment's name, so one that is left over is no segment.
        let new = path.with_extension("log.new");
        let mut file = File::create(&new)?;
        file.write_all(&begin)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()?;
        self.tail(segment)
    }

    /// The end of a segment, to write there.
    pub(super) fn tail(&self, segment: u64) -> io::Result<Tail> {
        match &self.at {
            At::Dir(_) => {
                let file = OpenOptions::new().append(true).open(self.path(segment))?;
                Ok(Tail::File(file))
            }
            At::Stream(segments) => Ok(Tail::Stream {
                length: segments.length(segment)?,
                segments: Arc::clone(segments),
                segment,
            }),
        }
    }

    /// A segment, to read records of it.
    pub(super) fn open(&self, segment: u64) -> io::Result<Opened> {
        match &self.at {
            At::Dir(_) => Ok(Opened::File(File::open(self.path(segment))?)),
            At::Stream(segments) => {
                segments.length(segment)?;
                Ok(Opened::Stream(Arc::clone(segments), segment))
            }
        }
    }

    pub(crate) fn remove(&self, segment: u64) -> io::Result<()> {
        let dir = match &self.at {
            At::Dir(dir) => dir,
            At::Stream(segments) => return segments.remove(segment),
        };
        match fs::remove_file(self.path(segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            // Removed durably, so that none comes back while a later one does not.
            Ok(()) => File::open(dir)?.sync_all(),
        }
    }
}

/// The end of a segment.
#[derive(Debug)]
pub(crate) enum Tail {
    File(File),
    Stream {
        segments: Arc<Segments>,
        segment: u64,
        length: u64,
    },
}

impl Tail {
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Stream { length, .. } => Ok(*length),
        }
    }

    /// Cuts off what is behind a length, durably: the next segment says how long this one is.
    pub(super) fn cut(&mut self, to: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.set_len(to),
            Self::Stream {
                segments,
                segment,
                length,
            } => {
                // Nothing at an offset: what was there counts no more.
                segments.write(*segment, to, &[])?;
                *length = to;
                Ok(())
            }
        }
    }

    /// Makes durable what somebody wrote before. On a stream it is since it can be read.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_all(),
            Self::Stream { .. } => Ok(()),
        }
    }

    /// Adds bytes; they are durable when it returns.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.write_all(bytes)?;
                file.sync_data()
            }
            Self::Stream {
                segments,
                segment,
                length,
            } => {
                segments.write(*segment, *length, bytes)?;
                *length += bytes.len() as u64;
                Ok(())
            }
        }
    }
}

/// A segment that is read.
#[derive(Debug)]
pub(super) enum Opened {
    File(File),
    Stream(Arc<Segments>, u64),
}

impl Opened {
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Stream(segments, segment) => segments.length(*segment),
        }
    }

    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(bytes, offset),
            Self::Stream(segments, segment) => segments.read_exact_at(*segment, bytes, offset),
        }
    }

    /// Its bytes from an offset on, in order.
    pub(super) fn read_from(self, offset: u64, buffer_bytes: usize) -> io::Result<InOrder> {
        match self {
            Self::File(file) => {
                let mut bytes = BufReader::with_capacity(buffer_bytes, file);
                bytes.seek_relative(offset as i64)?;
                Ok(InOrder::File(bytes))
            }
            Self::Stream(segments, segment) => {
                Ok(InOrder::Stream(segments.read_from(segment, offset)?))
            }
        }
    }
}

/// A segment's bytes in order.
pub(super) enum InOrder {
    File(BufReader<File>),
    Stream(SegmentBytes),
}

impl Read for InOrder {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(bytes),
            Self::Stream(stream) => stream.read(bytes),
        }
    }
}

//! What is stored of a file, so that it is found again and read on from where reading had come to.
//!
//! Contract: a mark holds no text of the file. What is in the file is told by hashes that are keyed with a key
//! outside the store: who has the store cannot try out what a secret in the first line may have been.

use std::{fs::Metadata, os::unix::fs::MetadataExt, path::Path};

use auditrelay_audit::HashKey;
use auditrelay_store::{InputPosition, TooLong};
use serde::{Deserialize, Serialize};

use super::{cut::Reached, first_line::FirstLine};

/// The bytes before the place that was reached which tell whether a file is still the one that was read.
pub const TAIL_BYTES: usize = 1_024;
/// How much of a path is kept, only to be looked at.
const PATH_BYTES: usize = 1_000;

/// Names of inputs begin with it.
const PREFIX: &str = "log-file/";

/// Where a file is on disk, and how it was when it was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// How long it is there, in bytes.
    pub size: u64,
    /// When it was written to last, Unix time in nanoseconds.
    pub modified_ns: i64,
}

impl Place {
    /// As the file system says; 0 of what is no file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        }
    }

    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// How far a file was read, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where it was when it was read last; only to be looked at.
    pub path: String,
    /// The same, as the file system knows it.
    pub place: Place,
    /// Bytes that were read, unpacked.
    pub offset: u64,
    /// Lines in them.
    pub lines: u64,
    /// Of its first line.
    head: String,
    /// So many of the last bytes are hashed.
    tail_bytes: u64,
    tail: String,
    /// When it was read, Unix time in milliseconds.
    pub read_unix_ms: i64,
    /// It was read to its end as it lay there, and is not expected to grow.
    #[serde(default)]
    pub(super) ended: bool,
}

impl Mark {
    /// Of a file that was read so far.
    pub fn new(
        key: &HashKey,
        path: &Path,
        place: Place,
        reached: &Reached,
        read_unix_ms: i64,
    ) -> Self {
        // Each of them would be six bytes of what is stored, and has to fit.
        let mut path = path.to_string_lossy().replace(char::is_control, "\u{fffd}");
        path.truncate(path.floor_char_boundary(PATH_BYTES));
        Self {
            path,
            place,
            offset: reached.offset,
            lines: reached.lines,
            head: head_hash(key, &reached.head),
            tail_bytes: reached.tail.len() as u64,
            tail: hashed(key, "tail", &reached.tail),
            read_unix_ms,
            ended: false,
        }
    }

    /// The same of a file that is read to its end.
    pub(super) fn ended(self) -> Self {
        Self {
            ended: true,
            ..self
        }
    }

    /// A name for a file that is read for the first time, and begins like this. With a time it is another name each
    /// time; without one, two who begin at once meet under the same.
    pub fn new_input(
        key: &HashKey,
        place: Place,
        head: &FirstLine,
        at_unix_ms: Option<i64>,
    ) -> String {
        let head = head_hash(key, head);
        let Place { device, inode, .. } = place;
        let time = at_unix_ms.map_or_else(String::new, |time| format!("-{time}"));
        format!("{PREFIX}{head}-{device}-{inode}{time}")
    }

    /// What is stored with the lines.
    ///
    /// # Errors
    /// It does not fit, which a mark always does.
    pub fn position(&self, input: &str) -> Result<InputPosition, TooLong> {
        let state = serde_json::json!(self).to_string();
        InputPosition::new(input.to_owned(), state)
    }

    /// All marks among these positions, with the names of their inputs. What a later version wrote otherwise is
    /// left alone.
    pub fn all(positions: &[InputPosition]) -> Vec<(String, Self)> {
        let ours = positions.iter().filter(|one| one.input.starts_with(PREFIX));
        let read = ours.filter_map(|one| {
            let mark = serde_json::from_str(&one.state).ok()?;
            Some((one.input.clone(), mark))
        });
        read.collect()
    }

    /// Whether a file that begins with `head` can be the one.
    pub fn has_head(&self, key: &HashKey, head: &FirstLine) -> bool {
        !head.is_empty() && head_hash(key, head) == self.head
    }

    /// Whether these bytes are those before its offset.
    pub fn has_tail(&self, key: &HashKey, tail: &[u8]) -> bool {
        tail.len() as u64 == self.tail_bytes && hashed(key, "tail", tail) == self.tail
    }

    /// How many bytes before the offset [`Mark::has_tail`] has to be shown.
    pub fn tail_bytes(&self) -> u64 {
        self.tail_bytes
    }
}

fn head_hash(key: &HashKey, head: &FirstLine) -> String {
    let (bytes, hash) = head.parts();
    hashed(key, "head", &[&bytes.to_be_bytes(), hash].concat())
}

fn hashed(key: &HashKey, what: &str, bytes: &[u8]) -> String {
    let parts = [b"log file".as_slice(), what.as_bytes(), bytes];
    format!("{:032x}", key.message(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(bytes: &[u8]) -> Reached {
        let mut reached = Reached::default();
        reached.pass(bytes);
        reached.lines = 3;
        reached
    }

    #[test]
    fn a_mark_is_read_back_and_knows_its_file_only() {
        let key = HashKey::new([7; 32]);
        let line = |end: &str| format!("{}{end}\n", "u".repeat(4_000));
        let bytes = [line("1"), line("2")].concat().into_bytes();
        let path = "ä".repeat(3_000);
        let mark = Mark::new(
            &key,
            Path::new(&path),
            Place::default(),
            &reached(&bytes),
            9,
        );
        let head = FirstLine::of(&bytes);
        let input = Mark::new_input(&key, mark.place, &head, Some(9));
        let other = InputPosition::new("log-file/x".to_owned(), "{}".to_owned());
        let positions = [
            mark.position(&input).expect("it fits"),
            other.expect("short"),
        ];
        let known = Mark::all(&positions);
        assert_eq!(known, [(input, mark.clone())]);
        assert_eq!((mark.offset, mark.lines), (bytes.len() as u64, 3));
        assert!(mark.has_head(&key, &head));
        assert!(!mark.has_head(&key, &FirstLine::of(line("2").as_bytes())));
        assert!(!mark.has_head(&HashKey::new([8; 32]), &head));
        let end = bytes.len();
        assert!(mark.has_tail(&key, &bytes[end - TAIL_BYTES..]));
        assert!(!mark.has_tail(&key, &bytes[end - 1 - TAIL_BYTES..end - 1]));
        let nothing = Mark::new(&key, Path::new("a"), Place::default(), &reached(b""), 9);
        assert!(
            !nothing.has_head(&key, &FirstLine::default()),
            "nothing is no file's beginning"
        );
    }

    #[test]
    fn a_mark_fits_whatever_the_path_is() {
        let key = HashKey::new([7; 32]);
        let place = Place {
            device: u64::MAX,
            inode: u64::MAX,
            size: u64::MAX,
            modified_ns: i64::MIN,
        };
        for one in ["\u{1}", "\u{7f}", "\"", "\\", "\u{10ffff}"] {
            let path = one.repeat(4_000);
            let mark = Mark::new(&key, Path::new(&path), place, &reached(b"one\n"), i64::MIN);
            let input = Mark::new_input(&key, place, &FirstLine::of(b"one\n"), Some(i64::MIN));
            assert!(mark.position(&input).is_ok(), "{one:?}");
        }
    }
}

//! The index: sled's database, in a folder that is replaced when most of it is of no use any more.
//!
//! sled's file never shrinks. Once a backlog of millions of records is gone, what is left is copied to a
//! fresh database under the writer, synced, and the file `CURRENT` names it from then on: one atomic
//! rename. `CURRENT` also carries the version of everything that is stored; a newer one is refused.
//!
//! Invariants:
//! * an index that `CURRENT` names is complete and durable; any other folder is left over, from before the
//!   rename or after it, and goes when the store opens;
//! * nothing is committed between the copy and the rename;
//! * a damaged or missing `CURRENT` costs nothing while there is only one folder that it can have named.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use super::{
    db::{Changes, Db},
    files::{self, Disk, Medium},
    owner::Owner,
};

/// Of everything in the store. Raise it with any change that an older version would misread, and read
/// the older one or say how to move (`auditrelay export`).
const FORMAT: u32 = 1;
const CURRENT: &str = "CURRENT";
const NEW: &str = "CURRENT.new";
const PREFIX: &str = "index-";

/// A smaller index is not worth replacing.
pub(super) const BYTES: u64 = 16 * 1024 * 1024;
/// About what a row takes.
const ROW_BYTES: u64 = 300;
/// More is not copied: the writer stands still meanwhile.
const ROWS_MAX: u64 = 50_000;
const ROWS_PER_BATCH: usize = 1_000;
/// How many commits go by between two looks at the size.
const COMMITS_PER_LOOK: u64 = 64;

/// The database in use.
pub(super) struct Index(RwLock<Db>);

impl Index {
    pub(super) fn new(db: Db) -> Self {
        Self(RwLock::new(db))
    }

    /// The database of now. Who keeps it does not see what is committed after it was replaced.
    pub(super) fn db(&self) -> Db {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(&self, db: Db) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = db;
    }
}

/// What is wrong with `CURRENT`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    Index(u64),
    /// The store is of a later version.
    Newer(u32),
    /// It is missing or damaged, and there is not one index that it can have named.
    Unknown,
}

pub(super) fn dir_of(store: &Path, number: u64) -> PathBuf {
    store.join(format!("{PREFIX}{number:08}"))
}

fn all(store: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(found)
}

/// Which index the store uses.
pub(super) fn named(store: &Path) -> io::Result<Named> {
    let text = match fs::read(store.join(CURRENT)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match text.as_deref().and_then(parse) {
        Some((format, _)) if format > FORMAT => Ok(Named::Newer(format)),
        Some((_, number)) => Ok(Named::Index(number)),
        None => Ok(match all(store)?.as_slice() {
            [one] => Named::Index(*one),
            _ => Named::Unknown,
        }),
    }
}

/// Names an index, durably.
pub(super) fn name(store: &Path, number: u64) -> io::Result<()> {
    let new = store.join(NEW);
    let mut file = File::create(&new)?;
    file.write_all(text(FORMAT, number).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, store.join(CURRENT))?;
    File::open(store)?.sync_all()
}

/// Removes what no `CURRENT` names.
pub(super) fn remove_others(store: &Path, number: u64) -> io::Result<()> {
    for other in all(store)? {
        if other != number {
            fs::remove_dir_all(dir_of(store, other))?;
        }
    }
    Ok(())
}

fn text(format: u32, number: u64) -> String {
    let content = format!("auditrelay queue\nformat {format}\nindex {number}\n");
    let check = crc32fast::hash(content.as_bytes());
    format!("{content}check {check:08x}\n")
}

/// The format and the number of the index. A later format may add lines between.
fn parse(bytes: &[u8]) -> Option<(u32, u64)> {
    let all = std::str::from_utf8(bytes).ok()?;
    let (content, check) = all.trim_end().rsplit_once("check ")?;
    let check = u32::from_str_radix(check, 16).ok()?;
    let mut lines = content.lines();
    let is_sound =
        lines.next() == Some("auditrelay queue") && crc32fast::hash(content.as_bytes()) == check;
    let format = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    let number = lines.next()?.strip_prefix("index ");
    let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
    is_sound.then_some((format, number))
}

impl Owner {
    pub(super) fn measure_index(&mut self) {
        let bytes = match &self.database.medium {
            // What cannot be measured is as it was.
            Medium::Disk(_) => match self.database.index.db() {
                Db::Sled(db) => db.size_on_disk().ok(),
                Db::Memory(_) => None,
            },
            Medium::Stream(stream) => Some(stream.bytes()),
        };
        self.index_bytes = bytes.unwrap_or(self.index_bytes);
    }

    /// Replaces the index if it is large and holds little.
    pub(super) fn renew_index(&mut self) -> Result<(), String> {
        if let Medium::Stream(stream) = &mut self.database.medium {
            let renewed = stream.renew(self.totals.commits);
            self.index_bytes = stream.bytes();
            return renewed.map_err(|error| format!("a snapshot of the index: {error}"));
        }
        if self.totals.commits.is_multiple_of(COMMITS_PER_LOOK) {
            self.measure_index();
        }
        let rows = self.holdings.rows + self.totals.quarantine_entries;
        let needed = self.holdings.rows * ROW_BYTES + self.totals.quarantine_bytes;
        let worth = self.index_bytes > self.database.index_bytes_min()
            && self.index_bytes / 2 > self.index_renewed_bytes
            && rows <= ROWS_MAX
            && needed < self.index_bytes / 4;
        if !worth {
            return Ok(());
        }
        let before = self.index_bytes;
        self.copy_index()
            .map_err(|error| format!("giving back the index's space: {error}"))?;
        self.measure_index();
        self.index_renewed_bytes = self.index_bytes;
        tracing::info!(
            before,
            after = self.index_bytes,
            rows,
            "the index was replaced by a smaller one"
        );
        Ok(())
    }

    fn copy_index(&mut self) -> Result<(), files::SledOrIo> {
        let shared = std::sync::Arc::clone(&self.shared);
        let index = std::sync::Arc::clone(&self.database.index);
        let (Medium::Disk(disk), Db::Sled(old)) = (&mut self.database.medium, index.db()) else {
            return Ok(());
        };
        let (new, file) = disk.copied(&old)?;
        index.replace(Db::Sled(new));
        disk.flushes.tell(&file, &shared)?;
        disk.file = file;
        let gone = dir_of(&disk.store_dir(), disk.index_number);
        disk.index_number += 1;
        drop(old);
        // Readers that still have it open read on.
        fs::remove_dir_all(gone)?;
        Ok(())
    }
}

impl Disk {
    /// Copies an index into a fresh one, durably, and names it; returns it with the file that is synced.
    fn copied(&self, old: &sled::Db) -> Result<(sled::Db, File), files::SledOrIo> {
        let store = self.store_dir();
        let number = self.index_number + 1;
        let dir = dir_of(&store, number);
        let new = files::config(&dir, self.cache_bytes_max).open()?;
        let mut batch = Changes::default();
        for (n, row) in old.iter().enumerate() {
            let (key, value) = row?;
            batch.insert(key, value);
            if n % ROWS_PER_BATCH == ROWS_PER_BATCH - 1 {
                new.apply_batch(std::mem::take(&mut batch).into_sled())?;
            }
        }
        new.apply_batch(batch.into_sled())?;
        self.flushes.flush(&new)?;
        let file = files::sync_index(&dir)?;
        File::open(&store)?.sync_all()?;
        name(&store, number)?;
        Ok((new, file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_is_read_as_written_and_every_flipped_bit_is_found() {
        let written = text(FORMAT, 7).into_bytes();
        assert_eq!(parse(&written), Some((FORMAT, 7)));
        for bit in 0..(written.len() - 1) * 8 {
            let mut damaged = written.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Hexadecimal has capitals too.
            assert!(
                parse(&damaged).is_none_or(|same| same == (FORMAT, 7)),
                "bit {bit}"
            );
        }
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_later_format_is_told_from_damage_and_one_index_needs_no_name() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(named(dir.path()).expect("read"), Named::Unknown);
        fs::create_dir(dir_of(dir.path(), 3)).expect("made");
        assert_eq!(named(dir.path()).expect("read"), Named::Index(3));
        fs::create_dir(dir_of(dir.path(), 4)).expect("made");
        assert_eq!(named(dir.path()).expect("read"), Named::Unknown);
        name(dir.path(), 4).expect("written");
        assert_eq!(named(dir.path()).expect("read"), Named::Index(4));
        fs::write(dir.path().join(CURRENT), text(FORMAT + 1, 4)).expect("written");
        assert_eq!(named(dir.path()).expect("read"), Named::Newer(FORMAT + 1));
    }
}

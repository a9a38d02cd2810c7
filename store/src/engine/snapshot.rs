//! sled's snapshot, without which its database opens as an empty one.
//!
//! Whenever it opens, sled writes a snapshot under another name, syncs it, renames it, and removes the one
//! before. It does not sync the folder, so a loss of power may keep any part of these three: the new one under its
//! first name and no other, or none at all. Then what was synced before the names changed is put back.
//!
//! Invariants:
//! * while sled opens, a durable copy of the snapshot of now lies beside the index;
//! * it goes when the index's folder is synced, so that it is never older than what sled has written since.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

const NAME: &str = "snap.";
const UNFINISHED: &str = "generating";
const KEPT: &str = "kept-";

/// Files of a folder whose names begin so.
fn named(dir: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(prefix)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn prefix_of(number: u64) -> String {
    format!("{KEPT}{number:08}-")
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::create(to)?;
    file.write_all(&fs::read(from)?)?;
    file.sync_all()
}

/// Puts the snapshot of an index in order, and keeps a copy of it. `number` is the index's.
pub(super) fn before_open(store: &Path, index: &Path, number: u64) -> io::Result<()> {
    let all = named(index, NAME)?;
    let is_unfinished = |path: &&PathBuf| path.extension().is_some_and(|one| one == UNFINISHED);
    let (unfinished, finished): (Vec<_>, Vec<_>) = all.iter().partition(is_unfinished);
    let kept = named(store, &prefix_of(number))?;
    let mut current = finished.last().map(|path| path.to_path_buf());
    if current.is_none() {
        let name = |path: &Path, prefix: &str| -> Option<PathBuf> {
            let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
            Some(index.join(name))
        };
        let restored = kept
            .last()
            .and_then(|path| Some((path, name(path, &prefix_of(number))?)));
        if let Some(path) = unfinished.last() {
            // sled synced it before it renamed it. If it is torn all the same, its checksum tells.
            let whole = path.with_extension("");
            fs::rename(path, &whole)?;
            current = Some(whole);
        } else if let Some((path, whole)) = restored {
            copy(path, &whole)?;
            current = Some(whole);
        }
    }
    for path in unfinished {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if let Some(current) = current {
        let name = current.file_name().unwrap_or_default().to_string_lossy();
        let path = store.join(format!("{}{name}", prefix_of(number)));
        copy(&current, &path)?;
        for old in kept.iter().filter(|old| **old != path) {
            fs::remove_file(old)?;
        }
        File::open(store)?.sync_all()?;
    }
    Ok(())
}

/// The index's folder is synced: the copy is not needed any more.
pub(super) fn after_open(store: &Path) -> io::Result<()> {
    named(store, KEPT)?.iter().try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a loss of power may leave of a snapshot's change, and which one is opened then.
    #[test]
    fn whatever_is_left_of_a_change_there_is_one_that_was_synced() {
        for (left, opened) in [
            (&["snap.01"][..], "old"),
            (&["snap.01", "snap.02.generating"], "old"),
            (&["snap.02.generating"], "new"),
            (&["snap.01", "snap.02"], "new"),
            (&["snap.02"], "new"),
            (&[], "old"),
        ] {
            let dir = tempfile::tempdir().expect("a folder");
            let index = dir.path().join("index-00000001");
            fs::create_dir(&index).expect("made");
            fs::write(index.join("snap.01"), "old").expect("written");
            before_open(dir.path(), &index, 1).expect("in order");
            fs::remove_file(index.join("snap.01")).expect("removed");
            for name in left {
                let text = if name.contains("01") { "old" } else { "new" };
                fs::write(index.join(name), text).expect("written");
            }
            before_open(dir.path(), &index, 1).expect("in order");
            let all = named(&index, NAME).expect("listed");
            let last = all.last().expect("one");
            assert_eq!(
                fs::read_to_string(last).expect("text"),
                opened,
                "{left:?}: {all:?}"
            );
            assert!(
                all.iter()
                    .all(|path| !path.to_string_lossy().contains(UNFINISHED))
            );
            after_open(dir.path()).expect("removed");
            assert!(named(dir.path(), KEPT).expect("listed").is_empty());
        }
    }

    #[test]
    fn a_copy_of_another_index_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("kept-00000001-snap.01"), "old").expect("written");
        let index = dir.path().join("index-00000002");
        fs::create_dir(&index).expect("made");
        before_open(dir.path(), &index, 2).expect("in order");
        assert!(named(&index, NAME).expect("listed").is_empty());
    }
}

//! A power loss: takes back what the journal of `shim.c` says no sync covered.
//!
//! Everything that was not synced may be lost; each part of it may also be there. So a loss either takes
//! all of it, or what chance says within what a disk may do:
//! * of a file, each block of 512 or 4,096 bytes is as some number of the writes that touched it left it;
//!   the file is as long as what arrived, or as long as it was told to be, with zeroes between;
//! * a file whose length was set, and half of the others, stop at one of their changes, which is torn;
//! * of a folder, changes of different names are there or not independently, those of one name in order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::journal::{Change, Entry, read};

/// How much is lost.
pub enum Loss<'a> {
    All,
    Part(&'a mut fastrand::Rng),
}

/// What there was, and what was done about it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    pub changes: usize,
    pub syncs: usize,
    /// Changes that no sync covered.
    pub unsynced: usize,
    /// Those of them that were taken back, in whole or in part.
    pub undone: usize,
    /// Those, for people.
    pub what: Vec<String>,
}

pub fn undo(disk: &Path, journal: &Path, mut loss: Loss<'_>) -> Report {
    let folded = read(&journal.join("changes"));
    let unsynced: Vec<&Entry> = folded
        .changes
        .iter()
        .filter(|entry| !folded.covers(entry))
        .collect();
    let mut report = Report {
        changes: folded.changes.len(),
        syncs: folded.syncs,
        unsynced: unsynced.len(),
        undone: 0,
        what: Vec::new(),
    };
    let mut files: BTreeMap<u64, Vec<&Change>> = BTreeMap::new();
    let mut names = Vec::new();
    for entry in &unsynced {
        match &entry.change {
            Change::Write { .. } | Change::Length { .. } => {
                files
                    .entry(entry.change.inode())
                    .or_default()
                    .push(&entry.change);
            }
            _ => names.push(&entry.change),
        }
    }
    let kept = journal.join("kept");
    let paths = paths(&[disk, &kept]);
    for (inode, changes) in &files {
        if let Some(path) = paths.get(inode) {
            let undone = undo_file(path, changes, &mut loss);
            report.undone += undone;
            let count = changes.len();
            report
                .what
                .push(format!("{undone} of {count} changes of {}", path.display()));
        }
    }
    let lost = lost_names(&names, &mut loss);
    report.undone += lost.len();
    report.what.push(format!("names: {lost:?} of {names:?}"));
    for change in lost.iter().rev() {
        undo_name(change, disk, &kept);
    }
    report
}

/// Where everything is by its inode.
fn paths(folders: &[&Path]) -> HashMap<u64, PathBuf> {
    fn walk(path: PathBuf, found: &mut HashMap<u64, PathBuf>) {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            return;
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).expect("a folder") {
                walk(entry.expect("an entry").path(), found);
            }
        }
        found.insert(metadata.ino(), path);
    }
    let mut found = HashMap::new();
    for folder in folders {
        walk(folder.to_path_buf(), &mut found);
    }
    found
}

/// Of one file's changes, those that did not arrive.
fn undo_file(path: &Path, changes: &[&Change], loss: &mut Loss<'_>) -> usize {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let Loss::Part(rng) = loss else {
        undo_from(&file, changes, 0);
        return changes.len();
    };
    let block = if rng.bool() { 512 } else { 4_096 };
    let has_length = changes
        .iter()
        .any(|change| matches!(change, Change::Length { .. }));
    if !has_length && rng.bool() {
        return undo_blocks(&file, changes, block, rng);
    }
    let arrived = rng.usize(0..=changes.len());
    undo_from(&file, changes, arrived);
    let mut undone = changes.len() - arrived;
    if let Some(Change::Write { at, bytes, .. }) = changes[..arrived].last() {
        let torn: Vec<_> = pieces(*at, at + bytes, block)
            .filter(|_| rng.bool())
            .collect();
        undone += usize::from(!torn.is_empty());
        for (from, to) in torn {
            put_back(&file, changes[arrived - 1], from, to);
        }
    }
    undone
}

/// Takes back all changes from this one on.
fn undo_from(file: &fs::File, changes: &[&Change], first: usize) {
    for change in changes[first..].iter().rev() {
        match change {
            Change::Length { old, new, kept, .. } => {
                file.set_len(*old).expect("set");
                file.write_all_at(kept, *new.min(old)).expect("written");
            }
            Change::Write { at, bytes, old, .. } => {
                put_back(file, change, *at, at + bytes);
                file.set_len(*old).expect("set");
            }
            _ => unreachable!("names are not in files"),
        }
    }
}

/// Each block arrived as one of the writes left it.
fn undo_blocks(file: &fs::File, changes: &[&Change], block: u64, rng: &mut fastrand::Rng) -> usize {
    let mut arrived: HashMap<u64, usize> = HashMap::new();
    let (mut undone, mut end) = (0, changes[0].old_length());
    let told = file.metadata().expect("metadata").len();
    for (number, change) in changes.iter().enumerate().rev() {
        let Change::Write { at, bytes, .. } = change else {
            unreachable!("there are only writes")
        };
        let mut touched = false;
        for (from, to) in pieces(*at, at + bytes, block) {
            let last = arrived
                .entry(from / block)
                .or_insert_with(|| rng.usize(0..=changes.len()));
            if number < *last {
                end = end.max(to);
            } else {
                touched = true;
                put_back(file, change, from, to);
            }
        }
        undone += usize::from(touched);
    }
    // The length may have arrived though the bytes did not.
    let length = if rng.u8(..4) == 0 { told.max(end) } else { end };
    file.set_len(length).expect("set");
    undone
}

/// A range cut where blocks begin.
fn pieces(from: u64, to: u64, block: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at;
        at = to.min((start / block + 1) * block);
        (start < to).then_some((start, at))
    })
}

fn put_back(file: &fs::File, change: &Change, from: u64, to: u64) {
    let Change::Write { at, kept, .. } = change else {
        unreachable!("only writes are torn")
    };
    let start = usize::try_from(from - at).expect("it fits");
    let bytes: Vec<u8> = (0..usize::try_from(to - from).expect("it fits"))
        .map(|n| kept.get(start + n).copied().unwrap_or(0))
        .collect();
    file.write_all_at(&bytes, from).expect("written");
}

/// Those names' changes that did not arrive, in their order.
fn lost_names<'a>(names: &[&'a Change], loss: &mut Loss<'_>) -> Vec<&'a Change> {
    let Loss::Part(rng) = loss else {
        return names.to_vec();
    };
    let mut lost: BTreeSet<(u64, &str)> = BTreeSet::new();
    let mut inodes = BTreeSet::new();
    let mut found = Vec::new();
    for change in names {
        let follows = change.names().iter().any(|name| lost.contains(name))
            || inodes.contains(&change.inode());
        if follows || rng.bool() {
            lost.extend(change.names());
            inodes.insert(change.inode());
            found.push(*change);
        }
    }
    found
}

fn undo_name(change: &Change, disk: &Path, kept: &Path) {
    // Folders may have been renamed meanwhile.
    let paths = paths(&[disk, kept]);
    let place = |folder: &u64, name: &str| Some(paths.get(folder)?.join(name));
    let is = |path: &Path, inode: u64| {
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ino() == inode)
    };
    match change {
        Change::Made {
            inode,
            folder,
            name,
        } => {
            if let Some(path) = place(folder, name)
                && is(&path, *inode)
            {
                if path.is_dir() {
                    fs::remove_dir_all(&path).expect("removed");
                } else {
                    fs::remove_file(&path).expect("removed");
                }
            }
        }
        Change::Removed {
            folder,
            name,
            kept_as,
            ..
        } => {
            let old = kept.join(kept_as.to_string());
            // The process may have ended before it did what it had noted.
            if let Some(path) = place(folder, name)
                && old.exists()
            {
                fs::rename(old, path).expect("renamed");
            }
        }
        Change::Renamed {
            inode,
            from,
            name,
            to,
            other,
            kept_as,
        } => {
            let (Some(old), Some(new)) = (place(from, name), place(to, other)) else {
                return;
            };
            if is(&new, *inode) {
                fs::rename(&new, old).expect("renamed");
                if *kept_as > 0 {
                    fs::rename(kept.join(kept_as.to_string()), new).expect("renamed");
                }
            }
        }
        Change::Write { .. } | Change::Length { .. } => unreachable!("files are not names"),
    }
}

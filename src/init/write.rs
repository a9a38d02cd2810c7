//! Writing a set: all of it or nothing.
//!
//! Contract:
//! * nothing that is there is touched unless it was asked for, and what is there is looked for before anything
//!   is written;
//! * every file is written whole beside its place, with its mode from the first byte on, before the first one
//!   is moved into its place: a disk that is full, or a folder that cannot be written, changes nothing;
//! * folders that are made have mode 0700.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::set::Entry;
use crate::Failure;

const FOLDER: u32 = 0o700;

/// Writes the files below `out`.
pub(super) fn write(out: &Path, entries: &[Entry], force: bool) -> Result<(), Failure> {
    let there: Vec<&str> = entries
        .iter()
        .map(|entry| entry.path)
        .filter(|path| fs::symlink_metadata(out.join(path)).is_ok())
        .collect();
    if let ([first, ..], false) = (&there[..], force) {
        let others = match there.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return Err(Failure::Usage(format!(
            "{} is there already{others}, and nothing was written; name another folder, or give --force to \
             overwrite keys and all",
            out.join(first).display()
        )));
    }
    let failed = |error: io::Error| {
        Failure::Other(format!(
            "cannot write into {}: {error}; nothing was changed there",
            out.display()
        ))
    };
    folder(out).map_err(failed)?;
    let staged = tempfile::Builder::new()
        .prefix(".init-")
        .tempdir_in(out)
        .map_err(failed)?;
    for entry in entries {
        stage(staged.path(), entry).map_err(failed)?;
    }
    for entry in entries {
        let place = out.join(entry.path);
        let moved = place
            .parent()
            .map_or(Ok(()), folder)
            .and_then(|()| fs::rename(staged.path().join(entry.path), &place));
        moved.map_err(|error| {
            let text = format!(
                "cannot write {}: {error}; what was to come after it is missing: mend that, and give --force",
                place.display()
            );
            Failure::Other(text)
        })?;
    }
    Ok(())
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

fn stage(folder_of_all: &Path, entry: &Entry) -> io::Result<()> {
    let path = folder_of_all.join(entry.path);
    path.parent().map_or(Ok(()), folder)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(entry.mode)
        .open(&path)?;
    // Whatever the umask left of it.
    file.set_permissions(Permissions::from_mode(entry.mode))?;
    file.write_all(entry.text.as_bytes())?;
    file.sync_all()
}

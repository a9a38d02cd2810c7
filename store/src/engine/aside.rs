//! A store that cannot be opened is moved out of the way under a name of its own, and never removed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    SledOptions,
    files::{CORRUPT, MovedAside, OpenError, create, io_error, remove_mark},
    flush::Flushes,
    recover::{Store, open_sound},
    remains::Remains,
    salvage,
};

/// Puts a damaged store out of the way and begins an empty one, whose ledger says what the damaged one
/// still had to deliver.
pub(super) fn move_aside(
    options: &SledOptions,
    dir: &Path,
    reason: String,
    flushes: &Flushes,
) -> Result<(Store, Option<MovedAside>), OpenError> {
    let data_dir = &options.data_dir;
    let path = free_name(data_dir, options.now_unix_ms);
    fs::rename(dir, &path).map_err(io_error("move aside", dir))?;
    remove_mark(data_dir)?;
    let aside = MovedAside {
        kept_events: Remains::of(&path).map(|remains| remains.kept),
        path,
        reason,
    };
    create(options, dir, Some(&aside), flushes)?;
    let store = open_sound(options, dir).map_err(|unsound| OpenError::Unusable {
        path: dir.to_owned(),
        reason: unsound.to_string(),
    })?;
    Ok((store, Some(aside)))
}

/// `queue.corrupt-` and the time, with a number behind it if that is taken.
fn free_name(data_dir: &Path, now_unix_ms: i64) -> PathBuf {
    let time = jiff::Timestamp::from_millisecond(now_unix_ms).unwrap_or_default();
    let name = format!("{CORRUPT}{}", time.strftime("%Y%m%dT%H%M%SZ"));
    let names = (2..).map(|n| data_dir.join(format!("{name}-{n}")));
    let first = data_dir.join(&name);
    // Nor may it be the name of one that was salvaged: what is done of it is known by its name.
    let is_free = |path: &PathBuf| !path.exists() && !salvage::done_name(path).exists();
    let free = std::iter::once(first.clone()).chain(names).find(is_free);
    free.unwrap_or(first)
}

/// The last store that was moved aside and is still there.
pub(super) fn newest_aside(data_dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(data_dir).ok()?.flatten();
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        path.is_dir() && name.is_some_and(|name| name.starts_with(CORRUPT))
    };
    entries.map(|entry| entry.path()).filter(is_aside).max()
}

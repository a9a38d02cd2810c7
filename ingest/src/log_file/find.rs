//! Which files belong to a configured path: those that it names, and what rotation made of them.
//!
//! Kubernetes: the log backend rotates by renaming `audit.log` to `audit-<time>.log` and may compress that to
//! `audit-<time>.log.gz`. Others (logrotate) make `audit.log.1`, `audit.log-20261126`, and `.gz` or `.zst` of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::mark::Place;

/// More files of one configured path are not looked at.
pub(super) const FILES_MAX: usize = 4_000;

/// A file of a configured path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    /// Its name says that nobody writes to it any more.
    pub(super) is_rotated: bool,
    /// The path that it was rotated from; none where the configured path itself names it.
    pub(super) rotated_from: Option<PathBuf>,
    /// When the log backend rotated it, as its name says.
    pub(super) stamp: String,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The oldest first.
    pub(super) files: Vec<Found>,
    /// Paths that are read under the name that the API server writes to.
    pub(super) bases: Vec<PathBuf>,
    /// What could not be looked at, and why.
    pub(super) errors: Vec<(PathBuf, String)>,
}

impl Listing {
    fn add(&mut self, path: &Path, rotated_from: Option<&Path>, is_rotated: bool, stamp: &str) {
        match fs::metadata(path) {
            Ok(found) if found.is_file() => self.files.push(Found {
                path: path.to_owned(),
                place: Place::of(&found),
                is_rotated,
                rotated_from: rotated_from.map(Path::to_owned),
                stamp: stamp.to_owned(),
            }),
            Ok(_) => {}
            // It was there a moment ago, or is to come.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.errors.push((path.to_owned(), error.to_string())),
        }
    }
}

/// Looks for everything that belongs to a configured path.
pub(super) fn all(configured: &Path) -> Listing {
    let mut listing = Listing::default();
    let named = named(configured, &mut listing);
    let mut folders: BTreeMap<&Path, BTreeMap<String, &Path>> = BTreeMap::new();
    for path in &named {
        if let (Some(folder), Some(name)) = (path.parent(), file_name(path)) {
            folders.entry(folder).or_default().insert(name, path);
        }
    }
    for (folder, names) in folders {
        let mut bases = BTreeMap::new();
        for (name, path) in &names {
            let is_rotated = base_of(name, &names).is_some();
            listing.add(path, None, is_rotated, "");
            if !is_rotated {
                listing.bases.push(path.to_path_buf());
                bases.insert(name.clone(), *path);
            }
        }
        let here = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        let entries = match fs::read_dir(here) {
            Ok(entries) => entries,
            Err(error) => {
                listing.errors.push((here.to_owned(), error.to_string()));
                continue;
            }
        };
        for entry in entries.filter_map(Result::ok) {
            let path = folder.join(entry.file_name());
            if let Some(name) = file_name(&path)
                && !names.contains_key(&name)
                && let Some((base, stamp)) = base_of(&name, &bases)
            {
                listing.add(&path, Some(base), true, stamp);
            }
        }
    }
    if listing.files.len() > FILES_MAX {
        let reason = format!(
            "there are {} files, the newest {FILES_MAX} are read",
            listing.files.len()
        );
        listing.errors.push((configured.to_owned(), reason));
    }
    listing.files.sort_by(|a, b| {
        let order = |found: &Found| (found.place.modified_ns, !found.is_rotated);
        order(a).cmp(&order(b)).then_with(|| a.path.cmp(&b.path))
    });
    let surplus = listing.files.len().saturating_sub(FILES_MAX);
    listing.files.drain(..surplus);
    listing
}

fn named(configured: &Path, listing: &mut Listing) -> BTreeSet<PathBuf> {
    let text = configured.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return BTreeSet::from([configured.to_owned()]);
    }
    let mut found = BTreeSet::new();
    match glob::glob(&text) {
        Ok(paths) => {
            for path in paths {
                match path {
                    Ok(path) => drop(found.insert(path)),
                    Err(error) => {
                        let path = error.path().to_owned();
                        listing.errors.push((path, error.error().to_string()));
                    }
                }
            }
        }
        Err(error) => {
            let reason = format!("this is no pattern of file names: {}", error.msg);
            listing.errors.push((configured.to_owned(), reason));
        }
    }
    found
}

fn file_name(path: &Path) -> Option<String> {
    let name = path.file_name()?;
    Some(name.to_string_lossy().into_owned())
}

/// Which of these names it was rotated from, and when. However many there are, only the few that it can be are looked
/// up.
fn base_of<'n, 'p>(
    name: &'n str,
    bases: &BTreeMap<String, &'p Path>,
) -> Option<(&'p Path, &'n str)> {
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    let plain = plain.unwrap_or(name);
    let mut may_be = Vec::new();
    for (at, _) in plain.match_indices(['-', '.']) {
        may_be.push(plain[..at].to_owned());
        let behind = at + 1 + STAMP.len();
        if plain.get(at + 1..behind).is_some_and(is_stamp) {
            may_be.push([&plain[..at], &plain[behind..]].concat());
        }
    }
    may_be.into_iter().find_map(|base| {
        let path = bases.get(&base)?;
        Some((*path, rotated(&base, name)?))
    })
}

/// Whether `other` is what rotation made of `base`; with the time that the log backend put into the name.
fn rotated<'a>(base: &str, other: &'a str) -> Option<&'a str> {
    let plain = other.strip_suffix(".gz").or(other.strip_suffix(".zst"));
    let plain = plain.unwrap_or(other);
    let (stem, end) = base
        .rsplit_once('.')
        .map_or((base, ""), |(stem, _)| (stem, &base[stem.len()..]));
    let stamp = plain
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_suffix(end));
    if let Some(stamp) = stamp.and_then(|rest| rest.strip_prefix('-'))
        && is_stamp(stamp)
    {
        return Some(stamp);
    }
    let number = plain.strip_prefix(base)?.strip_prefix(['.', '-'])?;
    let is_number = !number.is_empty()
        && number
            .bytes()
            .all(|one| one.is_ascii_digit() || one == b'-');
    is_number.then_some("")
}

/// `2006-01-02T15-04-05.000`.
const STAMP: &[u8] = b"0000-00-00T00-00-00.000";

fn is_stamp(text: &str) -> bool {
    let fits = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == *form,
    };
    text.len() == STAMP.len() && text.bytes().zip(STAMP).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rotation_makes_is_known_by_its_name_and_nothing_else_is() {
        let stamp = "2026-11-26T04-33-23.123";
        for end in ["", ".gz", ".zst"] {
            let name = format!("audit-{stamp}.log{end}");
            assert_eq!(rotated("audit.log", &name), Some(stamp));
            assert_eq!(
                rotated("audit", &format!("audit-{stamp}{end}")),
                Some(stamp)
            );
            for name in ["audit.log.1", "audit.log-20261126", "audit.log.12"] {
                assert_eq!(rotated("audit.log", &format!("{name}{end}")), Some(""));
            }
        }
        for other in [
            "audit.log",
            "audit-policy.yaml",
            "audit-policy.log",
            "audit.log.bak",
            "audit.log.",
            "audit.log.gz",
            "other.log.1",
            "audit-2026-11-26T04-33-23.log",
            "kube-audit-2026-11-26T04-33-23.123.log",
        ] {
            assert_eq!(rotated("audit.log", other), None, "{other}");
        }
    }

    #[test]
    fn a_path_is_the_file_and_what_was_rotated_from_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["audit.log", "audit.log.1", "other.log", "audit-policy.yaml"] {
            fs::write(at(name), name).expect("written");
        }
        let names = |listing: &Listing| {
            let name = |one: &Found| (one.path.clone(), one.is_rotated);
            let mut names: Vec<_> = listing.files.iter().map(name).collect();
            names.sort();
            names
        };
        let one = all(&at("audit.log"));
        assert_eq!(one.bases, [at("audit.log")]);
        assert_eq!(
            names(&one),
            [(at("audit.log"), false), (at("audit.log.1"), true)]
        );
        let several = all(&at("*.log*"));
        assert_eq!(several.bases, [at("audit.log"), at("other.log")]);
        let named = [
            (at("audit.log"), false),
            // Named by the pattern, and still nobody writes to it.
            (at("audit.log.1"), true),
            (at("other.log"), false),
        ];
        assert_eq!(names(&several), named);
        // The file itself may be missing for a moment.
        fs::remove_file(at("audit.log")).expect("removed");
        assert_eq!(names(&all(&at("audit.log"))), [(at("audit.log.1"), true)]);
        assert_eq!(all(&at("[")).errors.len(), 1);
    }
}

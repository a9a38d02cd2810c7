//! Which files belong to a configured path: those that it names, and what rotation made of them.
//!
//! Kubernetes: the log backend rotates by renaming `audit.log` to `audit-<time>.log` and may compress that to
//! `audit-<time>.log.gz`. Others (logrotate) make `audit.log.1`, `audit.log-20261126`, and `.gz` or `.zst` of them.

use std::{
    collections::BTreeSet,
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

impl Found {
    /// Whether nobody is expected to write to it any more.
    pub(super) fn is_rotated(&self) -> bool {
        self.rotated_from.is_some()
    }
}

impl Listing {
    fn add(&mut self, path: &Path, rotated_from: Option<&Path>, stamp: &str) {
        match fs::metadata(path) {
            Ok(found) if found.is_file() => self.files.push(Found {
                path: path.to_owned(),
                place: Place::of(&found),
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
    let file_name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    for path in &named {
        let Some(name) = file_name(path) else {
            continue;
        };
        let is_rotated = named.iter().any(|base| {
            base.parent() == path.parent()
                && file_name(base).is_some_and(|base| rotated(&base, &name).is_some())
        });
        listing.add(path, None, "");
        if !is_rotated {
            listing.bases.push(path.clone());
        }
    }
    for base in listing.bases.clone() {
        let (Some(folder), Some(name)) = (base.parent(), file_name(&base)) else {
            continue;
        };
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                listing.errors.push((folder.to_owned(), error.to_string()));
                continue;
            }
        };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if let Some(other) = file_name(&path)
                && let Some(stamp) = rotated(&name, &other)
                && !named.contains(&path)
            {
                listing.add(&path, Some(&base), stamp);
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
        let order = |found: &Found| (found.place.modified_ns, found.rotated_from.is_none());
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
fn is_stamp(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00-00-00.000";
    let fits = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == *form,
    };
    text.len() == FORM.len() && text.bytes().zip(FORM).all(fits)
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
            let name = |one: &Found| (one.path.clone(), one.rotated_from.is_some());
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
            (at("audit.log.1"), false),
            (at("other.log"), false),
        ];
        assert_eq!(names(&several), named);
        // The file itself may be missing for a moment.
        fs::remove_file(at("audit.log")).expect("removed");
        assert_eq!(names(&all(&at("audit.log"))), [(at("audit.log.1"), true)]);
        assert_eq!(all(&at("[")).errors.len(), 1);
    }
}

//! Reading the files of the configuration, all of them at a time.
//!
//! Invariants:
//! * a file is read by its path each time, whatever the path leads to by now (Kubernetes swaps a
//!   symlink above it), and what it holds decides, not its inode or times;
//! * nothing but regular files of a bounded size is read: a pipe would wait for ever;
//! * what was read is wiped when it is dropped; what stays are keyed hashes.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretBox};

use super::secrets::{Digest, Hasher};

/// Longest file, in bytes. A bundle of 150 CAs has 220,000.
const FILE_BYTES_MAX: usize = 1 << 20;

/// One file that could be read.
struct Content {
    bytes: SecretBox<Vec<u8>>,
    mode: u32,
}

/// What all files held at one time, or why one of them could not be read.
pub(super) struct Reading(BTreeMap<PathBuf, Result<Content, String>>);

/// Stands for a [`Reading`], to compare with another one.
#[derive(Clone)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, Digest>);

impl Reading {
    pub(super) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let read = |path: PathBuf| {
            let content = read(&path);
            (path, content)
        };
        Self(paths.into_iter().map(read).collect())
    }

    /// What a file held.
    pub(super) fn bytes(&self, path: &Path) -> Result<&[u8], String> {
        match self.0.get(path) {
            Some(Ok(content)) => Ok(content.bytes.expose_secret()),
            Some(Err(error)) => Err(error.clone()),
            None => Err("was not read".to_owned()),
        }
    }

    /// Whether every user of the machine may read the file.
    pub(super) fn is_for_everybody(&self, path: &Path) -> bool {
        matches!(self.0.get(path), Some(Ok(content)) if content.mode & 0o004 != 0)
    }

    pub(super) fn fingerprint(&self, hasher: &Hasher) -> Fingerprint {
        let digest = |content: &Result<Content, String>| match content {
            Ok(content) => hasher.digest_of([b"read".as_slice(), content.bytes.expose_secret()]),
            Err(error) => hasher.digest_of([b"fail".as_slice(), error.as_bytes()]),
        };
        let digests = self.0.iter();
        Fingerprint(
            digests
                .map(|(path, content)| (path.clone(), digest(content)))
                .collect(),
        )
    }
}

impl Fingerprint {
    /// The files that are not as they were.
    pub(super) fn changed_since<'a>(&'a self, before: &'a Self) -> Vec<&'a Path> {
        let is_changed = |(path, digest): &(&PathBuf, &Digest)| {
            let same = before.0.get(*path).map(|old| bool::from(old.is(digest)));
            same != Some(true)
        };
        let changed = self.0.iter().filter(is_changed);
        changed.map(|(path, _)| path.as_path()).collect()
    }

    /// Of these files alone.
    pub(super) fn of(&self, paths: &[&Path]) -> Self {
        let own = self.0.iter();
        let own = own.filter(|(path, _)| paths.contains(&path.as_path()));
        Self(
            own.map(|(path, digest)| (path.clone(), digest.clone()))
                .collect(),
        )
    }

    /// Whether all its files are as they were; the other may know more.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.changed_since(other).is_empty()
    }
}

fn read(path: &Path) -> Result<Content, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Before it is opened: opening a pipe waits for who writes.
    let is_file = std::fs::metadata(path).map_err(unreadable)?.is_file();
    if !is_file {
        return Err("is no regular file".to_owned());
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mut outcome = Ok(0);
    let bytes = SecretBox::<Vec<u8>>::init_with_mut(|bytes| {
        // With room for all of it from the start: growing would leave copies that are not wiped.
        let expected = usize::try_from(metadata.len()).unwrap_or(FILE_BYTES_MAX);
        bytes.reserve_exact(expected.min(FILE_BYTES_MAX) + 64);
        outcome = file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(bytes);
    });
    match outcome.map_err(unreadable)? {
        0 => Err("is empty".to_owned()),
        1..=FILE_BYTES_MAX => Ok(Content {
            bytes,
            mode: metadata.permissions().mode(),
        }),
        _ => Err(format!("has more than {FILE_BYTES_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn content_decides_whatever_the_path_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let hasher = Hasher::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        // As a Kubernetes volume: file -> ..data/file, ..data -> a folder that is replaced.
        for (folder, text) in [("one", "x"), ("same", "x"), ("two", "y")] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("token"), text).unwrap();
        }
        symlink("one", at("..data")).unwrap();
        symlink("..data/token", at("token")).unwrap();
        let read = || Reading::of([at("token")]).fingerprint(&hasher);
        let swap = |folder: &str| {
            symlink(folder, at("..new")).unwrap();
            fs::rename(at("..new"), at("..data")).unwrap();
        };
        let one = read();
        swap("same");
        assert!(read().is(&one));
        swap("two");
        assert!(!read().is(&one));
        assert_eq!(read().changed_since(&one), [at("token")]);
        swap("gone");
        let gone = read();
        assert!(!gone.is(&one) && gone.is(&read()));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("empty"), "").unwrap();
        fs::write(at("long"), vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
        fs::write(at("longest"), vec![b'x'; FILE_BYTES_MAX]).unwrap();
        let error = |path: PathBuf| {
            let reading = Reading::of([path.clone()]);
            reading.bytes(&path).map(<[u8]>::len)
        };
        assert_eq!(error(at("empty")), Err("is empty".into()));
        assert_eq!(error(at("long")), Err("has more than 1048576 bytes".into()));
        assert_eq!(error(at("longest")), Ok(FILE_BYTES_MAX));
        assert_eq!(error(dir.path().into()), Err("is no regular file".into()));
        let missing = error(at("missing")).unwrap_err();
        assert!(
            missing.starts_with("cannot be read: No such file"),
            "{missing}"
        );
        let status = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        if status.is_ok_and(|status| status.success()) {
            assert_eq!(error(at("pipe")), Err("is no regular file".into()));
        }
    }

    #[test]
    fn who_may_read_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "x").unwrap();
        for (mode, expected) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                Reading::of([path.clone()]).is_for_everybody(&path),
                expected
            );
        }
    }
}

//! A file of bearer tokens that one door alone asks for, such as the admin port's.
//!
//! Invariants: those of `secrets` and `files`; a file that cannot be used keeps the tokens that were read before, and one
//! line says why; a change counts once two readings in a row found the same.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::HeaderMap;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    KeyringError, READABLE_BY_EVERYBODY,
    authorization::Authorization,
    files::{Fingerprint, Reading},
    secrets::{Hasher, Kind, Secrets},
};

/// The tokens of one file, as they are now.
pub struct TokenFile {
    /// The key of the configuration that names it.
    key: &'static str,
    path: PathBuf,
    hasher: Hasher,
    current: ArcSwap<Secrets>,
}

/// What is remembered between two readings.
#[derive(Default)]
struct Watch {
    before: Option<Fingerprint>,
    in_use: Option<Fingerprint>,
    is_unusable: bool,
}

impl TokenFile {
    /// Reads the file that the configuration's `key` names.
    ///
    /// # Errors
    /// It cannot be read, or holds something else than a token a line.
    pub fn open(key: &'static str, path: &Path) -> Result<Self, KeyringError> {
        let hasher = Hasher::new().map_err(KeyringError)?;
        let reading = Reading::of([path.to_owned()]);
        let tokens = parse(&reading, path, &hasher)
            .map_err(|what| KeyringError(format!("{key}: {} {what}", path.display())))?;
        let file = Self {
            key,
            path: path.to_owned(),
            hasher,
            current: ArcSwap::from_pointee(tokens),
        };
        file.warn(&reading);
        Ok(file)
    }

    /// Whether a request shows one of the tokens.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        match Authorization::read(headers, &self.hasher) {
            Ok(Authorization::Bearer(shown)) => self.current.load().hold(&shown).into(),
            _ => false,
        }
    }

    /// Reads the file again every `every`, until it is dropped.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut watch = Watch::default();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let file = Arc::clone(&self);
            let looking = tokio::task::spawn_blocking(move || {
                file.look(&mut watch);
                watch
            });
            // Without a panic's own words: they may quote the file.
            watch = looking.await.unwrap_or_default();
        }
    }

    fn look(&self, watch: &mut Watch) {
        let reading = Reading::of([self.path.clone()]);
        let found = reading.fingerprint(&self.hasher);
        let is_settled = watch.before.as_ref().is_some_and(|before| found.is(before));
        watch.before = Some(found.clone());
        if !is_settled {
            return;
        }
        let (key, path) = (self.key, self.path.display());
        if watch.in_use.as_ref().is_some_and(|used| found.is(used)) {
            if std::mem::take(&mut watch.is_unusable) {
                tracing::info!(key, file = %path, "the file of tokens is again as it is in use");
            }
            return;
        }
        match parse(&reading, &self.path, &self.hasher) {
            Ok(tokens) => {
                self.current.store(Arc::new(tokens));
                // The first one is what was read at the start, or a moment later.
                let was_unusable = std::mem::take(&mut watch.is_unusable);
                if watch.in_use.replace(found).is_some() || was_unusable {
                    tracing::info!(key, file = %path, "the tokens of a file changed and are in use");
                    self.warn(&reading);
                }
            }
            Err(what) if !watch.is_unusable => {
                watch.is_unusable = true;
                tracing::error!(
                    key,
                    file = %path,
                    reason = what,
                    "a file of tokens cannot be used: the tokens that were read before stay in use; mend the file, it is \
                     read again every few seconds"
                );
            }
            Err(_) => {}
        }
    }

    fn warn(&self, reading: &Reading) {
        let (key, path) = (self.key, self.path.display());
        if reading.is_for_everybody(&self.path) {
            tracing::warn!(
                key,
                file = %path,
                warning = READABLE_BY_EVERYBODY,
                "something about a file of tokens needs a look"
            );
        }
        for line in &self.current.load().weak_lines {
            tracing::warn!(
                key,
                file = %path,
                line,
                "a token of a file is short enough to be guessed; make one with `openssl rand -hex 32`"
            );
        }
    }
}

fn parse(reading: &Reading, path: &Path, hasher: &Hasher) -> Result<Secrets, String> {
    Secrets::parse(reading.bytes(path)?, Kind::Token, hasher)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hyper::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    fn shows(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(authorization).unwrap();
        headers.insert(AUTHORIZATION, value);
        headers
    }

    fn made(text: &str) -> (tempfile::TempDir, PathBuf, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, text).unwrap();
        let file = TokenFile::open("admin_token_file", &path).unwrap();
        (dir, path, file)
    }

    const ONE: &str = "Bearer first-token-0123456789";
    const OTHER: &str = "Bearer other-token-0123456789";

    #[test]
    fn who_shows_one_of_the_tokens_is_let_in_and_nobody_else() {
        let (_dir, _, file) =
            made("# prometheus\nfirst-token-0123456789\nother-token-0123456789\n");
        assert!(file.admits(&shows(ONE)) && file.admits(&shows(OTHER)));
        assert!(!file.admits(&HeaderMap::new()));
        for other in [
            "first-token-0123456789",
            "Bearer first-token-012345678",
            "Bearer first-token-01234567890",
            "Bearer # prometheus",
            "Bearer ",
            "Basic Zmlyc3QtdG9rZW4tMDEyMzQ1Njc4OTo=",
        ] {
            assert!(!file.admits(&shows(other)), "{other}");
        }
        let mut twice = shows(ONE);
        twice.append(AUTHORIZATION, HeaderValue::from_static(OTHER));
        assert!(!file.admits(&twice), "two headers say nothing valid");
    }

    #[test]
    fn a_change_counts_once_it_was_read_twice_and_what_is_no_token_changes_nothing() {
        let (_dir, path, file) = made("first-token-0123456789\n");
        let mut watch = Watch::default();
        let mut look = || file.look(&mut watch);
        look();
        look();
        fs::write(&path, "other-token-0123456789\n").unwrap();
        look();
        assert!(file.admits(&shows(ONE)) && !file.admits(&shows(OTHER)));
        look();
        assert!(!file.admits(&shows(ONE)) && file.admits(&shows(OTHER)));
        for broken in [Some(""), Some("two words\n"), None] {
            match broken {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            (0..3).for_each(|_| look());
            assert!(file.admits(&shows(OTHER)), "{broken:?}");
        }
        // As Kubernetes does: another file at the same path.
        fs::write(path.with_extension("new"), "first-token-0123456789").unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        (0..2).for_each(|_| look());
        assert!(file.admits(&shows(ONE)) && !file.admits(&shows(OTHER)));
    }

    #[test]
    fn a_file_that_is_of_no_use_is_told_by_its_key_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let error = |path: &Path| {
            let opened = TokenFile::open("admin_token_file", path);
            opened.err().unwrap().to_string()
        };
        assert!(error(&path).contains("cannot be read"));
        fs::write(&path, "hunter 2\n").unwrap();
        let text = error(&path);
        assert!(text.starts_with("admin_token_file: "), "{text}");
        assert!(text.contains("holds no token in line 1"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }
}

//! What the data directory holds: files that are whole or not there, and the queue as a configuration wants it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use auditrelay_audit::HashKey;
use auditrelay_config::Config;
use auditrelay_store::{Engine, MovedAside, Opened, SledOptions};

use crate::{Failure, limits::limits, when::now_unix_ms};

/// The key for a command that writes nothing: the relay's, or one that is not kept where there is none that
/// this user may read. What is hashed with that is comparable within one run.
pub(crate) fn hash_key_to_look(file: &Path) -> Result<HashKey, Failure> {
    if let Ok(bytes) = fs::read(file)
        && let Ok(key) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(HashKey::new(key));
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::Other(format!("the system gives no random bytes: {error}")))?;
    Ok(HashKey::new(key))
}

/// Reads the key of the dedup hashes, or makes one. It stays outside the store on purpose. Relays that are one have the
/// same one, so there none is made: each would make another.
pub(crate) fn hash_key(config: &Config) -> Result<HashKey, Failure> {
    let file = &config.dedup_key_file();
    let text = |what: &str, error: &dyn std::fmt::Display| {
        format!("cannot {what} the dedup key {}: {error}", file.display())
    };
    let fail = |what: &str, error: &dyn std::fmt::Display| Failure::Other(text(what, error));
    let disk = |what: &str, error: &dyn std::fmt::Display| Failure::Disk(text(what, error));
    match fs::read(file) {
        Ok(bytes) => {
            let length = bytes.len();
            let key = <[u8; 32]>::try_from(bytes).map_err(|_| {
                fail(
                    "use",
                    &format!("it has {length} bytes, expected 32 random bytes"),
                )
            })?;
            Ok(HashKey::new(key))
        }
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && config.queue.jetstream.is_some() =>
        {
            let path = file.display();
            Err(Failure::Key(format!(
                "dedup.key_file: {path} is not there, and relays on JetStream are one only with the same key, so none is \
                 made: make it once (head -c 32 /dev/urandom > {path}) and give the same file to each of them"
            )))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|error| fail("make", &error))?;
            write_durably(file, &key).map_err(|error| disk("write", &error))?;
            Ok(HashKey::new(key))
        }
        Err(error) => Err(disk("read", &error)),
    }
}

/// Writes a file that is there whole or not at all, readable by its owner only.
pub(crate) fn write_durably(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut new = tempfile::NamedTempFile::new_in(&folder)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    // Not `persist`: it calls the kernel past libc, where the tests of power loss do not see it.
    let path = new.into_temp_path();
    fs::rename(&path, file)?;
    path.keep()?;
    fs::File::open(folder)?.sync_all()
}

/// How the queue of a configuration is opened, by the relay and by commands.
pub(crate) fn sled_options(data_dir: &Path, config: Option<&Config>) -> SledOptions {
    // A command that only looks leaves everything where it is.
    let looking = SledOptions::new(data_dir, now_unix_ms());
    let Some(config) = config else { return looking };
    let bytes_max = config.queue.bytes_max.get();
    SledOptions {
        cache_bytes_max: config.queue.cache_bytes_max.get(),
        // A small queue gives its space back in small pieces.
        segment_bytes: looking.segment_bytes.min(bytes_max / 64),
        index_bytes: looking.index_bytes.min(bytes_max / 16),
        limits: limits(&config.queue),
        move_damaged_aside: true,
        ..looking
    }
}

/// Opens the queue for a relay.
pub(crate) async fn open_queue(config: &Config) -> Result<(Engine, Option<MovedAside>), Failure> {
    let options = sled_options(&config.data_dir, Some(config));
    let opened = tokio::task::spawn_blocking(move || Engine::open(&options)).await;
    // sled panics where it cannot sync while it closes what it has just opened.
    let opened = opened.map_err(|_panic| {
        let path = config.data_dir.display();
        Failure::Disk(format!("the queue in {path} panicked while it was opened"))
    })?;
    let Opened { queue, moved_aside } = opened?;
    if let Some(moved) = &moved_aside {
        tracing::error!(
            reason = moved.reason, moved_to = %moved.path.display(), kept_events = moved.kept_events,
            "the queue's store is damaged and was moved aside; the relay starts with an empty one. \
             Look at the disk; `auditrelay salvage` brings back what is whole in the old one"
        );
    }
    Ok((queue, moved_aside))
}

#[cfg(test)]
mod tests {
    use auditrelay_config::{Overrides, load};

    use super::*;

    fn config(dir: &Path, queue: &str) -> Config {
        let (file, data_dir) = (dir.join("a.yaml"), dir.display());
        let text = format!("data_dir: {data_dir}\nqueue: {queue}\n");
        fs::write(&file, text).expect("written");
        let loaded = load(Some(&file), [], Overrides::default());
        loaded.expect("valid").config
    }

    #[test]
    fn a_key_is_made_on_the_disk_and_asked_for_on_jetstream() {
        let dir = tempfile::tempdir().expect("a folder");
        let jetstream = "{jetstream: {servers: [nats://a], accept_replicated_without_fsync: true}}";
        let shared = config(dir.path(), jetstream);
        let error = hash_key(&shared).expect_err("there is none");
        let told = error.to_string();
        assert!(
            told.starts_with("dedup.key_file: ") && told.contains("head -c 32"),
            "{told}"
        );
        assert_eq!(error.exit_code(), auditrelay_config::EX_CONFIG);
        assert!(!dir.path().join("dedup.key").exists());
        let made = hash_key(&config(dir.path(), "{}")).expect("made");
        let read = hash_key(&shared).expect("read");
        assert_eq!(made.mark(), read.mark());
        fs::remove_file(dir.path().join("dedup.key")).expect("removed");
        let other = hash_key(&config(dir.path(), "{}")).expect("made anew");
        assert_ne!(made.mark(), other.mark());
    }
}

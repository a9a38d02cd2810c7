//! The queue of a relay that starts: on this machine's disk, or on NATS JetStream.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    time::Duration,
};

use auditrelay_audit::HashKey;
use auditrelay_config::Config;
use auditrelay_store::{
    Engine,
    jetstream::{JetStream, JetStreamError},
};
use tokio::time::{Instant, sleep};

use crate::{
    Failure, admin,
    data_dir::{hash_key, open_queue},
    jetstream_options::jetstream_options,
};

/// How long a data directory that is locked is waited for, and how often it is tried: a command locks it for a moment to see
/// whether a relay runs.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// How soon NATS is asked again while the relay starts.
const AGAIN: Duration = Duration::from_secs(1);

/// Locked by the relay that has the data directory, where its queue is elsewhere.
const LOCK_FILE: &str = "relay.lock";

/// What a data directory tells of a relay whose queue is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replica {
    /// Nothing: there was none.
    Never,
    /// There was one, and it does not run.
    Stopped,
    Runs,
}

impl Replica {
    pub(crate) fn of(data_dir: &Path) -> Self {
        let Ok(lock) = File::open(data_dir.join(LOCK_FILE)) else {
            return Self::Never;
        };
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Self::Runs,
            _ => Self::Stopped,
        }
    }
}

/// The queue.
pub(super) enum Opened {
    /// On the disk; whether a damaged one was moved aside.
    Disk(Engine, bool),
    /// On JetStream, which is connected to.
    JetStream(JetStream, Only),
}

/// The data directory is this process's alone.
pub(super) struct Only {
    _lock: File,
}

impl Opened {
    /// Opens it, or connects to it, which waits for NATS.
    ///
    /// # Errors
    /// It cannot be had as the configuration says.
    pub(super) async fn new(config: &Config, admin: &admin::Port) -> Result<Self, Failure> {
        let address = admin.address();
        let Some(options) = jetstream_options(config).transpose()? else {
            tracing::info!(admin = %format_args!("http://{address}"), "opening the queue");
            let (queue, moved_aside) = open_queue(config).await?;
            return Ok(Self::Disk(queue, moved_aside.is_some()));
        };
        let only = Only::new(&config.data_dir).await?;
        // Before streams are made: without its key it cannot be one with other relays.
        hash_key(config)?;
        admin.doing("connecting to NATS");
        tracing::info!(admin = %format_args!("http://{address}"), "connecting to NATS");
        let queue = JetStream::connect_when_there(&options).await;
        Ok(Self::JetStream(queue.map_err(refused)?, only))
    }

    /// The queue that this process has opened.
    pub(super) fn on_disk(&self) -> Option<Engine> {
        match self {
            Self::Disk(queue, _) => Some(queue.clone()),
            Self::JetStream(..) => None,
        }
    }

    /// Whether a damaged one was moved aside.
    pub(super) fn is_moved_aside(&self) -> bool {
        matches!(self, Self::Disk(_, true))
    }

    /// The key of the dedup hashes; of relays that are one it has to be one.
    ///
    /// # Errors
    /// It cannot be read or made, or others have another one.
    pub(super) async fn hash_key(&self, config: &Config) -> Result<HashKey, Failure> {
        let key = hash_key(config)?;
        if let Self::JetStream(queue, _) = self {
            // Where NATS changes its mind meanwhile (a server is lost, a stream has no leader yet) it is asked again, as it is
            // when it is connected to.
            let mut is_said = false;
            loop {
                match queue.agree_on_key(&key.mark()).await {
                    Err(error) if error.is_of_the_moment() => {
                        if !std::mem::replace(&mut is_said, true) {
                            tracing::warn!(%error, "NATS cannot be the queue yet; it is tried again every second");
                        }
                        sleep(AGAIN).await;
                    }
                    agreed => break agreed.map_err(refused)?,
                }
            }
        }
        Ok(key)
    }
}

/// What NATS refuses is for whoever configures it, or the relay.
fn refused(error: JetStreamError) -> Failure {
    match error.is_of_the_moment() {
        true => Failure::Other(error.to_string()),
        false => Failure::Key(error.to_string()),
    }
}

impl Only {
    /// Makes the data directory, if there is none, and locks it.
    async fn new(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.display();
        let failed =
            |error: &dyn std::fmt::Display| Failure::Disk(format!("cannot use {path}: {error}"));
        fs::create_dir_all(data_dir).map_err(|error| failed(&error))?;
        let lock = File::create(data_dir.join(LOCK_FILE)).map_err(|error| failed(&error))?;
        let asked = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { _lock: lock }),
                Err(TryLockError::WouldBlock) if asked.elapsed() < LOCK_PATIENCE => {
                    sleep(LOCK_PAUSE).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::Other(format!(
                        "another relay runs on {path}; give each of them a data_dir of its own"
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_command_that_looks_for_a_relay_is_not_taken_for_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let only = Only::new(path).await.expect("alone");
        assert_eq!(Replica::of(path), Replica::Runs);
        let refused = Only::new(path).await.err().expect("not alone");
        assert!(refused.to_string().contains("another relay runs"));
        drop(only);
        assert_eq!(Replica::of(path), Replica::Stopped);
        let looking = File::open(path.join(LOCK_FILE)).expect("there");
        looking.try_lock_shared().expect("locked");
        let looks = async {
            sleep(LOCK_PATIENCE / 2).await;
            drop(looking);
        };
        let (only, ()) = tokio::join!(Only::new(path), looks);
        only.expect("alone again");
    }
}

//! Queues of the suite on a ledger stream of a real server, which each test has for itself.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use auditrelay_store::{Engine, Limits, StreamOptions};

use crate::{Backend, support::on_jetstream::Server};

/// The server of the test that runs.
static RUNNING: Mutex<Option<Server>> = Mutex::new(None);

/// The server goes with the test, also with one that fails.
pub struct Running(());

impl Running {
    /// `None`, said on the way, where there is no nats-server.
    pub fn start() -> Option<Self> {
        *lock() = Some(Server::start()?);
        Some(Self(()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(lock().take());
    }
}

fn lock() -> MutexGuard<'static, Option<Server>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct OnStream;

impl Backend for OnStream {
    /// What a folder is on a disk is a name here.
    fn limited(dir: &Path, limits: Limits) -> Engine {
        let mut hash = DefaultHasher::new();
        dir.hash(&mut hash);
        let options = StreamOptions {
            limits,
            segment_bytes: 1 << 20,
            ..StreamOptions::new(1_700_000_000_000)
        };
        let running = lock();
        let server = running.as_ref().expect("a server");
        server.open(&format!("test-{}", hash.finish()), options)
    }
}

//! Queues of the suite on a ledger stream of a real server, which each test has for itself.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use auditrelay_store::{
    Engine, Limits, StreamOptions,
    jetstream::{Credentials, Durability, JetStream, JetStreamOptions, Tls},
};

use crate::Backend;

/// The server of the test that runs, and its connections by folder: what a folder is on a disk is a name there.
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    server: NatsServer,
    connections: BTreeMap<PathBuf, JetStream>,
}

/// The server goes with the test, also with one that fails.
pub struct Server(());

impl Server {
    /// `None`, said on the way, where there is no nats-server.
    pub fn start() -> Option<Self> {
        let server = NatsServer::start(&NatsOptions::default()).expect("it starts")?;
        let connections = BTreeMap::new();
        *lock() = Some(Running {
            server,
            connections,
        });
        Some(Self(()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(lock().take());
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct OnStream;

impl Backend for OnStream {
    fn limited(dir: &Path, limits: Limits) -> Engine {
        // Tests are on a runtime already, and this waits.
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.expect("a runtime").block_on(open(dir, limits))
            });
            opened.join().expect("it opens")
        })
    }
}

async fn open(dir: &Path, limits: Limits) -> Engine {
    let mut running = lock();
    let running = running.as_mut().expect("a server");
    if !running.connections.contains_key(dir) {
        let connected = JetStream::connect(&options(&running.server, dir)).await;
        let connected = connected.expect("connected");
        running.connections.insert(dir.to_owned(), connected);
    }
    let options = StreamOptions {
        limits,
        segment_bytes: 1 << 20,
        ..StreamOptions::new(1_700_000_000_000)
    };
    running.connections[dir].open(options).await.expect("opens")
}

fn options(server: &NatsServer, dir: &Path) -> JetStreamOptions {
    let mut hash = DefaultHasher::new();
    dir.hash(&mut hash);
    JetStreamOptions {
        servers: vec![server.address()],
        credentials: Credentials::None,
        tls: Tls::default(),
        replicas: 1,
        name: format!("test-{}", hash.finish()),
        inbox_bytes_max: 64 << 20,
        ledger_bytes_max: 1 << 30,
        lease: Duration::from_secs(6),
        append_timeout: Duration::from_secs(5),
        durability: Durability::Synced(vec![server.monitoring().parse().expect("a URL")]),
    }
}

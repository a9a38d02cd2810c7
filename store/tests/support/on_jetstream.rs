//! Queues on a ledger stream of a real server, which a test has for itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use auditrelay_store::{
    Engine, StreamOptions,
    jetstream::{Credentials, Durability, JetStream, JetStreamOptions, Tls},
};

/// A server, and connections to it by the name that streams have.
pub struct Server {
    server: NatsServer,
    connections: Mutex<BTreeMap<String, JetStream>>,
}

impl Server {
    /// `None`, said on the way, where there is no nats-server.
    pub fn start() -> Option<Self> {
        let server = NatsServer::start(&NatsOptions::default()).expect("it starts")?;
        Some(Self {
            server,
            connections: Mutex::default(),
        })
    }

    /// The connection of a name.
    pub async fn connected(&self, name: &str) -> JetStream {
        let connections = || {
            let connections = self.connections.lock();
            connections.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(connected) = connections().get(name) {
            return connected.clone();
        }
        let connected = JetStream::connect_when_there(&self.options(name)).await;
        let connected = connected.expect("connected");
        connections().insert(name.to_owned(), connected.clone());
        connected
    }

    /// Takes over the queue of a name, made if there is none. Waits, wherever it is called.
    pub fn open(&self, name: &str, options: StreamOptions) -> Engine {
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.expect("a runtime").block_on(async {
                    let connected = self.connected(name).await;
                    connected.open(options).await.expect("opens")
                })
            });
            opened.join().expect("it opens")
        })
    }

    fn options(&self, name: &str) -> JetStreamOptions {
        let monitoring = self.server.monitoring().parse().expect("a URL");
        JetStreamOptions {
            servers: vec![self.server.address()],
            credentials: Credentials::None,
            tls: Tls::default(),
            replicas: 1,
            name: name.to_owned(),
            inbox_bytes_max: 8 << 20,
            ledger_bytes_max: 64 << 20,
            lease: Duration::from_secs(6),
            append_timeout: Duration::from_secs(5),
            durability: Durability::Synced(vec![monitoring]),
        }
    }
}

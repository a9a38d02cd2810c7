//! What tests of the parts beside this file share: a connection to real servers.

use std::time::Duration;

use auditrelay_loadtest::nats::{NatsCluster, NatsOptions, NatsServer};

use super::{Credentials, Durability, JetStream, JetStreamOptions, Tls};

/// A lone server that syncs, where there is the program.
pub(crate) fn server() -> Option<NatsServer> {
    NatsServer::start(&NatsOptions::default()).unwrap()
}

/// Three of them that are one cluster.
pub(crate) fn cluster() -> Option<NatsCluster> {
    NatsCluster::start(3, &NatsOptions::default()).unwrap()
}

pub(crate) fn options(servers: Vec<String>, monitoring: &[String]) -> JetStreamOptions {
    let monitoring = monitoring.iter().map(|url| url.parse().unwrap());
    JetStreamOptions {
        replicas: if servers.len() < 3 { 1 } else { 3 },
        servers,
        credentials: Credentials::None,
        tls: Tls::default(),
        name: "test".to_owned(),
        inbox_bytes_max: 16 << 20,
        ledger_bytes_max: 256 << 20,
        lease: Duration::from_secs(60),
        append_timeout: Duration::from_secs(30),
        durability: Durability::Synced(monitoring.collect()),
    }
}

pub(crate) fn options_of(server: &NatsServer) -> JetStreamOptions {
    options(vec![server.address()], &[server.monitoring()])
}

/// A connection with leases that last so long.
pub(crate) async fn connect_with_lease(server: &NatsServer, lease: Duration) -> JetStream {
    let options = JetStreamOptions {
        lease,
        ..options_of(server)
    };
    JetStream::connect_when_there(&options).await.unwrap()
}

/// A connection of its own, for plain threads.
pub(crate) fn connect(options: &JetStreamOptions) -> JetStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .unwrap()
        .block_on(JetStream::connect_when_there(options))
        .unwrap()
}

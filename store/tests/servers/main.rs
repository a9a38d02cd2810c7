//! Real NATS servers as the queue: who may connect, what is refused and with which words, and what is created.

mod ask;
mod credentials;
mod cut_off;
mod jwt;
mod permissions;
mod promises;
mod refusals;
mod shared_key;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::time::Duration;

use auditrelay_loadtest::nats::{NatsCluster, NatsOptions, NatsServer};
use auditrelay_store::jetstream::{
    Credentials, Durability, JetStream, JetStreamError, JetStreamOptions, Tls,
};

/// Options for servers that sync, all of them monitored.
fn options(servers: &[&NatsServer], replicas: usize) -> JetStreamOptions {
    JetStreamOptions {
        servers: servers.iter().map(|server| server.address()).collect(),
        credentials: Credentials::None,
        tls: Tls::default(),
        replicas,
        name: "relay".to_owned(),
        inbox_bytes_max: 64 << 20,
        ledger_bytes_max: 256 << 20,
        lease: Duration::from_secs(60),
        append_timeout: Duration::from_secs(5),
        durability: Durability::Synced(
            servers
                .iter()
                .map(|server| server.monitoring().parse().expect("an address"))
                .collect(),
        ),
    }
}

fn one(server: &NatsServer) -> JetStreamOptions {
    options(&[server], 1)
}

fn every(cluster: &NatsCluster, replicas: usize) -> JetStreamOptions {
    options(&cluster.servers.iter().collect::<Vec<_>>(), replicas)
}

fn server(with: NatsOptions) -> Option<NatsServer> {
    NatsServer::start(&with).expect("it starts")
}

async fn refused(options: &JetStreamOptions) -> JetStreamError {
    match JetStream::connect(options).await {
        Ok(_) => panic!("{options:?} connects"),
        Err(error) => error,
    }
}

/// Waits for what becomes so by itself.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1_200 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not in a minute: {what}");
}

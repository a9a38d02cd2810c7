//! Servers of the harness are what it says: ready, alone or as a cluster, killed, stopped and started again with what
//! they had stored.

use std::time::Duration;

use async_nats::jetstream::{self, context::PublishError, message::PublishMessage, stream::Config};
use auditrelay_loadtest::nats::{NatsCluster, NatsOptions, NatsServer};

async fn store(address: &str, replicas: usize) -> jetstream::Context {
    let client = async_nats::connect(address)
        .await
        .expect("the server does it");
    let context = jetstream::new(client);
    let stream = Config {
        name: "kept".to_owned(),
        num_replicas: replicas,
        ..Config::default()
    };
    context
        .create_stream(stream)
        .await
        .expect("the server does it");
    // The server that was asked may not have heard yet that another one takes messages for it.
    let stored = async {
        while publish(&context).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let stored = tokio::time::timeout(Duration::from_secs(60), stored);
    stored.await.expect("the server does it");
    context
}

async fn publish(context: &jetstream::Context) -> Result<(), PublishError> {
    let message = PublishMessage::build().message_id("once");
    let message = message.payload("message".into());
    let sent = context.send_publish("kept", message).await?;
    sent.await.map(drop)
}

/// Not `/varz`: what it says of JetStream it says for ever as it was when it was asked first, which may be nothing.
fn syncs(server: &NatsServer) -> bool {
    let jsz = server.monitor("/jsz?config=true");
    let jsz = jsz.expect("the server does it");
    jsz["config"]["sync_always"] == true
}

async fn stored(context: &jetstream::Context) -> u64 {
    let stream = context
        .get_stream("kept")
        .await
        .expect("the server does it");
    stream.cached_info().state.messages
}

#[tokio::test]
async fn a_server_keeps_its_messages_over_a_kill() {
    let Some(mut server) = NatsServer::start(&NatsOptions::default()).unwrap() else {
        return;
    };
    assert!(syncs(&server));
    store(&server.address(), 1).await;
    let address = server.address();
    server.restart().unwrap();
    assert_eq!(server.address(), address);
    let context = jetstream::new(async_nats::connect(&address).await.unwrap());
    assert_eq!(stored(&context).await, 1);

    server.options_mut().sync_always = false;
    server.restart().unwrap();
    assert!(!syncs(&server));
    let id = server.id().unwrap();
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[tokio::test]
async fn three_servers_are_a_cluster_and_carry_on_without_one() {
    let Some(mut cluster) = NatsCluster::start(3, &NatsOptions::default()).unwrap() else {
        return;
    };
    assert_eq!(cluster.addresses().len(), 3);
    store(&cluster.servers[0].address(), 3).await;
    let leader = cluster.stream_leader("kept").unwrap();
    let away = (leader + 1) % 3;
    cluster.servers[away].stop().unwrap();
    assert!(cluster.servers[away].monitor("/varz").is_err());
    let other = cluster.servers[leader].address();
    let context = jetstream::new(async_nats::connect(&other).await.unwrap());
    assert_eq!(stored(&context).await, 1);
    cluster.servers[away].cont().unwrap();
    cluster.servers[away].kill();
    cluster.servers[away].restart().unwrap();
    cluster.wait_until_ready().unwrap();
}

//! A server that is cut off from the others of its cluster keeps its clients, and nothing that they send is stored.

use auditrelay_loadtest::nats::{NatsCluster, NatsOptions};
use auditrelay_store::{
    Intake as _,
    jetstream::{JetStream, JetStreamOptions},
};

use std::time::Duration;
use tokio::time::{sleep, timeout};

use crate::{every, options, server, support, until};

/// How many relays a server has as clients, if it answers.
fn relays_at(cluster: &NatsCluster, at: usize) -> Option<usize> {
    let all = cluster.servers[at].monitor("/connz").ok()?;
    let clients = all["connections"].as_array().expect("a list");
    let is_relay = |client: &&serde_json::Value| client["name"] == "auditrelay";
    Some(clients.iter().filter(is_relay).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_leaves_a_server_that_is_cut_off_and_begins_without_it() {
    let Some(mut cluster) = NatsCluster::start(3, &NatsOptions::default()).unwrap() else {
        return;
    };
    let options_of_all = every(&cluster, 3);
    let relay = JetStream::connect_when_there(&options_of_all)
        .await
        .unwrap();
    let begins = JetStream::connect_when_there(&options_of_all)
        .await
        .unwrap();
    let inbox = relay.inbox();
    let looking = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.look_on().await }
    });
    let batch = || support::batch(["{}".to_owned()]);
    inbox.append(batch()).await.unwrap();
    assert_eq!(relay.promises(), Ok(()));

    // It led the inbox, and says for some seconds more that it does.
    let alone = cluster.stream_leader("relay-inbox").expect("one leads");
    let others: Vec<usize> = (0..3).filter(|at| *at != alone).collect();
    for at in &others {
        cluster.servers[*at].kill();
    }
    until("its server is the last one", async || {
        relays_at(&cluster, alone) == Some(2) && relay.is_connected()
    })
    .await;
    // One that begins does not look on yet.
    let beginning = tokio::spawn(async move {
        while begins.agree_on_key(b"mark").await.is_err() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    until("it is not ready", async || relay.promises().is_err()).await;
    assert!(inbox.append(batch()).await.is_err());

    // The others are back, and do not let it in.
    for at in &others {
        let server = &mut cluster.servers[*at];
        server.options_mut().route_password = "another".to_owned();
        server.begin_again().unwrap();
    }
    for at in &others {
        cluster.servers[*at].wait_until_ready().unwrap();
    }
    until("its batches are taken", async || {
        inbox.append(batch()).await.is_ok()
    })
    .await;
    assert_eq!(relay.promises(), Ok(()));
    timeout(Duration::from_secs(60), beginning)
        .await
        .unwrap()
        .unwrap();
    // A server hears of it after who left.
    until("they have left", async || {
        relays_at(&cluster, alone) == Some(0)
    })
    .await;
    looking.abort();
}

#[tokio::test]
async fn a_relay_begins_where_one_is_gone_whose_name_nobody_knows() {
    let Some(mut cluster) = NatsCluster::start(3, &NatsOptions::default()).unwrap() else {
        return;
    };
    let Some(instead) = server(NatsOptions::default()) else {
        return;
    };
    drop(
        JetStream::connect_when_there(&every(&cluster, 3))
            .await
            .unwrap(),
    );
    cluster.servers[0].kill();
    // They begin without it, so they have its ID only; and another one is monitored in its place.
    let [_, one, other] = &mut cluster.servers[..] else {
        panic!("three")
    };
    one.begin_again().unwrap();
    other.begin_again().unwrap();
    one.wait_until_ready().unwrap();
    other.wait_until_ready().unwrap();
    let without = JetStreamOptions {
        servers: vec![one.address(), other.address()],
        ..options(&[one, other, &instead], 3)
    };
    JetStream::connect_when_there(&without).await.unwrap();
}

//! Relays that are one agree on their key: on a real nats-server, as many as begin at once.

use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use auditrelay_store::jetstream::{JetStream, JetStreamError, JetStreamOptions};

use super::{one, server};

fn options(server: &NatsServer, name: &str) -> JetStreamOptions {
    JetStreamOptions {
        name: name.to_owned(),
        ..one(server)
    }
}

#[tokio::test]
async fn the_first_key_counts_and_another_is_refused() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let one = JetStream::connect_when_there(&options(&server, "a"))
        .await
        .expect("connected");
    let two = JetStream::connect_when_there(&options(&server, "a"))
        .await
        .expect("connected");
    one.agree_on_key(b"mark one").await.expect("the first");
    two.agree_on_key(b"mark one").await.expect("the same");
    let error = two.agree_on_key(b"mark two").await.expect_err("another");
    assert!(
        matches!(error, JetStreamError::OtherKey { .. }) && !error.is_of_the_moment(),
        "{error}"
    );
    let told = error.to_string();
    assert!(
        told.contains("nats kv del a-lease dedup-key") && !told.contains("mark"),
        "{told}"
    );
    one.agree_on_key(b"mark one")
        .await
        .expect("what was agreed stays");
    let apart = JetStream::connect_when_there(&options(&server, "b"))
        .await
        .expect("connected");
    apart
        .agree_on_key(b"mark two")
        .await
        .expect("other streams, other relays");
}

#[tokio::test]
async fn of_many_that_begin_at_once_with_different_keys_one_wins() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let mut relays = Vec::new();
    for _ in 0..4 {
        relays.push(
            JetStream::connect_when_there(&options(&server, "a"))
                .await
                .expect("connected"),
        );
    }
    for round in 0..10 {
        // The entry is deleted as an operator does who exchanges the key, which leaves a marker in its place.
        let client = async_nats::connect(server.address())
            .await
            .expect("connected");
        let context = async_nats::jetstream::new(client);
        let bucket = context.get_key_value("a-lease").await.expect("a bucket");
        bucket.delete("dedup-key").await.expect("deleted");
        let tasks = relays.iter().enumerate().map(|(number, relay)| {
            let (relay, mark) = (relay.clone(), [number as u8; 16]);
            tokio::spawn(async move { relay.agree_on_key(&mark).await })
        });
        let mut agreed = Vec::new();
        for (number, task) in tasks.collect::<Vec<_>>().into_iter().enumerate() {
            match task.await.expect("no panic") {
                Ok(()) => agreed.push(number as u8),
                Err(error) => assert!(matches!(error, JetStreamError::OtherKey { .. }), "{error}"),
            }
        }
        let stored = bucket.get("dedup-key").await.expect("an answer");
        let stored = stored.expect("an entry");
        assert_eq!(agreed, [stored[0]], "round {round}");
    }
}

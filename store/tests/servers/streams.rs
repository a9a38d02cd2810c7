//! The streams: what is created, what is raised, and what is refused with words that help.

use async_nats::jetstream::{
    self, Context,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use auditrelay_store::jetstream::{JetStream, JetStreamError};
use std::time::Duration;

use crate::{one, refused, server};

async fn context(server: &NatsServer) -> Context {
    jetstream::new(
        async_nats::connect(server.address())
            .await
            .expect("it answers"),
    )
}

async fn config(context: &Context, stream: &str) -> Config {
    let stream = context.get_stream(stream).await.expect("it is there");
    stream.cached_info().config.clone()
}

#[tokio::test]
async fn three_create_them_at_once_as_they_have_to_be() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let options = one(&server);
    let (a, b, c) = tokio::join!(
        JetStream::connect_when_there(&options),
        JetStream::connect_when_there(&options),
        JetStream::connect_when_there(&options)
    );
    a.unwrap();
    b.unwrap();
    c.unwrap();
    let context = context(&server).await;
    let inbox = config(&context, "relay-inbox").await;
    assert_eq!(inbox.subjects, ["relay.inbox", "relay.inbox.>"]);
    assert_eq!(inbox.retention, RetentionPolicy::WorkQueue);
    assert_eq!(inbox.max_bytes, 64 << 20);
    let ledger = config(&context, "relay-ledger").await;
    assert_eq!(ledger.subjects, ["relay.ledger.>"]);
    assert_eq!(ledger.retention, RetentionPolicy::Limits);
    assert_eq!(ledger.max_bytes, 256 << 20);
    let lease = config(&context, "KV_relay-lease").await;
    assert_eq!(lease.max_messages_per_subject, 1);
    for config in [&inbox, &ledger, &lease] {
        assert_eq!(config.discard, DiscardPolicy::New);
        assert_eq!(config.storage, StorageType::File);
        assert_eq!(config.duplicate_window, Duration::from_secs(120));
        assert_eq!((config.max_messages, config.max_age), (-1, Duration::ZERO));
        assert!(
            !config.allow_direct && !config.deny_delete && !config.deny_purge && !config.no_ack
        );
    }
    // The bucket is one for the library too.
    let bucket = context.get_key_value("relay-lease").await.unwrap();
    let revision = bucket.create("leader", "a".into()).await.unwrap();
    bucket.update("leader", "b".into(), revision).await.unwrap();
    assert_eq!(bucket.get("leader").await.unwrap().unwrap(), "b");
}

#[tokio::test]
async fn what_can_be_raised_is_raised_and_what_is_more_is_left_alone() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let mut options = one(&server);
    JetStream::connect_when_there(&options).await.unwrap();
    let context = context(&server).await;
    context
        .publish("relay.inbox", "kept".into())
        .await
        .unwrap()
        .await
        .unwrap();
    options.inbox_bytes_max *= 2;
    JetStream::connect_when_there(&options).await.unwrap();
    assert_eq!(config(&context, "relay-inbox").await.max_bytes, 128 << 20);
    options.inbox_bytes_max /= 4;
    JetStream::connect_when_there(&options).await.unwrap();
    let mut given = config(&context, "relay-inbox").await;
    assert_eq!(given.max_bytes, 128 << 20);

    // A replica that lags may not answer.
    given.allow_direct = true;
    given.duplicate_window = Duration::from_secs(5);
    context.update_stream(&given).await.unwrap();
    JetStream::connect_when_there(&options).await.unwrap();
    let after = config(&context, "relay-inbox").await;
    assert!(!after.allow_direct);
    assert_eq!(after.duplicate_window, Duration::from_secs(120));
    let mut stream = context.get_stream("relay-inbox").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
}

#[tokio::test]
async fn those_that_somebody_deleted_while_a_relay_runs_are_made_again() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let relay = JetStream::connect_when_there(&one(&server)).await.unwrap();
    let context = context(&server).await;
    let all = ["relay-inbox", "relay-ledger", "KV_relay-lease"];
    let first = config(&context, all[0]).await;
    for stream in all {
        context.delete_stream(stream).await.unwrap();
    }
    // As it is asked every minute.
    assert!(relay.ask_whether_durable().await);
    for stream in all {
        config(&context, stream).await;
    }
    assert_eq!(config(&context, all[0]).await, first);
    relay.lead("a").await.unwrap().resign().await;
}

/// Each setting that a promise rests on, broken once.
#[tokio::test]
async fn what_is_not_as_it_has_to_be_is_refused() {
    type Harm = (&'static str, fn(&mut Config));
    const HARM: [Harm; 12] = [
        ("retention", |config| {
            config.retention = RetentionPolicy::Limits
        }),
        ("storage", |config| config.storage = StorageType::Memory),
        ("subjects", |config| {
            config.subjects.push("relay.other".to_owned())
        }),
        ("discard", |config| config.discard = DiscardPolicy::Old),
        ("max_age", |config| {
            config.max_age = Duration::from_secs(3_600)
        }),
        ("max_msgs", |config| config.max_messages = 1_000),
        ("max_msgs_per_subject", |config| {
            config.max_messages_per_subject = 1
        }),
        ("max_msg_size", |config| config.max_message_size = 1_000),
        ("no_ack", |config| config.no_ack = true),
        ("deny_delete", |config| config.deny_delete = true),
        ("deny_purge", |config| config.deny_purge = true),
        ("max_bytes", |config| config.max_bytes = -1),
    ];
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let options = one(&server);
    JetStream::connect_when_there(&options).await.unwrap();
    let context = context(&server).await;
    let right = config(&context, "relay-inbox").await;
    for (setting, harm) in HARM {
        context.delete_stream("relay-inbox").await.unwrap();
        let mut wrong = right.clone();
        harm(&mut wrong);
        context.create_stream(&wrong).await.unwrap();
        let error = refused(&options).await;
        assert!(!error.is_of_the_moment());
        assert!(
            matches!(&error, JetStreamError::Setting { setting: named, .. } if *named == setting),
            "{setting}: {error:?}"
        );
        assert!(error.to_string().contains("relay-inbox"), "{error}");
    }
    context.delete_stream("relay-inbox").await.unwrap();
    context.create_stream(&right).await.unwrap();
    JetStream::connect_when_there(&options).await.unwrap();
}

#[tokio::test]
async fn where_there_is_no_room_or_no_peer_or_no_free_subject_the_words_say_so() {
    let with = NatsOptions {
        file_store_bytes_max: 100 << 20,
        ..NatsOptions::default()
    };
    let Some(server) = server(with) else { return };
    let error = refused(&one(&server)).await;
    assert!(matches!(error, JetStreamError::NoRoom { .. }), "{error:?}");
    assert!(error.to_string().contains("max_file_store"), "{error}");

    let mut options = one(&server);
    (options.inbox_bytes_max, options.ledger_bytes_max) = (1 << 20, 1 << 20);
    options.name = "many".to_owned();
    options.replicas = 3;
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::TooFewServers { replicas: 3, .. }),
        "{error:?}"
    );

    options.replicas = 1;
    let context = context(&server).await;
    let strange = Config {
        name: "strange".to_owned(),
        subjects: vec!["many.>".to_owned()],
        ..Config::default()
    };
    context.create_stream(strange).await.unwrap();
    let error = refused(&options).await;
    assert!(matches!(error, JetStreamError::Stream { .. }), "{error:?}");
    assert!(error.to_string().contains("overlap"), "{error}");
}

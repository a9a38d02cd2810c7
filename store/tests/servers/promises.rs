//! What servers promise for what they acknowledge: nothing begins without it, and what changes later is noticed.

use auditrelay_loadtest::nats::{NatsCluster, NatsOptions};
use auditrelay_store::{
    Intake as _, QueueError,
    jetstream::{Durability, JetStream, JetStreamError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use url::Url;

use crate::{every, one, refused, server, support, until};

fn lax() -> NatsOptions {
    NatsOptions {
        sync_always: false,
        ..NatsOptions::default()
    }
}

#[tokio::test]
async fn one_server_has_to_sync() {
    let Some(mut server) = server(lax()) else {
        return;
    };
    let mut options = one(&server);
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::NotSynced { .. }),
        "{error:?}"
    );
    assert!(!error.is_of_the_moment());
    let words = error.to_string();
    assert!(
        words.contains(server.name()) && words.contains("sync_interval: always"),
        "{words}"
    );

    // One replica is none to fall back on, whatever is said.
    options.durability = Durability::ReplicatedWithoutFsync;
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::TooFewReplicas { replicas: 1, .. }),
        "{error:?}"
    );

    server.options_mut().sync_always = true;
    server.restart().unwrap();
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::TooFewReplicas { replicas: 1, .. }),
        "{error:?}"
    );
    let relay = JetStream::connect_when_there(&one(&server)).await.unwrap();
    assert!(relay.ask_whether_durable().await);
    let inbox = relay.inbox();
    let batch = || support::batch(["{}".to_owned()]);
    inbox.append(batch()).await.unwrap();

    // It is started anew with other settings, and then again with the right ones.
    server.options_mut().sync_always = false;
    server.restart().unwrap();
    until("it is noticed", async || !relay.ask_whether_durable().await).await;
    assert!(!relay.is_durable());
    until("it is connected again", async || relay.is_connected()).await;
    let answer = inbox.append(batch()).await;
    assert!(
        matches!(&answer, Err(QueueError::Unavailable(why)) if why.contains("do not promise any more")),
        "{answer:?}"
    );
    server.options_mut().sync_always = true;
    server.restart().unwrap();
    until("it is noticed again", async || {
        relay.ask_whether_durable().await
    })
    .await;
    until("batches are taken again", async || {
        inbox.append(batch()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_monitoring_port_that_is_another_ones_or_nobodys() {
    let Some(holder) = server(NatsOptions::default()) else {
        return;
    };
    let Some(other) = server(NatsOptions::default()) else {
        return;
    };
    let mut options = one(&holder);
    let urls =
        |urls: &[String]| Durability::Synced(urls.iter().map(|url| url.parse().unwrap()).collect());
    options.durability = urls(&[]);
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::NotMonitored { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(holder.name()), "{error}");
    options.durability = urls(&[other.monitoring()]);
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::NotMonitored { .. }),
        "{error:?}"
    );

    // The port of clients is no monitoring port; the words have the address, and no password of it.
    let address = holder.address().replace("nats://", "http://relay:secret@");
    options.durability = urls(&[address]);
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::Monitoring { .. }),
        "{error:?}"
    );
    assert!(error.is_of_the_moment());
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");

    options.durability = urls(&[other.monitoring(), holder.monitoring()]);
    JetStream::connect_when_there(&options).await.unwrap();
}

/// A monitoring port that answers as told, by the beginning of the path; its address.
async fn says(answers: [(&'static str, String); 2]) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a fake that works");
    let url = format!(
        "http://{}",
        listener.local_addr().expect("a fake that works")
    );
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a fake that works");
            let (mut asked, mut read) = (Vec::new(), 1);
            while read > 0 && !asked.ends_with(b"\r\n\r\n") {
                read = stream
                    .read_buf(&mut asked)
                    .await
                    .expect("a fake that works");
            }
            let asked = String::from_utf8(asked).expect("a fake that works");
            let body = answers.iter().find(|(path, _)| asked.contains(path));
            let body = &body.expect("a path that it has").1;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}", body.len());
            let answer = format!("{head}\r\nconnection: close\r\n\r\n{body}");
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("a fake that works");
        }
    });
    url.parse().expect("a fake that works")
}

/// NATS: `/varz` never has JetStream's settings where it was asked before they were there.
#[tokio::test]
async fn a_server_that_was_asked_too_early_is_asked_otherwise() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let says = async |name: &str, jsz: &str| {
        let varz = format!(r#"{{"server_name":"{name}","jetstream":{{}}}}"#);
        says([("/varz ", varz), ("/jsz?config=true ", jsz.to_owned())]).await
    };
    let asked = async |jsz: &str| {
        let mut options = one(&server);
        options.durability = Durability::Synced(vec![says(server.name(), jsz).await]);
        JetStream::connect(&options).await.map(drop)
    };
    let lax = asked(r#"{"config":{"sync_interval":120}}"#).await;
    assert!(
        matches!(lax, Err(JetStreamError::NotSynced { .. })),
        "{lax:?}"
    );
    asked(r#"{"config":{"sync_always":true}}"#).await.unwrap();
    // It is not up yet, so it is waited for.
    let off = r#"{"disabled":true,"config":{"max_memory":0,"max_storage":0}}"#;
    let silent = asked(off).await.expect_err("nobody says");
    assert!(
        matches!(silent, JetStreamError::Failed { .. }),
        "{silent:?}"
    );
    let text = silent.to_string();
    assert!(text.contains("says nothing of JetStream"), "{text}");
    // Of one that holds nothing that is well.
    let mut options = one(&server);
    let urls = vec![
        says("other", off).await,
        server.monitoring().parse().unwrap(),
    ];
    options.durability = Durability::Synced(urls);
    JetStream::connect_when_there(&options).await.unwrap();
}

#[tokio::test]
async fn every_server_of_a_cluster_has_to_sync() {
    let Some(mut cluster) = NatsCluster::start(3, &NatsOptions::default()).unwrap() else {
        return;
    };
    let options = every(&cluster, 3);
    // Three relays begin at once.
    let (a, b, c) = tokio::join!(
        JetStream::connect_when_there(&options),
        JetStream::connect_when_there(&options),
        JetStream::connect_when_there(&options)
    );
    let relay = a.unwrap();
    b.unwrap();
    c.unwrap();
    let error = refused(&every(&cluster, 5)).await;
    assert!(
        matches!(error, JetStreamError::TooFewServers { replicas: 5, .. }),
        "{error:?}"
    );

    // One that is not told of holds the streams too.
    let mut two = options.clone();
    if let Durability::Synced(urls) = &mut two.durability {
        urls.pop();
    }
    // (One that is not heard yet, as its stream has just been made, is not waited for.)
    until("it is refused", async || {
        matches!(JetStream::connect(&two).await, Err(JetStreamError::NotMonitored { server })
            if server == cluster.servers[2].name())
    })
    .await;

    // One that holds them, is there, and does not say.
    let mut silent = options.clone();
    if let Durability::Synced(urls) = &mut silent.durability {
        urls[2] = "http://127.0.0.1:9".parse().unwrap();
    }
    let error = refused(&silent).await;
    assert!(
        matches!(&error, JetStreamError::Monitoring { address, .. } if address == "127.0.0.1:9"),
        "{error:?}"
    );

    // One that syncs no more.
    cluster.servers[1].options_mut().sync_always = false;
    cluster.servers[1].restart().unwrap();
    cluster.wait_until_ready().unwrap();
    until("it is noticed", async || !relay.ask_whether_durable().await).await;
    let error = refused(&options).await;
    assert!(
        matches!(&error, JetStreamError::NotSynced { server } if server == cluster.servers[1].name()),
        "{error:?}"
    );

    // One that is away acknowledges nothing: a relay may begin without it. How it would sync is asked when it is back.
    cluster.servers[1].kill();
    until("a relay begins", async || {
        JetStream::connect(&options).await.is_ok()
    })
    .await;
    until("nothing is wrong now", async || {
        relay.ask_whether_durable().await
    })
    .await;
    cluster.servers[1].restart().unwrap();
    until("it is noticed", async || !relay.ask_whether_durable().await).await;
}

#[tokio::test]
async fn three_replicas_may_do_without_where_that_is_said() {
    let Some(cluster) = NatsCluster::start(3, &lax()).unwrap() else {
        return;
    };
    let mut options = every(&cluster, 1);
    options.durability = Durability::ReplicatedWithoutFsync;
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::TooFewReplicas { replicas: 1, .. }),
        "{error:?}"
    );

    // The streams are there with one replica; they are given three.
    options.replicas = 3;
    until("three hold them", async || {
        JetStream::connect(&options).await.is_ok()
    })
    .await;
    let error = refused(&every(&cluster, 3)).await;
    assert!(
        matches!(error, JetStreamError::NotSynced { .. }),
        "{error:?}"
    );
}

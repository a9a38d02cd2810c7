//! Servers that cannot be the queue at all, and those that are not there.

use std::time::Duration;

use auditrelay_loadtest::nats::NatsOptions;
use auditrelay_store::jetstream::{JetStream, JetStreamError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
};

use crate::{one, refused, server};

/// The bound that the first connection has, and room for a machine that is busy.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn nobody_answers() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let mut options = one(&server);
    // Nobody listens there, and nobody else can.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap();
    options.servers = vec![format!("nats://{address}")];
    let error = refused(&options).await;
    assert!(
        matches!(error, JetStreamError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(
        error.is_of_the_moment() && error.to_string().contains(&address.to_string()),
        "{error}"
    );

    // Somebody who accepts and never speaks, as a server that is stopped does.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    options.servers = vec![format!("nats://{}", silent.local_addr().unwrap())];
    let error = tokio::time::timeout(BOUND, refused(&options))
        .await
        .unwrap();
    assert!(
        matches!(error, JetStreamError::Unreachable { .. }),
        "{error:?}"
    );

    // One of several is enough.
    options.servers = vec![format!("nats://{address}"), server.address()];
    JetStream::connect_when_there(&options).await.unwrap();
}

#[tokio::test]
async fn a_relay_waits_for_servers_that_start_later_and_not_for_those_that_refuse_it() {
    let with = NatsOptions {
        user: Some(("relay".to_owned(), "secret".to_owned())),
        ..NatsOptions::default()
    };
    let Some(mut server) = server(with) else {
        return;
    };
    let options = one(&server);
    let error = JetStream::connect_when_there(&options).await.unwrap_err();
    assert!(
        matches!(error, JetStreamError::Unauthorized { .. }),
        "{error:?}"
    );

    server.options_mut().user = None;
    server.kill();
    let error = refused(&options).await;
    assert!(error.is_of_the_moment(), "{error:?}");
    let nobody = TcpListener::bind(server.address().replace("nats://", ""))
        .await
        .unwrap();
    let waits = tokio::spawn(async move { JetStream::connect_when_there(&options).await });
    // It tries, and it tries again.
    for _ in 0..2 {
        let tried = tokio::time::timeout(BOUND, nobody.accept()).await;
        drop(tried.unwrap().unwrap());
    }
    assert!(!waits.is_finished());
    drop(nobody);
    server.restart().unwrap();
    let relay = waits.await.unwrap().unwrap();
    assert!(relay.is_connected());
}

/// Says what a server of a version says, and nothing more.
async fn of_version(version: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("nats://{}", listener.local_addr().expect("a port"));
    let info = format!(
        "INFO {{\"server_id\":\"A\",\"server_name\":\"old\",\"version\":\"{version}\",\"proto\":1,\"headers\":true,\
         \"max_payload\":1048576,\"jetstream\":true}}\r\n"
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.write_all(info.as_bytes()).await.is_err() {
                continue;
            }
            let mut said = [0; 4_096];
            while stream.read(&mut said).await.is_ok_and(|read| read > 0) {
                if stream.write_all(b"PONG\r\n").await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_is_too_old() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let mut options = one(&server);
    for version in ["2.9.10", "1.4.1", "nightly"] {
        options.servers = vec![of_version(version).await];
        let error = refused(&options).await;
        assert!(matches!(error, JetStreamError::TooOld { .. }), "{error:?}");
        let words = error.to_string();
        assert!(
            words.contains(version) && words.contains("2.10") && words.contains("old"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn servers_without_jetstream_and_accounts_without_it() {
    let with = NatsOptions {
        jetstream: false,
        ..NatsOptions::default()
    };
    let Some(off) = server(with) else { return };
    let error = refused(&one(&off)).await;
    assert!(
        matches!(error, JetStreamError::NotEnabled { .. }),
        "{error:?}"
    );

    let with = NatsOptions {
        lines: "accounts { A: { users: [ { user: a, password: b } ] } }\nno_auth_user: a\n"
            .to_owned(),
        ..NatsOptions::default()
    };
    let Some(account) = server(with) else { return };
    let error = refused(&one(&account)).await;
    assert!(
        matches!(error, JetStreamError::NotEnabled { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("account"), "{error}");
}

#[tokio::test]
async fn options_that_cannot_be_right() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    for name in ["", "a.b", "a b", "a*", "a>"] {
        let mut options = one(&server);
        options.name = name.to_owned();
        let error = refused(&options).await;
        assert!(
            matches!(error, JetStreamError::Options(_)),
            "{name:?}: {error:?}"
        );
    }
    let mut options = one(&server);
    options.servers = Vec::new();
    assert!(matches!(
        refused(&options).await,
        JetStreamError::Options(_)
    ));
}

/// The value may be dropped wherever it is held, and blocks nobody's runtime.
#[tokio::test(start_paused = true)]
async fn it_ends_anywhere_and_has_its_own_clock() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let relay = JetStream::connect_when_there(&one(&server)).await.unwrap();
    let clone = relay.clone();
    std::thread::spawn(move || drop(clone)).join().unwrap();
    assert!(relay.is_connected() && relay.ask_whether_durable().await);
    drop(relay);
}

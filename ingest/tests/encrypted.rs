//! A port that is encrypted: who is let in, and what others are told.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use auditrelay_config::IngestConfig;
use auditrelay_store::Queue;
use common::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::rustls::RootCertStore;

fn body() -> Vec<u8> {
    list(&[event("a", "")])
}

async fn start(config: &IngestConfig) -> (Server, Certificate, tempfile::TempDir) {
    let dir = tempfile::TempDir::new().unwrap();
    let certificate = Certificate::new();
    let server = start_encrypted(open(dir.path()), config, &certificate).await;
    (server, certificate, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_where_it_is_offered_and_http1_else() {
    let (server, certificate, _dir) = start(&config()).await;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = shake_hands(&certificate.client(protocols), server.address).await;
        for _ in 0..2 {
            write(&mut stream, head("/webhook", body().len())).await;
            write(&mut stream, body()).await;
            assert_eq!(read_answer(&mut stream).await.code, 200);
        }
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed.is_some(), !protocols.is_empty());
    }
    let both = shake_hands(&certificate.client(&["h2", "http/1.1"]), server.address).await;
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    let (mut client, connection) = Http2::connect(&server, &certificate).await;
    assert_eq!(client.post("/webhook", body()).await.code, 200);
    client
        .post("/nowhere", body())
        .await
        .expect(404, "NotFound");
    assert_eq!(client.post("/webhook", body()).await.code, 200);
    drop(client);
    within(connection).await.unwrap().unwrap();
    assert_eq!(server.queue.ledger().received, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_plain_http_is_told_so_in_plain_http() {
    let (server, _certificate, _dir) = start(&config()).await;
    let mut stream = server.connect().await;
    write(&mut stream, head("/webhook", body().len())).await;
    write(&mut stream, body()).await;
    let answer = read_answer(&mut stream).await;
    answer.expect(400, "BadRequest");
    assert!(answer.message.contains("speaks https"), "{answer:?}");
    expect_closed(&mut stream).await;
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "plain_http"),
        1.0
    );
    assert_eq!(server.queue.ledger().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_has_its_own_limit() {
    // Long enough for who shakes hands, however slow the machine is.
    for seconds in [1, 5, 25] {
        let config = IngestConfig {
            handshake_timeout_seconds: bounded(seconds),
            ..config()
        };
        let (server, certificate, _dir) = start(&config).await;
        let client = certificate.client(&[]);
        let stream = TcpStream::connect(server.address).await.unwrap();
        let shaking = client.connect("localhost".try_into().unwrap(), stream);
        let Ok(mut honest) = within(shaking).await else {
            continue;
        };
        let mut silent = server.connect().await;
        let mut dribbling = server.connect().await;
        let _ = dribbling.write_all(b"\x16\x03\x01").await;
        let refused = || server.metric("auditrelay_ingest_refused_total", "handshake_timeout");
        expect_closed(&mut silent).await;
        expect_closed(&mut dribbling).await;
        eventually("both are counted", || refused() == 2.0).await;
        // Once hands were shaken that limit is over.
        write(&mut honest, head("/webhook", body().len())).await;
        write(&mut honest, body()).await;
        assert_eq!(read_answer(&mut honest).await.code, 200);
        return;
    }
    panic!("no hands were shaken within 25 seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_over_tls_has_the_limit_of_heads() {
    let config = IngestConfig {
        header_timeout_seconds: bounded(1),
        ..config()
    };
    let (server, certificate, _dir) = start(&config).await;
    let mut slow = shake_hands(&certificate.client(&["http/1.1"]), server.address).await;
    write(&mut slow, "POST /webhook HTTP/1.1\r\n").await;
    expect_closed(&mut slow).await;
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "header_timeout"),
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_are_counted_and_probes_of_the_port_are_not() {
    let (server, certificate, _dir) = start(&config()).await;
    let refused = || server.metric("auditrelay_ingest_refused_total", "handshake_failed");
    let connections = || server.metric("auditrelay_ingest_connections", "");

    // What a kubelet does to see whether a port is open.
    drop(server.connect().await);
    let mut hello = server.connect().await;
    write(&mut hello, b"\x16\x03\x01").await;
    drop(hello);
    eventually("both are gone", || connections() == 0.0).await;
    assert_eq!(refused(), 0.0);

    let attempt = async |client: tokio_rustls::TlsConnector| {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        within(client.connect(name, stream)).await.is_err()
    };
    assert!(attempt(connector(RootCertStore::empty(), &[])).await);
    eventually("it is counted", || refused() == 1.0).await;
    assert!(attempt(certificate.client(&["imap"])).await);
    eventually("it is counted", || refused() == 2.0).await;

    let mut noise = server.connect().await;
    write(&mut noise, [0x16; 100]).await;
    let mut said = Vec::new();
    // An alert, and the end.
    within(noise.read_to_end(&mut said)).await.unwrap();
    eventually("it is counted", || refused() == 3.0).await;
    eventually("all are gone", || connections() == 0.0).await;
}

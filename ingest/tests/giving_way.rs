//! More connections than there are places for.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use auditrelay_config::IngestConfig;
use common::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn body() -> Vec<u8> {
    list(&[event("a", "")])
}

fn places(places: u64) -> IngestConfig {
    IngestConfig {
        connections_max: bounded(places),
        // Whoever sends more slowly than this gives way.
        body_bytes_per_second_min: IngestConfig::default().body_bytes_per_second_min,
        ..config()
    }
}

async fn send(stream: &mut TcpStream) {
    write(stream, head("/webhook", body().len())).await;
    write(stream, body()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_takes_the_place_of_who_says_nothing() {
    let (server, _dir) = start(&places(1)).await;
    let connections = || server.metric("auditrelay_ingest_connections", "");
    let gave_way = || server.metric("auditrelay_ingest_refused_total", "gave_way");
    for round in 1..=3 {
        let mut silent = server.connect().await;
        eventually("it is in", || connections() == 1.0).await;
        assert_eq!(server.post("/webhook", body()).await.code, 200);
        expect_closed(&mut silent).await;
        assert_eq!(gave_way(), f64::from(round));
        eventually("both are gone", || connections() == 0.0).await;
    }
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "connections"),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_ones_go_first_then_slow_ones_then_idle_ones_and_never_one_that_is_worked_for() {
    let server = start_with(GatedQueue::new(false), &places(4), false).await;
    let connections = || metric(&server.registry, "auditrelay_ingest_connections", "");
    let entered = async || {
        within(server.queue.entered.acquire())
            .await
            .unwrap()
            .forget();
    };
    let in_flight = || metric(&server.registry, "auditrelay_ingest_bytes_in_flight", "");

    server.queue.gate.add_permits(2);
    let mut idle = server.connect().await;
    let mut slow = server.connect().await;
    for stream in [&mut idle, &mut slow] {
        send(stream).await;
        entered().await;
        assert_eq!(read_answer(stream).await.code, 200);
    }
    let mut worked_for = server.connect().await;
    send(&mut worked_for).await;
    entered().await;
    let before = in_flight();
    write(&mut slow, head("/webhook", body().len())).await;
    eventually("its body is awaited", || in_flight() > before).await;
    let mut silent = server.connect().await;
    eventually("all are in", || connections() == 4.0).await;

    let mut newcomers = vec![worked_for];
    for leaver in [&mut silent, &mut slow, &mut idle] {
        let mut newcomer = server.connect().await;
        expect_closed(leaver).await;
        send(&mut newcomer).await;
        entered().await;
        newcomers.push(newcomer);
    }

    // Now all four are worked for.
    for _ in 0..2 {
        let mut one_too_many = server.connect().await;
        let answer = read_answer(&mut one_too_many).await;
        answer.expect(503, "ServiceUnavailable");
        assert_eq!(answer.retry_after(), Some(1));
        assert_eq!(answer.headers["connection"], "close");
        expect_closed(&mut one_too_many).await;
    }
    // And with a request on its way.
    let mut one_too_many = server.connect().await;
    // It may be closed again before all of it is written.
    let request = [head("/webhook", body().len()).into_bytes(), body()].concat();
    let _ = one_too_many.write_all(&request).await;
    read_answer(&mut one_too_many)
        .await
        .expect(503, "ServiceUnavailable");

    server.queue.gate.add_permits(4);
    for stream in &mut newcomers {
        assert_eq!(read_answer(stream).await.code, 200);
    }
    let refused = |reason| metric(&server.registry, "auditrelay_ingest_refused_total", reason);
    assert_eq!(refused("gave_way"), 3.0);
    assert_eq!(refused("connections"), 3.0);
    assert_eq!(server.post("/webhook", "{}").await.code, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_and_owes_a_body_goes_before_an_honest_newcomer() {
    let (server, _dir) = start(&places(2)).await;
    let connections = || server.metric("auditrelay_ingest_connections", "");
    let mut attacker = server.connect().await;
    // Nothing of it ever comes.
    write(&mut attacker, head("/nowhere", 60_000_000)).await;
    assert_eq!(read_answer(&mut attacker).await.code, 404);
    let mut honest = server.connect().await;
    eventually("both are in", || connections() == 2.0).await;

    let _another = server.connect().await;
    expect_closed(&mut attacker).await;
    send(&mut honest).await;
    assert_eq!(read_answer(&mut honest).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_as_fast_as_it_has_to_keeps_its_place() {
    let (server, _dir) = start(&places(1)).await;
    let mut padded = body();
    padded.resize(1_000_000, b' ');
    let mut honest = server.connect().await;
    write(&mut honest, head("/webhook", padded.len())).await;
    // Two minutes' worth at the slowest pace.
    write(&mut honest, &padded[..500_000]).await;
    let received = || server.metric("auditrelay_ingest_received_bytes_total", "");
    eventually("half is here", || received() == 500_000.0).await;
    let mut one_too_many = server.connect().await;
    read_answer(&mut one_too_many)
        .await
        .expect(503, "ServiceUnavailable");
    write(&mut honest, &padded[500_000..]).await;
    assert_eq!(read_answer(&mut honest).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_encrypted_port_a_silent_handshake_gives_way_and_an_idle_http2_client_is_told() {
    let dir = tempfile::TempDir::new().unwrap();
    let certificate = Certificate::new();
    let server = start_encrypted(open(dir.path()), &places(1), &certificate).await;
    let connections = || server.metric("auditrelay_ingest_connections", "");
    let mut silent = server.connect().await;
    eventually("it is in", || connections() == 1.0).await;

    let (mut first, first_connection) = Http2::connect(&server, &certificate).await;
    expect_closed(&mut silent).await;
    assert_eq!(first.post("/webhook", body()).await.code, 200);
    let (mut second, _connection) = Http2::connect(&server, &certificate).await;
    // GOAWAY, which a client of HTTP/2 takes for a good end, and not a reset.
    within(first_connection).await.unwrap().unwrap();
    assert_eq!(second.post("/webhook", body()).await.code, 200);
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "gave_way"),
        2.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_encrypted_port_one_too_many_is_closed() {
    let certificate = Certificate::new();
    let server = start_encrypted(GatedQueue::new(false), &places(1), &certificate).await;
    let (mut client, _connection) = Http2::connect(&server, &certificate).await;
    let asked = tokio::spawn(async move { client.post("/webhook", body()).await });
    within(server.queue.entered.acquire())
        .await
        .unwrap()
        .forget();
    let mut one_too_many = server.connect().await;
    let mut said = Vec::new();
    // Without a word: closed or reset.
    assert!(matches!(
        within(one_too_many.read_to_end(&mut said)).await,
        Ok(0) | Err(_)
    ));
    server.queue.gate.add_permits(1);
    assert_eq!(within(asked).await.unwrap().code, 200);
}

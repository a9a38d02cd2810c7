//! HTTP/2: side by side, within limits, and by hand what breaks its rules.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use std::time::Duration;

use auditrelay_config::IngestConfig;
use auditrelay_store::Queue;
use common::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
        frame, hello, padding, post, read_frame, reset,
    },
    *,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::sleep,
};
use tokio_rustls::client::TlsStream;

/// Longer than the shortest timeout that can be configured, a second.
const PAST_A_SECOND: Duration = Duration::from_millis(1_600);
/// Error codes of RFC 9113, section 7.
const REFUSED_STREAM: u32 = 7;
/// More than any limit of frames.
const FLOOD: usize = 20_000;

fn body() -> Vec<u8> {
    list(&[event("a", "")])
}

async fn start(config: &IngestConfig) -> (Server, Certificate, TempDir) {
    let dir = TempDir::new().unwrap();
    let certificate = Certificate::new();
    let server = start_encrypted(open(dir.path()), config, &certificate).await;
    (server, certificate, dir)
}

async fn raw<Q>(server: &Server<Q>, certificate: &Certificate) -> TlsStream<TcpStream> {
    let mut stream = shake_hands(&certificate.client(&["h2"]), server.address).await;
    write(&mut stream, hello()).await;
    stream
}

/// A whole request.
fn request(stream: u32) -> Vec<u8> {
    let head = frame(
        HEADERS,
        END_HEADERS,
        stream,
        &post("/webhook", body().len()),
    );
    [head, frame(DATA, END_STREAM, stream, &body())].concat()
}

/// The next frame of this kind.
async fn next(stream: &mut TlsStream<TcpStream>, kind: u8) -> frames::Frame {
    loop {
        let frame = within(read_frame(stream)).await.expect("closed early");
        if frame.kind == kind {
            return frame;
        }
    }
}

/// That the server answers no more; gives the code of its GOAWAY, if that could still be read.
async fn ended(mut stream: TlsStream<TcpStream>) -> Option<u32> {
    let mut code = None;
    while let Some(frame) = within(read_frame(&mut stream)).await {
        if frame.kind == GOAWAY {
            code = Some(frame.code());
        }
    }
    code
}

/// Sends pieces until the server takes no more; whether that came before they were all sent, or after.
async fn flood(
    server: &Server,
    certificate: &Certificate,
    begin: Vec<u8>,
    mut piece: impl FnMut(u32) -> Vec<u8>,
) {
    let mut stream = raw(server, certificate).await;
    let _ = stream.write_all(&begin).await;
    let mut answers = Vec::new();
    for index in 0..FLOOD {
        // Who never reads is stopped by TCP alone.
        let mut answer = [0; 4096];
        tokio::select! {
            biased;
            read = stream.read(&mut answer) => match read {
                Ok(1..) => answers.push(()),
                Ok(0) | Err(_) => return,
            },
            () = std::future::ready(()) => {}
        }
        if stream.write_all(&piece(index as u32)).await.is_err() {
            return;
        }
    }
    ended(stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_connection_go_side_by_side() {
    let certificate = Certificate::new();
    let server = start_encrypted(GatedQueue::new(false), &config(), &certificate).await;
    let (client, _connection) = Http2::connect(&server, &certificate).await;
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.post("/webhook", body()).await })
        })
        .collect();
    within(server.queue.entered.acquire_many(100))
        .await
        .unwrap()
        .forget();
    // A refusal does not wait for them, nor a body that is far larger than what is buffered.
    let mut other = client.clone();
    other.post("/nowhere", body()).await.expect(404, "NotFound");
    let large = vec![b' '; 3 << 20];
    other
        .post("/webhook", large)
        .await
        .expect(400, "BadRequest");
    server.queue.gate.add_permits(100);
    for one in asked {
        assert_eq!(within(one).await.unwrap().code, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_limits_are_announced_and_hold() {
    let config = IngestConfig {
        http2_streams_max: bounded(2),
        body_bytes_max: bounded(2_000),
        ..config()
    };
    let (server, certificate, _dir) = start(&config).await;
    let mut stream = raw(&server, &certificate).await;
    let settings = next(&mut stream, SETTINGS).await;
    assert_eq!(settings.setting(3), Some(2), "MAX_CONCURRENT_STREAMS");
    assert_eq!(
        settings.setting(4),
        Some(1024 * 1024),
        "INITIAL_WINDOW_SIZE"
    );
    assert_eq!(settings.setting(6), Some(64 * 1024), "MAX_HEADER_LIST_SIZE");

    let open = |stream| {
        frame(
            HEADERS,
            END_HEADERS,
            stream,
            &post("/webhook", body().len()),
        )
    };
    write(&mut stream, [open(1), open(3), open(5)].concat()).await;
    let refused = next(&mut stream, RST_STREAM).await;
    assert_eq!((refused.stream, refused.code()), (5, REFUSED_STREAM));
    for id in [1, 3] {
        write(&mut stream, frame(DATA, END_STREAM, id, &body())).await;
    }
    for _ in [1, 3] {
        let answer = next(&mut stream, HEADERS).await;
        assert_eq!(answer.payload[0], 0x88, "the index of :status 200");
    }

    let (mut client, _connection) = Http2::connect(&server, &certificate).await;
    client
        .post("/webhook", vec![b' '; 2_001])
        .await
        .expect(413, "RequestEntityTooLarge");
    assert_eq!(client.post("/webhook", body()).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let (server, certificate, _dir) = start(&config()).await;
    let mut stream = raw(&server, &certificate).await;
    write(&mut stream, frame(HEADERS, 0, 1, &post("/webhook", 0))).await;
    let many = padding(100).repeat(150);
    for _ in 0..4 {
        write(&mut stream, frame(CONTINUATION, 0, 1, &many)).await;
    }
    write(&mut stream, frame(CONTINUATION, END_HEADERS, 1, &[])).await;
    let answer = next(&mut stream, HEADERS).await;
    // `:status` 431, in Huffman's code.
    assert_eq!(answer.payload, [0x48, 0x83, 0x69, 0x90, 0xff]);
    write(&mut stream, request(3)).await;
    assert_eq!(next(&mut stream, HEADERS).await.payload[0], 0x88);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_head_that_does_not_end_ends_the_connection_and_pings_do_not_count_later() {
    let config = IngestConfig {
        header_timeout_seconds: bounded(1),
        ..config()
    };
    let (server, certificate, _dir) = start(&config).await;
    let refused = || server.metric("auditrelay_ingest_refused_total", "header_timeout");
    // It asks with its last word of the handshake: from then on it has a second.
    let asked = [hello(), request(1)].concat();
    let client = certificate.client(&["h2"]);
    let mut served = shake_hands_saying(&client, server.address, &asked).await;
    assert_eq!(next(&mut served, HEADERS).await.payload[0], 0x88);

    // These are closed meanwhile.
    let mut dribbling = raw(&server, &certificate).await;
    let head = frame(HEADERS, 0, 1, &post("/webhook", 0));
    let _ = dribbling.write_all(&head).await;
    let mut pinging = raw(&server, &certificate).await;
    for round in 0..8 {
        let ping = frame(PING, 0, 0, &[0; 8]);
        write(&mut served, &ping).await;
        let _ = pinging.write_all(&ping).await;
        // More of these would break another limit.
        if round < 3 {
            let more = frame(CONTINUATION, 0, 1, &padding(1));
            let _ = dribbling.write_all(&more).await;
        }
        sleep(PAST_A_SECOND / 8).await;
    }
    ended(pinging).await;
    ended(dribbling).await;
    eventually("both are counted", || refused() == 2.0).await;
    write(&mut served, request(3)).await;
    assert_eq!(next(&mut served, HEADERS).await.payload[0], 0x88);
    assert_eq!(refused(), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_connection_and_no_other() {
    let (server, certificate, _dir) = start(&config()).await;
    let (mut honest, _connection) = Http2::connect(&server, &certificate).await;
    assert_eq!(honest.post("/webhook", body()).await.code, 200);
    let refused = || {
        let of = |reason| server.metric("auditrelay_ingest_refused_total", reason);
        of("http2") + of("resets")
    };

    let open = |stream| {
        frame(
            HEADERS,
            END_HEADERS,
            stream,
            &post("/webhook", body().len()),
        )
    };
    // Rapid reset: CVE-2023-44487.
    flood(&server, &certificate, Vec::new(), |index| {
        let stream = 2 * index + 1;
        [open(stream), reset(stream)].concat()
    })
    .await;
    eventually("the resets are counted", || refused() == 1.0).await;

    // Made to reset: CVE-2025-8671. A window update of zero is an error of its stream.
    flood(&server, &certificate, Vec::new(), |index| {
        let stream = 2 * index + 1;
        [open(stream), frame(8, 0, stream, &[0; 4])].concat()
    })
    .await;
    eventually("our resets are counted", || refused() == 2.0).await;

    // A head without an end.
    let head = frame(HEADERS, 0, 1, &post("/webhook", 0));
    flood(&server, &certificate, head, |_| {
        frame(CONTINUATION, 0, 1, &padding(100))
    })
    .await;
    eventually("the head is counted", || refused() == 3.0).await;

    // Data that is none.
    flood(&server, &certificate, open(1), |_| frame(DATA, 0, 1, &[])).await;
    eventually("the data is counted", || refused() == 4.0).await;

    assert_eq!(honest.post("/webhook", body()).await.code, 200);
    let connections = || server.metric("auditrelay_ingest_connections", "");
    eventually("only that one is left", || connections() == 1.0).await;
    assert_eq!(server.metric("auditrelay_ingest_bytes_in_flight", ""), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_back_what_it_asks_again_and_again_is_sent_away() {
    // As above, but each is seen first, as a slow attacker's would be.
    let (server, certificate, _dir) = start(&config()).await;
    let mut stream = raw(&server, &certificate).await;
    let in_flight = || server.metric("auditrelay_ingest_bytes_in_flight", "");
    let refused = || server.metric("auditrelay_ingest_refused_total", "resets");
    for round in 0..30 {
        let begun: Vec<u8> = (0..50)
            .flat_map(|index| {
                let head = post("/webhook", body().len());
                frame(HEADERS, END_HEADERS, 2 * (round * 50 + index) + 1, &head)
            })
            .collect();
        let taken_back: Vec<u8> = (0..50)
            .flat_map(|index| reset(2 * (round * 50 + index) + 1))
            .collect();
        if stream.write_all(&begun).await.is_err() {
            break;
        }
        let all = 50.0 * body().len() as f64;
        eventually("all are seen", || in_flight() == all || refused() == 1.0).await;
        let _ = stream.write_all(&taken_back).await;
        eventually("none is left", || in_flight() == 0.0).await;
    }
    ended(stream).await;
    assert_eq!(refused(), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_what_is_under_way_and_is_announced() {
    let certificate = Certificate::new();
    let mut server = start_encrypted(GatedQueue::new(false), &config(), &certificate).await;
    let (mut client, connection) = Http2::connect(&server, &certificate).await;
    let (idle, idle_connection) = Http2::connect(&server, &certificate).await;
    let handshaking = server.connect().await;
    let mut appending = client.clone();
    let appending = tokio::spawn(async move { appending.post("/webhook", body()).await });
    within(server.queue.entered.acquire())
        .await
        .unwrap()
        .forget();
    let mut sending = raw(&server, &certificate).await;
    let head = frame(HEADERS, END_HEADERS, 1, &post("/webhook", body().len()));
    write(&mut sending, head).await;
    let in_flight = || metric(&server.registry, "auditrelay_ingest_bytes_in_flight", "");
    eventually("the body is awaited", || {
        in_flight() == 2.0 * body().len() as f64
    })
    .await;

    server.stop();
    within(idle_connection).await.unwrap().unwrap();
    drop(idle);
    next(&mut sending, GOAWAY).await;
    drop(handshaking);
    server.queue.gate.add_permits(Semaphore::MAX_PERMITS);
    assert_eq!(within(appending).await.unwrap().code, 200);
    write(&mut sending, frame(DATA, END_STREAM, 1, &body())).await;
    assert_eq!(next(&mut sending, HEADERS).await.payload[0], 0x88);
    // Nothing new is begun, once its client was told.
    within(async { while client.send("/webhook", &[], body()).await.is_ok() {} }).await;
    within(connection).await.unwrap().unwrap();
    drop(sending);
    within(&mut server.serving).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_200_before_a_shutdown_is_stored_and_nothing_hangs() {
    let (mut server, certificate, _dir) = start(&config()).await;
    let mut clients = Vec::new();
    for number in 0..8 {
        let (client, connection) = Http2::connect(&server, &certificate).await;
        clients.push(tokio::spawn(async move {
            let _connection = connection;
            let mut client = client;
            let mut stored = 0_u64;
            loop {
                let one = event(&format!("{number}-{stored}"), "");
                // A failure is one that the client knows of, and tries again elsewhere.
                match client.send("/webhook", &[], list(&[one])).await {
                    Ok(answer) if answer.code == 200 => stored += 1,
                    _ => return stored,
                }
            }
        }));
    }
    let received = {
        let queue = server.queue.clone();
        move || queue.ledger().received
    };
    eventually("they are at it", || received() > 200).await;
    server.stop();
    within(&mut server.serving).await.unwrap();
    let mut answered = 0;
    for client in clients {
        answered += within(client).await.unwrap();
    }
    assert!(answered > 100, "{answered}");
    assert!(received() >= answered, "{} < {answered}", received());
}

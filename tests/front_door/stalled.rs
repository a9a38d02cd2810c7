//! Thousands of connections that keep the relay waiting, and come again when they are sent away.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    door::{Caller, Door, post, small},
    number,
    support::metric,
};

/// P7 of the design: every request is answered within a second.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Beyond `connections_max`: those that are leaving or told 503 (`ingest/src/places.rs`,
/// `ingest/src/serve.rs`), and what the relay has open by itself.
const FILES_BESIDE_MAX: usize = 512 + 256 + 200;
const CONNECTIONS_MAX: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(50);

/// How a client keeps a server waiting.
#[derive(Clone, Copy)]
enum Stall {
    Handshake,
    Head,
    Body,
}

/// Stalls for ever, again and again. `handshakes` keeps this process from being what is slow.
async fn stall(caller: Caller, how: Stall, handshakes: Arc<Semaphore>) {
    loop {
        // Whatever fails, it is tried again.
        let _ = stall_once(&caller, how, &handshakes).await;
        sleep(Duration::from_millis(500)).await;
    }
}

async fn stall_once(caller: &Caller, how: Stall, handshakes: &Semaphore) -> std::io::Result<()> {
    if matches!(how, Stall::Handshake) {
        let mut stream = TcpStream::connect(caller.webhook).await?;
        stream.read_u8().await?;
        return Ok(());
    }
    let turn = handshakes.acquire().await.expect("it is open");
    let mut stream = caller.connect().await?;
    drop(turn);
    let begin = match how {
        Stall::Handshake | Stall::Head => "POST /webhook HTTP/1.1\r\nhost: localhost\r\n",
        Stall::Body => {
            "POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000000\r\n\r\n"
        }
    };
    stream.write_all(begin.as_bytes()).await?;
    loop {
        let mut answer = [0; 1024];
        match timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return Ok(()),
            Err(_) => stream.write_all(b"x").await?,
        }
        stream.flush().await?;
    }
}

/// An honest client: what it posts on a connection that it keeps, and on new ones. Gives how long each
/// took, and how many came to nothing.
async fn honest(caller: Caller, is_http2: bool, until: Instant) -> (Vec<Duration>, Vec<String>) {
    let (mut took, mut failed) = (Vec::new(), Vec::new());
    let mut kept = None;
    let mut turn = 0;
    while Instant::now() < until {
        // Every fourth time it begins anew, as after a restart.
        if turn % 4 == 0 {
            kept = None;
        }
        turn += 1;
        let body = small(&format!("honest-{is_http2}-{turn}"));
        let begun = Instant::now();
        let outcome = if is_http2 {
            once_http2(&caller, &mut kept, body).await
        } else {
            once_http1(&caller, body).await
        };
        took.push(begun.elapsed());
        if let Err(problem) = outcome {
            failed.push(problem);
        }
        sleep(PAUSE).await;
    }
    (took, failed)
}

async fn once_http1(caller: &Caller, body: hyper::body::Bytes) -> Result<(), String> {
    let mut client = caller.http1().await.map_err(|error| error.to_string())?;
    let status = client.send(post(false, None, body)).await;
    match status {
        Ok(status) if status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

async fn once_http2(
    caller: &Caller,
    kept: &mut Option<crate::door::Http2>,
    body: hyper::body::Bytes,
) -> Result<(), String> {
    let client = match kept {
        Some(client) => client,
        None => kept.insert(caller.http2().await.map_err(|error| error.to_string())?),
    };
    match client.send(post(true, None, body)).await {
        Ok(status) if status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Two honest clients for so long: that all of what they sent was answered 200, and in time. Gives how
/// many files the relay had open at most, and what to tell of it.
async fn serve_among(door: &Door, seconds: usize) -> (usize, String) {
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let clients = [("http/1.1", false), ("h2", true)]
        .map(|(protocol, is_http2)| tokio::spawn(honest(door.caller(protocol), is_http2, until)));
    let mut files_most = 0;
    while Instant::now() < until {
        files_most = files_most.max(door.open_files());
        sleep(PAUSE).await;
    }
    let mut told = format!("{files_most} files at most");
    for client in clients {
        let (mut took, failed) = client.await.expect("no panic");
        took.sort_unstable();
        let (p99, most) = (took[took.len() * 99 / 100], took[took.len() - 1]);
        let requests = took.len();
        told.push_str(&format!(
            "; {requests} requests, p99 {p99:?}, most {most:?}"
        ));
        assert!(took.len() > seconds, "{}", took.len());
        assert!(failed.is_empty(), "{failed:?} of {}", took.len());
        assert!(p99 < ANSWER_MAX, "p99 {p99:?} of {}", took.len());
    }
    (files_most, told)
}

/// How many of each were refused so far.
async fn refusals(door: &Door) -> impl Fn(&str) -> f64 + use<> {
    let metrics = door.relay.get("/metrics").await.1;
    move |reason| {
        let series = format!("auditrelay_ingest_refused_total{{reason=\"{reason}\"}}");
        metric(&metrics, &series)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_client_is_served_in_time_among_thousands_that_stall() {
    let connections = number("AUDITRELAY_FLOOD_CONNECTIONS", CONNECTIONS_MAX);
    let seconds = number("AUDITRELAY_FLOOD_SECONDS", 12);
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    assert!(files > connections as u64 + 500, "raise ulimit -n: {files}");
    let door = Door::open("").await;

    let mut stalling = JoinSet::new();
    let handshakes = Arc::new(Semaphore::new(16));
    for number in 0..connections {
        let how = [Stall::Handshake, Stall::Head, Stall::Body][number % 3];
        let caller = door.caller("http/1.1");
        stalling.spawn(stall(caller, how, Arc::clone(&handshakes)));
    }
    let open = async || {
        metric(
            &door.relay.get("/metrics").await.1,
            "auditrelay_ingest_connections",
        )
    };
    let filled = async {
        let enough = connections.min(CONNECTIONS_MAX) * 4 / 5;
        while open().await < enough as f64 {
            sleep(PAUSE).await;
        }
    };
    timeout(crate::support::PATIENCE, filled)
        .await
        .expect("they come in");

    let (files_most, told) = serve_among(&door, seconds).await;
    println!("{told}");
    assert!(
        files_most < CONNECTIONS_MAX + FILES_BESIDE_MAX,
        "{files_most}"
    );
    drop(stalling);

    let refused = refusals(&door).await;
    println!(
        "{} handshakes, {} heads and {} bodies were ended, {} gave way",
        refused("handshake_timeout"),
        refused("header_timeout"),
        refused("body_too_slow"),
        refused("gave_way"),
    );
    for reason in ["handshake_timeout", "body_too_slow"] {
        assert!(refused(reason) > 0.0, "{reason}");
    }
}

/// How many newcomers one rush opens at a time, and then rests: five hundred a second.
const RUSH: u64 = 25;

/// Opens one connection after the other and holds the last thousand, silent.
async fn rush(caller: Caller, until: Instant) -> u64 {
    let mut held = VecDeque::new();
    let mut opened = 0;
    while Instant::now() < until {
        if let Ok(stream) = TcpStream::connect(caller.webhook).await {
            held.push_back(stream);
            opened += 1;
        }
        if held.len() > 1_000 {
            held.pop_front();
        }
        if opened % RUSH == 0 {
            sleep(PAUSE).await;
        }
    }
    opened
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_client_is_served_in_time_while_newcomers_rush_in() {
    let seconds = number("AUDITRELAY_FLOOD_SECONDS", 12) / 2;
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let door = Door::open("").await;
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let rushing = [0; 4].map(|_| tokio::spawn(rush(door.caller("http/1.1"), until)));
    let (files_most, told) = serve_among(&door, seconds).await;
    println!("{told}");
    assert!(
        files_most < CONNECTIONS_MAX + FILES_BESIDE_MAX,
        "{files_most}"
    );
    let mut opened = 0;
    for one in rushing {
        opened += one.await.expect("no panic");
    }
    let refused = refusals(&door).await;
    println!(
        "{opened} newcomers, {} gave way, {} were refused",
        refused("gave_way"),
        refused("connections")
    );
    assert!(refused("gave_way") > 0.0);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", door.relay.pid()));
    let limits = limits.expect("it runs");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.expect("a limit").split_whitespace().collect();
    assert_eq!(
        words[4..6],
        ["0", "0"],
        "no core file: it would hold what clients sent"
    );
}

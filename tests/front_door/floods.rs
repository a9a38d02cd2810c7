//! HTTP/2 floods, as many at once as there are attackers, again and again.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    door::{Caller, Door, post, small},
    frames::{
        CONTINUATION, DATA, END_HEADERS, HEADERS, frame, hello, padding, post as head, reset,
    },
    number,
    support::metric,
};

const ATTACKERS: usize = 8;
/// What an attacker sends at a time.
const PIECES: u32 = 500;
const GROWTH_KIB_MAX: u64 = 64 * 1024;
const WINDOW_UPDATE: u8 = 8;

#[derive(Debug, Clone, Copy)]
enum Flood {
    RapidReset,
    MadeToReset,
    Continuation,
    EmptyData,
}

impl Flood {
    fn begin(self) -> Vec<u8> {
        match self {
            Self::RapidReset | Self::MadeToReset => Vec::new(),
            Self::Continuation => frame(HEADERS, 0, 1, &head("/webhook", 0)),
            Self::EmptyData => frame(HEADERS, END_HEADERS, 1, &head("/webhook", 1_000)),
        }
    }

    fn piece(self, index: u32) -> Vec<u8> {
        let id = 2 * index + 1;
        let open = || frame(HEADERS, END_HEADERS, id, &head("/webhook", 1_000));
        match self {
            Self::RapidReset => [open(), reset(id)].concat(),
            Self::MadeToReset => [open(), frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat(),
            Self::Continuation => frame(CONTINUATION, 0, 1, &padding(100).repeat(150)),
            Self::EmptyData => frame(DATA, 0, 1, &[]),
        }
    }
}

/// Floods until `until`, on one connection after another.
async fn attack(caller: Caller, flood: Flood, until: Instant) {
    while Instant::now() < until {
        // However it ends, the next one follows.
        let _ = tokio::time::timeout_at(until, attack_once(&caller, flood)).await;
    }
}

async fn attack_once(caller: &Caller, flood: Flood) -> std::io::Result<()> {
    let stream = caller.connect().await?;
    let (mut reads, mut writes) = tokio::io::split(stream);
    let reading = async move {
        let mut ignored = [0; 4096];
        while reads.read(&mut ignored).await? > 0 {}
        std::io::Result::Ok(())
    };
    let writing = async move {
        writes.write_all(&[hello(), flood.begin()].concat()).await?;
        for round in 0.. {
            let pieces = round * PIECES..(round + 1) * PIECES;
            let bytes: Vec<_> = pieces.map(|index| flood.piece(index)).collect();
            writes.write_all(&bytes.concat()).await?;
            writes.flush().await?;
        }
        Ok(())
    };
    tokio::select! {
        read = reading => read,
        written = writing => written,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_floods_cost_little_memory_and_no_honest_request() {
    let seconds = number("AUDITRELAY_FLOOD_SECONDS", 12) as u64;
    let door = Door::open("").await;
    let mut honest = door.caller("h2").http2().await.expect("connected");
    let mut turn = 0;
    let mut serve_one = async || -> u32 {
        turn += 1;
        let body = small(&format!("honest-{turn}"));
        let status = honest.send(post(true, None, body)).await;
        assert_eq!(status.expect("an answer"), 200, "request {turn}");
        turn
    };
    for _ in 0..20 {
        serve_one().await;
    }

    for flood in [
        Flood::RapidReset,
        Flood::MadeToReset,
        Flood::Continuation,
        Flood::EmptyData,
    ] {
        let before = door.resident_kib();
        let until = Instant::now() + Duration::from_millis(seconds * 1_000 / 4);
        let mut attackers = JoinSet::new();
        for _ in 0..ATTACKERS {
            attackers.spawn(attack(door.caller("h2"), flood, until));
        }
        let mut served = 0;
        while Instant::now() < until {
            served = serve_one().await;
            sleep(Duration::from_millis(20)).await;
        }
        attackers.join_all().await;
        let growth = door.peak_kib().saturating_sub(before);
        println!("{flood:?}: {growth} KiB more, {served} honest requests");
        assert!(growth < GROWTH_KIB_MAX, "{flood:?}: {growth} KiB");
    }

    let metrics = door.relay.get("/metrics").await.1;
    let refused = metric(
        &metrics,
        "auditrelay_ingest_refused_total{reason=\"http2\"}",
    );
    println!("{refused} connections were ended");
    assert!(refused >= 4.0 * ATTACKERS as f64, "{refused}");
}

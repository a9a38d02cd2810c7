//! A queue that is nearly full, on the real binary: it refuses in time, goes on delivering, and takes
//! batches again by itself.

mod support;

use std::{fs, path::Path, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use hyper::{Method, StatusCode, body::Bytes};
use serde_json::{Value, json};
use support::{PATIENCE, Running, exchange, ids, list, metric, run, slack};
use tokio::time::Instant;

const MIB: u64 = 1 << 20;
/// The smallest `queue.bytes_max` there is.
const BYTES_MAX: u64 = 64 * MIB;
/// Channels that cannot be served; what they may hold is more than the queue may, all together.
const DEAD: [&str; 3] = ["a", "b", "c"];
/// A channel that is served, an event a second.
const ALIVE: &str = "alive";

fn config(slack: &LocalSlack) -> String {
    let channel = |name: &str| {
        format!(
            "  {name}: {{slack_channel: C{name}, message_interval_milliseconds: 100, retry_max_seconds: 1}}\n"
        )
    };
    let route = |name: &str| format!("  - {{name: {name}, channel: {name}, users: [{name}]}}\n");
    format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 600}}
ingest: {{body_bytes_max: 4194304}}
queue: {{bytes_max: {BYTES_MAX}, channel_bytes_max: {},
  dead_bytes_max: 1048576, quarantine_bytes_max: 1048576, digest_detail_hours: 0}}
default_channel: {ALIVE}
channels:
  {ALIVE}: {{slack_channel: C{ALIVE}, message_events_max: 1}}
{}routes:
{}  - {{name: {ALIVE}, channel: {ALIVE}}}
",
        slack.api_url(),
        28 * MIB,
        DEAD.map(channel).concat(),
        DEAD.map(route).concat(),
    )
}

/// Text that no compressor makes much shorter: three quarters remain.
fn noise(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("random bytes");
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 64)]);
    random.iter().map(letter).collect()
}

/// Twenty large events for each channel that is dead, and small ones for the one that is alive.
fn batch(number: usize) -> Bytes {
    let mut items = Vec::new();
    for user in DEAD.iter().chain(&[ALIVE]) {
        let events = if *user == ALIVE { ALIVE_EVENTS } else { 20 };
        let prefix = format!("n{number}-{user}");
        let list = list(user, "get", ids(&prefix, events));
        let mut list: Value = serde_json::from_str(&list).expect("JSON");
        for item in list["items"].as_array_mut().expect("items") {
            if *user != ALIVE {
                item["annotations"]["noise"] = noise(10_000).into();
            }
            items.push(item.take());
        }
    }
    let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items});
    Bytes::from(list.to_string())
}

/// Of a batch; four batches keep their channel busy for as long as it is looked at.
const ALIVE_EVENTS: usize = 8;
/// Events of [`batch`].
const BATCH_EVENTS: u64 = 60 + ALIVE_EVENTS as u64;
/// A relay that waited for room would answer when there is some, or not at all.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// Answers whose `Retry-After`, of five, are certainly not all the same.
const REFUSALS: usize = 20;
/// More than the queue may hold.
const BATCHES: usize = 140;
/// Free space that nobody else takes while a test looks at it.
const ROOM: u64 = 1 << 30;

/// Posts a batch; the seconds of its `Retry-After` if it is refused.
async fn post(relay: &Running, body: &Bytes) -> Result<(), u64> {
    let begun = Instant::now();
    let posted = exchange(relay.webhook, Method::POST, "/webhook", body.clone()).await;
    let (head, answer) = posted.expect("an answer");
    if head.status == StatusCode::OK {
        return Ok(());
    }
    let status: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(head.status, StatusCode::TOO_MANY_REQUESTS, "{status}");
    assert_eq!(status["reason"], "TooManyRequests", "{status}");
    assert!(begun.elapsed() < REFUSED_WITHIN, "it waited");
    let seconds = head.headers["retry-after"].to_str().expect("text");
    let seconds = seconds.parse().expect("whole seconds");
    assert!((1..=5).contains(&seconds), "{seconds}");
    Err(seconds)
}

fn delivered(ledger: &Value) -> u64 {
    let alive = &ledger["channels"][ALIVE];
    alive["delivered"].as_u64().expect("a count")
}

fn bytes_on_disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder");
    let bytes = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return bytes_on_disk(&path);
        }
        // It may have been removed meanwhile.
        fs::metadata(&path).map_or(0, |file| file.len())
    });
    bytes.sum()
}

/// A relay that refuses is ready, says so, spreads whom it refuses, and goes on delivering.
async fn is_refusing_and_alive(relay: &Running, refused: &Bytes) {
    assert_eq!(relay.get("/readyz").await, (StatusCode::OK, "ok\n".into()));
    let (status, lines) = relay.get("/readyz?verbose").await;
    assert_eq!(status, StatusCode::OK);
    for part in [
        "[+]storage ok\n",
        "[!]accepting refusing new batches (429): ",
        "readyz check passed\n",
    ] {
        assert!(lines.contains(part), "no {part} in {lines}");
    }
    let (_, metrics) = relay.get("/metrics").await;
    let value = |series: &str| metric(&metrics, series);
    assert_eq!(value("auditrelay_queue_refusing"), 1.0, "{metrics}");
    assert!(value("auditrelay_ingest_refused_total{reason=\"queue_full\"}") >= 1.0);
    assert_eq!(value("auditrelay_queue_bytes_max"), BYTES_MAX as f64);
    assert!(value("auditrelay_queue_bytes") <= BYTES_MAX as f64);
    let before = delivered(&relay.ledger().await);
    let mut waits = Vec::new();
    let begun = Instant::now();
    while delivered(&relay.ledger().await) < before + 2 || waits.len() < REFUSALS {
        assert!(begun.elapsed() < PATIENCE, "nothing is delivered any more");
        waits.push(post(relay, refused).await.expect_err("it is still full"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    waits.dedup();
    assert!(waits.len() > 1, "all come again at once: {waits:?}");
}

/// Posts a batch again until it is taken, as an API server does.
async fn is_taken_in_the_end(relay: &Running, refused: &Bytes) {
    let begun = Instant::now();
    while post(relay, refused).await.is_err() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{}{}",
            relay.get("/readyz?verbose").await.1,
            relay.ledger().await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the channels that were dead have nothing waiting.
async fn has_caught_up(relay: &Running) -> Value {
    let begun = Instant::now();
    loop {
        let ledger = relay.ledger().await;
        let waits = |name: &str| ledger["channels"][name]["waiting"] != 0;
        if ledger["waiting"] == 0 && !DEAD.iter().any(|name| waits(name)) {
            return ledger;
        }
        assert!(begun.elapsed() < PATIENCE, "{ledger}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_channels_give_way_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::ZERO).await;
    let unavailable = || Effect::HttpStatus {
        status: StatusCode::SERVICE_UNAVAILABLE,
    };
    for name in DEAD {
        slack.inject(
            Fault::new(unavailable())
                .on(format!("C{name}"))
                .times(u32::MAX),
        );
    }
    fs::write(folder.path().join("c.yaml"), config(&slack)).expect("written");
    let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let data = folder.path().join("auditrelay-data");
    for number in 0..BATCHES {
        is_taken_in_the_end(&relay, &batch(number)).await;
        let on_disk = bytes_on_disk(&data);
        assert!(on_disk <= BYTES_MAX, "{on_disk} bytes on disk");
    }
    let ledger = relay.ledger().await;
    assert!(delivered(&ledger) > 0, "the others are served: {ledger}");
    assert_eq!(ledger["channels"][ALIVE]["dropped"]["quota"], 0, "{ledger}");

    slack.reset();
    let ledger = has_caught_up(&relay).await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(
        ledger["received"],
        BATCHES as u64 * BATCH_EVENTS,
        "{ledger}"
    );
    assert_eq!(ledger["duplicates"], 0, "a refused batch was stored");
    let count = |name: &str, fate: &str| {
        let count = ledger["channels"][name]
            .pointer(fate)
            .and_then(Value::as_u64);
        count.unwrap_or_else(|| panic!("no {fate} of {name}: {ledger}"))
    };
    let dropped: u64 = DEAD.iter().map(|name| count(name, "/dropped/quota")).sum();
    assert!(
        dropped > 0,
        "more than the queue may hold was sent: {ledger}"
    );
    for name in DEAD {
        let told = count(name, "/delivered") + count(name, "/dropped/quota");
        assert_eq!(told, BATCHES as u64 * 20, "{ledger}");
    }
    let texts: String = slack.posts().into_iter().map(|post| post.text).collect();
    assert!(
        texts.contains("dropped and only counted"),
        "nobody was told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enough_free_disk_it_refuses_goes_on_delivering_and_takes_batches_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::ZERO).await;
    fs::write(folder.path().join("c.yaml"), config(&slack)).expect("written");
    let start = |least: u64| {
        let least = least.to_string();
        let env = [("AUDITRELAY__QUEUE__DISK_FREE_BYTES_MIN", least.as_str())];
        Running::start(folder.path(), &env, &["--config", "c.yaml"])
    };
    let relay = start(16 * MIB);
    let (_, metrics) = relay.get("/metrics").await;
    let free = metric(&metrics, "auditrelay_disk_free_bytes") as u64;
    relay.kill();
    if free < 5 * ROOM {
        return; // Not enough of a disk to fill and to empty.
    }
    // What other tests write meanwhile is little beside these.
    let mut relay = start((free - 2 * ROOM).min(1 << 40));
    for number in 0..4 {
        post(&relay, &batch(number)).await.expect("there is room");
    }
    let filler = folder.path().join("filler");
    let fallocate = [
        "-l",
        &(3 * ROOM).to_string(),
        filler.to_str().expect("text"),
    ];
    let filled = std::process::Command::new("fallocate")
        .args(fallocate)
        .status();
    assert!(filled.expect("util-linux").success());
    let refused = batch(4);
    post(&relay, &refused).await.expect_err("there is not");
    is_refusing_and_alive(&relay, &refused).await;

    fs::remove_file(filler).expect("removed");
    is_taken_in_the_end(&relay, &refused).await;
    let ledger = has_caught_up(&relay).await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(ledger["received"], 5 * BATCH_EVENTS, "{ledger}");
    assert_eq!(ledger["duplicates"], 0, "a refused batch was stored");
    let (_, lines) = relay.get("/readyz?verbose").await;
    assert!(lines.contains("[+]accepting ok\n"), "{lines}");
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0), "{}", relay.logs());
    let (code, text, _) = run(folder.path(), &[], &["ledger", "--config", "c.yaml"]);
    assert_eq!(code, 0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_enough_free_space_is_a_429_from_the_first_batch_on() {
    const TIB: &str = "1099511627776";
    let folder = tempfile::tempdir().expect("a folder");
    let least = [("AUDITRELAY__QUEUE__DISK_FREE_BYTES_MIN", TIB)];
    let relay = Running::start(folder.path(), &least, &[]);
    let (_, metrics) = relay.get("/metrics").await;
    let free = metric(&metrics, "auditrelay_disk_free_bytes");
    if free > 1.1e12 {
        return; // The most that can be asked for is there.
    }
    let body = Bytes::from(list("alice", "get", ids("a", 1)));
    post(&relay, &body)
        .await
        .expect_err("there is not enough space");
    assert_eq!(relay.get("/readyz").await, (StatusCode::OK, "ok\n".into()));
    let (_, lines) = relay.get("/readyz?verbose").await;
    for part in [
        "[!]disk-space low: ",
        "[!]accepting refusing new batches (429): ",
    ] {
        assert!(lines.contains(part), "no {part} in {lines}");
    }
    assert_eq!(relay.ledger().await["received"], 0);
}

//! The door of a replica that does not lead: what it answers while NATS is away, the inbox is full, or nobody leads.

use std::time::Duration;

use auditrelay_store::jetstream::JetStreamOptions;
use hyper::{Method, StatusCode, body::Bytes, header::RETRY_AFTER};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Bench, Keys, leads, nobody_who_leads, status,
    support::{PATIENCE, Running, exchange, ids, list, metric, request},
    until_leads, until_told,
};

/// The status of an answer to a batch, and whether it says when to come again.
async fn posted(relay: &Running, body: String) -> (StatusCode, bool) {
    let answer = exchange(relay.webhook, Method::POST, "/webhook", body.into()).await;
    let (head, _) = answer.expect("an answer");
    (head.status, head.headers.contains_key(RETRY_AFTER))
}

/// Waits until a probe answers so, and its text holds this.
async fn until_ready_is(relay: &Running, wanted: StatusCode, part: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (ready, text) = relay.get("/readyz?verbose").await;
        if ready == wanted && text.contains(part) {
            return;
        }
        assert!(Instant::now() < deadline, "{ready}: {text}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_503_while_nats_is_away_and_asks_the_leader_again_when_it_is_back() {
    let Some(mut bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let two = bench.replica("two");
    let batch = |prefix: &str| list("alice", "get", ids(prefix, 3));
    assert_eq!(posted(&two, batch("a")).await.0, StatusCode::OK);
    until_ready_is(&two, StatusCode::OK, "[+]storage").await;
    assert!(!leads(&two).await);

    bench.nats.kill();
    // The API server tries again what is refused so.
    let refused = (StatusCode::SERVICE_UNAVAILABLE, true);
    assert_eq!(posted(&two, batch("b")).await, refused);
    until_ready_is(&two, StatusCode::SERVICE_UNAVAILABLE, "[-]storage").await;
    assert_eq!(posted(&two, batch("b")).await, refused);
    assert_eq!(two.get("/livez").await.0, StatusCode::OK);
    let metrics = two.get("/metrics").await.1;
    let reason = "auditrelay_ingest_refused_total{reason=\"queue_unavailable\"}";
    assert!(metric(&metrics, reason) > 1.5, "{metrics}");
    let away = "no connection to a NATS server";
    let (code, why) = two.get("/ledger").await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{why}");
    assert!(why.contains(away), "{why}");
    let said = status(&two).await["no_leader"].to_string();
    assert!(said.contains(away), "{said}");

    bench.nats.restart().expect("started again");
    until_ready_is(&two, StatusCode::OK, "[+]storage").await;
    let deadline = Instant::now() + PATIENCE;
    while posted(&two, batch("c")).await.0 != StatusCode::OK {
        assert!(Instant::now() < deadline, "it stays refused");
        sleep(Duration::from_millis(50)).await;
    }
    let told: Vec<_> = ids("a", 3).chain(ids("c", 3)).collect();
    until_told(&bench.slack, &told).await;
    assert_eq!(two.get("/ledger").await.0, StatusCode::OK);
    assert_eq!(status(&two).await["no_leader"], Value::Null);
}

/// An event of about so many bytes, however well it is compressed.
fn large(id: &str, bytes: usize) -> String {
    let seed = id.bytes().fold(7, |seed: u64, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = fastrand::Rng::with_seed(seed);
    let noise: String = (0..bytes).map(|_| random.alphanumeric()).collect();
    let mut list: Value =
        serde_json::from_str(&list("alice", "get", [id.to_owned()])).expect("JSON");
    list["items"][0]["userAgent"] = noise.into();
    list.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_429_while_the_inbox_is_full_and_stays_ready() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let bench = bench.with(Keys {
        ingest: ", body_bytes_max: 262144",
        jetstream: ", inbox_bytes_max: 1048576",
        ..Keys::default()
    });
    // Who holds the lease takes nothing out of the inbox.
    let options = JetStreamOptions {
        inbox_bytes_max: 1 << 20,
        ..bench.options()
    };
    let (_servers, held) = nobody_who_leads(&options).await;
    let two = bench.replica("two");
    let mut acknowledged = 0_u64;
    let refused = loop {
        let id = format!("a-{acknowledged}");
        let answer = posted(&two, large(&id, 40_000)).await;
        if answer.0 != StatusCode::OK {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "1 MiB is full");
    };
    assert_eq!(refused, (StatusCode::TOO_MANY_REQUESTS, true));
    let full = "[!]accepting new batches are refused (429)";
    until_ready_is(&two, StatusCode::OK, full).await;
    let answer = posted(&two, large("b-0", 40_000)).await;
    assert_eq!(answer, (StatusCode::TOO_MANY_REQUESTS, true));
    let metrics = two.get("/metrics").await.1;
    let reason = "auditrelay_ingest_refused_total{reason=\"queue_full\"}";
    assert!(metric(&metrics, reason) > 1.5, "{metrics}");

    held.resign().await;
    until_leads(&two, PATIENCE).await;
    until_ready_is(&two, StatusCode::OK, "[+]accepting").await;
    let answer = posted(&two, large("c-0", 40_000)).await;
    assert_eq!(answer.0, StatusCode::OK);
    // So many at once are a digest, which names few of them.
    let all = acknowledged + 1;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ledger = two.drained().await;
        if ledger["received"] == all {
            assert_eq!(ledger["channels"]["ops"]["delivered"], all, "{ledger}");
            break;
        }
        assert!(Instant::now() < deadline, "{ledger}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_the_lease_changes_hands_gets_an_answer() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let (_servers, held) = nobody_who_leads(&bench.options()).await;
    let two = bench.replica("two");
    let ledger = request(two.admin, Method::GET, "/ledger", Bytes::new());
    let asking = tokio::spawn(ledger);
    // It has asked by then, and was told that nobody leads.
    sleep(Duration::from_millis(500)).await;
    assert!(!asking.is_finished(), "it did not wait");
    held.resign().await;
    let answer = asking.await.expect("no panic");
    let (code, said) = answer.expect("an answer");
    assert_eq!(code, StatusCode::OK, "{said:?}");
    let ledger: Value = serde_json::from_slice(&said).expect("JSON");
    assert_eq!(ledger["balanced"], true, "{ledger}");
}

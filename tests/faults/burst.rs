//! A relay that is killed within a burst goes on counting where it was.

use std::{fs, net::SocketAddr, time::Duration};

use hyper::{Method, StatusCode};
use tokio::sync::oneshot;

use crate::support::{Running, list, request, run};

const KILLS: u64 = 8;
const PASSED_OVER: u64 = 25;
const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// Posts one event after the other until the relay is gone; says when `enough` are acknowledged. Returns how many of each user were
/// acknowledged, and what was under way.
async fn post(
    webhook: SocketAddr,
    round: u64,
    mut pending: Option<String>,
    (enough, ready): (u64, oneshot::Sender<()>),
) -> (u64, u64, String) {
    let mut ready = Some(ready);
    let (mut eve, mut bob) = (0, 0);
    loop {
        let n = eve + bob;
        let user = if n % 3 == 2 { "bob" } else { "eve" };
        let body = pending
            .take()
            .unwrap_or_else(|| list(user, "get", [format!("{round}-{n}")]));
        let is_eve = body.contains("\"eve\"");
        let sent = body.clone().into_bytes().into();
        match request(webhook, Method::POST, "/webhook", sent).await {
            Some((StatusCode::OK, _)) if is_eve => eve += 1,
            Some((StatusCode::OK, _)) => bob += 1,
            // Whether it was stored nobody knows; an API server sends it again, and so do we.
            _ => return (eve, bob, body),
        }
        if eve + bob == enough
            && let Some(ready) = ready.take()
        {
            ready.send(()).expect("the test waits");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_it_is_killed_a_rate_passes_over_as_many_as_it_says_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "channels: {{ops: {{preview: true, message_interval_milliseconds: 100}}}}
routes:
- {{name: burst, channel: ops, users: [eve], rate: {{moreThan: {PASSED_OVER}, withinSeconds: 3600, by: [user]}}}}
- {{name: quiet, level: None, users: [bob]}}
"
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let mut random = fastrand::Rng::with_seed(7);
    let (mut of_eve, mut of_bob) = (0, 0);
    let mut again: Option<String> = None;
    for round in 0..KILLS {
        let relay = Running::start(folder.path(), &[], &CONFIG);
        let (ready, posted) = oneshot::channel();
        let posting = tokio::spawn(post(
            relay.webhook,
            round,
            again.take(),
            (random.u64(12..30), ready),
        ));
        posted.await.expect("it posts");
        tokio::time::sleep(Duration::from_millis(random.u64(0..20))).await;
        relay.kill();
        let (eve, bob, body) = posting.await.expect("no panic");
        (of_eve, of_bob) = (of_eve + eve, of_bob + bob);
        again = Some(body);
    }
    let relay = Running::start(folder.path(), &[], &CONFIG);
    let body = again.expect("one was under way");
    if body.contains("\"eve\"") {
        of_eve += 1;
    } else {
        of_bob += 1;
    }
    assert_eq!(relay.post("/webhook", body).await.0, StatusCode::OK);
    let ledger = relay.drained().await;
    assert!(of_eve > 2 * PASSED_OVER, "only {of_eve} events");
    let told = of_eve - PASSED_OVER;
    assert_eq!(ledger["routed"], told, "{ledger}");
    assert_eq!(ledger["channels"]["ops"]["routed"], told, "{ledger}");
    assert_eq!(ledger["filtered"], PASSED_OVER + of_bob, "{ledger}");
    assert_eq!(ledger["filtered_by"]["quiet"], of_bob, "{ledger}");
    let (status, metrics) = relay.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let series = |route: &str| format!("auditrelay_events_filtered_total{{route=\"{route}\"}}");
    let filtered = |route| crate::support::metric(&metrics, &series(route)) as u64;
    assert_eq!((filtered(""), filtered("quiet")), (PASSED_OVER, of_bob));
    relay.kill();
    let (code, text, errors) = run(folder.path(), &[], &["ledger", "--config", "c.yaml"]);
    assert_eq!(code, 0, "{text}{errors}");
    assert!(
        text.contains(&format!("by route  {of_bob:>12}   quiet")),
        "{text}"
    );
}

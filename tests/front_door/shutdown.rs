//! A stop in the middle of the load: what was answered 200 is stored.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    door::{Door, post, small},
    support::metric,
};

const CLIENTS: usize = 8;
/// Events of [`small`].
const EVENTS: u64 = 10;
/// `ingest.shutdown_seconds` may be nine at most.
const STOP_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_200_before_a_stop_is_there_after_it() {
    let mut door = Door::open("").await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (http1, http2) = (door.caller("http/1.1"), door.caller("h2"));
            tokio::spawn(async move {
                let is_http2 = number % 2 == 0;
                let mut kept1 = http1.http1().await.expect("connected");
                let mut kept2 = http2.http2().await.expect("connected");
                let (mut stored, mut sent) = (0, 0);
                loop {
                    let body = small(&format!("n{number}-{sent}"));
                    sent += 1;
                    let request = post(is_http2, None, body);
                    let answer = if is_http2 {
                        kept2.send(request).await
                    } else {
                        kept1.send(request).await
                    };
                    match answer {
                        Ok(status) if status == 200 => stored += 1,
                        // Refused in words, or not answered: the API server sends it again.
                        Ok(status) if status == 503 => {}
                        Ok(status) => panic!("{status}"),
                        Err(_) => return (stored, sent),
                    }
                }
            })
        })
        .collect();
    let stored = async || {
        let series = "auditrelay_ingest_events_total{outcome=\"stored\"}";
        metric(&door.relay.get("/metrics").await.1, series)
    };
    while stored().await < 1_000.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    door.relay.signal("-TERM");
    let status = timeout(STOP_MAX, door.relay.wait()).await.expect("in time");
    assert!(status.success(), "{status}: {}", door.relay.all_logs());

    let (mut answered, mut sent) = (0, 0);
    for client in clients {
        let (one_answered, one_sent): (u64, u64) = client.await.expect("no panic");
        answered += one_answered;
        sent += one_sent;
    }
    door.start_again();
    let received = door.relay.ledger().await["received"]
        .as_u64()
        .expect("a number");
    println!("{sent} batches sent, {answered} answered 200, {received} events stored");
    assert!(answered > 50, "{answered}");
    assert!(
        received >= answered * EVENTS,
        "{received} < {answered} batches"
    );
    assert!(received <= sent * EVENTS, "{received} > {sent} batches");
}

//! NATS wholly gone: batches are refused so that they come again, and nothing ends for it.

use std::time::Duration;

use hyper::{Method, StatusCode, body::Bytes, header::RETRY_AFTER};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep, timeout},
};

use crate::{
    bench::{ApiServers, Bench, RELAYS, ask},
    number, say,
    support::{PATIENCE, exchange, list},
};

/// How soon a batch is answered, whatever becomes of NATS: long before NATS is back. The relay gives it 0.9 s, the rest is
/// for a machine that is busy with seven processes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// What is promised, of those in the middle: a machine that stalls now and then is not looked at.
const USUALLY_WITHIN: Duration = Duration::from_secs(1);
const LEASE_SECONDS: u32 = 6;

/// Posts a batch of its own to a relay; it has to be refused for the moment.
async fn is_refused(bench: &mut Bench, relay: usize, id: String) -> Duration {
    let address = bench.relay(relay).webhook;
    let body = Bytes::from(list("alice", "get", [id]));
    let begun = Instant::now();
    let answer = exchange(address, Method::POST, "/webhook", body).await;
    let took = begun.elapsed();
    let (head, body) = answer.expect("an answer");
    assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE, "{body:?}");
    let again = head.headers.get(RETRY_AFTER).expect("Retry-After");
    let again: u64 = again
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    assert!((1..=5).contains(&again), "Retry-After: {again}");
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nats_wholly_gone_for_a_while_is_waited_for() {
    let seconds = number("AUDITRELAY_CLUSTER_GONE_SECONDS", 10);
    let Some(mut bench) = Bench::start(LEASE_SECONDS).await else {
        return;
    };
    let api_servers = ApiServers::start(&bench.service);
    bench.service.goes_on(50).await;
    for server in &mut bench.nats.servers {
        server.kill();
    }
    let gone = Instant::now();
    let (mut all, mut longest) = (Vec::new(), (Duration::ZERO, Duration::ZERO, 0));
    while gone.elapsed() < Duration::from_secs(seconds) || all.len() < 2 * RELAYS {
        for relay in 0..RELAYS {
            let took = is_refused(&mut bench, relay, format!("gone-{}", all.len())).await;
            all.push(took);
            longest = longest.max((took, gone.elapsed(), relay));
        }
        sleep(Duration::from_millis(200)).await;
    }
    for relay in 0..RELAYS {
        let admin = bench.relay(relay).admin;
        let unready = async {
            while ask(admin, "/readyz").await.map(|(status, _)| status)
                != Some(StatusCode::SERVICE_UNAVAILABLE)
            {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, unready)
            .await
            .expect("it says that it is not ready");
        let lives = ask(admin, "/livez").await.map(|(status, _)| status);
        assert_eq!(lives, Some(StatusCode::OK));
    }
    let leaders = bench.leaders().await;
    assert!(leaders.is_empty(), "{leaders:?} lead without NATS");
    bench.nobody_ended();
    all.sort_unstable();
    let usual = all[all.len() / 2];
    assert!(usual <= USUALLY_WITHIN, "half of them took {usual:?}");
    let (took, at, relay) = longest;
    assert!(
        took <= ANSWERED_WITHIN,
        "an answer of r{relay} took {took:?}, {at:?} after NATS was gone\n{}",
        bench.told_by_relays()
    );
    block_in_place(|| {
        for server in &mut bench.nats.servers {
            server.begin_again().expect("it starts");
        }
        bench.nats.wait_until_ready().expect("ready");
    });
    bench.until_one_leads(PATIENCE).await;
    bench.service.goes_on(50).await;
    for relay in 0..RELAYS {
        let admin = bench.relay(relay).admin;
        let ready = async {
            while ask(admin, "/readyz").await.map(|(status, _)| status) != Some(StatusCode::OK) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("it is ready again");
    }
    say(&format!(
        "{} refusals in {seconds} s, the longest in {took:?}",
        all.len()
    ));
    bench.settled(api_servers, "NATS gone").await;
}

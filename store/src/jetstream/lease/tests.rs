//! Against real servers: one replica leads at a time, hand-overs are in time, and whoever was stopped for long finds its
//! tenure over when it goes on.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use auditrelay_loadtest::nats::NatsServer;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{record::Held, *};
use crate::jetstream::{
    JetStreamOptions,
    test_support::{options_of, server},
};

/// The promise: a hand-over takes at most so long.
const HAND_OVER: Duration = Duration::from_secs(15);
/// Longest wait for what is no hand-over.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(server: &NatsServer, lease_seconds: u64) -> JetStreamOptions {
    JetStreamOptions {
        lease: Duration::from_secs(lease_seconds),
        ..options_of(server)
    }
}

async fn connect(server: &NatsServer, lease_seconds: u64) -> JetStream {
    JetStream::connect_when_there(&options(server, lease_seconds))
        .await
        .unwrap()
}

async fn told(jetstream: &JetStream, leader: Option<&str>) {
    let mut told = jetstream.leader();
    let is_told = told.wait_for(|told| told.as_deref() == leader);
    timeout(PATIENCE, is_told).await.unwrap().unwrap();
}

/// Who leads next, in time: its index, and its leadership. Whoever led before must not any more.
async fn next(
    candidates: &mut JoinSet<(usize, Leadership)>,
    before: &[Tenure],
) -> (usize, Leadership) {
    let (at, leads) = timeout(HAND_OVER, candidates.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        before.iter().all(|tenure| !tenure.lasts(Duration::ZERO)),
        "two lead at once"
    );
    assert!(leads.tenure().lasts(Duration::ZERO));
    (at, leads)
}

#[tokio::test]
async fn of_three_candidates_one_leads_and_the_next_one_follows_in_time() {
    const LEASE_SECONDS: u64 = 8;
    let Some(server) = server() else { return };
    let mut replicas = Vec::new();
    let mut candidates = JoinSet::new();
    for at in 0..3 {
        replicas.push((at, connect(&server, LEASE_SECONDS).await));
    }
    for (at, jetstream) in replicas.clone() {
        candidates
            .spawn(async move { (at, jetstream.lead(&format!("relay-{at}")).await.unwrap()) });
    }
    let watcher = connect(&server, LEASE_SECONDS).await;
    let name = |at: usize| format!("relay-{at}");
    let (first, leads) = next(&mut candidates, &[]).await;
    told(&watcher, Some(&name(first))).await;
    assert!(candidates.try_join_next().is_none());

    let mut before = vec![leads.tenure()];
    let resigned = Instant::now();
    leads.resign().await;
    let (second, leads) = next(&mut candidates, &before).await;
    // At once: a lease that runs out was renewed a quarter of it ago, at the earliest.
    let took = resigned.elapsed();
    assert!(
        took < 3 * Duration::from_secs(LEASE_SECONDS) / 4,
        "{took:?}"
    );
    told(&watcher, Some(&name(second))).await;
    assert!(candidates.try_join_next().is_none());

    // It crashes: nobody says so.
    before.push(leads.tenure());
    drop(leads);
    let (third, leads) = next(&mut candidates, &before).await;
    for (_, jetstream) in &replicas {
        told(jetstream, Some(&name(third))).await;
    }
    told(&watcher, Some(&name(third))).await;
    let resigned = Instant::now();
    leads.resign().await;
    println!("resigned in {:?}", resigned.elapsed());
    told(&watcher, None).await;
    let key = watcher.register();
    let is_free = async {
        while !matches!(key.read().await, Ok((_, Held::Free(_)))) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, is_free).await.unwrap();
}

#[tokio::test]
async fn a_candidate_waits_a_whole_lease_from_when_it_saw_what_it_takes() {
    let Some(server) = server() else { return };
    let writer = connect(&server, 4).await;
    // What a key that was deleted by hand is: whoever held it does not know yet.
    let key = writer.register().subject().to_owned();
    writer
        .context()
        .publish(key, "".into())
        .await
        .unwrap()
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    let candidate = connect(&server, 4).await;
    let begun = Instant::now();
    let leads = timeout(HAND_OVER, candidate.lead("late"))
        .await
        .unwrap()
        .unwrap();
    assert!(
        begun.elapsed() >= Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert!(leads.tenure().lasts(Duration::ZERO));
}

#[tokio::test]
async fn a_tenure_is_renewed_ends_without_servers_and_another_begins_with_them() {
    const LEASE: Duration = Duration::from_secs(8);
    let Some(mut server) = server() else { return };
    let jetstream = connect(&server, LEASE.as_secs()).await;
    let leads = timeout(PATIENCE, jetstream.lead("one"))
        .await
        .unwrap()
        .unwrap();
    let begun = Instant::now();
    let tenure = leads.tenure();
    told(&jetstream, Some("one")).await;
    while begun.elapsed() < LEASE {
        sleep(Duration::from_millis(100)).await;
        assert!(tenure.lasts(Duration::ZERO), "it was not renewed");
    }
    server.kill();
    timeout(PATIENCE, tenure.ended()).await.unwrap();
    told(&jetstream, None).await;
    // Nobody to tell it to: that is bounded.
    timeout(PATIENCE, leads.resign()).await.unwrap();
    let candidate = jetstream.clone();
    let again = tokio::spawn(async move { candidate.lead("one").await });
    server.restart().unwrap();
    let leads = timeout(PATIENCE, again).await.unwrap().unwrap().unwrap();
    assert!(leads.tenure().lasts(Duration::ZERO) && !tenure.lasts(Duration::ZERO));
    told(&jetstream, Some("one")).await;
}

#[tokio::test]
async fn a_candidate_with_shorter_leases_waits_for_the_longer_one() {
    let Some(server) = server() else { return };
    let holder = connect(&server, 10).await;
    let hasty = connect(&server, 2).await;
    let leads = holder.lead("holder").await.unwrap();
    let tenure = leads.tenure();
    told(&hasty, Some("holder")).await;
    let mut who_leads = hasty.leader();
    who_leads.mark_unchanged();
    // More than its own lease between two renewals, several times.
    let candidate = hasty.clone();
    let mut waits = tokio::spawn(async move { candidate.lead("hasty").await.unwrap() });
    let early = timeout(Duration::from_secs(6), &mut waits).await;
    assert!(early.is_err(), "two lead at once");
    assert!(tenure.lasts(Duration::ZERO));
    // Who does not lead says all the while who does.
    assert!(!who_leads.has_changed().unwrap(), "nobody led for it");
    assert_eq!(who_leads.borrow().as_deref(), Some("holder"));
    drop(leads);
    // Its own tenure may be over again before anybody looks, on a busy machine.
    timeout(PATIENCE, waits).await.unwrap().unwrap();
    assert!(!tenure.lasts(Duration::ZERO), "two lead at once");
}

#[tokio::test]
async fn the_next_one_learns_how_long_requests_of_those_before_may_last() {
    const SECOND: Duration = Duration::from_secs(1);
    let Some(server) = server() else { return };
    let first = connect(&server, 6).await;
    let second = connect(&server, 6).await;
    let slow = Requests::new(|| 50 * SECOND, SECOND);
    let leads = first.lead_with("slow", slow).await.unwrap();
    assert_eq!(leads.others_requests(), Duration::ZERO);
    // Said from the beginning, and with each renewal.
    let key = first.register();
    let (claimed, held) = key.read().await.unwrap();
    assert_eq!(held.requests(), 49 * SECOND);
    let renewed = async {
        loop {
            let (revision, held) = key.read().await.unwrap();
            if revision > claimed {
                return held;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let held = timeout(PATIENCE, renewed).await.unwrap();
    assert_eq!(held.requests(), 49 * SECOND);
    // As if it had crashed.
    drop(leads);
    let leads = second.lead("asks nothing").await.unwrap();
    assert_eq!(leads.others_requests(), 49 * SECOND);
    leads.resign().await;
    let quick = Requests::new(|| SECOND, Duration::ZERO);
    let leads = first.lead_with("quick", quick).await.unwrap();
    let left = leads.others_requests();
    assert!(left > 30 * SECOND && left <= 49 * SECOND, "{left:?}");
}

/// Where the process below finds its server: its address and its monitoring port.
const OTHER: &str = "AUDITRELAY_TEST_LEASE_OF";

/// The other process of the test below: it leads, and says so, with the time of day before it looked.
#[tokio::test]
#[ignore = "a process that another test stops"]
async fn holds_the_lease_for_another_process() {
    let place = std::env::var(OTHER).unwrap();
    let (address, monitoring) = place.split_once(' ').unwrap();
    let options = JetStreamOptions {
        lease: Duration::from_secs(4),
        ..crate::jetstream::test_support::options(
            vec![address.to_owned()],
            &[monitoring.to_owned()],
        )
    };
    let jetstream = JetStream::connect_when_there(&options).await.unwrap();
    let leads = jetstream.lead("stopped").await.unwrap();
    // Much longer than the other one lets it be.
    for _ in 0..2_000 {
        let looked_unix_ms = jiff::Timestamp::now().as_millisecond();
        let is_held = leads.tenure().lasts(Duration::ZERO);
        println!("\nlooked {looked_unix_ms} {is_held}");
        if !is_held {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_relay_that_was_stopped_finds_its_tenure_over() {
    let Some(server) = server() else { return };
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["jetstream::lease::tests::holds_the_lease_for_another_process"])
        .args(["--exact", "--ignored", "--nocapture"])
        .env(
            OTHER,
            format!("{} {}", server.address(), server.monitoring()),
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = other.stdout.take().unwrap();
    let signal = |name: &str| {
        let kill = format!("kill -{name} {}", other.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    };
    let jetstream = connect(&server, 4).await;
    told(&jetstream, Some("stopped")).await;
    let mut lines = BufReader::new(out).lines().map(Result::unwrap);
    let looks = lines.any(|line| line.starts_with("looked ") && line.ends_with(" true"));
    assert!(looks, "it led and never looked");
    signal("STOP");
    let leads = timeout(HAND_OVER, jetstream.lead("next"))
        .await
        .unwrap()
        .unwrap();
    let led_unix_ms = jiff::Timestamp::now().as_millisecond();
    signal("CONT");
    let looked: Vec<(i64, bool)> = lines
        .filter_map(|line| {
            let (looked, is_held) = line.strip_prefix("looked ")?.split_once(' ')?;
            Some((looked.parse().ok()?, is_held.parse().ok()?))
        })
        .collect();
    assert!(other.wait().unwrap().success());
    let late = looked
        .iter()
        .find(|(looked, is_held)| *is_held && *looked >= led_unix_ms);
    assert_eq!(
        late, None,
        "it acted after another one led, at {led_unix_ms}"
    );
    assert_eq!(looked.last().map(|(_, is_held)| *is_held), Some(false));
    drop(leads);
}

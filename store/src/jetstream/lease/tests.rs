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

use super::{keep::Renewal, record::Held, *};
use crate::{
    TenureHolder,
    jetstream::{
        JetStreamOptions,
        test_support::{options_of, server},
    },
};

/// The promise: a hand-over takes at most so long.
const HAND_OVER: Duration = Duration::from_secs(15);

fn options(server: &NatsServer, lease_seconds: u64) -> JetStreamOptions {
    JetStreamOptions {
        lease: Duration::from_secs(lease_seconds),
        ..options_of(server)
    }
}

async fn connect(server: &NatsServer, lease_seconds: u64) -> JetStream {
    JetStream::connect(&options(server, lease_seconds))
        .await
        .unwrap()
}

async fn told(jetstream: &JetStream, leader: Option<&str>) {
    let mut told = jetstream.leader();
    let is_told = told.wait_for(|told| told.as_deref() == leader);
    timeout(HAND_OVER, is_told).await.unwrap().unwrap();
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
    let Some(server) = server() else { return };
    let mut replicas = Vec::new();
    let mut candidates = JoinSet::new();
    for at in 0..3 {
        replicas.push((at, connect(&server, 6).await));
    }
    for (at, jetstream) in replicas.clone() {
        candidates
            .spawn(async move { (at, jetstream.lead(&format!("relay-{at}")).await.unwrap()) });
    }
    let watcher = connect(&server, 6).await;
    let name = |at: usize| format!("relay-{at}");
    let (first, leads) = next(&mut candidates, &[]).await;
    told(&watcher, Some(&name(first))).await;
    assert!(candidates.try_join_next().is_none());

    let mut before = vec![leads.tenure()];
    let resigned = Instant::now();
    leads.resign().await;
    let (second, leads) = next(&mut candidates, &before).await;
    // At once: it did not wait for the lease to run out.
    assert!(
        resigned.elapsed() < Duration::from_secs(5),
        "{:?}",
        resigned.elapsed()
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
    timeout(HAND_OVER, is_free).await.unwrap();
}

#[tokio::test]
async fn a_candidate_waits_a_whole_lease_from_when_it_saw_what_it_takes() {
    let Some(server) = server() else { return };
    let writer = connect(&server, 2).await;
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
    let candidate = connect(&server, 2).await;
    let begun = Instant::now();
    let leads = timeout(HAND_OVER, candidate.lead("late"))
        .await
        .unwrap()
        .unwrap();
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert!(leads.tenure().lasts(Duration::ZERO));
}

/// A keeper that just took the lease.
async fn keeper(jetstream: &JetStream) -> (Keeper, TenureHolder, Tenure) {
    let register = jetstream.register();
    let lease = jetstream.options().lease;
    let value = Value::new("kept", lease);
    let (revision, _) = register.read().await.unwrap();
    let Written::Is(revision) = register.write(&value, revision).await else {
        panic!("it is not written");
    };
    let until = Instant::now() + lease / 2;
    let (holder, tenure) = Tenure::until(until);
    let keeper = Keeper {
        register,
        lease,
        value,
        requests: Said::new(Requests::none()),
        revision,
        until,
        unsure_since: None,
    };
    (keeper, holder, tenure)
}

#[tokio::test]
async fn a_renewal_counts_from_before_it_was_sent() {
    let Some(mut server) = server() else { return };
    let jetstream = connect(&server, 8).await;
    let (mut keeper, holder, tenure) = keeper(&jetstream).await;
    let lasts = keeper.lease - keeper.lease / MARGIN;

    // The answer comes late.
    server.stop().unwrap();
    let begun = Instant::now();
    let (renewal, ()) = tokio::join!(keeper.renew(&holder), async {
        sleep(Duration::from_millis(600)).await;
        server.cont().unwrap();
    });
    // Sent before, or at the same instant as far as the test can tell.
    let soon = begun + Duration::from_millis(300);
    assert!(matches!(renewal, Renewal::Done), "{renewal:?}");
    assert!((begun + lasts..soon + lasts).contains(&keeper.until));
    assert!(tenure.lasts(lasts - begun.elapsed() - Duration::from_millis(100)));
    assert!(!tenure.lasts(lasts));

    // The answer never comes: the key says that an earlier try did it.
    keeper.register.write(&keeper.value, keeper.revision).await;
    let unsure = Instant::now();
    keeper.unsure_since = Some(unsure);
    sleep(Duration::from_millis(300)).await;
    let renewal = keeper.renew(&holder).await;
    assert!(matches!(renewal, Renewal::Done), "{renewal:?}");
    assert_eq!(keeper.until, unsure + lasts);
    let (revision, _) = keeper.register.read().await.unwrap();
    assert_eq!(keeper.revision, revision);

    // Another one has it.
    let other = Value::new("other", keeper.lease);
    keeper.register.write(&other, keeper.revision).await;
    let renewal = keeper.renew(&holder).await;
    assert!(matches!(renewal, Renewal::Lost), "{renewal:?}");

    // It was over before it could be renewed; that nobody took it does not matter.
    let Written::Is(revision) = keeper.register.write(&keeper.value, revision + 1).await else {
        panic!("it is not written");
    };
    keeper.revision = revision;
    keeper.until = Instant::now();
    let renewal = keeper.renew(&holder).await;
    assert!(matches!(renewal, Renewal::Late), "{renewal:?}");
}

#[tokio::test]
async fn a_tenure_is_renewed_ends_without_servers_and_another_begins_with_them() {
    let Some(mut server) = server() else { return };
    let jetstream = connect(&server, 3).await;
    let leads = timeout(HAND_OVER, jetstream.lead("one"))
        .await
        .unwrap()
        .unwrap();
    let begun = Instant::now();
    let tenure = leads.tenure();
    told(&jetstream, Some("one")).await;
    while begun.elapsed() < Duration::from_millis(3_500) {
        sleep(Duration::from_millis(100)).await;
        assert!(tenure.lasts(Duration::ZERO), "it was not renewed");
    }
    server.kill();
    timeout(HAND_OVER, tenure.ended()).await.unwrap();
    told(&jetstream, None).await;
    // Nobody to tell it to: that is bounded.
    timeout(HAND_OVER, leads.resign()).await.unwrap();
    let candidate = jetstream.clone();
    let again = tokio::spawn(async move { candidate.lead("one").await });
    server.restart().unwrap();
    let leads = timeout(HAND_OVER, again).await.unwrap().unwrap().unwrap();
    assert!(leads.tenure().lasts(Duration::ZERO) && !tenure.lasts(Duration::ZERO));
    told(&jetstream, Some("one")).await;
}

#[tokio::test]
async fn a_candidate_with_shorter_leases_waits_for_the_longer_one() {
    let Some(server) = server() else { return };
    let holder = connect(&server, 6).await;
    let hasty = JetStreamOptions {
        lease: Duration::from_millis(400),
        ..options(&server, 0)
    };
    let hasty = JetStream::connect(&hasty).await.unwrap();
    let leads = holder.lead("holder").await.unwrap();
    let tenure = leads.tenure();
    told(&hasty, Some("holder")).await;
    let mut who_leads = hasty.leader();
    who_leads.mark_unchanged();
    // More than its own lease between two renewals, several times.
    let candidate = hasty.clone();
    let mut waits = tokio::spawn(async move { candidate.lead("hasty").await.unwrap() });
    let early = timeout(Duration::from_millis(3_500), &mut waits).await;
    assert!(early.is_err(), "two lead at once");
    assert!(tenure.lasts(Duration::ZERO));
    // Who does not lead says all the while who does.
    assert!(!who_leads.has_changed().unwrap(), "nobody led for it");
    assert_eq!(who_leads.borrow().as_deref(), Some("holder"));
    drop(leads);
    let leads = timeout(HAND_OVER, waits).await.unwrap().unwrap();
    assert!(leads.tenure().lasts(Duration::ZERO) && !tenure.lasts(Duration::ZERO));
}

#[tokio::test]
async fn the_next_one_learns_how_long_requests_of_those_before_may_last() {
    const SECOND: Duration = Duration::from_secs(1);
    let Some(server) = server() else { return };
    let first = connect(&server, 2).await;
    let second = connect(&server, 2).await;
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
    let held = timeout(HAND_OVER, renewed).await.unwrap();
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
        lease: Duration::from_secs(2),
        ..crate::jetstream::test_support::options(
            vec![address.to_owned()],
            &[monitoring.to_owned()],
        )
    };
    let jetstream = JetStream::connect(&options).await.unwrap();
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
    let jetstream = connect(&server, 2).await;
    told(&jetstream, Some("stopped")).await;
    signal("STOP");
    let leads = timeout(HAND_OVER, jetstream.lead("next"))
        .await
        .unwrap()
        .unwrap();
    let led_unix_ms = jiff::Timestamp::now().as_millisecond();
    signal("CONT");
    let lines = BufReader::new(other.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let looked: Vec<(i64, bool)> = lines
        .filter_map(|line| {
            let (looked, is_held) = line.strip_prefix("looked ")?.split_once(' ')?;
            Some((looked.parse().ok()?, is_held.parse().ok()?))
        })
        .collect();
    assert!(other.wait().unwrap().success());
    assert!(looked.iter().any(|(_, is_held)| *is_held));
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

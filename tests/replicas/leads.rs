//! Who leads, and what becomes of it.

use std::time::Duration;

use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use crate::{
    Bench, CRASH, Keys, command, leads, post, status,
    support::{PATIENCE, Running, ids, metric, told},
    until_leads, until_told,
};

/// The longest lease there is, and less than what is left of one that is renewed every quarter of it: so it was given up,
/// and did not run out.
const LONGEST_SECONDS: u64 = 10;
const AT_ONCE: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_another_goes_on_when_it_is_killed_or_stops() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let two = bench.replica("two");
    assert!(!leads(&two).await);
    // Either takes batches; each event is told once, whoever it comes to, and twice to both is once.
    let (a, b): (Vec<_>, Vec<_>) = (ids("a", 6).collect(), ids("b", 6).collect());
    post(&one, &a).await;
    post(&two, &b).await;
    post(&two, &a).await;
    let all: Vec<String> = a.into_iter().chain(b).collect();
    until_told(&bench.slack, &all).await;
    let said = status(&two).await;
    assert_eq!(
        (&said["leads"], &said["leader"]),
        (&false.into(), &"one".into())
    );
    assert_eq!(said["replica"], "two");

    one.kill();
    // The door of the other takes batches meanwhile.
    let c: Vec<_> = ids("c", 6).collect();
    post(&two, &c).await;
    let (ready, text) = two.get("/readyz").await;
    assert_eq!(ready, StatusCode::OK, "{text}");
    until_leads(&two, CRASH).await;
    until_told(&bench.slack, &c).await;

    let mut three = bench.replica("three");
    let mut two = two;
    two.signal("-TERM");
    assert!(two.wait().await.success(), "{}", two.all_logs());
    until_leads(&three, PATIENCE).await;
    let d: Vec<_> = ids("d", 6).collect();
    post(&three, &d).await;
    until_told(&bench.slack, &d).await;
    let ledger = three.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(ledger["received"], 30, "{ledger}");
    assert_eq!(ledger["duplicates"], 6, "{ledger}");
    let (plain, marked) = told(&bench.slack);
    assert!(plain.values().all(|times| *times == 1), "{plain:?}");
    assert!(marked.is_empty(), "{marked:?}");
    assert!(
        three.logs().contains("this replica leads"),
        "{}",
        three.logs()
    );
}

/// Its lease runs out for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_told_to_end_gives_its_lease_up() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let bench = bench.with(Keys {
        lease_seconds: Some(LONGEST_SECONDS),
        ..Keys::default()
    });
    let mut one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let two = bench.replica("two");
    one.signal("-TERM");
    assert!(one.wait().await.success(), "{}", one.all_logs());
    until_leads(&two, AT_ONCE).await;
}

/// Waits until a relay takes batches: its servers have to say first what they promise.
async fn until_taken(relay: &Running, ids: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let batch = crate::list("alice", "get", ids.to_vec());
        let (status, answer) = relay.post("/webhook", batch).await;
        if status == StatusCode::OK {
            return;
        }
        assert!(Instant::now() < deadline, "{answer}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_batches_are_refused_and_nothing_ends() {
    let Some(mut bench) = Bench::start("").await else {
        return;
    };
    let mut one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    post(&one, &ids("a", 5).collect::<Vec<_>>()).await;
    bench.nats.kill();
    let refused = one
        .post("/webhook", crate::list("alice", "get", ids("b", 5)))
        .await;
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    // It leads no more, and lives.
    let deadline = Instant::now() + PATIENCE;
    while leads(&one).await {
        assert!(Instant::now() < deadline, "it leads without a queue");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(one.get("/livez").await.0, StatusCode::OK);
    assert_eq!(one.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let metrics = one.get("/metrics").await.1;
    assert!(
        metric(&metrics, "auditrelay_queue_reachable") < 0.5,
        "{metrics}"
    );
    assert!(
        !metrics.contains("auditrelay_ledger_events_total"),
        "{metrics}"
    );
    // Nobody can be asked, which is no reason to be silent.
    let (folder, away) = (bench.folder("one"), "no connection to a NATS server");
    let (code, told, why) = command(&folder, &["status", "--json"]);
    assert_eq!(code, 1, "{told}{why}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert!(told["no_leader"].to_string().contains(away), "{told}");
    // What is not known is no zero.
    assert!(told["ledger"].is_null() && told["disk"].is_null(), "{told}");
    let (_, table, _) = command(&folder, &["status"]);
    assert!(
        !table.contains("balanced") && table.contains("events    not known"),
        "{table}"
    );
    let storage = told["attention"].as_array().expect("a list").iter();
    let storage: Vec<_> = storage.filter(|one| one["kind"] == "storage").collect();
    assert!(
        storage.len() == 1
            && storage[0]["what"].to_string().contains("refused (503)")
            && storage[0]["do"].to_string().contains("NATS servers"),
        "{told}"
    );
    for args in [["ledger"].as_slice(), &["mute", "list"]] {
        let (code, _, why) = command(&folder, args);
        assert!(code != 0 && why.contains(away), "{args:?}: {code}: {why}");
    }
    bench.nats.restart().expect("started again");
    until_leads(&one, PATIENCE).await;
    let c: Vec<_> = ids("c", 5).collect();
    until_taken(&one, &c).await;
    until_told(&bench.slack, &c).await;
    one.signal("-TERM");
    assert!(one.wait().await.success(), "{}", one.all_logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_keep_less_than_before_are_told_nothing() {
    let Some(mut bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    post(&one, &ids("a", 3).collect::<Vec<_>>()).await;
    bench.nats.options_mut().sync_always = false;
    bench.nats.restart().expect("started again");
    // A moment is needed to find it out; from then on nothing is acknowledged.
    let refusing = "do not promise any more";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (ready, text) = one.get("/readyz").await;
        if ready == StatusCode::SERVICE_UNAVAILABLE && text.contains(refusing) {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        sleep(Duration::from_millis(50)).await;
    }
    let refused = one
        .post("/webhook", crate::list("alice", "get", ids("b", 3)))
        .await;
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    bench.nats.options_mut().sync_always = true;
    bench.nats.restart().expect("started again");
    let deadline = Instant::now() + PATIENCE;
    while one.get("/readyz").await.0 != StatusCode::OK {
        assert!(Instant::now() < deadline, "it stays unready");
        sleep(Duration::from_millis(50)).await;
    }
    let c: Vec<_> = ids("c", 3).collect();
    until_taken(&one, &c).await;
    until_told(&bench.slack, &c).await;
}

/// As one that is held up by its machine, or connected to another server of a cluster at once: it never sees that there is no
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_anew_after_a_connection_that_was_lost_and_made_again_in_a_moment() {
    // They are asked every minute in any case.
    const SOONER: Duration = Duration::from_secs(30);
    let Some(mut bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    one.signal("-STOP");
    bench.nats.options_mut().sync_always = false;
    bench.nats.restart().expect("started again");
    one.signal("-CONT");
    let deadline = Instant::now() + SOONER;
    loop {
        let text = one.get("/readyz").await.1;
        if text.contains("do not promise any more") {
            return;
        }
        assert!(Instant::now() < deadline, "they were not asked: {text}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_one_that_leads_sends_the_watchdogs_events() {
    let Some(bench) = Bench::start("watchdog: {channel: ops, interval_seconds: 60}").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let two = bench.replica("two");
    let sent = "auditrelay_watchdog_sent_total{outcome=\"accepted\"}";
    let delivered = "auditrelay_watchdog_last_delivered_timestamp_seconds";
    let deadline = Instant::now() + PATIENCE;
    while metric(&one.get("/metrics").await.1, delivered) < 1.0 {
        assert!(Instant::now() < deadline, "none is delivered");
        sleep(Duration::from_millis(50)).await;
    }
    let metrics = two.get("/metrics").await.1;
    assert!(metric(&metrics, sent) < 0.5, "{metrics}");
    let interval = "auditrelay_watchdog_interval_seconds";
    assert!(metric(&metrics, interval) < 0.5, "{metrics}");
    let since = "auditrelay_leader_since_timestamp_seconds";
    assert!(metric(&metrics, since) < 0.5, "{metrics}");
    let said = &status(&two).await["watchdog"];
    assert!(said["leads_since_unix_ms"].is_i64(), "{said}");
    one.kill();
    until_leads(&two, CRASH).await;
    assert!(metric(&two.get("/metrics").await.1, since) > 1.0);
    let deadline = Instant::now() + PATIENCE;
    while metric(&two.get("/metrics").await.1, delivered) < 1.0 {
        assert!(Instant::now() < deadline, "none is delivered");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(metric(&two.get("/metrics").await.1, interval) > 59.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_stream_that_is_damaged_is_an_error_and_batches_are_taken_all_the_same() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let told = ids("a", 2).collect::<Vec<_>>();
    post(&one, &told).await;
    until_told(&bench.slack, &told).await;
    one.kill();
    // By hand, as an operator in a hurry does.
    let client = async_nats::connect(bench.nats.address()).await;
    let jetstream = async_nats::jetstream::new(client.expect("connected"));
    let stream = jetstream.get_stream("auditrelay-ledger").await;
    let stream = stream.expect("there");
    for subject in ["auditrelay.ledger.index", "auditrelay.ledger.snapshot"] {
        stream.purge().filter(subject).await.expect("purged");
    }
    let mut two = bench.replica("two");
    let deadline = Instant::now() + PATIENCE;
    let logs = loop {
        let logs = two.logs();
        if logs.contains("cannot lead with what the ledger") {
            break logs;
        }
        assert!(Instant::now() < deadline, "{logs}");
        sleep(Duration::from_millis(50)).await;
    };
    let line = logs.lines().find(|line| line.contains("cannot lead with"));
    let line = line.expect("the line");
    assert!(
        line.contains("ERROR")
            && line.contains("is damaged")
            && line.contains("nothing was taken out of it"),
        "{line}"
    );
    assert!(!leads(&two).await);
    post(&two, &ids("b", 2).collect::<Vec<_>>()).await;
    let said = status(&two).await;
    let kinds = said["attention"].as_array().expect("a list").iter();
    let kinds: Vec<_> = kinds.map(|one| one["kind"].clone()).collect();
    assert!(kinds.contains(&"no_leader".into()), "{said}");
}

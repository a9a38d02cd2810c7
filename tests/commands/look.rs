//! What a digest stood for, and replays.

use std::time::Duration;

use auditrelay_loadtest::slack::LocalSlack;
use serde_json::{Value, json};

use crate::{
    CONFIG, ends, folder, json_of, start, stop,
    support::{PATIENCE, Running, ids, list, run, slack},
    told,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_names_itself_and_its_members_are_listed() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 3", "");
    let folder = folder.path();
    let mut relay = start(folder);
    relay
        .post("/webhook", list("alice", "get", ids("d", 20)))
        .await;
    relay.drained().await;
    let text = slack.posts()[0].text.clone();
    let (_, id) = text.split_once("events --message ").expect(&text);
    let id = id.split(' ').next().expect("an ID").to_owned();
    let events = ["events", "--message", &id];
    let running = ends(folder, 0, &events);
    let running_json = json_of(folder, &events);
    stop(&mut relay).await;
    assert_eq!(ends(folder, 0, &events), running);
    assert_eq!(json_of(folder, &events), running_json);
    assert_eq!(running.matches("pods/api in shop").count(), 20, "{running}");
    assert!(
        running.contains(&format!("20 events in message {id}")),
        "{running}"
    );
    let members = running_json.as_array().expect("an array");
    let mut told: Vec<&str> = members
        .iter()
        .filter_map(|member| member["event"]["auditID"].as_str())
        .collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 20, "{members:?}");
    assert_eq!(members[0]["cluster"], "default");
    let unknown = ends(folder, 1, &["events", "--message", "999999"]);
    assert!(unknown.contains("queue.digest_detail_hours"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_replayed_and_says_so() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(
        &slack,
        "sentences_max: 20",
        "routes: [{name: gone, channel: ops, verbs: [delete]}, {name: read, channel: ops, verbs: [get]}]
queue: {retain_hours: 1}",
    );
    let folder = folder.path();
    let mut relay = start(folder);
    let none = ends(folder, 1, &["replay", "--since", "1h"]);
    assert!(none.contains("queue.retain_hours"), "{none}");
    for (verb, prefix) in [("delete", "x"), ("get", "y"), ("patch", "z")] {
        relay
            .post("/webhook", list("alice", verb, ids(prefix, 3)))
            .await;
    }
    relay.drained().await;
    let replay = |more: &[&'static str]| -> Vec<&'static str> {
        ["replay", "--since", "1h"]
            .iter()
            .chain(more)
            .copied()
            .collect()
    };
    let dry = json_of(folder, &replay(&["--dry-run"]));
    assert_eq!(
        dry["sent"],
        json!([{"channel": "ops", "route": "gone", "events": 3},
               {"channel": "ops", "route": "read", "events": 3}]),
        "{dry}"
    );
    let unwanted = [&dry["without_text"], &dry["filtered"]].map(Value::as_u64);
    assert_eq!(unwanted.into_iter().flatten().sum::<u64>(), 3, "{dry}");
    assert_eq!(relay.ledger().await["channels"]["ops"]["waiting"], 0);
    let wrong = ends(folder, 70, &replay(&["--route", "nope"]));
    assert!(wrong.contains("gone, read"), "{wrong}");
    ends(folder, 1, &["replay", "--since", "2h", "--until", "1h"]);
    ends(folder, 2, &["replay", "--since", "1h", "--until", "2h"]);

    let replayed = ends(folder, 0, &replay(&["--route", "gone"]));
    assert!(replayed.contains("3 events wait"), "{replayed}");
    wait_told(&slack, "x-0", 2).await;
    let posts = slack.posts();
    let last = posts.last().expect("a message");
    assert_eq!(last.text.matches("[replayed]").count(), 3, "{}", last.text);
    assert_eq!(told(&slack, "y-0"), 1);
    let ledger = relay.drained().await;
    assert_eq!(
        (&ledger["channels"]["ops"]["delivered"], &ledger["balanced"]),
        (&json!(6), &json!(true)),
        "{ledger}"
    );
    stop(&mut relay).await;
    ends(folder, 0, &replay(&[]));
    let relay = start(folder);
    wait_told(&slack, "x-0", 3).await;
    wait_told(&slack, "y-0", 2).await;
    relay.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_asks_for_room_and_says_why_there_is_none() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 20", "queue: {retain_hours: 1}");
    let folder = folder.path();
    let mut relay = start(folder);
    let body = list("alice", "get", ids("a", 3));
    relay.post("/webhook", body).await;
    relay.drained().await;
    stop(&mut relay).await;
    let none_free = [("AUDITRELAY__QUEUE__DISK_FREE_BYTES_MIN", "1099511627776")];
    let args = |more: &[&'static str]| {
        let args = ["replay", "--since", "1h"].iter().chain(more);
        args.chain(&CONFIG).copied().collect::<Vec<_>>()
    };
    let refused = || {
        let (code, stdout, stderr) = run(folder, &none_free, &args(&[]));
        assert_eq!(code, 70, "{stdout}{stderr}");
        for part in [
            "no room in the queue",
            "queue.disk_free_bytes_min",
            "stays sent",
        ] {
            assert!(stderr.contains(part), "{stderr}");
        }
        assert_eq!(run(folder, &none_free, &args(&["--dry-run"])).0, 0);
    };
    refused();
    let queued = |ledger: Value| ledger["copies"]["ops"]["queued"].as_u64().unwrap_or(0);
    assert_eq!(queued(json_of(folder, &["ledger"])), 0);
    let mut relay = Running::start(folder, &none_free, &CONFIG);
    refused();
    assert_eq!(queued(relay.ledger().await), 0);
    stop(&mut relay).await;
    ends(folder, 0, &["replay", "--since", "1h"]);
    assert_eq!(queued(json_of(folder, &["ledger"])), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retention_nothing_is_replayed_even_if_it_still_lies_there() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 20", "");
    let folder = folder.path();
    let mut relay = start(folder);
    relay
        .post("/webhook", list("alice", "get", ids("a", 3)))
        .await;
    relay.drained().await;
    let none = ends(folder, 1, &["replay", "--since", "1h"]);
    assert!(none.contains("queue.retain_hours"), "{none}");
    stop(&mut relay).await;
    let none = ends(folder, 1, &["replay", "--since", "1h"]);
    assert!(none.contains("queue.retain_hours"), "{none}");
}

async fn wait_told(slack: &LocalSlack, id: &str, times: usize) {
    let asked = tokio::time::Instant::now();
    while told(slack, id) < times {
        assert!(asked.elapsed() < PATIENCE, "{id} {:?}", slack.posts());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

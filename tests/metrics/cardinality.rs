//! Names that are in events, and in paths, make no series.

use std::{fs, time::Duration};

use serde_json::json;

use crate::{
    scrape::{families, scrape, value},
    support::{Running, slack},
};

const SERIES_MAX: usize = 500;
const EVENTS_PER_LIST: usize = 400;
const STAGES: [&str; 4] = [
    "RequestReceived",
    "ResponseComplete",
    "ResponseStarted",
    "Panic",
];

fn events() -> usize {
    let told = std::env::var("AUDITRELAY_CARDINALITY_EVENTS");
    told.map_or(20_000, |told| told.parse().expect("a number of events"))
}

/// Events of which no two share a name.
fn of_their_own(from: usize, count: usize) -> String {
    let event = |n: usize| {
        json!({
            "level": "Metadata", "auditID": format!("id-{n}"),
            "stage": STAGES[n % 4],
            "requestURI": format!("/api/v1/namespaces/ns-{n}/kind{n}s/name-{n}?q={n}"),
            "verb": format!("verb{n}"), "userAgent": format!("agent/{n}"),
            "user": {"username": format!("user-{n}"), "groups": [format!("group-{n}")]},
            "sourceIPs": [format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)],
            "objectRef": {"resource": format!("kind{n}s"), "namespace": format!("ns-{n}"),
                "name": format!("name-{n}"), "apiGroup": format!("group{n}.example")},
            "responseStatus": {"code": 200 + n % 400, "reason": format!("Reason{n}")},
            "stageTimestamp": "2026-11-21T03:15:29.133245Z",
            "annotations": {format!("key{n}"): format!("value{n}")},
        })
    };
    let items: Vec<_> = (from..from + count).map(event).collect();
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_names_makes_no_series() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}'}}
default_channel: ops
channels:
  ops: {{slack_channel: COPS}}
",
        slack.api_url()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let series = async || {
        let (_, text) = scrape(&relay, None).await;
        let families = families(&text);
        (
            families
                .values()
                .map(|family| family.samples.len())
                .sum::<usize>(),
            text,
        )
    };
    // The first dead letter can be seen only by who has seen the 0 before it.
    let (_, text) = scrape(&relay, None).await;
    let dead = [("channel", "ops")];
    let dead = value(&families(&text), "auditrelay_channel_dead_events", &dead);
    assert_eq!(dead, Some(0.0), "{text}");
    // One of what makes the series of a channel that hears of something.
    relay.post("/webhook/first", of_their_own(0, 4)).await;
    let (mut from, all) = (4, events());
    while from < all {
        let path = format!("/webhook/cluster-{from}");
        let (status, answer) = relay.post(&path, of_their_own(from, EVENTS_PER_LIST)).await;
        assert_eq!(status, 200, "{answer}");
        from += EVENTS_PER_LIST;
    }
    let routed = async {
        while relay.ledger().await["waiting"] != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(300), routed).await;
    assert!(in_time.is_ok(), "not routed: {}", relay.ledger().await);
    let (series, text) = series().await;
    println!("{series} series after {from} events");
    assert!(series < SERIES_MAX, "{series} series\n{text}");
    for name in [
        "user-", "verb", "ns-", "agent/", "id-", "cluster-", "Reason", "group-",
    ] {
        let of_an_event = format!("\"{name}");
        assert!(!text.contains(&of_an_event), "{of_an_event} in\n{text}");
    }
}

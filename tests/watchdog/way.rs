//! From the relay's own door to the switch: what goes there, how often, and what cannot stop or forge it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    ACCEPTED, DELIVERED, FAILED, started,
    support::{metric, run},
    switch::Switch,
    until, until_logged, until_metric,
};

const CONFIG: &str = "
cluster: prod
channels: {ops: {preview: true}}
watchdog: {interval_seconds: 10, url_file: switch}
";

/// Runs of characters that a token of the relay's own has, as long as one.
fn token_shaped(bytes: &[u8]) -> Vec<String> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let runs = bytes.split(|byte| !is_part(byte));
    let tokens = runs.filter(|run| run.len() == 43);
    tokens
        .map(|run| String::from_utf8_lossy(run).into())
        .collect()
}

fn files(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.extend(fs::read(&path).unwrap_or_default()),
        }
        all.push(b'\n');
    }
    all
}

/// An event of somebody who wants to be the watchdog.
fn forged(audit_id: &str) -> String {
    json!({
        "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {},
        "items": [{
            "level": "Metadata", "auditID": audit_id, "stage": "ResponseComplete", "verb": "create",
            "requestURI": "/apis/auditrelay.io/v1/watchdogs/prod",
            "user": {"username": "system:auditrelay:watchdog"},
            "objectRef": {"resource": "watchdogs", "name": "prod", "apiGroup": "auditrelay.io", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "requestReceivedTimestamp": "2026-11-26T08:00:00.000000Z",
            "stageTimestamp": "2026-11-26T08:00:00.000000Z",
        }],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_goes_at_once_and_then_one_an_interval_whatever_is_muted_or_forged() {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = Switch::start().await;
    let mut running = started(folder.path(), &switch, CONFIG);
    until_metric(&running, DELIVERED, |at| at > 0.0).await;
    // Who sent it may hear later that it was taken.
    let metrics = until_metric(&running, ACCEPTED, |sent| sent > 0.0).await;
    assert_eq!(metric(&metrics, ACCEPTED), 1.0);
    assert_eq!(metric(&metrics, FAILED), 0.0);
    assert_eq!(
        metric(&metrics, "auditrelay_watchdog_interval_seconds"),
        10.0
    );
    assert!(metric(&metrics, "auditrelay_watchdog_round_trip_seconds") > 0.0);
    let first = switch.taken();
    assert_eq!(first.len(), 1, "{first:?}");
    let text = first[0]["text"].as_str().expect("a text");
    assert!(
        text.starts_with("auditrelay of prod is alive: its own event of 20"),
        "{text}"
    );
    assert!(!text.contains('\n'), "{text}");
    let ledger = running.ledger().await;
    assert_eq!(ledger["channels"]["watchdog"]["delivered"], 1, "{ledger}");

    // Somebody else's is an event like any other.
    let own_id = "00000000-0000-0000-0000-000000000000";
    assert_eq!(running.post("/webhook", forged(own_id)).await.0, 200);
    let ledger = running.drained().await;
    assert_eq!(ledger["channels"]["ops"]["delivered"], 1, "{ledger}");
    let everything = [
        "mute",
        "add",
        "--all-events",
        "--for",
        "1h",
        "--reason",
        "quiet",
        "--author",
        "me",
    ];
    let (code, out, error) = run(folder.path(), &[("HOME", "/")], &everything);
    assert_eq!(code, 0, "{out}{error}");
    assert_eq!(
        running.post("/webhook", forged("of a muted one")).await.0,
        200
    );

    until("a second sign of life", || switch.taken().len() > 1).await;
    assert_eq!(switch.taken().len(), 2);
    let ledger: Value = running.drained().await;
    assert_eq!(ledger["channels"]["watchdog"]["routed"], 2, "{ledger}");
    assert_eq!(ledger["channels"]["ops"]["routed"], 1, "{ledger}");
    assert_eq!(ledger["muted"], 1, "{ledger}");

    let mut seen = running.logs();
    for page in ["/metrics", "/config", "/status", "/ledger"] {
        seen += &running.get(page).await.1;
    }
    assert!(!seen.contains("canary-of-the-url"), "{seen}");
    assert_eq!(token_shaped(seen.as_bytes()), [""; 0]);
    // The admin port's own token is another one, and of another length.
    assert_eq!(
        token_shaped(&files(&folder.path().join("auditrelay-data"))),
        [""; 0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_away_for_a_while_hears_of_it_and_a_broken_one_is_no_sign_of_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = Switch::start().await;
    switch.answers(&["503 Busy\r\nRetry-After: 1", "500 Broken"]);
    let running = started(folder.path(), &switch, &CONFIG.replace("10", "3600"));
    until_metric(&running, DELIVERED, |at| at > 0.0).await;
    assert_eq!((switch.refused(), switch.taken().len()), (2, 1));
    drop(running);

    let folder = tempfile::tempdir().expect("a folder");
    let switch = Switch::start().await;
    switch.always("410 Gone");
    let mut running = started(folder.path(), &switch, &CONFIG.replace("10", "3600"));
    let parked = "auditrelay_lane_state{channel=\"watchdog\",state=\"parked\"}";
    until_metric(&running, parked, |is| is == 1.0).await;
    let metrics = until_metric(&running, ACCEPTED, |sent| sent == 1.0).await;
    assert_eq!(metric(&metrics, DELIVERED), 0.0);
    let logs = until_logged(&mut running, "watchdog.url answered with HTTP status 410").await;
    assert!(!logs.contains("canary-of-the-url"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_begins_it_and_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = Switch::start().await;
    let without = "cluster: prod\nchannels: {ops: {preview: true}}\n";
    let running = started(folder.path(), &switch, without);
    let every = "auditrelay_watchdog_interval_seconds";
    until_metric(&running, every, |seconds| seconds == 0.0).await;
    fs::write(folder.path().join("c.yaml"), CONFIG.replace("10", "3600")).expect("written");
    running.signal("-HUP");
    let metrics = until_metric(&running, DELIVERED, |at| at > 0.0).await;
    assert_eq!(metric(&metrics, every), 3_600.0);
    assert_eq!(switch.taken().len(), 1);
    fs::write(folder.path().join("c.yaml"), without).expect("written");
    running.signal("-HUP");
    until_metric(&running, every, |seconds| seconds == 0.0).await;
}

#[test]
fn check_says_where_to_and_how_often_and_what_clashes() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |config: &str| {
        fs::write(folder.path().join("c.yaml"), config).expect("written");
        run(folder.path(), &[], &["check", "--config", "c.yaml"])
    };
    let url = "watchdog: {url: 'http://127.0.0.1:9/x'}\n";
    let (code, out, error) = check(&format!("channels: {{ops: {{preview: true}}}}\n{url}"));
    assert_eq!(code, 0, "{error}");
    for line in [
        "channel ops (default): this terminal",
        "channel watchdog: the dead man's switch at watchdog.url",
        "watchdog: an event of its own to channel watchdog every 300 s",
    ] {
        assert!(out.contains(line), "{out}");
    }
    let refused = |config: &str, key: &str| {
        let (code, out, error) = check(config);
        assert_eq!(code, 78, "{out}");
        assert!(
            error.contains(key) && !error.contains("127.0.0.1:9"),
            "{error}"
        );
    };
    refused(
        &format!("channels: {{watchdog: {{preview: true}}}}\n{url}"),
        "watchdog.url",
    );
    let route = "routes: [{name: watchdog, channel: ops}]\n";
    refused(
        &format!("channels: {{ops: {{preview: true}}}}\n{url}{route}"),
        "routes[0].name",
    );
    let to = "routes: [{name: a, channel: watchdog}]\n";
    refused(
        &format!("channels: {{ops: {{preview: true}}}}\n{url}{to}"),
        "routes[0].channel",
    );
    let (code, ..) = check(&format!("channels: {{ops: {{preview: true}}}}\n{route}"));
    assert_eq!(code, 0, "without a watchdog the name is free");
}

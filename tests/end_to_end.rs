//! The real binary between a real HTTP client and the local Slack.

mod support;

use std::{fs, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault};
use auditrelay_store::{Delivery, Engine, LeaseLimit, Queue, SledOptions};
use hyper::{Method, StatusCode, body::Bytes};
use serde_json::{Value, json};
use support::{Running, drop_in, ids, list, metric, request, run, slack};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_in_and_messages_metrics_and_ledger_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(SECOND).await;
    let relay = Running::start(folder.path(), &drop_in(&slack.api_url()), &[]);
    let body = list("alice", "delete", ids("a", 3));
    let (status, answer) = relay
        .post("/webhook/prod-eu?timeout=30s", body.clone())
        .await;
    assert_eq!(
        (status, &answer["status"]),
        (StatusCode::OK, &json!("Success")),
        "{answer}"
    );
    relay.drained().await;
    assert_eq!(relay.post("/webhook/prod-eu", body).await.0, StatusCode::OK);
    let mut ledger = relay.drained().await;
    for name in ["notices", "copies"] {
        let others = ledger
            .as_object_mut()
            .and_then(|ledger| ledger.remove(name));
        let others = others.and_then(|others| others.get("default").cloned());
        assert!(others.is_none_or(|one| one["queued"] == 0), "{name}");
    }
    assert_eq!(
        ledger,
        json!({"received": 6, "duplicates": 3, "filtered": 0, "muted": 0, "quarantined": 0,
            "routed": 3, "waiting": 0, "lost": 0, "balanced": true,
            "filtered_by": {}, "muted_deliveries": {}, "mutes": [],
            "channels": {"default": {"routed": 3, "delivered": 3, "waiting": 0, "dead": 0,
                "dropped": {"quota": 0, "command": 0}}}})
    );
    let posts = slack.posts();
    assert_eq!(posts.len(), 1, "a duplicate was posted: {posts:?}");
    assert_eq!(posts[0].channel, "C0AUDIT");
    assert!(
        posts[0]
            .text
            .starts_with("[prod-eu] alice deleted pod shop/api (allowed)"),
        "{}",
        posts[0].text
    );
    for key in ["unfurl_links", "unfurl_media", "mrkdwn"] {
        assert_eq!(posts[0].body[key], false, "{key}");
    }
    let (status, metrics) = relay.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for (series, value) in [
        ("auditrelay_ledger_events_total{fate=\"received\"}", 6.0),
        ("auditrelay_ledger_events_total{fate=\"duplicates\"}", 3.0),
        (
            "auditrelay_channel_events_total{channel=\"default\",fate=\"delivered\"}",
            3.0,
        ),
        (
            "auditrelay_posts_total{channel=\"default\",outcome=\"accepted\"}",
            1.0,
        ),
        ("auditrelay_ingest_requests_total{code=\"200\"}", 2.0),
    ] {
        assert!(
            (metric(&metrics, series) - value).abs() < 0.1,
            "{series}\n{metrics}"
        );
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(relay.get(path).await, (StatusCode::OK, "ok\n".to_owned()));
        let (status, lines) = relay.get(&format!("{path}?verbose")).await;
        let end = format!("{} check passed\n", &path[1..]);
        assert!(status == StatusCode::OK && lines.ends_with(&end), "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_never_faster_than_slack_allows_and_a_backlog_becomes_digests() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(SECOND).await;
    let relay = Running::start(folder.path(), &drop_in(&slack.api_url()), &[]);
    let begun = Instant::now();
    for n in 0..40 {
        let body = list(&format!("user-{}", n % 3), "get", ids(&format!("b{n}"), 50));
        assert_eq!(relay.post("/webhook", body).await.0, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["default"]["delivered"], 2_000);
    let posts = slack.posts();
    let allowed = begun.elapsed().as_secs() as usize + 2;
    assert!(
        posts.len() <= allowed,
        "{} messages, {allowed} allowed",
        posts.len()
    );
    for pair in posts.windows(2) {
        assert!(pair[1].elapsed_ms - pair[0].elapsed_ms >= 980, "{pair:?}");
    }
    let told: u64 = posts
        .iter()
        .map(|post| {
            let count = post
                .text
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            count.unwrap_or_else(|| post.text.lines().count() as u64)
        })
        .sum();
    assert_eq!(told, 2_000, "{posts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_channel_gets_its_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(SECOND).await;
    fs::write(folder.path().join("url"), slack.webhook_url("ops")).expect("written");
    let config = "channels: {ops: {webhook_url_file: url}}";
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    relay
        .post("/webhook", list("alice", "delete", ids("a", 1)))
        .await;
    relay.drained().await;
    assert!(slack.posts()[0].text.contains("alice deleted pod shop/api"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_it_says_so_and_shows_messages_in_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut relay = Running::start(folder.path(), &[], &[]);
    relay
        .post("/webhook", list("mallory <!here>", "delete", ids("a", 1)))
        .await;
    relay.drained().await;
    let logs = relay.logs();
    assert_eq!(logs.matches("no Slack token").count(), 1, "{logs}");
    let shown = fs::read_to_string(folder.path().join("stdout")).expect("text");
    assert!(
        shown.contains("“mallory <!here>” deleted pod shop/api — allowed — 200"),
        "{shown}"
    );
    assert!(folder.path().join("auditrelay-data/queue").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said_as_a_status_and_never_by_a_redirect() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = [("AUDITRELAY__INGEST__BODY_BYTES_MAX", "2000")];
    let relay = Running::start(folder.path(), &env, &[]);
    let cases: [(Method, &str, Vec<u8>, u16); 7] = [
        (Method::POST, "/webhook", b"{\"kind\":".to_vec(), 400),
        (
            Method::POST,
            "/webhook",
            b"{\"kind\":\"Pod\"}".to_vec(),
            422,
        ),
        (Method::GET, "/webhook", vec![], 405),
        (Method::POST, "/elsewhere", b"{}".to_vec(), 404),
        (Method::POST, "/webhook/a/b", b"{}".to_vec(), 404),
        (Method::POST, "/webhook", vec![b' '; 3_000], 413),
        (
            Method::POST,
            "/webhook/prod/",
            list("a", "get", ids("x", 1)).into_bytes(),
            200,
        ),
    ];
    for (method, path, body, code) in cases {
        let (status, answer) = request(relay.webhook, method, path, Bytes::from(body))
            .await
            .expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(
            (status.as_u16(), &answer["code"], &answer["kind"]),
            (code, &json!(code), &json!("Status")),
            "{path}: {answer}"
        );
    }
    assert_eq!(relay.drained().await["received"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_neither_queue_nor_slack_nor_logs() {
    const CANARY: &str = "Q0FOQVJZLXZhbHVl";
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(SECOND).await;
    // The event stays in the queue, where it can be looked at.
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 600 }));
    let mut relay = Running::start(folder.path(), &drop_in(&slack.api_url()), &[]);
    let body = list("alice", "create", ids("s", 1)).replace(
        r#""verb":"create""#,
        &format!(
            r#""verb":"create","requestObject":{{"kind":"Secret","data":{{"password":"{CANARY}"}}}}"#
        ),
    );
    assert!(body.contains(CANARY));
    relay.post("/webhook", body).await;
    while !slack
        .attempts()
        .iter()
        .any(|one| one.method == "chat.postMessage")
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let attempts = serde_json::to_string(&slack.recorded()).expect("JSON");
    assert!(!attempts.contains(CANARY));
    assert!(!relay.logs().contains(CANARY));
    assert!(!relay.get("/metrics").await.1.contains(CANARY));
    relay.kill();
    let options = SledOptions::new(&folder.path().join("auditrelay-data"), 0);
    let queue = Engine::open(&options).expect("opens").queue;
    let limit = LeaseLimit {
        events_max: 10,
        bytes_max: 1 << 20,
    };
    let lease = queue
        .lease("default", limit, 5)
        .await
        .expect("read")
        .expect("it waits");
    let (_, Delivery::Event(event)) = &lease.members[0] else {
        panic!("{lease:?}")
    };
    assert!(
        !event.json.contains(CANARY) && event.json.contains(r#""password":"[redacted "#),
        "{}",
        event.json
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_no_event_is_quarantined_once_and_announced() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(SECOND).await;
    let relay = Running::start(folder.path(), &drop_in(&slack.api_url()), &[]);
    let body = list("alice", "delete", ids("a", 1)).replace("[{", r#"[{"stage":"Panic"},7,{"#);
    for _ in 0..2 {
        assert_eq!(
            relay.post("/webhook/prod", body.clone()).await.0,
            StatusCode::OK
        );
    }
    let ledger = relay.drained().await;
    for (fate, events) in [
        ("received", 6),
        ("quarantined", 2),
        ("duplicates", 3),
        ("routed", 1),
    ] {
        assert_eq!(ledger[fate], events, "{fate}: {ledger}");
    }
    assert_eq!(ledger["balanced"], true);
    let text: String = slack.posts().into_iter().map(|post| post.text).collect();
    for part in [
        "alice deleted pod shop/api",
        "1 event from prod could not be read",
        "quarantine: not an object",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_channels_share_the_budget_of_the_workspace() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::ZERO).await;
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 60}}
channels:
  a: {{slack_channel: CA, message_interval_milliseconds: 100}}
  b: {{slack_channel: CB, message_interval_milliseconds: 100}}
default_channel: a
routes:
  - {{name: deletes, channel: a, verbs: [delete]}}
  - {{name: rest, channel: b}}
",
        slack.api_url()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let begun = Instant::now();
    for n in 0..2 {
        relay
            .post(
                "/webhook",
                list("alice", "delete", ids(&format!("a{n}"), 1)),
            )
            .await;
        relay
            .post("/webhook", list("alice", "get", ids(&format!("b{n}"), 1)))
            .await;
        relay.drained().await;
    }
    // From before the first of them: one that comes to Slack late is not followed by the next one any later.
    let took = begun.elapsed();
    let at: Vec<u64> = slack.posts().iter().map(|post| post.elapsed_ms).collect();
    assert_eq!(at.len(), 4);
    assert!(
        took >= 3 * SECOND - SECOND / 10,
        "four messages of one workspace at {at:?} ms"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_retention_what_no_route_wants_is_stored_and_filtered_all_the_same() {
    const CANARY: &str = "Q0FOQVJZLXZhbHVl";
    let config = "channels: {ops: {preview: true}}
routes: [{name: deletes, channel: ops, verbs: [delete]}]
";
    let body = list("alice", "create", ids("a", 40)).replace(
        r#""verb":"create""#,
        &format!(
            r#""verb":"create","requestObject":{{"kind":"Secret","data":{{"p":"{CANARY}"}}}}"#
        ),
    );
    let mut stored = Vec::new();
    for hours in ["0", "1"] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("c.yaml"), config).expect("written");
        let env = [("AUDITRELAY__QUEUE__RETAIN_HOURS", hours)];
        let relay = Running::start(folder.path(), &env, &["--config", "c.yaml"]);
        relay.post("/webhook", body.clone()).await;
        relay
            .post("/webhook", list("alice", "delete", ids("b", 2)))
            .await;
        let ledger = relay.drained().await;
        for (fate, events) in [("received", 42), ("filtered", 40), ("routed", 2)] {
            assert_eq!(ledger[fate], events, "{fate} with {hours} hours: {ledger}");
        }
        let queue = fs::read_dir(folder.path().join("auditrelay-data/queue"));
        let files = queue.expect("a folder").map(|file| file.expect("a file"));
        let is_log =
            |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with("events-");
        let bytes = files
            .filter(is_log)
            .map(|file| file.metadata().expect("it is there").len());
        stored.push(bytes.sum::<u64>());
    }
    // Their keys are kept in either case; they are no secret and cannot be compressed.
    assert!(stored[1] > stored[0] + 500, "{stored:?} bytes");
}

#[test]
fn the_demo_ends_by_itself_with_a_balanced_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, stdout, stderr) = run(folder.path(), &[], &["demo"]);
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    for part in [
        "#security",
        "tried to exec into pod demo/pod1",
        "× alice@example.com",
        "balanced: every event",
    ] {
        assert!(stdout.contains(part), "no {part} in\n{stdout}");
    }
    assert_eq!(
        fs::read_dir(folder.path()).expect("a folder").count(),
        0,
        "the demo left files"
    );
}

//! How requests leave: no redirects, no proxy but the one that is configured, nothing before a connection stands.

use std::{fs, path::Path, time::Duration};

use auditrelay_loadtest::slack::{Limits, LocalSlack, Options};

use crate::{
    started,
    support::{PATIENCE, Running, ids, list, metric, reserved::Reserved, told},
    until,
    wire::{answering, proxy},
};

const PASSWORD: &str = "word-never-shown";
/// `me:word-never-shown`, as a header has it.
const BASIC: &str = "bWU6d29yZC1uZXZlci1zaG93bg==";

fn options() -> Options {
    Options {
        message_interval: Duration::from_millis(50),
        limits: Limits::none(),
        ..Options::default()
    }
}

fn start(folder: &Path, slack: &str, env: &[(&str, &str)]) -> Running {
    let config = format!(
        "slack: {{ {slack}, token: xoxb-never-shown, messages_per_minute: 6000, timeout_seconds: 30 }}\n\
         channels: {{ a: {{ slack_channel: CAAAA, message_interval_milliseconds: 100, retry_max_seconds: 1, park_retry_seconds: 1 }} }}\n\
         default_channel: a\n"
    );
    fs::write(folder.join("c.yaml"), config).expect("written");
    let env: Vec<(&str, &str)> = env.iter().copied().chain([("RUST_LOG", "trace")]).collect();
    Running::start(folder, &env, &["--config", "c.yaml"])
}

async fn one(relay: &Running, id: &str) {
    let body = list("alice", "delete", ids(id, 1));
    assert_eq!(relay.post("/webhook", body).await.0, 200);
}

async fn outcome(relay: &Running, outcome: &str) -> f64 {
    let metrics = relay.get("/metrics").await.1;
    let series = format!("auditrelay_posts_total{{channel=\"a\",outcome=\"{outcome}\"}}");
    metric(&metrics, &series)
}

/// Told once and not marked; nothing secret was logged.
async fn told_once(mut relay: Running, slack: &LocalSlack, id: &str) {
    relay.drained().await;
    assert_eq!(outcome(&relay, "unknown").await, 0.0);
    relay.signal("-TERM");
    relay.wait().await;
    let logs = relay.all_logs();
    for secret in ["never-shown", BASIC] {
        assert!(!logs.contains(secret), "{secret}: {logs}");
    }
    let (plain, marked) = told(slack);
    assert_eq!((plain.get(id), marked.get(id)), (Some(&1), None), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (other, others) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into()).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{other}/elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (address, seen) = answering(answer).await;
    let config = format!(
        "slack: {{ token: xoxb-never-shown, api_url: 'http://{address}/api/' }}
channels:
  a: {{ slack_channel: CAAAA, park_retry_seconds: 1 }}
  hook: {{ webhook_url: 'http://{address}/services/T0/B0/never-shown', park_retry_seconds: 1 }}
default_channel: a
routes:
  - {{ name: gets, channel: hook, verbs: [get] }}
  - {{ name: rest, channel: a }}
"
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    one(&relay, "api").await;
    let body = list("alice", "get", ids("hook", 1));
    assert_eq!(relay.post("/webhook", body).await.0, 200);
    for path in ["POST /api/chat.postMessage", "POST /services/"] {
        let tries = || {
            let seen = seen.all().into_iter();
            seen.filter(|request| request.starts_with(path)).count()
        };
        until(path, || tries() >= 2).await;
    }
    assert_eq!(others.all(), Vec::<String>::new());
    relay.signal("-TERM");
    relay.wait().await;
    let logs = relay.all_logs();
    assert!(!logs.contains("never-shown"), "{logs}");
    for (channel, what) in [("a", "slack.api_url"), ("hook", "webhook_url")] {
        let parked = |line: &&str| {
            line.contains("the channel is parked") && line.contains(&format!("\"{channel}\""))
        };
        let parked: Vec<&str> = logs.lines().filter(parked).collect();
        assert_eq!(parked.len(), 1, "{logs}");
        let advice = format!("redirects are not followed; correct {what}");
        assert!(
            parked[0].contains("302") && parked[0].contains(&advice),
            "{}",
            parked[0]
        );
    }
}

const VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "ALL_PROXY",
    "HTTP_PROXY",
    "https_proxy",
    "all_proxy",
    "http_proxy",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_the_environment_says_of_proxies_is_ignored_unless_it_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(options()).await;
    let (address, seen) = proxy().await;
    let url = format!("http://me:{PASSWORD}@{address}");
    let all: Vec<(&str, &str)> = VARIABLES.iter().map(|name| (*name, url.as_str())).collect();
    let api_url = format!("api_url: '{}'", slack.api_url());
    let relay = start(folder.path(), &api_url, &all);
    one(&relay, "ignored").await;
    told_once(relay, &slack, "ignored-0").await;
    assert_eq!(seen.all(), Vec::<String>::new());
    // With `environment` they count, and so does the list of exceptions.
    let asked = format!("{api_url}, proxy: environment");
    for (id, env, is_used) in [
        ("http", vec![("HTTP_PROXY", url.as_str())], true),
        ("all", vec![("all_proxy", url.as_str())], true),
        ("https", vec![("HTTPS_PROXY", url.as_str())], false),
        (
            "no",
            vec![("ALL_PROXY", url.as_str()), ("NO_PROXY", "127.0.0.1")],
            false,
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let before = seen.all().len();
        let relay = start(folder.path(), &asked, &env);
        one(&relay, id).await;
        told_once(relay, &slack, &format!("{id}-0")).await;
        assert_eq!(seen.all().len() > before, is_used, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_proxy_is_used_and_its_password_told_to_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(options()).await;
    let (address, seen) = proxy().await;
    let config = format!(
        "api_url: '{}', proxy: 'http://me:{PASSWORD}@{address}'",
        slack.api_url()
    );
    let relay = start(folder.path(), &config, &[("NO_PROXY", "*")]);
    one(&relay, "through").await;
    told_once(relay, &slack, "through-0").await;
    let seen = seen.all();
    assert!(!seen.is_empty());
    for head in seen {
        assert!(
            head.starts_with(&format!("CONNECT {} ", slack.addr())),
            "{head}"
        );
        let authorization = format!("proxy-authorization: basic {}", BASIC.to_lowercase());
        assert!(head.to_lowercase().contains(&authorization), "{head}");
        assert!(!head.contains("xoxb"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_leaves_the_message_to_be_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let (address, seen) = answering(answer.into()).await;
    let config =
        format!("api_url: 'http://127.0.0.1:9/api/', proxy: 'http://me:{PASSWORD}@{address}'");
    let mut relay = start(folder.path(), &config, &[]);
    one(&relay, "refused").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while outcome(&relay, "later").await < 2.0 {
        assert!(tokio::time::Instant::now() < deadline, "{}", relay.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(outcome(&relay, "unknown").await, 0.0);
    let logs = relay.logs();
    assert!(logs.contains("cannot connect to Slack"), "{logs}");
    for secret in ["never-shown", BASIC] {
        assert!(!logs.contains(secret), "{secret}: {logs}");
    }
    for request in seen.all() {
        assert!(!request.contains("xoxb"), "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_a_connection_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = Reserved::new();
    let api_url = format!("api_url: 'http://{}/api/'", port.address());
    let relay = start(folder.path(), &api_url, &[]);
    one(&relay, "unreachable").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while outcome(&relay, "later").await < 2.0 {
        assert!(tokio::time::Instant::now() < deadline, "not tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let slack = LocalSlack::start(port.address(), options());
    let slack = slack.await.expect("nobody else has the port");
    told_once(relay, &slack, "unreachable-0").await;
    // One look is the check's at the start; the message is not looked for.
    let looks = slack.attempts().into_iter();
    let looks = looks.filter(|one| one.method == "conversations.history");
    assert!(looks.count() <= 1);
}

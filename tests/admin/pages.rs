//! What the pages say, and that none of them says a secret.

use hyper::{Method, StatusCode, body::Bytes};
use serde_json::Value;

use crate::{
    page, slack, started,
    support::{ids, list, request},
    until,
};

/// Secrets in every place of a configuration that takes one.
const SECRETS: &str = "
admin_token_file: tokens
slack: { token: xoxb-hunter2-slack, api_url: API_URL, proxy: 'http://hunter2-user:hunter2-word@127.0.0.1:1' }
channels:
  api: { slack_channel: CAPI, token: xoxb-hunter2-own }
  hook: { webhook_url: 'https://hooks.slack.com/services/T0/B0/hunter2hook' }
clients:
  - { name: prod, cluster: prod, token_file: tokens }
watchdog: { url: 'https://hooks.slack.com/services/T0/B0/hunter2watch' }
default_channel: api
";

#[tokio::test(flavor = "multi_thread")]
async fn no_page_says_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    let config = SECRETS.replace("API_URL", &slack.api_url());
    std::fs::write(path.join("c.yaml"), config).expect("written");
    std::fs::write(path.join("tokens"), "hunter2-token-0123456789\n").expect("written");
    let relay = started(path);
    let mut seen = String::new();
    for path in [
        "/config",
        "/status",
        "/ledger",
        "/metrics",
        "/readyz?verbose",
        "/nothing",
    ] {
        let shown = Some("Bearer hunter2-token-0123456789");
        let (status, headers, text) = page(relay.admin, path, shown).await.expect("an answer");
        if path == "/config" {
            assert_eq!(status, StatusCode::OK);
            let config: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(config["channels"]["api"]["slack_channel"], "CAPI");
            assert_eq!(config["slack"]["proxy"], "http://127.0.0.1:1");
        }
        seen += &format!("{headers:?}{text}");
    }
    let own = std::fs::read_to_string(path.join("auditrelay-data/admin.address"));
    let own = own
        .expect("there")
        .lines()
        .nth(1)
        .expect("a token")
        .to_owned();
    for secret in ["hunter2", &own] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
}

/// Keys of a status that the documentation does not have.
fn undocumented(status: &Value) -> Vec<String> {
    let documented = include_str!("../../docs/admin.md");
    let mut undocumented = Vec::new();
    let mut look = vec![(String::new(), status)];
    while let Some((at, value)) = look.pop() {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    // Names of channels and severities are the configuration's, as paths are; reasons are the metrics'.
                    let names = [
                        ".channels",
                        ".channels.*.backlog",
                        ".lately.refused",
                        ".lately.unfinished",
                        ".log_files",
                    ];
                    let is_name = names.contains(&at.as_str());
                    let key = if is_name { "*" } else { key };
                    look.push((format!("{at}.{key}"), member));
                }
            }
            Value::Array(items) => {
                let all = items.iter().map(|item| (format!("{at}[]"), item));
                look.extend(all);
            }
            _ => {}
        }
        let key = at.trim_start_matches('.');
        if !key.is_empty()
            && !key.ends_with(['*', ']'])
            && !documented.contains(&format!("`{key}`"))
        {
            undocumented.push(key.to_owned());
        }
    }
    undocumented
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_the_documented_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack().await;
    let log = folder.path().join("audit.log");
    std::fs::write(&log, "").expect("written");
    let log_file = format!("inputs: {{ log_file: [{{ path: {} }}] }}\n", log.display());
    crate::configured(folder.path(), &slack, &log_file);
    let relay = started(folder.path());
    // What only a stranger does needs nobody, and is counted.
    let got = request(relay.webhook, Method::GET, "/webhook", Bytes::new()).await;
    assert_eq!(got.expect("an answer").0, StatusCode::METHOD_NOT_ALLOWED);
    // A rate is of what came since the first look.
    until("a first look", async || {
        let status: Value = serde_json::from_str(&relay.get("/status").await.1).expect("JSON");
        status["rates"].is_object().then_some(())
    })
    .await;
    relay
        .post("/webhook", list("alice", "get", ids("a", 5)))
        .await;
    relay.drained().await;
    let status: Value = serde_json::from_str(&relay.get("/status").await.1).expect("JSON");
    let undocumented = undocumented(&status);
    assert!(
        undocumented.is_empty(),
        "not in docs/admin.md: {undocumented:?}"
    );
    assert_eq!(status["healthy"], true, "{status}");
    assert_eq!(status["lately"]["refused"]["method"]["times"], 1);
    assert_eq!(status["files_current"], true);
    let files = status["log_files"].as_object().expect("by path");
    assert_eq!(files.len(), 1, "{status}");
    assert_eq!(status["ledger"]["received"], 5);
    let lane = &status["channels"]["platform"]["lane"];
    assert_eq!(lane["state"], "open", "{status}");
    assert_eq!(lane["delivered"], 5);
    assert!(lane["last_delivered_unix_ms"].is_i64());
    assert!(
        status["rates"]["received_per_second"]
            .as_f64()
            .expect("a rate")
            > 0.0
    );
    assert_eq!(status["slack"][0]["messages_per_minute_max"], 240);
    assert!(
        status["slack"][0]["posts_last_minute"]
            .as_u64()
            .expect("a count")
            >= 1
    );
}

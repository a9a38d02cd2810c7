//! The configuration, loaded again while the real relay runs: what counts from when on, what stays, and that nothing in
//! flight is lost or told twice.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod doubtful;
mod files;
mod holds;
mod lanes;
mod limits;
mod under_load;

use std::{fs, path::Path, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use support::{PATIENCE, Running, metric, run};
use tokio::{net::TcpStream, time::timeout};

pub(crate) const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// A configuration of these channels, `a` among them, and of what else it says.
pub(crate) fn config(slack: &LocalSlack, channels: &str, rest: &str) -> String {
    format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 6000}}\n\
         channels: {{{channels}}}\ndefault_channel: a\n{rest}\n",
        slack.api_url()
    )
}

/// A channel of that name whose messages hold few events each.
pub(crate) fn channel(name: &str, more: &str) -> String {
    format!(
        "{name}: {{slack_channel: C{}, message_interval_milliseconds: 100, message_events_max: 8{more}}}",
        name.to_ascii_uppercase()
    )
}

pub(crate) fn write(folder: &Path, config: &str) {
    fs::write(folder.join("c.yaml"), config).expect("written");
}

pub(crate) fn start(folder: &Path, config: &str) -> Running {
    write(folder, config);
    Running::start(folder, &[], &CONFIG)
}

/// Runs `auditrelay reload`, which has to end so.
pub(crate) fn reload(folder: &Path, code: i32) -> (String, String) {
    let args = ["reload", "--config", "c.yaml"];
    let (found, stdout, stderr) = run(folder, &[], &args);
    assert_eq!(found, code, "{stdout}{stderr}");
    (stdout, stderr)
}

/// Writes a configuration and has it loaded.
pub(crate) fn load(folder: &Path, config: &str) -> String {
    write(folder, config);
    reload(folder, 0).0
}

/// A request to the admin port, with this token.
pub(crate) async fn ask(
    relay: &Running,
    method: Method,
    token: Option<&str>,
) -> (StatusCode, String) {
    let stream = TcpStream::connect(relay.admin).await.expect("it listens");
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.expect("HTTP");
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri("/-/reload")
        .header(HOST, relay.admin.to_string());
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let answer = client.send_request(request).await.expect("an answer");
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("a body");
    connection.abort();
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    (status, text)
}

pub(crate) fn token(folder: &Path) -> String {
    let file = folder.join("auditrelay-data/admin.address");
    let text = fs::read_to_string(file).expect("there");
    text.lines().nth(1).expect("a token").to_owned()
}

pub(crate) async fn value(relay: &Running, series: &str) -> f64 {
    metric(&relay.get("/metrics").await.1, series)
}

/// Reloads so far, those that were done and those that were refused.
pub(crate) async fn reloads(relay: &Running) -> (f64, f64) {
    let of = |outcome| format!("auditrelay_config_reloads_total{{outcome=\"{outcome}\"}}");
    let metrics = relay.get("/metrics").await.1;
    (
        metric(&metrics, &of("success")),
        metric(&metrics, &of("failure")),
    )
}

/// Waits until that many reloads were done and refused.
pub(crate) async fn until_reloads(relay: &mut Running, expected: (f64, f64)) {
    let waiting = timeout(PATIENCE, async {
        while reloads(relay).await != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    if waiting.await.is_err() {
        panic!(
            "{:?} instead of {expected:?}: {}",
            reloads(relay).await,
            relay.logs()
        );
    }
}

/// The configuration in use.
pub(crate) async fn in_use(relay: &Running) -> Value {
    serde_json::from_str(&relay.get("/config").await.1).expect("JSON")
}

/// Lines of the log that hold this; there has to be one.
pub(crate) async fn lines(relay: &mut Running, part: &str) -> Vec<String> {
    for _ in 0..PATIENCE.as_millis() / 20 {
        let logs = relay.logs();
        let found = logs.lines().filter(|line| line.contains(part));
        let found: Vec<_> = found.map(str::to_owned).collect();
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing of {part:?}: {}", relay.logs());
}

//! No text of events is in the log: of none of their fields, at no level of the relay's own parts, whatever becomes of them.

use std::{fs, path::Path, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    CONFIG, lines, said,
    support::{Running, slack},
};

/// In every field, in capitals and with other letters behind it.
const CANARY: &str = "kanarienvogel";
/// Everything that the relay's own parts say.
const OWN: &str = "off,auditrelay=trace,auditrelay_audit=trace,auditrelay_config=trace,auditrelay_dispatch=trace,\
                   auditrelay_ingest=trace,auditrelay_store=trace";

fn configure(folder: &Path, api_url: &str) {
    // A template that fails on a value, and one whose outcome is left out; a channel that takes nothing.
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{api_url}', messages_per_minute: 6000}}
channels:
  ops: {{slack_channel: COPS, message_interval_milliseconds: 100, sentences_max: 3}}
  bad: {{slack_channel: CBAD, message_interval_milliseconds: 100}}
  hurt: {{slack_channel: CHURT, message_interval_milliseconds: 100,
    sentence: '{{{{ 7 // (user.name | int) if user.name is startingwith(\"{CANARY}\") else \"x\" }}}}'}}
default_channel: ops
routes:
  - {{name: poison, channel: bad, verbs: [{CANARY}-poison]}}
  - {{name: hurt, channel: hurt, verbs: [{CANARY}-hurt],
     links: [{{text: a, url: 'https://runbooks.example/{{{{ object.name }}}}'}}], command: '{{{{ user.name }}}}'}}
  - {{name: rest, channel: ops}}
inputs: {{log_file: [{{path: audit.log}}, {{path: old.log}}]}}
"
    );
    fs::write(folder.join("c.yaml"), config).expect("written");
}

fn event(id: &str, verb: &str) -> Value {
    let text = |field: &str| format!("{CANARY}-{field}");
    json!({
        "level": "RequestResponse", "auditID": format!("{CANARY}-{id}"), "stage": "ResponseComplete",
        "requestURI": format!("/apis/{CANARY}/uri?{CANARY}=1"), "verb": verb,
        "user": {"username": text("user"), "uid": text("uid"), "groups": [text("group")],
            "extra": {text("extra"): [text("value")]}},
        "impersonatedUser": {"username": text("as"), "groups": [text("as-group")]},
        "sourceIPs": [text("ip"), "10.0.0.1"], "userAgent": text("agent"),
        "objectRef": {"resource": text("resource"), "namespace": text("namespace"), "name": text("name"),
            "apiGroup": text("api"), "apiVersion": text("version"), "subresource": text("sub")},
        "responseStatus": {"code": 403, "reason": text("reason"), "message": text("message")},
        "requestObject": {"spec": {text("key"): text("body")}},
        "responseObject": {"kind": "Status", "message": text("response")},
        "requestReceivedTimestamp": "2026-11-21T03:15:29.131663Z",
        "stageTimestamp": "2026-11-21T03:15:29.133245Z",
        "annotations": {text("annotation"): text("annotated")},
    })
}

fn list(events: &[Value]) -> String {
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": events}).to_string()
}

/// What is no list, or only in part.
fn broken() -> Vec<String> {
    let text = format!("\"{CANARY}\"");
    let whole = list(&[event("cut", "get")]);
    vec![
        text.clone(),
        CANARY.to_owned(),
        format!("{{{text}: 1"),
        whole[..whole.len() - 20].to_owned(),
        whole.replace("EventList", CANARY),
        whole.replace("audit.k8s.io/v1", CANARY),
        format!("{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":{text}}}"),
        format!(
            "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{text},{{\"level\":{text}}},{{\"stage\":[{text}]}}]}}"
        ),
        format!(
            "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[],{text}:{CANARY}}}"
        ),
    ]
}

/// Requests whose heads hold it: methods, paths, queries, headers.
async fn heads(relay: &Running) {
    for (method, path, name, value) in [
        ("POST", format!("/webhook?{CANARY}=1"), "user-agent", CANARY),
        ("POST", format!("/{CANARY}"), "authorization", CANARY),
        (
            "GET",
            "/webhook".to_owned(),
            "authorization",
            "Bearer kanarienvogel",
        ),
        (CANARY, "/webhook".to_owned(), "x-kanarienvogel", CANARY),
        ("POST", "/webhook".to_owned(), "content-encoding", CANARY),
        ("POST", "/webhook".to_owned(), "content-type", CANARY),
    ] {
        let stream = TcpStream::connect(relay.webhook).await.expect("a relay");
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, CANARY)
            .header(name, value)
            .body(Full::new(Bytes::from_static(b"kanarienvogel")))
            .expect("a request");
        let answer = client.send_request(request).await.expect("an answer");
        answer.into_body().collect().await.expect("its body");
        connection.abort();
    }
    // No HTTP at all.
    let mut stream = TcpStream::connect(relay.webhook).await.expect("a relay");
    let words = format!("{CANARY} {CANARY}\r\n{CANARY}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, words.as_bytes())
        .await
        .expect("sent");
    let mut answer = Vec::new();
    // It may be closed with something unread.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
}

async fn told(env: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack(Duration::ZERO).await;
    let code = "invalid_blocks".to_owned();
    let mut refused = Fault::new(Effect::Error { code }).times(1_000);
    refused.channel = Some("CBAD".to_owned());
    slack.inject(refused);
    configure(path, &slack.api_url());
    let line = |event: Value| format!("{event}\n");
    let log = line(event("line", "get")) + CANARY + "\n";
    fs::write(path.join("audit.log"), log).expect("written");
    let legacy = format!("2026-11-21T03:15:29 AUDIT: id=\"{CANARY}\" stage=\"RequestReceived\"\n");
    fs::write(path.join("old.log"), legacy).expect("written");
    let mut relay = Running::start(path, &[("RUST_LOG", env)], &CONFIG);
    let verb = |name: &str| format!("{CANARY}-{name}");
    let events = [
        event("one", "get"),
        event("one", "get"),
        event("one", "list"),
        event("bad", &verb("poison")),
        event("hurt", &verb("hurt")),
    ];
    for _ in 0..2 {
        let (status, answer) = relay.post("/webhook", list(&events)).await;
        assert!(status.is_success(), "{answer}");
    }
    let many: Vec<Value> = (0..50)
        .map(|number| event(&format!("many{number}"), "get"))
        .collect();
    relay.post("/webhook", list(&many)).await;
    for body in broken() {
        relay.post("/webhook", body).await;
    }
    heads(&relay).await;
    relay.drained().await;
    said(&mut relay, "it is a dead letter now").await;
    said(&mut relay, "refused what was sent").await;
    said(&mut relay, "is no event and goes to quarantine").await;
    said(&mut relay, "the legacy text format").await;
    said(&mut relay, "a template").await;
    assert!(
        slack
            .posts()
            .iter()
            .any(|post| post.body.to_string().contains(CANARY))
    );
    relay.signal("-TERM");
    assert!(relay.wait().await.success());
    relay.all_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_an_event_is_in_the_log() {
    for env in ["info", OWN] {
        let logs = told(env).await;
        assert!(lines(&logs).len() >= 6, "{logs}");
        let with: Vec<&str> = logs
            .lines()
            .filter(|line| line.to_ascii_lowercase().contains(CANARY))
            .collect();
        assert!(with.is_empty(), "under {env}:\n{}", with.join("\n"));
    }
}

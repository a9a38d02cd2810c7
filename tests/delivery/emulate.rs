//! The relay with somebody else's idea of Slack: npm's `emulate`, which `tests/run.sh` installs.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::Instant};

use crate::{
    deletions, names,
    support::{PATIENCE, Running, ids, list, metric, reserved::Reserved},
    wire::cutting,
};

/// 0.11.2 listens on all addresses, whatever it is told; this makes it the loopback one.
const LOOPBACK_ONLY: &str = r#"
const { Server } = require("node:net");
const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  const done = rest.filter((one) => typeof one === "function");
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...done);
};
"#;

struct Emulate {
    node: Child,
    address: SocketAddr,
}

impl Drop for Emulate {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

/// Where it is installed; says why the test is skipped if it is not.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn installed() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/slack-sdks");
    let program = root.join("node_modules/emulate/dist/index.js");
    if !program.exists() {
        println!("skipped: emulate is not installed (bash loadtest/tests/sdk/install.sh)");
        return None;
    }
    let node = Command::new("node").arg("--version").output();
    if !node.is_ok_and(|output| output.status.success()) {
        println!("skipped: node is not installed");
        return None;
    }
    Some(program)
}

impl Emulate {
    async fn start(program: &Path, folder: &Path) -> Self {
        let preload = folder.join("loopback.cjs");
        fs::write(&preload, LOOPBACK_ONLY).expect("written");
        let port = Reserved::new();
        let address = port.address();
        let node = Command::new("node")
            .arg("--require")
            .arg(preload)
            .arg(program)
            .args(["start", "--service", "slack", "--port"])
            .arg(address.port().to_string())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("node starts");
        let mut emulate = Self { node, address };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = emulate.node.try_wait().expect("a child");
            assert!(ended.is_none(), "emulate ended: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "emulate does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        emulate
    }

    async fn ask(&self, path_and_form: (&str, String)) -> Value {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let connection = tokio::spawn(connection);
        let (path, form) = path_and_form;
        let request = Request::post(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, "Bearer xoxb-test")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .expect("a request");
        let answer = client.send_request(request).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("a body");
        connection.abort();
        serde_json::from_slice(&body.to_bytes()).expect("JSON")
    }

    /// What stands in the channel: messages, each with its replies behind it.
    async fn messages(&self) -> Vec<Value> {
        let general = "C000000001";
        let form = format!("channel={general}&limit=1000");
        let history = self.ask(("/api/conversations.history", form)).await;
        let mut all = Vec::new();
        for message in history["messages"].as_array().expect("messages") {
            let ts = message["ts"].as_str().expect("a ts");
            let form = format!("channel={general}&ts={ts}");
            let thread = self.ask(("/api/conversations.replies", form)).await;
            all.extend(thread["messages"].as_array().expect("messages").clone());
        }
        all
    }
}

/// The answers to the first message and to the first reply are lost.
fn cuts() -> impl Fn(&crate::wire::Request) -> bool + Send + Sync {
    let (message, reply) = (AtomicBool::new(false), AtomicBool::new(false));
    move |request| {
        let whole = String::from_utf8_lossy(&request.whole);
        if !request.head.starts_with("POST /api/chat.postMessage") {
            return false;
        }
        let done = if whole.contains("\"thread_ts\"") {
            &reply
        } else {
            &message
        };
        !done.swap(true, Ordering::Relaxed)
    }
}

fn config(address: SocketAddr) -> String {
    format!(
        "slack: {{ token: xoxb-test, api_url: 'http://{address}/api/', messages_per_minute: 6000, lookups_per_minute: 600 }}
channels:
  a: {{ slack_channel: general, digest_details: thread, message_interval_milliseconds: 100, retry_max_seconds: 1 }}
  hook: {{ webhook_url: 'http://{address}/services/T000000001/B000000001/X000000001' }}
default_channel: a
routes:
  - {{ name: gets, channel: hook, verbs: [get] }}
  - {{ name: rest, channel: a }}
"
    )
}

fn is_reply(message: &&Value) -> bool {
    let text = message["text"].as_str();
    text.is_some_and(|text| text.contains(" of 250"))
}

/// What stands in the channel once each member stands in a reply, which is one reply.
async fn all_listed(emulate: &Emulate, members: &[String], relay: &mut Running) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let messages = emulate.messages().await;
        let replies = messages.iter().filter(is_reply);
        let text: String = replies.map(|one| one["blocks"].to_string()).collect();
        if members.iter().all(|name| text.contains(name.as_str())) {
            for name in members {
                assert_eq!(text.matches(name.as_str()).count(), 1, "{name}");
            }
            return messages;
        }
        assert!(start.elapsed() < PATIENCE, "{}", relay.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_replies_and_look_ups_work_with_another_slack() {
    let Some(program) = installed() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let emulate = Emulate::start(&program, folder.path()).await;
    let (address, seen) = cutting(emulate.address, cuts()).await;
    fs::write(folder.path().join("c.yaml"), config(address)).expect("written");
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let members = names("member", 250);
    assert_eq!(relay.post("/webhook", deletions(&members)).await.0, 200);
    let body = list("alice", "get", ids("hooked", 1));
    assert_eq!(relay.post("/webhook", body).await.0, 200);
    let ledger = relay.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let messages = all_listed(&emulate, &members, &mut relay).await;
    let mut named: Vec<&str> = messages
        .iter()
        .filter_map(|one| one["metadata"]["event_payload"]["id"].as_str())
        .collect();
    // One digest, its replies, and what came through the webhook.
    let replies = messages.iter().filter(is_reply).count();
    assert_eq!(
        (named.len(), messages.len()),
        (replies + 2, replies + 2),
        "{messages:#?}"
    );
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), messages.len(), "told twice");
    // When the next one is delivered, all before it is counted.
    let next = names("next", 1);
    assert_eq!(relay.post("/webhook", deletions(&next)).await.0, 200);
    relay.drained().await;
    let metrics = relay.get("/metrics").await.1;
    for (name, labels, wanted) in [
        ("posts", r#"channel="a",outcome="unknown""#, 2.0),
        ("lookups", r#"channel="a",outcome="found""#, 2.0),
        ("lookups", r#"channel="a",outcome="absent""#, 0.0),
        (
            "messages",
            r#"channel="a",form="details""#,
            replies as f64 - 1.0,
        ),
        ("messages", r#"channel="hook",form="sentences""#, 1.0),
    ] {
        let series = format!("auditrelay_{name}_total{{{labels}}}");
        assert_eq!(metric(&metrics, &series), wanted, "{series}");
    }
    let posts = seen.all().into_iter();
    let posts = posts.filter(|one| one.starts_with("POST /api/chat.postMessage"));
    assert_eq!(posts.count(), replies + 2, "something was repeated");
}

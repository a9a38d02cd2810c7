//! What end-to-end tests share: the real binary as a child process, and HTTP as the world speaks it.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

mod log_file;
pub mod reserved;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use auditrelay_loadtest::slack::{LocalSlack, Options};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, body::Bytes, client::conn::http1, header::HOST,
    http::response::Parts,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use log_file::LogFile;

/// Longest wait for anything in a test; only a broken relay ever reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const BINARY: &str = env!("CARGO_BIN_EXE_auditrelay");

/// A local Slack that accepts one message per `interval` and channel.
pub async fn slack(interval: Duration) -> LocalSlack {
    let mut options = Options {
        message_interval: interval,
        ..Options::default()
    };
    // The interval is the pace here; at ten a second a minute's worth would soon be gone.
    options.limits.messages = 0;
    LocalSlack::start(SocketAddr::from(([127, 0, 0, 1], 0)), options)
        .await
        .expect("a free port")
}

/// The binary with an empty environment in a folder.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

/// A running relay.
pub struct Running {
    child: Child,
    pub webhook: SocketAddr,
    pub admin: SocketAddr,
    log: LogFile,
}

impl Running {
    /// Starts `serve` on free ports and waits until it is ready.
    pub fn start(folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Self {
        Self::spawn(command(folder), folder, env, args)
    }

    /// Starts `tail` instead, which has no webhook: the field holds the admin port then.
    pub fn tail(folder: &Path, args: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(["tail", "--admin-listen", "127.0.0.1:0"]);
        Self::ready(command, folder, &[], args)
    }

    /// The same under another program, which must become this child.
    pub fn start_under(program: &[&str], folder: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .arg(BINARY)
            .current_dir(folder)
            .stdin(Stdio::null());
        Self::spawn(command, folder, &[], args)
    }

    fn spawn(mut command: Command, folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Self {
        command
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        Self::ready(command, folder, env, args)
    }

    /// Waits until what a command starts is ready.
    pub fn ready(mut command: Command, folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Self {
        // What a test posts is to be answered 200, however busy the machine is, unless it is about that.
        command.env("AUDITRELAY__INGEST__ACK_TIMEOUT_MILLISECONDS", "20000");
        command.args(args).envs(env.iter().copied());
        let output = File::create(folder.join("stdout")).expect("a file");
        let log = LogFile::new();
        let mut child = command
            .stdout(output)
            .stderr(log.writer())
            .spawn()
            .expect("the binary starts");
        let begun = Instant::now();
        let ready = loop {
            let ended = child.try_wait().expect("a child");
            let lines = log.lines();
            let mut read = lines.lines().map(|line| -> Value {
                // Its last words are no JSON.
                serde_json::from_str(line).unwrap_or_default()
            });
            if let Some(ready) = read.find(|line| line["message"] == "ready") {
                break ready;
            }
            let waits = ended.is_none() && begun.elapsed() < PATIENCE;
            assert!(waits, "not ready, {ended:?}: {}", log.text());
            std::thread::park_timeout(Duration::from_millis(5));
        };
        let address = |field: &str| {
            let url = ready[field].as_str().expect("an address");
            let url = url
                .trim_start_matches("http://")
                .trim_start_matches("https://")
                .trim_end_matches("/webhook");
            url.parse().expect("an address")
        };
        let admin = address("admin");
        let webhook = match ready["webhook"].is_null() {
            true => admin,
            false => address("webhook"),
        };
        Self {
            child,
            webhook,
            admin,
            log,
        }
    }

    /// Every log line so far.
    pub fn logs(&mut self) -> String {
        self.log.lines()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Every log line to the last, once the process has ended.
    pub fn all_logs(&mut self) -> String {
        self.child.wait().expect("it ends");
        self.log.text().trim_end_matches('\n').to_owned()
    }

    pub fn signal(&self, signal: &str) {
        // The shell's own `kill`: the program of that name is not in every Debian base.
        let kill = format!("kill {signal} {}", self.child.id());
        let sent = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("a shell");
        assert!(sent.success());
    }

    /// SIGKILL: the process has no say in it.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub async fn wait(&mut self) -> ExitStatus {
        timeout(PATIENCE, async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the process ends")
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> (StatusCode, Value) {
        let answer = request(self.webhook, Method::POST, path, body.into()).await;
        let (status, body) = answer.expect("an answer");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = request(self.admin, Method::GET, path, Bytes::new()).await;
        let (status, body) = answer.expect("an answer");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    pub async fn ledger(&self) -> Value {
        serde_json::from_str(&self.get("/ledger").await.1).expect("JSON")
    }

    /// Waits until nothing waits any more, and returns the ledger.
    pub async fn drained(&self) -> Value {
        self.drained_within(PATIENCE).await
    }

    /// The same for a backlog that takes longer.
    pub async fn drained_within(&self, patience: Duration) -> Value {
        let drained = timeout(patience, async {
            loop {
                let ledger = self.ledger().await;
                let channels = ledger["channels"].as_object().expect("channels");
                if ledger["waiting"] == 0 && channels.values().all(|one| one["waiting"] == 0) {
                    return ledger;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        match drained.await {
            Ok(ledger) => ledger,
            Err(_) => panic!("not drained: {}", self.ledger().await),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on its own connection; `None` when the connection broke.
pub async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
) -> Option<(StatusCode, Bytes)> {
    let (head, body) = exchange(address, method, path, body).await?;
    Some((head.status, body))
}

/// The same with the head of the answer.
pub async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
) -> Option<(Parts, Bytes)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header("Content-Type", "application/json")
        .body(Full::new(body))
        .expect("a request");
    let response = client.send_request(request).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    connection.abort();
    Some((head, body))
}

/// An `EventList` of completed requests with these audit IDs.
pub fn list(user: &str, verb: &str, ids: impl IntoIterator<Item = String>) -> String {
    let items: Vec<Value> = ids
        .into_iter()
        .map(|id| {
            json!({
                "level": "Metadata", "auditID": id, "stage": "ResponseComplete",
                "requestURI": "/api/v1/namespaces/shop/pods/api", "verb": verb,
                "user": {"username": user, "groups": ["dev"]}, "sourceIPs": ["10.0.0.9"],
                "userAgent": "kubectl", "responseStatus": {"metadata": {}, "code": 200},
                "objectRef": {"resource": "pods", "namespace": "shop", "name": "api", "apiVersion": "v1"},
                "requestReceivedTimestamp": "2026-11-21T03:15:29.131663Z",
                "stageTimestamp": "2026-11-21T03:15:29.133245Z",
                "annotations": {"authorization.k8s.io/decision": "allow"},
            })
        })
        .collect();
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items})
        .to_string()
}

/// The value of a metric's line.
pub fn metric(metrics: &str, series: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}"))
        .parse()
        .expect("a number")
}

/// Runs the binary to its end.
pub fn run(folder: &Path, env: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let mut child = command(folder)
        .args(args)
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut stdout)
        .expect("text");
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    (
        status.code().unwrap_or(-1),
        stdout,
        String::from_utf8(stderr).expect("text"),
    )
}

/// Audit IDs told in messages: in those that are marked as possibly repeated, and in others.
pub fn told(slack: &LocalSlack) -> (BTreeMap<String, u32>, BTreeMap<String, u32>) {
    let (mut plain, mut marked) = (BTreeMap::new(), BTreeMap::new());
    for post in slack.posts() {
        let body = post.body.to_string();
        let into = if body.contains("Possibly repeated") {
            &mut marked
        } else {
            &mut plain
        };
        for id in ids_in(&post.body) {
            *into.entry(id).or_default() += 1;
        }
    }
    (plain, marked)
}

/// Audit IDs that stand in a message.
pub fn ids_in(body: &Value) -> Vec<String> {
    let id = |part: &str| {
        let is_part = |one: &char| one.is_ascii_alphanumeric() || *one == '-';
        part.chars().take_while(is_part).collect()
    };
    let body = body.to_string();
    body.split("audit ID ").skip(1).map(id).collect()
}

/// Audit IDs.
pub fn ids(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{prefix}-{n}"))
}

/// What users of the seed project have in their environment.
pub fn drop_in(api_url: &str) -> [(&str, &str); 3] {
    [
        ("SLACK_TOKEN", "xoxb-test"),
        ("CHANNEL_ID", "C0AUDIT"),
        ("SLACK_API_URL", api_url),
    ]
}

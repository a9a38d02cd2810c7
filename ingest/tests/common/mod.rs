//! A webhook on a real socket over a real queue, and clients for it.
#![allow(dead_code)] // Each test file uses its own part.

pub mod frames;
mod gated;
pub mod guests;
pub mod pki;
mod tls;

#[allow(unused_imports)] // Each test file uses its own part.
pub use gated::GatedQueue;
#[allow(unused_imports)] // Each test file uses its own part.
pub use tls::*;

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use auditrelay_audit::{
    HashKey,
    redact::{Bodies, Redactor},
};
use auditrelay_config::{Bounded, IngestConfig, TlsConfig};
use auditrelay_ingest::{Advisor, Ingest, Keyring, Metrics, Preparation, SealTo, serve};
use auditrelay_store::{
    Block, BlockItem, Content, Engine, Entry, Hint, ItemKind, Queue, SledOptions,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use prometheus::{Registry, proto::MetricType};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// Nothing here takes this long; what does has hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const KEY: [u8; 32] = [7; 32];

pub fn bounded<const MIN: u64, const MAX: u64>(value: u64) -> Bounded<MIN, MAX> {
    Bounded::new(value).expect("within bounds")
}

/// A config in which no timeout is met by a slow machine, which may also be slow to send; tests shorten the one they
/// are about.
pub fn config() -> IngestConfig {
    IngestConfig {
        handshake_timeout_seconds: bounded(29),
        header_timeout_seconds: bounded(29),
        body_timeout_seconds: bounded(29),
        body_bytes_per_second_min: bounded(0),
        ack_timeout_milliseconds: bounded(29_000),
        ..IngestConfig::default()
    }
}

pub struct Server<Q = Engine> {
    pub address: SocketAddr,
    pub queue: Q,
    pub registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    pub serving: JoinHandle<()>,
}

pub fn open(data_dir: &Path) -> Engine {
    let options = SledOptions::new(data_dir, 0);
    Engine::open(&options).expect("opens").queue
}

/// The key that is sealed to where raw bytes are kept.
pub fn seal_key() -> crypto_box::SecretKey {
    crypto_box::SecretKey::from([7; 32])
}

/// A server over a fresh sled queue.
pub async fn start(config: &IngestConfig) -> (Server, TempDir) {
    let dir = TempDir::new().unwrap();
    let server = start_with(open(dir.path()), config, false).await;
    (server, dir)
}

pub async fn start_with<Q: Queue>(
    queue: Q,
    config: &IngestConfig,
    quarantine_raw: bool,
) -> Server<Q> {
    let keyring = Keyring::open(&TlsConfig::default(), &[]).unwrap();
    start_behind(queue, config, quarantine_raw, keyring).await
}

pub async fn start_behind<Q: Queue>(
    queue: Q,
    config: &IngestConfig,
    quarantine_raw: bool,
    keyring: impl Into<Arc<Keyring>>,
) -> Server<Q> {
    let registry = Registry::new();
    let keyring = keyring.into();
    keyring.register(&registry).unwrap();
    let ingest = Arc::new(Ingest::new(
        queue.clone(),
        Preparation {
            hash_key: HashKey::new(KEY),
            redactor: Redactor::new(HashKey::new(KEY)),
            quarantine_raw: quarantine_raw
                .then(|| SealTo::new(*seal_key().public_key().as_bytes())),
            events_per_list_max: config.events_per_list_max.as_usize(),
            advisor: Advisor::new(7, |event| {
                let hint = Hint(event.envelope.verb.len() as u16);
                (&*event.envelope.verb != "unwanted").then_some((hint, Bodies::Keep))
            }),
        },
        config,
        "home".parse().unwrap(),
        keyring,
        Metrics::new(&registry).unwrap(),
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, ingest, async {
        let _ = stopped.await; // Also when the test has ended without stopping it.
    }));
    Server {
        address,
        queue,
        registry,
        stop: Some(stop),
        serving,
    }
}

impl<Q> Server<Q> {
    pub fn stop(&mut self) {
        self.stop.take().expect("once").send(()).expect("serves");
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Posts with the headers the API server sends.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(self.request("POST", path, &[], body)).await
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("accept-encoding", "gzip");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        let response = within(sender.send_request(request)).await.unwrap();
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        drop(sender);
        within(connection).await.unwrap().unwrap();
        Answer::new(head.status.as_u16(), head.headers, &body)
    }

    pub fn metric(&self, name: &str, label: &str) -> f64 {
        metric(&self.registry, name, label)
    }
}

/// An answer; that it is a Kubernetes `Status` which agrees with its code has been checked.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub message: String,
    pub reason: Option<String>,
}

impl Answer {
    pub fn new(code: u16, headers: HeaderMap, body: &[u8]) -> Self {
        let status: Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["apiVersion"], "v1");
        assert_eq!(status["metadata"], serde_json::json!({}));
        assert_eq!(status["code"], code);
        let outcome = if code == 200 { "Success" } else { "Failure" };
        assert_eq!(status["status"], outcome);
        assert!(!(300..400).contains(&code), "never a redirect");
        Self {
            code,
            headers,
            message: status["message"].as_str().expect("a message").to_owned(),
            reason: status["reason"].as_str().map(ToOwned::to_owned),
        }
    }

    #[track_caller]
    pub fn expect(&self, code: u16, reason: &str) {
        assert_eq!(
            (self.code, self.reason.as_deref()),
            (code, Some(reason)),
            "{self:?}"
        );
        assert!(self.message.len() > 20, "{self:?}");
    }

    pub fn retry_after(&self) -> Option<u64> {
        let value = self.headers.get("retry-after")?;
        Some(value.to_str().unwrap().parse().expect("whole seconds"))
    }
}

/// One answer off a raw connection, which stays open; nothing of the next one is read.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("closed early"));
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().lines();
    let code = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let name: hyper::header::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    within(stream.read_exact(&mut body))
        .await
        .expect("closed early");
    Answer::new(code, headers, &body)
}

/// Waits until the peer closes; fails if it says anything.
pub async fn expect_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut byte = [0];
    let read = within(stream.read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "it said something");
}

pub async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) {
    within(stream.write_all(bytes.as_ref())).await.unwrap();
}

pub fn head(path: &str, content_length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: relay\r\ncontent-length: {content_length}\r\n\r\n")
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it hung")
}

/// Waits until a condition that the other side brings about holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// A counter's or gauge's value, or a histogram's count. An unlabelled metric has the label "".
pub fn metric(registry: &Registry, name: &str, label: &str) -> f64 {
    let families = registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == name)
        .expect(name);
    let series = family
        .get_metric()
        .iter()
        .find(|metric| metric.get_label().first().map_or("", |pair| pair.value()) == label)
        .unwrap_or_else(|| panic!("no series {name} {label:?}"));
    match family.get_field_type() {
        MetricType::COUNTER => series.get_counter().get_value(),
        MetricType::GAUGE => series.get_gauge().get_value(),
        MetricType::HISTOGRAM => series.get_histogram().get_sample_count() as f64,
        other => panic!("{name} is a {other:?}"),
    }
}

pub fn event(audit_id: &str, rest: &str) -> String {
    format!(
        r#"{{"level":"RequestResponse","auditID":"{audit_id}","stage":"ResponseComplete","requestURI":"/api","verb":"create","user":{{"username":"alice"}}{rest}}}"#
    )
}

pub fn list(items: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut body =
        br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(item.as_ref());
    }
    body.extend_from_slice(b"]}\n");
    body
}

/// Every block that was appended; a test queue has no router.
pub async fn all_unrouted(queue: &Engine) -> Vec<Block> {
    within(queue.unrouted(10_000)).await.unwrap()
}

/// A block's items as they were appended.
pub fn entries(block: &Block) -> Vec<Entry<'static>> {
    let texts = block.texts().unwrap();
    let entry = |(number, item): (usize, &BlockItem)| {
        let content = match &item.kind {
            ItemKind::Event {
                body_unreadable, ..
            } => Content::Event {
                json: texts.get(number).to_owned().into(),
                body_unreadable: *body_unreadable,
            },
            ItemKind::Unreadable(unreadable) => Content::Unreadable((**unreadable).clone()),
            ItemKind::Unwanted { .. } => panic!("its text is not stored"),
        };
        Entry {
            key: item.key,
            content,
        }
    };
    block.items.iter().enumerate().map(entry).collect()
}

/// Everything below a folder, file by file.
pub fn files(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(fs::read(path).unwrap());
        }
    }
    found
}

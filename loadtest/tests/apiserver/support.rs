//! A sink that notes every request byte by byte and answers by a script.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditrelay_loadtest::apiserver::{self, Options, Report};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request line and the headers, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// Which connection, in the order of their opening.
    pub connection: usize,
    /// When its last byte had come.
    pub at: Instant,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn items(&self) -> Vec<Value> {
        let list: Value = serde_json::from_slice(&self.body).unwrap();
        list["items"].as_array().unwrap().clone()
    }
}

/// What the sink does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes.
    Bytes(String),
    /// These bytes after a time.
    After(Duration, String),
    /// Nothing, with the connection left open.
    Hang,
    /// These bytes, and the connection closed.
    Close(String),
}

/// A response with a body of its own.
pub fn response(code: u16, headers: &[(&str, &str)]) -> Reply {
    Reply::Bytes(response_text(code, headers))
}

pub fn response_text(code: u16, headers: &[(&str, &str)]) -> String {
    let mut text = format!("HTTP/1.1 {code} Of The Script\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    // RFC 9110: these have no body.
    match code {
        204 | 304 => text + "\r\n",
        _ => text + "Content-Length: 9\r\n\r\nnot JSON!",
    }
}

pub fn ok() -> Reply {
    response(200, &[])
}

type Script = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

/// The sink. It ends with its test's runtime.
pub struct Sink {
    pub addr: SocketAddr,
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    seen: Mutex<Vec<Seen>>,
    hung_up: AtomicUsize,
}

impl Sink {
    /// Answers the first request with `script(1, …)`, the second with `script(2, …)`.
    pub async fn start(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let sink = Sink {
            addr,
            noted: Arc::default(),
        };
        let (script, noted): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&sink.noted));
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, noted) = (Arc::clone(&script), Arc::clone(&noted));
                tokio::spawn(serve(stream, connection, script, noted));
            }
        });
        sink
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.noted.seen.lock().unwrap().clone()
    }

    /// Waits for so many requests.
    pub async fn has_seen(&self, requests: usize) {
        while self.noted.seen.lock().unwrap().len() < requests {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Connections that the client has closed while it waited for an answer.
    pub fn hung_up(&self) -> usize {
        self.noted.hung_up.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://{}/webhook", self.addr)
    }

    /// Options with which a test is over soon: a batch of `events`, then nothing.
    pub fn one_batch(&self, events: u32) -> Options {
        one_batch(&self.url(), events)
    }
}

pub fn count(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

/// So many events within a tenth of a second, in one batch, with short times.
pub fn one_batch(url: &str, events: u32) -> Options {
    Options {
        events_per_second: count(events * 10),
        duration: Duration::from_millis(100),
        initial_backoff: Duration::from_millis(20),
        ..Options::new(url.parse().unwrap())
    }
}

/// Runs to the end and checks what must hold in every report.
pub async fn run(options: Options) -> Report {
    run_until(options, std::future::pending()).await
}

/// The same with a shutdown.
pub async fn run_until(options: Options, shutdown: impl Future<Output = ()>) -> Report {
    let run = apiserver::run(options, shutdown);
    let report = tokio::time::timeout(PATIENCE, run).await.expect("an end");
    check(&report);
    report
}

fn check(report: &Report) {
    let Report {
        events_made,
        events_accepted,
        events_lost,
        events_dropped,
        ..
    } = *report;
    assert_eq!(
        events_made,
        events_accepted + events_lost + events_dropped,
        "{report:?}"
    );
    assert_eq!(
        report.batches_sent,
        report.batches_accepted + report.batches_lost
    );
    assert_eq!(report.answers.values().sum::<u64>(), report.requests);
    assert!(report.tries <= 5 * report.batches_sent);
}

pub fn answers(report: &Report) -> Vec<(&str, u64)> {
    let answers = report.answers.iter();
    answers.map(|(answer, count)| (&**answer, *count)).collect()
}

async fn serve(mut stream: TcpStream, connection: usize, script: Arc<Script>, noted: Arc<Noted>) {
    while let Some(seen) = read(&mut stream, connection).await {
        let number = {
            let mut all = noted.seen.lock().unwrap();
            all.push(seen.clone());
            all.len()
        };
        let (bytes, closes) = match script(number, &seen) {
            Reply::Bytes(bytes) => (bytes, false),
            Reply::After(time, bytes) => {
                tokio::time::sleep(time).await;
                (bytes, false)
            }
            Reply::Close(bytes) => (bytes, true),
            Reply::Hang => {
                // Until the client goes away.
                let _gone = stream.read(&mut [0]).await;
                noted.hung_up.fetch_add(1, Ordering::SeqCst);
                return;
            }
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() || closes {
            return;
        }
    }
}

/// The next request; `None` when the client has closed.
async fn read(stream: &mut TcpStream, connection: usize) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut body = bytes.split_off(end + 4);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    // The client does not pipeline.
    assert_eq!(body.len(), length);
    Some(Seen {
        head,
        body,
        connection,
        at: Instant::now(),
    })
}

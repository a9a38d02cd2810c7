//! A dead man's switch: a tiny HTTP server that keeps what is posted to it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One that answers 200, or what it was told to.
pub(crate) struct Switch {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Bodies of requests that were answered 200.
    taken: Vec<Value>,
    /// Requests that were answered otherwise.
    refused: usize,
    answers: VecDeque<&'static str>,
    then: Option<&'static str>,
}

impl Switch {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let own = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self { address, shared }
    }

    /// Its URL, with a secret in it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/ping/canary-of-the-url", self.address)
    }

    /// Answers so (status and headers), one request each, and 200 after them.
    pub(crate) fn answers(&self, answers: &[&'static str]) {
        self.shared
            .lock()
            .expect("no panic")
            .answers
            .extend(answers);
    }

    /// Answers so for good.
    pub(crate) fn always(&self, answer: &'static str) {
        self.shared.lock().expect("no panic").then = Some(answer);
    }

    pub(crate) fn taken(&self) -> Vec<Value> {
        self.shared.lock().expect("no panic").taken.clone()
    }

    pub(crate) fn refused(&self) -> usize {
        self.shared.lock().expect("no panic").refused
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    let mut bytes = Vec::new();
    loop {
        let Some(body) = request(&mut stream, &mut bytes).await else {
            return;
        };
        let answer = {
            let mut shared = shared.lock().expect("no panic");
            let answer = shared.answers.pop_front().or(shared.then);
            match answer {
                Some(_) => shared.refused += 1,
                None => shared.taken.push(body),
            }
            answer.unwrap_or("200 OK")
        };
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The body of the next request.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Value> {
    loop {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let head = &text[..end];
            assert!(head.starts_with("post /ping/canary-of-the-url "), "{head}");
            let length = head.split("content-length: ").nth(1).expect("a length");
            let length: usize = length.lines().next()?.trim().parse().expect("a number");
            let whole = end + 4 + length;
            if bytes.len() >= whole {
                let body = serde_json::from_slice(&bytes[end + 4..whole]).expect("JSON");
                bytes.drain(..whole);
                return Some(body);
            }
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend(&more[..read]),
        }
    }
}

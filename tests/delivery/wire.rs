//! Small servers that keep what arrives: one that always answers the same, and a proxy that knows `CONNECT`.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Requests as they arrived, or heads of requests.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn push(&self, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.lock().expect("no panic").push(text);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

/// An HTTP request as it came.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) whole: Vec<u8>,
}

/// Reads one request; `None` where the connection ended before.
pub(crate) async fn read_request(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<Request>> {
    let mut whole = Vec::new();
    loop {
        let end = whole.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&whole[..end + 4]).into_owned();
            let length = head
                .to_ascii_lowercase()
                .split_once("content-length:")
                .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok())
                .unwrap_or(0);
            if whole.len() >= end + 4 + length {
                return Ok(Some(Request { head, whole }));
            }
        }
        let mut some = [0; 4096];
        match from.read(&mut some).await? {
            0 => return Ok(None),
            read => whole.extend(&some[..read]),
        }
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A server that answers every request with these bytes, and closes.
pub(crate) async fn answering(answer: String) -> (SocketAddr, Seen) {
    let (listener, address) = listen().await;
    let seen = Seen::default();
    let into = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (into, answer) = (into.clone(), answer.clone());
            tokio::spawn(async move {
                if let Some(request) = read_request(&mut stream).await? {
                    into.push(&request.whole);
                    stream.write_all(answer.as_bytes()).await?;
                }
                io::Result::Ok(())
            });
        }
    });
    (address, seen)
}

/// A proxy that lets everything through, and keeps the heads of what it was asked.
pub(crate) async fn proxy() -> (SocketAddr, Seen) {
    let (listener, address) = listen().await;
    let seen = Seen::default();
    let into = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let into = into.clone();
            tokio::spawn(async move {
                let Some(request) = read_request(&mut stream).await? else {
                    return Ok(());
                };
                into.push(request.head.as_bytes());
                let to = request.head.split_whitespace().nth(1).unwrap_or_default();
                let mut to = TcpStream::connect(to).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut stream, &mut to).await?;
                io::Result::Ok(())
            });
        }
    });
    (address, seen)
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Passes,
    IsCut,
    /// It waits for a permit.
    IsHeld,
}

/// A server that passes requests on, one a connection, and cuts the answer of each that `cuts` picks.
pub(crate) async fn cutting(
    to: SocketAddr,
    cuts: impl Fn(&Request) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let answers = move |request: &Request| match cuts(request) {
        true => Answer::IsCut,
        false => Answer::Passes,
    };
    let (address, seen, _) = passing(to, answers).await;
    (address, seen)
}

/// The same, but an answer that `holds` picks is held back until there is a permit for it.
pub(crate) async fn holding(
    to: SocketAddr,
    holds: impl Fn(&Request) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Arc<Semaphore>) {
    let answers = move |request: &Request| match holds(request) {
        true => Answer::IsHeld,
        false => Answer::Passes,
    };
    let (address, _, permits) = passing(to, answers).await;
    (address, permits)
}

async fn passing(
    to: SocketAddr,
    answers: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (SocketAddr, Seen, Arc<Semaphore>) {
    let (listener, address) = listen().await;
    let (seen, answers) = (Seen::default(), Arc::new(answers));
    let permits = Arc::new(Semaphore::new(0));
    let (into, released) = (seen.clone(), Arc::clone(&permits));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (into, answers) = (into.clone(), Arc::clone(&answers));
            let released = Arc::clone(&released);
            tokio::spawn(async move {
                let Some(request) = read_request(&mut stream).await? else {
                    return Ok(());
                };
                into.push(&request.whole);
                let fate = answers(&request);
                // The server's answer says it as well, so the relay opens another one for the next.
                let body = &request.whole[request.head.len()..];
                let head = request
                    .head
                    .replacen("\r\n", "\r\nconnection: close\r\n", 1);
                let mut to = TcpStream::connect(to).await?;
                to.write_all(&[head.as_bytes(), body].concat()).await?;
                let mut answer = Vec::new();
                to.read_to_end(&mut answer).await?;
                if fate == Answer::IsHeld
                    && let Ok(permit) = released.acquire().await
                {
                    permit.forget();
                }
                if fate != Answer::IsCut {
                    stream.write_all(&answer).await?;
                }
                io::Result::Ok(())
            });
        }
    });
    (address, seen, permits)
}

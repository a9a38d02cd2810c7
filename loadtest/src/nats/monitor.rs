//! The monitoring port of a server, and waiting for what it says.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

/// How long one question takes at most: a server that is stopped accepts and never answers.
const ANSWER: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(20);

/// What `http://127.0.0.1:port/path` answers, which must be 200 and JSON.
///
/// # Errors
/// Nobody answers, or not so.
pub fn get(port: u16, path: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{path} answers {head}: {body}");
    }
    Ok(serde_json::from_str(body)?)
}

/// Waiting with an end, of the real clock.
#[expect(
    clippy::disallowed_types,
    reason = "a server is a process of its own, whatever clock the test has"
)]
pub(super) struct Patience(std::time::Instant);

impl Patience {
    #[expect(clippy::disallowed_types, reason = "see the type")]
    pub(super) fn new(duration: Duration) -> Self {
        Self(std::time::Instant::now() + duration)
    }

    /// Waits a little, or says that it is over.
    #[expect(clippy::disallowed_types, reason = "see the type")]
    #[expect(clippy::disallowed_methods, reason = "see the type")]
    pub(super) fn wait(&mut self) -> anyhow::Result<()> {
        if std::time::Instant::now() > self.0 {
            bail!("that took too long");
        }
        std::thread::sleep(BETWEEN);
        Ok(())
    }
}

//! Whoever has no token, and takes none of what it asks for, keeps nobody else from the admin port.

use std::{io::ErrorKind, time::Duration};

use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{configured, page, slack, started, support::run};

/// A kubelet that asks every 10 s, three times, waits longer; a second is what one of its probes waits.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const STRANGERS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_never_reads_keeps_no_probe_and_no_command_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    configured(path, &slack, "");
    let relay = started(path);
    let admin = relay.admin;
    // More than is taken off their hands: answers and questions pile up in both directions.
    let host = format!("Host: {admin}\r\n\r\n");
    let asked = [
        format!("GET /readyz?verbose HTTP/1.1\r\n{host}").repeat(2_000),
        // And some who never ask to the end.
        "GET /metrics HTTP/1.1\r\nHost: ".to_owned(),
    ];
    let mut strangers = Vec::new();
    for number in 0..STRANGERS {
        let mut stranger = TcpStream::connect(admin).await.expect("it listens");
        let asked = asked[number % asked.len()].clone();
        strangers.push(tokio::spawn(async move {
            // It may be sent away before it has said all.
            let _ = stranger.write_all(asked.as_bytes()).await;
            std::future::pending::<()>().await;
            drop(stranger);
        }));
        if number % 20 == 19 {
            let live = timeout(PROBE_TIMEOUT * 5, page(admin, "/livez", None)).await;
            let (status, _, text) = live.expect("in time").expect("an answer");
            assert_eq!(
                (status, text.as_str()),
                (StatusCode::OK, "ok\n"),
                "{number}"
            );
        }
    }
    let (code, out, error) = run(path, &[], &["status", "--config", "c.yaml"]);
    assert_eq!(code, 0, "{out}{error}");
    strangers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// One answer, and the connection is closed; with the token of this run it stays.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_connection_has_one_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    configured(path, &slack, "");
    let relay = started(path);
    let admin = relay.admin;
    let written = std::fs::read_to_string(path.join("auditrelay-data/admin.address"));
    let token = written.expect("there");
    let token = token.lines().nth(1).expect("a token");
    let known = format!("Authorization: Bearer {token}\r\n");
    for (header, answers) in [("", 1), (known.as_str(), 2)] {
        let mut stream = TcpStream::connect(admin).await.expect("it listens");
        let ask = format!("GET /nothing HTTP/1.1\r\nHost: {admin}\r\n{header}\r\n");
        let mut read = Vec::new();
        for _ in 0..2 {
            // The second one may find the connection closed.
            let sent = stream.write_all(ask.as_bytes()).await;
            if sent.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
                break;
            }
            let before = ends(&read);
            while ends(&read) == before {
                let mut some = [0; 4_096];
                match stream.read(&mut some).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => read.extend_from_slice(&some[..count]),
                }
            }
        }
        let text = String::from_utf8_lossy(&read);
        assert_eq!(text.matches("HTTP/1.1 404").count(), answers, "{text}");
        let closes = text.to_ascii_lowercase().contains("connection: close");
        assert_eq!(closes, answers == 1, "{text}");
    }
}

/// Answers that were read to their end.
fn ends(read: &[u8]) -> usize {
    String::from_utf8_lossy(read).matches("/config\n").count()
}

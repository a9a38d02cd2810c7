//! `local-slack` as a process.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the finding, also in its helpers"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running local-slack; killed if its test fails.
struct Running {
    child: Child,
    lines: Receiver<String>,
    authority: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended where the test succeeded.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-slack"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn start(arguments: &[&str]) -> Running {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--listen", "127.0.0.1:0"]);
    let mut child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines(child.stdout.take().unwrap());
    let mut running = Running {
        child,
        lines,
        authority: String::new(),
    };
    let first = running.lines.recv_timeout(PATIENCE).expect("says nothing");
    running.authority = authority(&first);
    running
}

/// Where it listens, of its first line.
fn authority(first: &str) -> String {
    let rest = first.strip_prefix("listening on http://");
    let rest = rest.expect("another first line");
    rest.split('/').next().unwrap().to_owned()
}

/// The process's lines, read by a thread so that a test can give up waiting.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Running {
    fn post(&self, channel: &str, text: &str) -> String {
        let mut stream = TcpStream::connect(&self.authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = serde_json::json!({"text": text}).to_string();
        let length = body.len();
        write!(
            stream,
            "POST /services/T0/B0/{channel} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn kill(&self, signal: &str) {
        // The shell's own `kill`: the program of that name is not in every Debian base.
        let kill = format!("kill {signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success());
    }

    /// Sends the signal and returns the exit status, without reading a line.
    fn end_unread(mut self, signal: &str) -> Option<i32> {
        self.kill(signal);
        let begun = std::time::SystemTime::now();
        while begun.elapsed().unwrap() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::yield_now();
        }
        panic!("still running");
    }

    /// Sends the signal and returns the exit status and the lines not read yet.
    fn end(mut self, signal: &str) -> (Option<i32>, Vec<String>) {
        self.kill(signal);
        // The channel ends when the process closes its output.
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            rest.push(line);
        }
        (self.child.wait().unwrap().code(), rest)
    }
}

#[test]
fn each_accepted_message_is_a_line_and_sigterm_ends_it() {
    let slack = start(&["--interval-milliseconds", "3600000"]);
    assert!(slack.post("audit", "one\ntwo").starts_with("HTTP/1.1 200"));
    assert!(slack.post("audit", "early").starts_with("HTTP/1.1 429"));
    assert!(slack.post("other", "three").starts_with("HTTP/1.1 200"));
    let mut shown = Vec::new();
    for _ in 0..2 {
        let line = slack.lines.recv_timeout(PATIENCE).unwrap();
        let parts: Vec<_> = line.split("  ").map(str::to_owned).collect();
        assert_eq!(parts[1].len(), "12:00:01".len(), "{line}");
        shown.push((parts[0].clone(), parts[2].clone()));
    }
    let expected = [("#audit", "one two"), ("#other", "three")]
        .map(|(channel, text)| (channel.to_owned(), text.to_owned()));
    assert_eq!(shown, expected);
    assert_eq!(slack.end("-TERM"), (Some(0), vec![]));
}

#[test]
fn quiet_shows_no_messages_and_sigint_ends_it() {
    let slack = start(&["--quiet", "--interval-milliseconds", "0"]);
    for _ in 0..2 {
        assert!(slack.post("audit", "a").starts_with("HTTP/1.1 200"));
    }
    assert_eq!(slack.end("-INT"), (Some(0), vec![]));
}

#[test]
fn a_reader_that_stalls_keeps_neither_messages_nor_sigterm_waiting() {
    let arguments = ["--listen", "127.0.0.1:0", "--interval-milliseconds", "0"];
    let mut child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    // Held open and not read beyond its first line, so that the pipe (64 KiB on Linux) fills up.
    let mut unread = child.stdout.take().unwrap();
    let (mut first, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" {
        unread.read_exact(&mut byte).unwrap();
        first.extend(byte);
    }
    let (_sender, lines) = channel();
    let slack = Running {
        child,
        lines,
        authority: authority(str::from_utf8(&first).unwrap().trim()),
    };
    let text = "a".repeat(200);
    for _ in 0..400 {
        assert!(slack.post("audit", &text).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(slack.end_unread("-TERM"), Some(0));
}

#[test]
fn it_listens_on_loopback_only() {
    let output = run(&["--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("not a loopback address")
    );
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &addr]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains(&format!("cannot listen on {addr}")),
        "{message}"
    );
}

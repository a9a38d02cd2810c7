//! `apiserver-sim` as a process.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::support::{PATIENCE, Sink, ok, response};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apiserver-sim"));
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Until it ends, while the sink goes on answering.
async fn output(mut command: Command) -> Output {
    let output = spawn_blocking(move || command.output());
    timeout(PATIENCE, output).await.unwrap().unwrap().unwrap()
}

async fn sim(sink: &Sink, arguments: &[&str]) -> Output {
    let mut command = command(&["--url", &sink.url(), "--initial-backoff-milliseconds", "20"]);
    command.args(arguments);
    output(command).await
}

pub async fn with_kubeconfig(path: &str, arguments: &[&str]) -> Output {
    let mut command = command(&["--kubeconfig", path]);
    command.args(arguments);
    output(command).await
}

#[tokio::test]
async fn all_events_accepted_is_status_0_and_json_is_the_report() {
    let sink = Sink::start(|_, _| ok()).await;
    let arguments = ["--json", "--seconds", "1", "--events-per-second", "900"];
    let output = sim(&sink, &arguments).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["events_made"], 900);
    assert_eq!(report["events_accepted"], 900);
    assert_eq!(report["answers"]["200"], 3);
    assert!(report["ack_ms"]["p99_9"].is_number());
    assert!(report["refusal_ms"].is_null());
}

#[tokio::test]
async fn events_lost_are_status_1_and_people_get_a_table() {
    let sink = Sink::start(|_, _| response(403, &[])).await;
    let arguments = ["--seconds", "1", "--events-per-second", "10"];
    let output = sim(&sink, &arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| {
        let line = table.lines().find(|line| line.trim().starts_with(name));
        line.unwrap().split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(
        (row("events made"), row("lost")),
        ("10".into(), "10".into())
    );
    assert_eq!((row("tries"), row("403")), ("5".into(), "5".into()));
    assert_eq!(
        (row("ack"), row("until accepted")),
        ("none".into(), "none".into())
    );
}

#[tokio::test]
async fn a_wrong_command_line_is_status_2() {
    for arguments in [
        &[][..],
        &["--url", "http://192.0.2.1/webhook"],
        &["--url", "https://127.0.0.1/webhook"],
        &["--url", "http://127.0.0.1/", "--kubeconfig", "/dev/null"],
        &["--url", "http://127.0.0.1/", "--qps", "0"],
        &["--url", "http://127.0.0.1/", "--shape", "round"],
    ] {
        let output = output(command(arguments)).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}

/// Waits until the first request, then sends SIGTERM so many times. It ends by itself after a minute,
/// so that a test which fails here leaves nothing behind for long.
async fn terminated(sink: &Sink, signals: usize) -> Output {
    let arguments = ["--seconds", "60", "--json"];
    let mut command = command(&["--url", &sink.url()]);
    let mut child = command.args(arguments).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // The shell's own `kill`: the program of that name is not in every Debian base.
    let kill = format!("kill -TERM {}", child.id());
    timeout(PATIENCE, sink.has_seen(1)).await.unwrap();
    let output = spawn_blocking(move || {
        for _ in 0..signals {
            let sent = Command::new("sh").args(["-c", &kill]).status();
            assert!(sent.unwrap().success());
            // Two signals in one moment are one: it must have answered the first. After the last
            // there is nothing to read, or the end.
            let mut line = String::new();
            stderr.read_line(&mut line).unwrap();
        }
        child.wait_with_output()
    });
    timeout(PATIENCE, output).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn sigterm_flushes_and_reports() {
    let sink = Sink::start(|_, _| ok()).await;
    let output = terminated(&sink, 1).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let received: usize = sink.seen().iter().map(|seen| seen.items().len()).sum();
    assert_eq!(report["events_made"], received);
    assert_eq!(report["events_accepted"], received);
}

#[tokio::test]
async fn a_second_sigterm_gives_up() {
    let sink = Sink::start(|_, _| response(503, &[])).await;
    let output = terminated(&sink, 2).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
}

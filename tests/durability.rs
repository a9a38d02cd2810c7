//! A 200 means durable: the order of the system calls of the real binary, as strace sees them.

mod support;

use std::{fs, io::Write, path::Path, process::Command, time::Duration};

use hyper::StatusCode;
use support::{Running, list};

const BATCHES: usize = 20;

/// What matters of a trace, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// The queue's file has been synced.
    Synced,
    /// A batch was acknowledged.
    Acknowledged,
    /// The admin port was asked; nothing waited to be synced then.
    Idle,
}

fn calls(trace: &str) -> Vec<Call> {
    let call = |line: &str| {
        let is_done = line.trim_end().ends_with("= 0");
        if line.contains("fdatasync") && is_done {
            Some(Call::Synced)
        } else if line.contains("safe on disk") {
            Some(Call::Acknowledged)
        } else if line.contains("HTTP/1.1 200 OK") {
            Some(Call::Idle)
        } else {
            None
        }
    };
    trace.lines().filter_map(call).collect()
}

/// Acknowledgements, and those of them without a sync of their own before them.
fn acknowledged(calls: &[Call]) -> (usize, usize) {
    let (mut all, mut early, mut synced) = (0, 0, false);
    for call in calls {
        match call {
            Call::Synced => synced = true,
            Call::Idle => synced = false,
            Call::Acknowledged => {
                all += 1;
                early += usize::from(!synced);
                synced = false;
            }
        }
    }
    (all, early)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledgement_comes_after_the_sync_of_its_batch() {
    if Command::new("strace").arg("--version").output().is_err() {
        let skipped = "skipped: strace is not installed (Debian: apt-get install strace)\n";
        std::io::stderr()
            .write_all(skipped.as_bytes())
            .expect("written");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let config = "channels: {ops: {preview: true, message_interval_milliseconds: 100}}";
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let trace = folder.path().join("trace");
    let file = trace.to_str().expect("text");
    let calls_traced = "trace=fdatasync,write,writev,sendto,sendmsg";
    // -D: the tracer steps aside, so that the relay itself is the child.
    let strace = [
        "strace",
        "-D",
        "-f",
        "-s",
        "300",
        "-e",
        calls_traced,
        "-o",
        file,
    ];
    let mut relay = Running::start_under(&strace, folder.path(), &["--config", "c.yaml"]);
    for n in 0..BATCHES {
        let body = list("alice", "get", [format!("{n}")]);
        assert_eq!(relay.post("/webhook", body).await.0, StatusCode::OK);
        // Routing and delivery sync too; only when they are done is the next sync the next batch's.
        relay.drained().await;
    }
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0));
    let calls = calls(&finished(&trace).await);
    assert!(calls.contains(&Call::Idle), "{calls:?}");
    assert_eq!(acknowledged(&calls), (BATCHES, 0), "{calls:?}");
}

async fn finished(trace: &Path) -> String {
    loop {
        let text = fs::read_to_string(trace).expect("a trace");
        if text.contains("+++ exited with 0 +++") {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn an_early_acknowledgement_is_found() {
    let early = r#"
1 fdatasync(12)                     = 0
2 writev(15, [{iov_base="HTTP/1.1 200 OK\r\n"}, {iov_base="{\"message\":\"1 event is safe on disk\"}"}], 2) = 200
1 fdatasync(12 <unfinished ...>
2 writev(15, [{iov_base="HTTP/1.1 200 OK\r\n"}, {iov_base="{\"message\":\"1 event is safe on disk\"}"}], 2) = 200
1 <... fdatasync resumed>)          = 0
2 writev(16, [{iov_base="HTTP/1.1 200 OK\r\n"}, {iov_base="{\"received\":1}"}], 2) = 90
2 writev(15, [{iov_base="HTTP/1.1 200 OK\r\n"}, {iov_base="{\"message\":\"1 event is safe on disk\"}"}], 2) = 200
"#;
    assert_eq!(acknowledged(&calls(early)), (3, 2));
}

//! The order of the real binary's system calls under load: no answer before the sync that covers it.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    load::{Promises, Shape},
    support::{PATIENCE, Running},
    trace::{Answer, answers, calls, uncovered},
};

const CLIENTS: usize = 6;
const BATCHES: usize = 60;
const NOISE_BYTES: usize = 20_000;
/// One of 64 characters takes six bits; a little less, for what chance makes of it.
const BATCH_BYTES: u64 = NOISE_BYTES as u64 * 73 / 100;

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_answer_is_written_before_the_sync_that_covers_it() {
    if Command::new("strace").arg("--version").output().is_err() {
        crate::say("skipped: strace is not installed (Debian: apt-get install strace)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // Each batch has to be answered at its first try, however slow strace makes it.
    let config = "ingest: {ack_timeout_milliseconds: 20000}
channels: {ops: {preview: true, message_interval_milliseconds: 100}}\n";
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let trace = folder.path().join("trace");
    let file = trace.to_str().expect("text");
    let traced = "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,\
                  fdatasync,fsync";
    // -D: the tracer steps aside, so that the relay itself is the child.
    let options = [
        "strace", "-D", "-f", "-yy", "-s", "300", "-e", traced, "-o", file,
    ];
    let mut relay = Running::start_under(&options, folder.path(), &["--config", "c.yaml"]);
    let promises = Promises::new(Shape {
        events: 1,
        noise_bytes: NOISE_BYTES,
        pause: Duration::ZERO,
    });
    let clients = (0..CLIENTS).map(|client| {
        let (promises, webhook) = (promises.clone(), relay.webhook);
        tokio::spawn(async move {
            for n in 0..BATCHES {
                assert!(promises.post(webhook, vec![format!("c{client}-{n}")]).await);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0));
    let calls = calls(&finished(&trace).await);
    let answers = answers(&calls);
    assert_eq!(answers.len(), CLIENTS * BATCHES);
    let overlaps = |one: &Answer| {
        let waits = |other: &Answer| other.read < one.begins && one.read < other.begins;
        answers.iter().any(|other| other != one && waits(other))
    };
    let together = answers.iter().filter(|one| overlaps(one)).count();
    crate::say(&format!(
        "{} calls; {together} of {} answers while another waited",
        calls.len(),
        answers.len()
    ));
    assert!(together > answers.len() / 2, "there was no load");
    assert_eq!(
        uncovered(&calls, BATCH_BYTES),
        0,
        "answers were not covered"
    );
    // The check has no room to spare: with batches a third larger it would not hold.
    assert!(
        uncovered(&calls, BATCH_BYTES * 4 / 3) > 0,
        "batches need more than they are said to"
    );
}

async fn finished(trace: &Path) -> String {
    let read = async {
        loop {
            let text = fs::read(trace).expect("a trace");
            let text = String::from_utf8_lossy(&text).into_owned();
            if text.contains("+++ exited with 0 +++") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("a whole trace")
}

/// The path of a file: a letter is a log, and a number behind it one of its files.
fn file(on: &str) -> String {
    match on {
        "1" => "a-1".to_owned(),
        "2" => "b-1".to_owned(),
        "3" => "a-2".to_owned(),
        other => other.to_owned(),
    }
}

/// A trace: `read` and `answer` on a connection, `write`, `sync` and `badsync` on a file, with `(` and
/// `)` for a call's beginning and end where they are apart.
fn handmade(steps: &str) -> String {
    let mut lines = Vec::new();
    for step in steps.split(' ') {
        let (what, on) = step.split_once(':').expect("what:on");
        let plain = what.trim_end_matches(['(', ')']);
        let (call, rest, result) = match plain {
            "read" => ("recvfrom", ", \"POST\", 9000, 0", "900"),
            "write" => ("write", ", \"...\", 100", "100"),
            "double" => ("write", ", \"...\", 200", "200"),
            "sync" => ("fdatasync", "", "0"),
            "badsync" => ("fdatasync", "", "-1 EIO (Input/output error)"),
            "answer" => (
                "writev",
                ", [{iov_base=\"HTTP/1.1 200 OK\"}, {iov_base=\"1 event is safe on disk\"}], 2",
                "90",
            ),
            other => panic!("{other}"),
        };
        let (thread, descriptor) = match plain {
            "read" | "answer" => (
                format!("9{on}"),
                format!("7<TCP:[127.0.0.1:1->127.0.0.1:{on}]>"),
            ),
            _ => (format!("8{on}"), format!("5</data/{}.log>", file(on))),
        };
        lines.push(match what.strip_prefix(plain) {
            Some("(") => format!("{thread} {call}({descriptor}{rest} <unfinished ...>"),
            Some(")") => format!("{thread} <... {call} resumed>) = {result}"),
            _ => format!("{thread} {call}({descriptor}{rest}) = {result}"),
        });
    }
    lines.join("\n")
}

#[test]
fn an_answer_that_no_sync_covers_is_found() {
    let covered = |steps: &str| {
        let calls = calls(&handmade(steps));
        let all = answers(&calls).len();
        all - uncovered(&calls, 100)
    };
    for (steps, expected) in [
        ("read:1 write:1 sync:1 answer:1", 1),
        (
            "read:1 write(:1 write):1 sync(:1 sync):1 answer(:1 answer):1",
            1,
        ),
        ("read:1 read:2 double:1 sync:1 answer:2 answer:1", 2),
        (
            "read:1 write(:1 read:2 write):1 sync:1 write(:1 answer:1 write):1 sync:1 answer:2",
            2,
        ),
        // No sync, or none that succeeded.
        ("read:1 write:1 answer:1", 0),
        ("read:1 write:1 badsync:1 answer:1", 0),
        ("read:1 write:1 answer:1 sync:1", 0),
        // The sync began before the write had ended, or ended after the answer had begun.
        ("read:1 sync(:1 write:1 sync):1 answer:1", 0),
        ("read:1 write:1 sync(:1 answer:1 sync):1", 0),
        ("read:1 write:1 sync(:1 answer(:1 sync):1 answer):1", 0),
        // The write is older than the request.
        ("write:1 read:1 sync:1 answer:1", 0),
        ("write(:1 read:1 write):1 sync:1 answer:1", 0),
        // Another file was synced.
        ("read:1 write:1 sync:2 answer:1", 0),
        // Two batches, and room for one; two files, and room in both for one.
        ("read:1 read:2 write:1 sync:1 answer:1 answer:2", 1),
        (
            "read:1 read:2 write:1 write:2 sync:1 sync:2 answer:1 answer:2",
            1,
        ),
        // The log went on in another file; that one's sync is not the first one's.
        (
            "read:1 read:2 write:1 write:3 sync:1 sync:3 answer:1 answer:2",
            2,
        ),
        ("read:1 write:1 sync:3 answer:1", 0),
        // What is durable before the second was read is not the second's.
        ("read:1 double:1 sync:1 read:2 answer:2 answer:1", 1),
    ] {
        assert_eq!(covered(steps), expected, "{steps}\n{}", handmade(steps));
    }
}

//! A process that is killed at any moment has copied each event to the fallback once or not at all, and has noted
//! the thread of each message that it acknowledged.

mod support;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, Engine, LeaseLimit, Queue};
use support::{ALL, append_and_route, balanced, open, told};

/// Where the child of the test below has its queue.
const CHILD_DIR: &str = "AUDITRELAY_TEST_KILLED_DIR";
const ONE: LeaseLimit = LeaseLimit {
    events_max: 1,
    ..ALL
};

/// Routes an event, copies it to the fallback and delivers it, until it is killed.
#[tokio::test]
#[ignore = "the child of killed_at_any_moment_each_is_copied_once_and_each_thread_is_noted"]
async fn copies_and_delivers_until_it_is_killed() {
    let dir = PathBuf::from(std::env::var_os(CHILD_DIR).expect("a parent"));
    let queue = open(&dir);
    loop {
        let event = queue.ledger().received.to_string();
        append_and_route(&queue, "ops", Severity::Critical, &[event.as_str()]).await;
        queue.fall_back("ops", "sec").await.expect("copied");
        let lease = queue.lease("ops", ONE, 5).await.expect("read");
        let lease = lease.expect("members").id;
        let accepted = Accepted {
            now_unix_ms: 8,
            thread: Some(lease.id.to_string()),
            posted: None,
        };
        queue.ack(&lease, accepted).await.expect("held");
        println!("delivered {event}");
    }
}

/// Lets the child work for a while and kills it.
async fn work_and_kill(dir: &Path, for_ms: u64) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "copies_and_delivers_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let works = said.any(|line| line.is_ok_and(|line| line.contains("delivered ")));
    assert!(works, "the child delivers");
    tokio::time::sleep(Duration::from_millis(for_ms)).await;
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

/// What waits for the fallback, each once.
async fn copied(queue: &Engine) -> BTreeSet<String> {
    let lease = queue.lease("sec", ALL, 5).await.expect("read");
    let lease = lease.expect("members");
    let all = told(&lease.members);
    queue.release(&lease.id).await.expect("held");
    let copied: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(copied.len(), all.len(), "one is copied twice");
    copied
}

#[tokio::test]
async fn killed_at_any_moment_each_is_copied_once_and_each_thread_is_noted() {
    let mut told_before = 0;
    let dir = tempfile::tempdir().expect("a folder");
    for round in 0..12u64 {
        work_and_kill(dir.path(), round * 3).await;
        let queue = open(dir.path());
        balanced(&queue).await;
        queue.fall_back("ops", "sec").await.expect("copied");
        let counts = queue.ledger().channels["ops"];
        if counts.routed < 250 {
            // More do not fit a lease; the counts say the rest.
            assert_eq!(copied(&queue).await.len() as u64, counts.routed);
        }
        assert_eq!(queue.ledger().copies["sec"].queued, counts.routed);
        let threads = queue.threads("ops").await.expect("read");
        let delivered = counts.delivered - told_before;
        assert_eq!(threads.len() as u64, delivered.min(64), "{threads:?}");
        told_before = counts.delivered;
        for thread in threads {
            assert_eq!(thread.thread, thread.message.to_string());
            let noted = queue.note_thread("ops", thread.message, None).await;
            assert!(noted.expect("noted"));
        }
        balanced(&queue).await;
    }
}

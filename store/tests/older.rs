//! Files that are whole and are not the ones that belong together.

mod support;

use std::{fs, path::Path};

use auditrelay_audit::Severity;
use auditrelay_store::{Engine, Opened, Queue, SledOptions};
use support::{ALL, append_and_route, balanced, harm, noise, options, told};

fn small(dir: &Path) -> SledOptions {
    SledOptions {
        segment_bytes: 4_000,
        ..options(dir)
    }
}

fn opened(dir: &Path) -> Opened {
    Engine::open(&small(dir)).expect("opens")
}

/// Puts the index of a moment ago under logs that went on, as sled does when it cannot read the end of its
/// file; the process was killed. `commits` were made meanwhile, each of a file's size or less.
async fn with_an_older_index(commits: u64, bytes: usize) -> (tempfile::TempDir, Opened) {
    let dir = support::quick_dir();
    let queue = opened(dir.path()).queue;
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let before = harm::copy_of(dir.path());
    for n in 0..commits {
        append_and_route(&queue, "ops", Severity::Info, &[&noise(bytes, 1 + n)]).await;
    }
    let after = harm::copy_of(dir.path());
    let index = "queue/index-00000001";
    fs::remove_dir_all(after.path().join(index)).expect("removed");
    harm::copy(&before.path().join(index), &after.path().join(index)).expect("copied");
    let opened = opened(after.path());
    (after, opened)
}

#[tokio::test]
async fn an_index_that_lost_commits_is_told_by_the_log_that_went_on() {
    // In the same file, in the next one, and over several.
    for (commits, bytes) in [(2, 50), (2, 5_000), (6, 3_000)] {
        let (_dir, opened) = with_an_older_index(commits, bytes).await;
        let moved = opened.moved_aside.expect("moved");
        let salvaged = opened.queue.salvage(&moved.path, |_, _| {}).await;
        let salvaged = salvaged.expect("readable");
        assert_eq!(
            salvaged.waiting_events + salvaged.unrouted_events,
            commits + 1
        );
    }
}

#[tokio::test]
async fn a_commit_that_the_index_lacks_is_done_again() {
    let (_dir, opened) = with_an_older_index(1, 50).await;
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    let ledger = opened.queue.ledger();
    assert_eq!((ledger.received, ledger.waiting), (2, 1));
    let lease = opened.queue.lease("ops", ALL, 5).await.expect("read");
    assert_eq!(told(&lease.expect("members").members), ["1"]);
    balanced(&opened.queue).await;
}

#[tokio::test]
async fn another_record_in_the_place_of_one_is_never_told() {
    let dir = support::quick_dir();
    let queue = opened(dir.path()).queue;
    for n in 0..12 {
        append_and_route(&queue, "ops", Severity::Info, &[&noise(1_500, 1 + n)]).await;
    }
    // The files change under a queue that has opened them: the disk mixed them up.
    let file = |n: u64| dir.path().join(format!("queue/deliveries-{n:016}.log"));
    let (second, third) = (
        fs::read(file(2)).expect("there"),
        fs::read(file(3)).expect("there"),
    );
    fs::write(file(2), third).expect("written");
    fs::write(file(3), second).expect("written");
    let error = queue.lease("ops", ALL, 5).await.expect_err("it is damaged");
    assert!(error.to_string().contains("another record"), "{error}");
    drop(queue);
    assert!(opened(dir.path()).moved_aside.is_some());
}

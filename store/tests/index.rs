//! The index: it is replaced when it is large and holds little, and nothing is lost at any moment of that.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use auditrelay_audit::Severity;
use auditrelay_store::{
    Accepted, Counts, Engine, FilteredCount, MuteEnd, MutedCount, NewMute, OpenError, Queue,
    RateCount, RatesCounted, Routed, SledOptions,
};
use support::{ALL, all_to, append_and_route, balanced, batch, burial, options, told};

fn small(dir: &Path) -> SledOptions {
    SledOptions {
        index_bytes: 2 << 20,
        ..options(dir)
    }
}

fn open(dir: &Path) -> Engine {
    let opened = Engine::open(&small(dir)).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    opened.queue
}

fn indexes(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("queue")).expect("listed");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("listed").path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Lets so many records of one event each wait for a channel, and be told.
async fn churn(queue: &Engine, records: usize) {
    for _ in 0..records / 500 {
        queue
            .append(batch((0..500).map(|n| n.to_string())))
            .await
            .expect("durable");
        let block = queue.unrouted(1).await.expect("blocks");
        let whole = all_to("ops", Severity::Info, &block);
        let mut routed = Routed {
            blocks: whole.blocks,
            deliveries: Vec::new(),
            ..Routed::default()
        };
        for text in support::texts(&block[0]) {
            routed
                .deliveries
                .push(support::one_to("ops", Severity::Info, &text));
        }
        queue.route(routed).await.expect("routed");
    }
    while let Some(lease) = queue.lease("ops", ALL, 5).await.expect("read") {
        queue.ack(&lease.id, Accepted::at(9)).await.expect("held");
    }
}

/// Fills the index until another takes its place.
async fn replaced(queue: &Engine, dir: &Path) {
    let first = indexes(dir);
    churn(queue, 10_000).await;
    for _ in 0..1_000 {
        if indexes(dir) != first {
            break;
        }
        append_and_route(queue, "ops", Severity::Info, &["more"]).await;
        churn(queue, 0).await;
    }
    let second = indexes(dir);
    assert_eq!((first.len(), second.len()), (1, 1), "{second:?}");
    assert_ne!(first, second, "it was not replaced");
}

#[tokio::test]
async fn a_large_index_of_little_is_replaced_and_everything_is_still_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "parked", Severity::Warning, &["p1", "p2"]).await;
    append_and_route(&queue, "dev", Severity::Info, &["dead"]).await;
    let lease = queue
        .lease("dev", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    queue
        .bury(&lease.id, burial("invalid_blocks"))
        .await
        .expect("held");
    let held = queue
        .lease("parked", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    let counted = RateCount {
        key: 7,
        slot: -3,
        events: 9,
    };
    queue
        .route(Routed {
            rates: RatesCounted {
                counts: vec![counted],
                is_all: false,
            },
            ..Routed::default()
        })
        .await
        .expect("counted");
    replaced(&queue, dir.path()).await;
    let seen = queue.seen().await.expect("read");
    balanced(&queue).await;
    let before = queue.ledger();
    drop(queue);

    let queue = open(dir.path());
    assert_eq!(queue.ledger(), before);
    assert_eq!(queue.seen().await.expect("read"), seen);
    assert_eq!(queue.rates().await.expect("read"), [counted]);
    let again = queue
        .lease("parked", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!((again.id, again.resumed), (held.id, true));
    assert_eq!(told(&again.members), ["p1", "p2"]);
    balanced(&queue).await;
}

#[tokio::test]
async fn mutes_with_their_counts_and_who_filtered_outlive_a_replacement() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    for author in ["alice", "bob"] {
        let mute = NewMute {
            author: author.to_owned(),
            reason: "deploy".to_owned(),
            matches: "{}".to_owned(),
            words: "every event".to_owned(),
            channels: Vec::new(),
            routes: Vec::new(),
            begun_unix_ms: 1_000,
            until_unix_ms: 3_601_000,
        };
        let added = queue.add_mute(mute, String::new(), Vec::new()).await;
        added.expect("durable").expect("one more");
    }
    let texts = ["a", "b", "c"].map(str::to_owned);
    queue.append(batch(texts)).await.expect("durable");
    let blocks = queue.unrouted(1).await.expect("blocks");
    let mut routed = all_to("ops", Severity::Info, &blocks);
    routed.deliveries.clear();
    routed.blocks[0].counts = Counts {
        filtered: 2,
        muted: 1,
        ..Counts::default()
    };
    routed.filtered_by = vec![FilteredCount {
        route: "noise".to_owned(),
        events: 2,
    }];
    let muted = |mute, channel: &str| MutedCount {
        mute,
        channel: channel.to_owned(),
        events: 1,
    };
    routed.muted = vec![muted(1, "ops"), muted(2, "sec")];
    queue.route(routed).await.expect("routed");
    let ended = MuteEnd {
        at_unix_ms: 61_000,
        by: Some("eve".to_owned()),
        reason: "done".to_owned(),
    };
    let ended = queue.end_mute(2, ended, vec!["ops".to_owned()]).await;
    ended.expect("durable").expect("it is active");
    let mutes = queue.mutes();
    replaced(&queue, dir.path()).await;
    drop(queue);
    let queue = open(dir.path());
    assert_eq!(queue.mutes(), mutes);
    assert_eq!((mutes[0].held["ops"], mutes[1].held["sec"]), (1, 1));
    let ledger = queue.ledger();
    assert_eq!(ledger.filtered_by, [("noise".to_owned(), 2)].into());
    let muted = |channel: &str| (channel.to_owned(), 1);
    assert_eq!(ledger.muted_deliveries, [muted("ops"), muted("sec")].into());
    balanced(&queue).await;
}

#[tokio::test]
async fn what_a_replacement_leaves_that_was_killed_costs_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["old"]).await;
    drop(queue);
    let current = indexes(dir.path()).remove(0);
    let earlier = dir.path().join("earlier");
    copy(&current, &earlier);
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["new"]).await;
    drop(queue);
    // Before `CURRENT` was written: half of a copy. After it: what was in use before.
    let later = current.with_file_name("index-00000002");
    for (left, whole) in [
        (&later, false),
        (&current.with_file_name("index-00000000"), true),
    ] {
        copy(&earlier, left);
        if !whole {
            fs::write(left.join("db"), vec![7; 10_000]).expect("written");
        }
        fs::write(dir.path().join("queue/CURRENT.new"), b"auditrelay q").expect("written");
        let queue = open(dir.path());
        let lease = queue
            .lease("ops", ALL, 5)
            .await
            .expect("read")
            .expect("members");
        assert_eq!(told(&lease.members), ["old", "new"]);
        queue.release(&lease.id).await.expect("held");
        balanced(&queue).await;
        assert!(!left.exists(), "what is left over goes");
    }
}

#[tokio::test]
async fn a_damaged_current_costs_nothing_and_a_later_format_is_refused_and_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    drop(queue);
    let current = dir.path().join("queue/CURRENT");
    let text = fs::read_to_string(&current).expect("text");
    fs::write(&current, text.replace("format 1", "format 9")).expect("written");
    let queue = open(dir.path());
    assert_eq!(
        queue.ledger().received,
        1,
        "its check is wrong: damage, and one index"
    );
    drop(queue);
    fs::remove_file(&current).expect("removed");
    drop(open(dir.path()));

    let later = "auditrelay queue\nformat 9\nsomething new\n";
    let check = crc32fast::hash(later.as_bytes());
    fs::write(&current, format!("{later}check {check:08x}\n")).expect("written");
    let error = Engine::open(&small(dir.path())).expect_err("a later format");
    assert!(
        matches!(error, OpenError::Newer { format: 9, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("auditrelay export"), "{error}");
    assert!(
        indexes(dir.path())[0].join("db").exists(),
        "it stays where it is"
    );
}

/// Where the child of the test below has its queue.
const CHILD_DIR: &str = "AUDITRELAY_TEST_INDEX_DIR";

/// Fills and empties a channel until it is killed, and says how many events were acknowledged; its index
/// is replaced again and again.
#[tokio::test]
#[ignore = "the child of killed_at_any_moment_of_a_replacement_nothing_is_lost"]
async fn fills_and_empties_until_it_is_killed() {
    let dir = PathBuf::from(std::env::var_os(CHILD_DIR).expect("a parent"));
    let options = SledOptions {
        index_bytes: 256 * 1024,
        ..options(&dir)
    };
    let queue = Engine::open(&options).expect("opens").queue;
    if queue.ledger().received == 0 {
        append_and_route(&queue, "parked", Severity::Warning, &["p1", "p2"]).await;
    }
    loop {
        churn(&queue, 500).await;
        println!("acknowledged {}", queue.ledger().received);
    }
}

#[tokio::test]
async fn killed_at_any_moment_of_a_replacement_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut replaced = std::collections::BTreeSet::new();
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "fills_and_empties_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut acknowledged = || {
            let line =
                said.find_map(|line| Some(line.ok()?.split_once("acknowledged ")?.1.to_owned()));
            line.map(|count| count.parse::<u64>().expect("a count"))
        };
        let first = acknowledged().expect("it works");
        // Replacements follow each other by some tens of milliseconds.
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let last = std::iter::from_fn(acknowledged).last().unwrap_or(first);

        let queue = open(dir.path());
        balanced(&queue).await;
        let ledger = queue.ledger();
        assert!(
            ledger.received >= last,
            "round {round}: {last} were acknowledged: {ledger:?}"
        );
        let parked = queue
            .lease("parked", ALL, 5)
            .await
            .expect("read")
            .expect("members");
        assert_eq!(told(&parked.members), ["p1", "p2"]);
        queue.release(&parked.id).await.expect("held");
        replaced.extend(indexes(dir.path()));
        assert_eq!(indexes(dir.path()).len(), 1, "what is left over goes");
    }
    assert!(
        replaced.len() > 5,
        "it was hardly ever replaced: {replaced:?}"
    );
}

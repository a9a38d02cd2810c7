//! A store that an earlier version wrote opens and works.
//!
//! `fixtures/format-1.zst` was written and closed by version 0.1.0 before leases had a time, copies knew for
//! whom they were meant and threads were noted: the folder's files, by name, as postcard under zstd.

mod support;

use std::{fs, path::Path};

use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, Engine, LeaseLimit, Limits, Queue, SledOptions};
use support::{ALL, append_and_route, balanced, meant_for, options, quick_dir, texts, told};

const FORMAT_1: &[u8] = include_bytes!("fixtures/format-1.zst");
const PLAIN_BYTES_MAX: usize = 1 << 20;
/// The IDs of its messages.
const TOLD: u64 = 5;
const DEAD: u64 = 7;
const SEALED: u64 = 9;

fn write_to(dir: &Path) {
    let plain = zstd::bulk::decompress(FORMAT_1, PLAIN_BYTES_MAX).expect("whole");
    let files: Vec<(String, Vec<u8>)> = postcard::from_bytes(&plain).expect("whole");
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

fn open(dir: &Path) -> Engine {
    let options = SledOptions {
        limits: Limits {
            detail_ms: 1 << 40,
            detail_bytes_max: 1 << 30,
            ..Limits::default()
        },
        ..options(dir)
    };
    let opened = Engine::open(&options).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    opened.queue
}

#[tokio::test]
async fn what_an_earlier_version_left_is_all_there_and_can_be_settled() {
    let dir = quick_dir();
    write_to(dir.path());
    let queue = open(dir.path());
    balanced(&queue).await;
    assert_eq!(queue.threads("ops").await.expect("read"), []);
    // What it sealed comes back; when that was is not known, and stays so.
    for _ in 0..2 {
        let lease = queue.lease("ops", ALL, 1_700_000_001_000).await;
        let lease = lease.expect("read").expect("held");
        assert_eq!(told(&lease.members), ["c3"]);
        let said = (lease.id.id, lease.resumed, lease.sealed_unix_ms);
        assert_eq!(said, (SEALED, true, 0));
    }
    let message = queue.told(TOLD).await.expect("read").expect("kept");
    assert_eq!(
        (told(&message.members), message.posted),
        (vec!["c1".to_owned()], None)
    );
    let letter = queue.dead_members(DEAD).await.expect("read");
    assert_eq!(told(&letter.expect("there")), ["c2"]);

    // Nothing of it was copied before, a dead letter that is raised neither.
    assert_eq!(queue.redrive(vec![DEAD]).await.expect("done"), [DEAD]);
    let copied = queue.fall_back("ops", "sec").await.expect("copied");
    assert_eq!((copied.events, copied.more), (4, false));
    drop(queue);
    let queue = open(dir.path());
    let copies = queue.lease("sec", ALL, 1_700_000_002_000).await;
    let copies = copies.expect("read").expect("they wait");
    assert_eq!(told(&copies.members), ["c3", "c4", "replayed", "c2"]);
    assert_eq!(meant_for(&copies.members), [Some("ops"); 4]);
    queue
        .ack(&copies.id, Accepted::at(1_700_000_002_500))
        .await
        .expect("held");

    let mut left = Vec::new();
    while let Some(lease) = queue
        .lease("ops", ALL, 1_700_000_003_000)
        .await
        .expect("read")
    {
        assert!(meant_for(&lease.members).iter().all(Option::is_none));
        left.extend(told(&lease.members));
        let accepted = Accepted {
            now_unix_ms: 1_700_000_003_500,
            thread: Some("t".to_owned()),
            posted: None,
        };
        queue.ack(&lease.id, accepted).await.expect("held");
    }
    assert_eq!(left, ["c3", "c4", "replayed", "dropped", "c2", "i1", "i2"]);
    assert_eq!(queue.threads("ops").await.expect("read").len(), 2);
    let blocks = queue.unrouted(10).await.expect("blocks");
    assert_eq!(blocks.iter().flat_map(texts).collect::<Vec<_>>(), ["u1"]);
    balanced(&queue).await;
}

#[tokio::test]
async fn what_an_earlier_version_sealed_can_be_released_and_buried() {
    let dir = quick_dir();
    write_to(dir.path());
    let queue = open(dir.path());
    let lease = queue.lease("ops", ALL, 5).await.expect("read");
    queue.release(&lease.expect("held").id).await.expect("held");
    let one = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    let lease = queue.lease("ops", one, 1_700_000_001_000).await;
    let lease = lease.expect("read").expect("members");
    assert_eq!(
        (told(&lease.members), lease.sealed_unix_ms),
        (vec!["c3".to_owned()], 1_700_000_001_000)
    );
    queue
        .bury(&lease.id, support::burial("refused"))
        .await
        .expect("held");
    assert_eq!(queue.drop_dead(vec![DEAD]).await.expect("done"), [DEAD]);
    append_and_route_old_block(&queue).await;
    balanced(&queue).await;
}

/// Routes what the earlier version had appended, and something new.
async fn append_and_route_old_block(queue: &Engine) {
    append_and_route(queue, "dev", Severity::Info, &["new"]).await;
    let lease = queue.lease("dev", ALL, 5).await.expect("read");
    assert_eq!(told(&lease.expect("members").members), ["u1", "new"]);
}

//! The queue's files: their size, their owner, and what damage does.

mod support;

use std::{fs, time::Duration};

use auditrelay_audit::Severity;
use auditrelay_store::{LeaseLimit, OpenError, Queue, QueueError, SledOptions, SledQueue};
use support::{ALL, append_and_route, balanced, batch, open, options};

/// Bytes that do not compress, so that sizes on disk are those asked for.
fn noise(length: usize, mut state: u64) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(33 + (state % 90) as u8));
    }
    text
}

#[tokio::test]
async fn large_values_never_become_blob_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    for n in 0..30u64 {
        let events = [
            noise(60_000, n + 1),
            noise(900_000, n + 100),
            noise(3_000, n + 1_000),
        ];
        append_and_route(
            &queue,
            "ops",
            Severity::Info,
            &events.each_ref().map(String::as_str),
        )
        .await;
        if n % 3 == 0 {
            let limit = LeaseLimit {
                events_max: 4,
                ..ALL
            };
            let lease = queue
                .lease("ops", limit)
                .await
                .expect("read")
                .expect("members");
            queue.ack(&lease.id).await.expect("held");
        }
    }
    balanced(&queue).await;
    let blobs = dir.path().join("queue/blobs");
    assert!(
        blobs.is_dir(),
        "sled makes the folder; a test of another path would not fail"
    );
    assert_eq!(fs::read_dir(blobs).expect("readable").count(), 0);
}

#[tokio::test]
async fn a_damaged_store_is_moved_aside_and_the_queue_starts_empty() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    drop(queue);
    let file = dir.path().join("queue/db");
    let mut bytes = fs::read(&file).expect("readable");
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&file, bytes).expect("written");
    let opened = SledQueue::open(&options(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("moved");
    assert!(moved.path.join("db").is_file(), "{moved:?}");
    assert_eq!(opened.queue.ledger().received, 0);
    append_and_route(&opened.queue, "ops", Severity::Info, &["2"]).await;
}

#[tokio::test]
async fn one_process_owns_a_data_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    assert!(matches!(
        SledQueue::open(&options(dir.path())),
        Err(OpenError::InUse(_))
    ));
    drop(queue);
    open(dir.path());
}

#[tokio::test]
async fn damage_that_is_found_while_reading_stops_the_queue_and_the_next_start_moves_it_aside() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    queue
        .append(batch(["1".to_owned()]))
        .await
        .expect("durable");
    drop(queue);
    let config = sled::Config::new()
        .path(dir.path().join("queue"))
        .segment_size(8 << 20);
    // sled's own threads may hold its lock for a moment longer.
    let db = loop {
        match config.open() {
            Ok(db) => break db,
            Err(error) => assert!(error.to_string().contains("acquire lock"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (key, mut value) = db
        .scan_prefix(b"b")
        .next()
        .expect("a block")
        .expect("readable");
    value[40] ^= 1;
    db.insert(key, value).expect("written");
    db.flush().expect("written");
    drop(db);

    let queue = open(dir.path());
    let error = queue.unrouted(1).await.expect_err("the block is damaged");
    assert!(error.to_string().contains("checksum"), "{error}");
    assert!(matches!(
        queue.append(batch(["2".to_owned()])).await,
        Err(QueueError::Storage(_))
    ));
    assert!(queue.failed().await.to_string().contains("checksum"));
    drop(queue);
    let opened = SledQueue::open(&options(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("moved");
    assert!(moved.reason.contains("checksum"), "{moved:?}");
    append_and_route(&opened.queue, "ops", Severity::Info, &["3"]).await;
    drop(opened.queue);
    open(dir.path());
}

#[tokio::test]
async fn a_snapshot_that_was_not_finished_costs_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    drop(queue);
    let left = dir.path().join("queue/snap.00000000000FFFFF.generating");
    fs::write(&left, b"").expect("written");
    let queue = open(dir.path());
    assert_eq!(queue.ledger().channels["ops"].waiting, 1);
    assert!(!left.exists());
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_stays_where_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    drop(queue);
    let (db, away) = (dir.path().join("queue/db"), dir.path().join("db"));
    fs::rename(&db, &away).expect("moved");
    fs::create_dir(&db).expect("made");
    let error = SledQueue::open(&options(dir.path())).expect_err("the file is a folder");
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    fs::remove_dir(&db).expect("removed");
    fs::rename(&away, &db).expect("moved");
    let queue = open(dir.path());
    assert_eq!(queue.ledger().channels["ops"].waiting, 1);
}

#[tokio::test]
async fn a_command_that_only_looks_moves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(open(dir.path()));
    fs::write(dir.path().join("queue/db"), vec![7; 100_000]).expect("written");
    let look = SledOptions {
        move_damaged_aside: false,
        ..options(dir.path())
    };
    let error = SledQueue::open(&look).expect_err("it is damaged");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(dir.path().join("queue/db").is_file());
}

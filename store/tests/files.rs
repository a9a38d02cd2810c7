//! The queue's files: their size, their owner, and what damage does.

mod support;

use std::fs;

use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, Engine, LeaseLimit, OpenError, Queue, QueueError, SledOptions};
use support::{ALL, append_and_route, balanced, batch, burial, noise, open, options, told, until};

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
        // Dead letters are what is large and in sled.
        let limit = LeaseLimit {
            events_max: 3,
            ..ALL
        };
        let lease = queue.lease("ops", limit, 5).await.expect("read");
        let id = lease.expect("members").id;
        queue
            .bury(&id, burial("invalid_blocks"))
            .await
            .expect("held");
    }
    balanced(&queue).await;
    let blobs = dir.path().join("queue/index-00000001/blobs");
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
    let file = dir.path().join("queue/index-00000001/db");
    let mut bytes = fs::read(&file).expect("readable");
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&file, bytes).expect("written");
    let opened = Engine::open(&options(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("moved");
    assert!(moved.path.join("index-00000001/db").is_file(), "{moved:?}");
    assert_eq!(opened.queue.ledger().received, 0);
    append_and_route(&opened.queue, "ops", Severity::Info, &["2"]).await;
}

#[tokio::test]
async fn one_process_owns_a_data_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    assert!(matches!(
        Engine::open(&options(dir.path())),
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
    let queue = open(dir.path());
    // The file changes under a queue that has opened it: the disk did it.
    let file = dir.path().join("queue/events-0000000000000001.log");
    let mut bytes = fs::read(&file).expect("readable");
    bytes[60] ^= 1;
    fs::write(&file, bytes).expect("written");

    let error = queue.unrouted(1).await.expect_err("the block is damaged");
    assert!(error.to_string().contains("checksum"), "{error}");
    assert!(matches!(
        queue.append(batch(["2".to_owned()])).await,
        Err(QueueError::Storage(_))
    ));
    assert!(queue.failed().await.to_string().contains("checksum"));
    drop(queue);
    let opened = Engine::open(&options(dir.path())).expect("opens");
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
    let left = dir
        .path()
        .join("queue/index-00000001/snap.00000000000FFFFF.generating");
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
    let (db, away) = (
        dir.path().join("queue/index-00000001/db"),
        dir.path().join("db"),
    );
    fs::rename(&db, &away).expect("moved");
    fs::create_dir(&db).expect("made");
    let error = Engine::open(&options(dir.path())).expect_err("the file is a folder");
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
    fs::write(dir.path().join("queue/index-00000001/db"), vec![7; 100_000]).expect("written");
    let look = SledOptions {
        move_damaged_aside: false,
        ..options(dir.path())
    };
    let error = Engine::open(&look).expect_err("it is damaged");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(dir.path().join("queue/index-00000001/db").is_file());
}

#[tokio::test]
async fn damage_among_acknowledged_events_is_found_when_the_queue_opens() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    for n in 0..3 {
        queue
            .append(batch([format!("{n}")]))
            .await
            .expect("durable");
    }
    drop(queue);
    let file = dir.path().join("queue/events-0000000000000001.log");
    let mut bytes = fs::read(&file).expect("readable");
    bytes[60] ^= 1;
    fs::write(&file, bytes).expect("written");
    let opened = Engine::open(&options(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("moved");
    assert!(moved.reason.contains("checksum"), "{moved:?}");
}

#[tokio::test]
async fn a_commit_that_was_never_completed_is_cut_off_and_the_rest_is_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    queue
        .append(batch(["2".to_owned()]))
        .await
        .expect("durable");
    drop(queue);
    // The process was killed: it left no word of how the queue was closed.
    fs::remove_file(dir.path().join("queue/CLOSED")).expect("removed");
    for log in ["events", "deliveries", "seen"] {
        let file = dir.path().join(format!("queue/{log}-0000000000000001.log"));
        let mut bytes = fs::read(&file).expect("readable");
        // Half of a frame, as a power loss leaves it.
        let half = bytes[..50].to_vec();
        bytes.extend(half);
        fs::write(&file, bytes).expect("written");
    }
    let queue = open(dir.path());
    assert_eq!((queue.ledger().received, queue.ledger().waiting), (2, 1));
    assert_eq!(queue.seen().await.expect("read").len(), 1);
    append_and_route(&queue, "ops", Severity::Info, &["3"]).await;
    drop(queue);
    let queue = open(dir.path());
    let lease = queue.lease("ops", ALL, 5).await.expect("read");
    assert_eq!(told(&lease.expect("members").members), ["1", "2", "3"]);
    balanced(&queue).await;
}

#[tokio::test]
async fn segments_go_when_nothing_points_to_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let large = noise(1 << 20, 5);
    let segments = |log: &str| {
        let mut numbers: Vec<u64> = fs::read_dir(dir.path().join("queue"))
            .expect("listed")
            .filter_map(|entry| {
                let name = entry
                    .expect("listed")
                    .file_name()
                    .into_string()
                    .expect("text");
                name.strip_prefix(log)?
                    .strip_prefix('-')?
                    .strip_suffix(".log")?
                    .parse()
                    .ok()
            })
            .collect();
        numbers.sort_unstable();
        numbers
    };
    for _ in 0..20 {
        let events = [large.as_str(); 8];
        append_and_route(&queue, "ops", Severity::Info, &events).await;
    }
    // Segments are removed after the answer.
    until("everything is routed", || segments("events").len() == 1).await;
    assert!(segments("deliveries").len() >= 2, "nothing is delivered");
    let lease = queue
        .lease(
            "ops",
            LeaseLimit {
                events_max: 100,
                ..ALL
            },
            5,
        )
        .await
        .expect("read");
    queue
        .ack(&lease.expect("members").id, Accepted::at(8))
        .await
        .expect("held");
    until("the oldest is delivered", || segments("deliveries")[0] > 1).await;
    balanced(&queue).await;
    drop(queue);
    let queue = open(dir.path());
    while let Some(lease) = queue.lease("ops", ALL, 5).await.expect("read") {
        queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    }
    until("all is delivered", || segments("deliveries").len() == 1).await;
    balanced(&queue).await;
}

#[tokio::test]
async fn a_channel_that_is_never_served_keeps_its_own_backlog_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let large = noise(1 << 20, 5);
    for round in 0..30 {
        append_and_route(&queue, "parked", Severity::Info, &[&format!("p{round}")]).await;
        append_and_route(&queue, "ops", Severity::Info, &[large.as_str(); 8]).await;
        let lease = queue.lease("ops", ALL, 5).await.expect("read");
        queue
            .ack(&lease.expect("members").id, Accepted::at(8))
            .await
            .expect("held");
    }
    balanced(&queue).await;
    let held_bytes = || -> u64 {
        let files = fs::read_dir(dir.path().join("queue")).expect("listed");
        let sizes = files.map(|file| file.expect("listed").metadata().expect("known").len());
        sizes.sum()
    };
    // 240 MB went through; the segment that is written to, and one for each other log, may be full.
    let bound = 3 * 80 * 1024 * 1024;
    until("few bytes are held", || held_bytes() < bound).await;
    let segment_1 = dir.path().join("queue/deliveries-0000000000000001.log");
    until("its only live record is moved", || !segment_1.exists()).await;
    drop(queue);
    let queue = open(dir.path());
    let lease = queue.lease("parked", ALL, 5).await.expect("read");
    let expected: Vec<String> = (0..30).map(|round| format!("p{round}")).collect();
    assert_eq!(told(&lease.expect("members").members), expected);
    balanced(&queue).await;
}

#[tokio::test]
async fn an_acknowledged_end_that_is_missing_is_damage_though_every_record_left_is_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let file = dir.path().join("queue/events-0000000000000001.log");
    let first_bytes = fs::metadata(&file).expect("known").len();
    append_and_route(&queue, "ops", Severity::Info, &["2"]).await;
    drop(queue);
    let log = fs::OpenOptions::new().write(true).open(&file);
    log.expect("opens").set_len(first_bytes).expect("cut");
    let opened = Engine::open(&options(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("moved");
    assert!(
        moved.reason.contains("cut short") || moved.reason.contains("ends before"),
        "{moved:?}"
    );
}

#[tokio::test]
async fn a_missing_segment_is_damage_and_no_crash_loop() {
    for log in ["events", "deliveries", "seen"] {
        let dir = tempfile::tempdir().expect("a folder");
        let queue = open(dir.path());
        append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
        drop(queue);
        fs::remove_file(dir.path().join(format!("queue/{log}-0000000000000001.log")))
            .expect("removed");
        let opened = Engine::open(&options(dir.path())).expect("opens");
        assert!(opened.moved_aside.is_some(), "{log}");
        append_and_route(&opened.queue, "ops", Severity::Info, &["2"]).await;
    }
}

#[tokio::test]
async fn damage_of_a_delivery_is_found_when_it_is_leased_and_the_next_start_moves_it_aside() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let file = dir.path().join("queue/deliveries-0000000000000001.log");
    let mut bytes = fs::read(&file).expect("readable");
    bytes[60] ^= 1;
    fs::write(&file, bytes).expect("written");
    let error = queue.lease("ops", ALL, 5).await.expect_err("it is damaged");
    assert!(error.to_string().contains("checksum"), "{error}");
    drop(queue);
    let opened = Engine::open(&options(dir.path())).expect("opens");
    assert!(opened.moved_aside.is_some());
}

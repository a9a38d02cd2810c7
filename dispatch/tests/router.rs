//! The router on a real queue: what it remembers, and for how long.

use std::{borrow::Cow, io::Write, path::Path, time::Duration};

use auditrelay_audit::{EventKey, HashKey};
use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::{Metrics, Router, Routes};
use auditrelay_store::{
    Batch, Content, EncodedBatch, Entry, Queue, QueueError, SledOptions, SledQueue,
};
use prometheus::Registry;
use tokio::{sync::watch, task::JoinHandle};

fn queue(dir: &Path) -> SledQueue {
    let options = SledOptions {
        data_dir: dir.to_owned(),
        cache_bytes_max: 8 << 20,
        quarantine_entries_max: 10,
        now_unix_ms: 0,
        move_damaged_aside: false,
    };
    SledQueue::open(&options).expect("opens").queue
}

fn routes() -> Routes {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"channels: {ops: {preview: true}}")
        .expect("written");
    Routes::new(
        &load(Some(file.path()), [], Overrides::default())
            .expect("valid")
            .config,
    )
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), QueueError>>,
}

async fn start(queue: &SledQueue, window: Duration) -> Running {
    let metrics = Metrics::new(&Registry::new()).expect("registered");
    let router = Router::load(queue.clone(), routes(), window, 1_000, metrics)
        .await
        .expect("loads");
    let (stop, stopped) = watch::channel(false);
    Running {
        stop,
        task: tokio::spawn(router.run(stopped)),
    }
}

impl Running {
    async fn stop(self) {
        self.stop.send(true).expect("it runs");
        self.task.await.expect("no panic").expect("no error");
    }
}

async fn append(queue: &SledQueue, id: &str) {
    let json = format!(
        r#"{{"level":"Metadata","stage":"ResponseComplete","auditID":"{id}","verb":"get","user":{{"username":"a"}}}}"#
    );
    let key = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
    let key = EventKey { identity: 0, ..key };
    let content = Content::Event {
        json: Cow::Owned(json),
        body_unreadable: false,
    };
    let batch = Batch {
        cluster: Cow::Borrowed("prod"),
        received_unix_ms: 0,
        entries: vec![Entry { key, content }],
    };
    queue
        .append(EncodedBatch::new(&batch))
        .await
        .expect("durable");
    while queue.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_starts_again_knows_what_was_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    let window = Duration::from_secs(900);
    let router = start(&queue, window).await;
    append(&queue, "a").await;
    router.stop().await;
    let router = start(&queue, window).await;
    append(&queue, "a").await;
    append(&queue, "b").await;
    router.stop().await;
    let counts = queue.ledger().counts;
    assert_eq!((counts.routed, counts.duplicates), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_window_forgets_leaves_the_disk_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    let router = start(&queue, Duration::from_millis(80)).await;
    for n in 0..10 {
        append(&queue, &format!("{n}")).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    append(&queue, "0").await;
    router.stop().await;
    assert_eq!(
        queue.ledger().counts.duplicates,
        0,
        "it was out of the window"
    );
    let blocks = queue.seen().await.expect("read").len();
    assert!(
        (1..=6).contains(&blocks),
        "{blocks} of 11 blocks are still on disk"
    );
}

//! Tidying up: what is told expires while the files that it is in are given up, and nothing else goes with it.

mod support;

use std::{fs, path::Path, time::Duration};

use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, DeadFilter, Engine, LeaseLimit, Limits, Queue, SledOptions};
use support::{ALL, append_and_route, balanced, burial, noise, options, told, until};

const START: i64 = 1_700_000_000_000;

fn open(dir: &Path) -> Engine {
    let options = SledOptions {
        segment_bytes: 256 * 1024,
        limits: Limits {
            detail_ms: 60_000,
            detail_bytes_max: 1 << 30,
            ..Limits::default()
        },
        ..options(dir)
    };
    Engine::open(&options).expect("opens").queue
}

fn segments(dir: &Path) -> usize {
    let files = fs::read_dir(dir.join("queue")).expect("listed");
    let names = files.map(|file| {
        file.expect("listed")
            .file_name()
            .into_string()
            .expect("text")
    });
    names.filter(|name| name.starts_with("deliveries-")).count()
}

/// Tells one event of each of so many records, and buries one in a hundred: how many that are, and what was told last.
async fn tell(queue: &Engine, records: usize, now_unix_ms: i64) -> (usize, u64) {
    let one = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    let (mut dead, mut last) = (0, 0);
    for n in 0..records {
        let text = noise(300, n as u64 + 1);
        append_and_route(queue, "ops", Severity::Info, &[text.as_str()]).await;
        let lease = queue
            .lease("ops", one, 5)
            .await
            .expect("read")
            .expect("members");
        if n % 100 == 50 {
            queue
                .bury(&lease.id, burial("invalid_blocks"))
                .await
                .expect("held");
            dead += 1;
        } else {
            queue
                .ack(&lease.id, Accepted::at(now_unix_ms))
                .await
                .expect("held");
            last = lease.id.id;
        }
    }
    (dead, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_expire_at_once_leave_the_rest_and_give_their_files_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let (dead, oldest_last) = tell(&queue, 3_000, START).await;
    let all = queue.space().detail_bytes;
    assert!(queue.space().detail_bytes > 500_000);
    let before = segments(dir.path());
    assert!(before > 3, "{before} files");
    // An hour later some more are told, and all of the others are too old at once.
    let dead = dead + tell(&queue, 300, START + 3_590_000).await.0;
    append_and_route(&queue, "ops", Severity::Info, &["late"]).await;
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    queue
        .ack(&lease.id, Accepted::at(START + 3_600_000))
        .await
        .expect("held");
    until("it is tidy", || {
        queue.space().detail_bytes < all / 8 && segments(dir.path()) <= 3
    })
    .await;
    // Oldest first: with it all are gone that are too old.
    while queue.told(oldest_last).await.expect("read").is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(segments(dir.path()) <= 3, "{} files", segments(dir.path()));
    balanced(&queue).await;
    let message = queue.told(lease.id.id).await.expect("read").expect("kept");
    assert_eq!(told(&message.members), ["late"]);
    let space = queue.space();
    drop(queue);

    let queue = open(dir.path());
    let again = queue.space();
    assert_eq!(
        (again.dead_bytes, again.detail_bytes),
        (space.dead_bytes, space.detail_bytes)
    );
    balanced(&queue).await;
    let letters = queue
        .dead(DeadFilter::default(), 0, 1_000)
        .await
        .expect("read");
    assert_eq!(letters.len(), dead);
    for letter in letters {
        let members = queue
            .dead_members(letter.id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(told(&members)[0].len(), 300);
    }
}

//! What gives way when there is too much, and what does not.

use crate::Sound;
use auditrelay_audit::Severity;
use auditrelay_store::{
    Accepted, Counts, DeadFilter, Delivery, LeaseLimit, Limits, QuarantineRecord, Routed,
    RoutedBlock, Sealed, Unreadable,
};
use auditrelay_store::{Engine, Queue as _};

use crate::{
    Backend,
    support::{ALL, append_and_route, batch, burial, noise, told, until as settled},
};

/// One event of about this many bytes as stored.
async fn put(queue: &Engine, channel: &str, severity: Severity, name: &str, bytes: usize) {
    let seed = name
        .bytes()
        .fold(7u64, |seed, byte| seed * 31 + u64::from(byte));
    // Noise from 90 characters is 6.5 bits each.
    let text = format!("{name} {}", noise(bytes * 8 * 10 / 65, seed));
    append_and_route(queue, channel, severity, &[text.as_str()]).await;
}

fn names(members: &[(Severity, Delivery)]) -> Vec<String> {
    let first_word = |text: &String| text.split(' ').next().unwrap_or_default().to_owned();
    told(members).iter().map(first_word).collect()
}

/// The notices of a lease, with their numbers.
fn notices(members: &[(Severity, Delivery)]) -> Vec<(u64, String)> {
    let notice = |member: &'_ (Severity, Delivery)| match &member.1 {
        Delivery::Notice(notice) => Some((notice.events, notice.text.clone())),
        Delivery::Event(_) => None,
    };
    members.iter().filter_map(notice).collect()
}

pub async fn a_channel_over_its_quota_gives_up_its_least_severe_oldest_first_and_is_told<
    B: Backend,
>() {
    let limits = Limits {
        channel_bytes_max: 100_000,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    put(&queue, "dev", Severity::Info, "other", 20_000).await;
    put(&queue, "ops", Severity::Critical, "c1", 20_000).await;
    put(&queue, "ops", Severity::Warning, "w1", 20_000).await;
    for n in 1..=9 {
        put(&queue, "ops", Severity::Info, &format!("i{n}"), 20_000).await;
        let within = || queue.space().waiting_bytes["ops"] <= 100_000;
        settled("the quota holds", within).await;
    }
    let counts = queue.ledger().channels["ops"];
    assert_eq!(counts.routed, 11);
    assert_eq!(counts.waiting + counts.dropped.quota, 11);
    assert!(counts.dropped.quota >= 6, "{counts:?}");
    assert_eq!(
        queue.ledger().channels["dev"].waiting,
        1,
        "it harms only itself"
    );
    queue.sound().await;

    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    let told = notices(&lease.members);
    let [(dropped, text)] = told.as_slice() else {
        panic!("one notice, put together: {told:?}")
    };
    assert_eq!(*dropped, counts.dropped.quota, "exact");
    assert!(
        text.contains("info") && text.contains("queue.channel_bytes_max"),
        "{text}"
    );
    let is_event = |member: &&(Severity, Delivery)| matches!(member.1, Delivery::Event(_));
    let events: Vec<_> = lease.members.iter().filter(is_event).cloned().collect();
    let left = names(&events);
    let kept = counts.waiting as usize - 2;
    let newest: Vec<String> = (1..=9).skip(9 - kept).map(|n| format!("i{n}")).collect();
    assert_eq!(
        left,
        [vec!["c1".to_owned(), "w1".to_owned()], newest].concat()
    );
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    queue.sound().await;
    drop(queue);
    B::at(dir.path()).sound().await;
}

pub async fn what_is_leased_is_never_given_up<B: Backend>() {
    let limits = Limits {
        channel_bytes_max: 50_000,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    for n in 1..=2 {
        put(&queue, "ops", Severity::Info, &format!("i{n}"), 20_000).await;
    }
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    for n in 3..=8 {
        put(&queue, "ops", Severity::Critical, &format!("c{n}"), 20_000).await;
    }
    let dropped = || queue.ledger().channels["ops"].dropped.quota >= 5;
    settled("critical ones last, but they go", dropped).await;
    queue.sound().await;
    queue
        .ack(&lease.id, Accepted::at(8))
        .await
        .expect("still held");
    assert_eq!(names(&lease.members), ["i1", "i2"]);
    assert_eq!(queue.ledger().channels["ops"].delivered, 2);
    queue.sound().await;
}

pub async fn dead_letters_over_their_quota_are_given_up_oldest_first<B: Backend>() {
    let limits = Limits {
        dead_bytes_max: 50_000,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    let mut ids = Vec::new();
    for n in 1..=5 {
        put(&queue, "ops", Severity::Info, &format!("i{n}"), 20_000).await;
        let one = LeaseLimit {
            events_max: 1_000,
            ..ALL
        };
        let lease = queue
            .lease("ops", one, 5)
            .await
            .expect("read")
            .expect("members");
        // A notice that waits is not buried with it.
        let is_event =
            |(_, delivery): &(Severity, Delivery)| matches!(delivery, Delivery::Event(_));
        if lease.members.iter().all(is_event) {
            queue
                .bury(&lease.id, burial("invalid_blocks"))
                .await
                .expect("held");
            ids.push(lease.id.id);
        } else {
            queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
        }
    }
    put(&queue, "ops", Severity::Info, "last", 10).await;
    let left = queue
        .dead(DeadFilter::default(), 0, 100)
        .await
        .expect("read");
    let left: Vec<u64> = left.into_iter().map(|letter| letter.id).collect();
    assert_eq!(left, ids[ids.len() - left.len()..], "the newest of {ids:?}");
    assert!(queue.space().dead_bytes <= 50_000, "{:?}", queue.space());
    let counts = queue.ledger().channels["ops"];
    assert_eq!(counts.dropped.quota, (ids.len() - left.len()) as u64);
    assert!(counts.dropped.quota > 0);
    assert!(queue.ledger().notices["ops"].queued > 0, "it is announced");
    queue.sound().await;
}

pub async fn quarantine_is_bounded_by_bytes<B: Backend>() {
    let limits = Limits {
        quarantine_bytes_max: 10_000,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    for n in 0..20 {
        queue
            .append(batch(["x".to_owned()]))
            .await
            .expect("durable");
        let block = queue.unrouted(1).await.expect("blocks").remove(0);
        let unreadable = Unreadable {
            reason: "r".into(),
            offset_bytes: 0,
            length_bytes: 1,
            sealed: Some(Sealed {
                to: [1; 8],
                bytes: vec![n; 1_000],
            }),
            source: None,
        };
        let record = QuarantineRecord {
            cluster: "prod".into(),
            received_unix_ms: 7,
            fingerprint: [n; 16],
            unreadable,
        };
        let routed = RoutedBlock {
            seq: block.seq,
            counts: Counts {
                quarantined: 1,
                ..Counts::default()
            },
            quarantine: vec![record],
            ..RoutedBlock::default()
        };
        let routed = Routed {
            blocks: vec![routed],
            deliveries: vec![],
            ..Routed::default()
        };
        queue.route(routed).await.expect("routed");
    }
    let bytes = queue.space().quarantine_bytes;
    assert!((5_000..=11_500).contains(&bytes), "{bytes}");
    assert_eq!(
        queue.ledger().counts.quarantined,
        20,
        "the count is not bounded"
    );
}

pub async fn one_dead_channel_never_brings_the_queue_to_its_mark<B: Backend>() {
    let limits = Limits {
        bytes_max: 64 << 20,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    // 75 MB for two channels that are never served, in 25 batches.
    for n in 0..25 {
        let channel = if n % 5 == 0 { "small" } else { "large" };
        let bytes = 3_000_000;
        drop(
            queue
                .admit(bytes)
                .unwrap_or_else(|full| panic!("batch {n}: {full}")),
        );
        put(
            &queue,
            channel,
            Severity::Info,
            &format!("i{n}"),
            bytes as usize,
        )
        .await;
        let all = || queue.space().waiting_bytes.values().sum::<u64>() <= 48 << 20;
        settled("three quarters", all).await;
    }
    let ledger = queue.ledger();
    assert!(ledger.channels["large"].dropped.quota > 0, "{ledger:?}");
    assert_eq!(
        ledger.channels["small"].dropped.quota, 0,
        "the larger one gives"
    );
    queue.sound().await;
}

pub async fn above_the_mark_batches_are_refused_and_below_it_they_are_not<B: Backend>() {
    let limits = Limits {
        bytes_max: 32 << 20,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits.clone());
    let mut appended = 0;
    // Nothing is routed: the router stands still.
    let full = loop {
        match queue.admit(300_000) {
            Ok(_admitted) => {
                let events = [noise(250_000, appended + 1)];
                queue.append(batch(events)).await.expect("durable");
                appended += 1;
            }
            Err(full) => break full,
        }
        assert!(appended < 1_000);
    };
    assert!(full.0.contains("queue.bytes_max"), "{full}");
    assert!(queue.space().refusing.is_some());
    assert!(queue.space().used_bytes < 32 << 20, "it never got there");
    drop(queue);
    let queue = B::limited(dir.path(), limits);
    queue.admit(300_000).expect_err("a restart makes no room");
    while queue.ledger().waiting > 0 {
        let blocks = queue.unrouted(16).await.expect("blocks");
        let routed = crate::support::all_to("ops", Severity::Info, &blocks);
        queue.route(routed).await.expect("routed");
        queue.sound().await;
    }
    while let Some(lease) = queue.lease("ops", ALL, 5).await.expect("read") {
        queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    }
    let opens = || queue.admit(300_000).is_ok();
    settled("it accepts again by itself", opens).await;
    assert_eq!(queue.space().refusing, None);
    queue.sound().await;
}

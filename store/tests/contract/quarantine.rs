//! What could not be read: kept to be looked at.

use crate::Sound;
use auditrelay_store::{
    Counts, Limits, QuarantineRecord, Quarantined, Routed, RoutedBlock, Sealed, Source, Unreadable,
};
use auditrelay_store::{Engine, Queue as _};

use crate::{Backend, support::batch};

fn record(n: u8) -> QuarantineRecord {
    QuarantineRecord {
        cluster: "prod".into(),
        received_unix_ms: 7,
        fingerprint: [n; 16],
        unreadable: Unreadable {
            reason: format!("reason {n}"),
            offset_bytes: u64::from(n),
            length_bytes: 1,
            // Every kind: neither, one of them, both.
            sealed: n.is_multiple_of(2).then(|| Sealed {
                to: [n; 8],
                bytes: vec![n; 100],
            }),
            source: n.is_multiple_of(3).then(|| Source {
                file: "audit.log".into(),
                line: u64::from(n) + 1,
            }),
        },
    }
}

async fn quarantine(queue: &Engine, records: Vec<QuarantineRecord>) {
    queue
        .append(batch(["x".to_owned()]))
        .await
        .expect("durable");
    let block = queue.unrouted(1).await.expect("blocks").remove(0);
    let routed = RoutedBlock {
        seq: block.seq,
        counts: Counts {
            quarantined: 1,
            ..Counts::default()
        },
        quarantine: records,
        ..RoutedBlock::default()
    };
    let routed = Routed {
        blocks: vec![routed],
        deliveries: vec![],
        ..Routed::default()
    };
    queue.route(routed).await.expect("routed");
}

fn records(items: Vec<Quarantined>) -> Vec<QuarantineRecord> {
    items.into_iter().map(|item| item.record).collect()
}

pub async fn quarantined_items_are_read_page_by_page_and_survive<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    assert_eq!(queue.quarantined(0, 10).await.expect("read"), []);
    quarantine(&queue, (0..7).map(record).collect()).await;
    quarantine(&queue, (7..13).map(record).collect()).await;
    let all: Vec<_> = (0..13).map(record).collect();
    drop(queue);
    let queue = B::at(dir.path());
    let items = queue.quarantined(0, 100).await.expect("read");
    assert!(items.is_sorted_by(|one, next| one.id < next.id));
    let ids: Vec<u64> = items.iter().map(|item| item.id).collect();
    assert_eq!(records(items), all);

    let (mut paged, mut after) = (Vec::new(), 0);
    loop {
        let page = queue.quarantined(after, 5).await.expect("read");
        assert!(page.len() <= 5);
        let Some(last) = page.last() else { break };
        after = last.id;
        paged.extend(page);
    }
    assert_eq!(records(paged), all);
    let one = queue.quarantined(ids[3] - 1, 1).await.expect("read");
    assert_eq!((one[0].id, &one[0].record), (ids[3], &all[3]));
    assert_eq!(queue.quarantined(ids[12], 5).await.expect("read"), []);
    assert_eq!(queue.quarantined(u64::MAX, 5).await.expect("read"), []);
    queue.sound().await;
}

pub async fn only_the_newest_quarantined_items_are_kept<B: Backend>() {
    let limits = Limits {
        quarantine_entries_max: 10,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    for n in 0..30 {
        quarantine(&queue, vec![record(n)]).await;
    }
    let kept = records(queue.quarantined(0, 100).await.expect("read"));
    let newest: Vec<_> = (0..30).map(record).skip(30 - kept.len()).collect();
    assert!((5..=11).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept, newest);
    assert_eq!(queue.ledger().counts.quarantined, 30);
}

//! What waits for whom, and since when.

use crate::Sound;
use auditrelay_audit::Severity;
use auditrelay_store::{
    Accepted, Backlog, DeliveriesEncoder, DeliveryBlock, LeaseLimit, Limits, Notice,
};
use auditrelay_store::{Engine, Queue as _};

use crate::{
    Backend,
    support::{ALL, all_to, batch_at, burial, noise, one_to, until},
};

/// Events that were received then, for a channel.
async fn route_at(queue: &Engine, at: i64, severity: Severity, events: &[&str]) {
    let events = events.iter().map(|one| (*one).to_owned());
    let appended = queue.append(batch_at(at, events)).await;
    appended.expect("durable");
    let blocks = queue.unrouted(100).await.expect("blocks");
    let routed = queue.route(all_to("ops", severity, &blocks)).await;
    routed.expect("routed");
}

/// Events and since when, most severe first.
fn of(backlog: &[Backlog], channel: &str) -> [(u64, Option<i64>); 3] {
    let own = backlog.iter().filter(|one| one.channel == channel);
    let own: Vec<_> = own.collect();
    assert_eq!(
        own.iter().map(|one| one.severity).collect::<Vec<_>>(),
        Severity::ALL
    );
    for one in &own {
        assert_eq!(one.bytes > 0, one.events > 0, "{one:?}");
    }
    [0, 1, 2].map(|n| (own[n].events, own[n].oldest_unix_ms))
}

fn at_most(events_max: usize) -> LeaseLimit {
    LeaseLimit { events_max, ..ALL }
}

pub async fn what_waits_is_known_by_channel_and_severity<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    assert_eq!(queue.backlog(), []);
    route_at(&queue, 100, Severity::Info, &["i1", "i2", "i3"]).await;
    route_at(&queue, 200, Severity::Critical, &["c"]).await;
    route_at(&queue, 300, Severity::Info, &["i4"]).await;
    let all = [(1, Some(200)), (0, None), (4, Some(100))];
    assert_eq!(of(&queue.backlog(), "ops"), all);
    // What is leased waits until it is settled, and the rest of a record with it.
    let lease = queue.lease("ops", at_most(3), 5).await.expect("read");
    let lease = lease.expect("held");
    assert_eq!(of(&queue.backlog(), "ops"), all);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    let left = [(0, None), (0, None), (2, Some(100))];
    assert_eq!(of(&queue.backlog(), "ops"), left);
    queue.sound().await;
    let lease = queue.lease("ops", at_most(1), 5).await.expect("read");
    let lease = lease.expect("held");
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    let left = [(0, None), (0, None), (1, Some(300))];
    assert_eq!(of(&queue.backlog(), "ops"), left);
    queue.sound().await;
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("held");
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    assert_eq!(of(&queue.backlog(), "ops"), [(0, None); 3]);
    queue.sound().await;
}

pub async fn since_when_it_waits_is_known_after_a_restart_and_of_what_comes_back<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    route_at(&queue, 100, Severity::Critical, &["c1", "c2"]).await;
    route_at(&queue, 200, Severity::Critical, &["c3"]).await;
    let lease = queue.lease("ops", at_most(2), 5).await.expect("read");
    let lease = lease.expect("held");
    queue.bury(&lease.id, burial("no")).await.expect("held");
    assert_eq!(of(&queue.backlog(), "ops")[0], (1, Some(200)));
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(of(&queue.backlog(), "ops")[0], (1, Some(200)));
    // It comes back behind what waits, and is as old as it was.
    queue.redrive(vec![lease.id.id]).await.expect("done");
    assert_eq!(of(&queue.backlog(), "ops")[0], (3, Some(200)));
    let next = queue.lease("ops", at_most(1), 5).await.expect("read");
    let next = next.expect("held");
    queue.ack(&next.id, Accepted::at(8)).await.expect("held");
    assert_eq!(of(&queue.backlog(), "ops")[0], (2, Some(100)));
    queue.sound().await;
    // A copy for the fallback too.
    queue.fall_back("ops", "sec").await.expect("copied");
    assert_eq!(of(&queue.backlog(), "ops")[0], (2, Some(100)));
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(of(&queue.backlog(), "ops")[0], (2, Some(100)));
    queue.sound().await;
}

pub async fn notices_and_copies_are_part_of_it<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    route_at(&queue, 100, Severity::Critical, &["c1"]).await;
    let copied = queue.fall_back("ops", "sec").await.expect("copied");
    assert_eq!(copied.events, 1);
    let mut notices = DeliveriesEncoder::default();
    for events in [3, 4] {
        notices.push_notice(Notice {
            text: "many".to_owned(),
            events,
            cluster: String::new(),
        });
    }
    let notices = DeliveryBlock {
        channel: "sec".to_owned(),
        severity: Severity::Warning,
        deliveries: notices.finish().waiting_since(500),
    };
    let replayed = one_to("sec", Severity::Info, "again");
    let replayed = DeliveryBlock {
        deliveries: replayed.deliveries.waiting_since(600),
        ..replayed
    };
    let delivered = queue.deliver_copies(vec![notices, replayed]).await;
    delivered.expect("queued");
    let expected = [(1, Some(100)), (2, Some(500)), (1, Some(600))];
    assert_eq!(of(&queue.backlog(), "sec"), expected);
    queue.sound().await;
}

pub async fn what_a_quota_takes_is_no_part_of_it<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = Limits {
        channel_bytes_max: 8_000,
        ..Limits::default()
    };
    let queue = B::limited(dir.path(), limits);
    for n in 0..20 {
        let text = noise(1_000, n);
        route_at(&queue, 100 + n as i64, Severity::Info, &[text.as_str()]).await;
    }
    let dropped = || queue.ledger().channels["ops"].dropped.quota;
    let waiting = || queue.ledger().channels["ops"].waiting;
    until("the quota holds", || dropped() > 12 && waiting() < 8).await;
    queue.sound().await;
    let (dropped, backlog) = (dropped(), queue.backlog());
    // The oldest went, and a notice says so.
    let [critical, warning, info] = of(&backlog, "ops");
    assert_eq!(critical.0, 1, "{backlog:?}");
    assert_eq!(warning, (0, None));
    assert_eq!(info, (20 - dropped, Some(100 + dropped as i64)));
}

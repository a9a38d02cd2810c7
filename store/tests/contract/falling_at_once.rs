//! Falling back while others ask for something too.

use crate::Sound;
use auditrelay_audit::Severity;
use auditrelay_store::Queue as _;
use auditrelay_store::{Accepted, LeaseLimit};

use crate::{
    Backend,
    falling_back::{drain, fall_back},
    support::{ALL, append_and_route, burial, noise, one_to},
};

pub async fn asking_twice_at_once_copies_once<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    for round in 0..20 {
        let event = format!("c{round}");
        append_and_route(&queue, "ops", Severity::Critical, &[event.as_str()]).await;
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.fall_back("ops", "sec").await.expect("copied") })
            })
            .collect();
        let mut events = 0;
        for one in asked {
            events += one.await.expect("no panic").events;
        }
        assert_eq!(events, 1);
    }
    assert_eq!(queue.ledger().copies["sec"].queued, 20);
    queue.sound().await;
}

pub async fn beside_a_lane_that_delivers_and_buries_each_is_copied_once_at_the_most<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let all: Vec<String> = (0..120).map(|n| format!("c{n}")).collect();
    let lane = {
        let queue = queue.clone();
        tokio::spawn(async move {
            let two = LeaseLimit {
                events_max: 2,
                ..ALL
            };
            let (mut done, mut dead) = (0, Vec::new());
            while done < 120 {
                queue.wait_waiting("ops").await.expect("something waits");
                let lease = queue.lease("ops", two, 5).await.expect("read");
                let lease = lease.expect("members");
                done += lease.members.len();
                if done % 3 == 0 {
                    let burial = burial("refused");
                    queue.bury(&lease.id, burial).await.expect("held");
                    dead.push(lease.id.id);
                } else {
                    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
                }
            }
            dead
        })
    };
    let routing = async {
        for some in all.chunks(3) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            append_and_route(&queue, "ops", Severity::Critical, &some).await;
        }
    };
    let falling_back = async {
        while !lane.is_finished() {
            fall_back(&queue, "ops", "sec").await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(routing, falling_back);
    let dead = lane.await.expect("no panic");
    let raised = queue.redrive(dead.clone()).await.expect("done");
    assert_eq!(raised, dead);
    fall_back(&queue, "ops", "sec").await;
    let copies = drain(&queue, "sec").await;
    let mut texts: Vec<String> = copies.into_iter().map(|(text, _)| text).collect();
    texts.sort();
    let copied = texts.len();
    texts.dedup();
    assert_eq!(texts.len(), copied, "none is copied twice");
    // All that was dead waits now, and was copied then or before.
    for (text, _) in drain(&queue, "ops").await {
        assert!(texts.contains(&text), "{text} was not copied");
    }
    queue.sound().await;
}

pub async fn what_dies_while_it_is_copied_is_copied_once<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let large = noise(300_000, 1);
    for round in 0..40 {
        let event = format!("c{round}");
        append_and_route(&queue, "ops", Severity::Critical, &[event.as_str()]).await;
        let lease = queue.lease("ops", ALL, 5).await.expect("read");
        let lease = lease.expect("members").id;
        // The writer is busy with this, and commits what comes meanwhile together.
        let busy = {
            let (queue, large) = (queue.clone(), one_to("dev", Severity::Info, &large));
            tokio::spawn(async move { queue.deliver_copies(vec![large]).await })
        };
        tokio::task::yield_now().await;
        let (buried, copied) = tokio::join!(
            queue.bury(&lease, burial("refused")),
            queue.fall_back("ops", "sec"),
        );
        buried.expect("held");
        busy.await.expect("no panic").expect("durable");
        let before = copied.expect("copied").events;
        let raised = queue.redrive(vec![lease.id]).await.expect("done");
        assert_eq!(raised, [lease.id]);
        let after = fall_back(&queue, "ops", "sec").await;
        assert_eq!(before + after, 1, "round {round}");
        drain(&queue, "ops").await;
    }
    assert_eq!(queue.ledger().copies["sec"].queued, 40);
    queue.sound().await;
}

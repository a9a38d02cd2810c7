//! Each thing that needs a person, and what does not.

use auditrelay_dispatch::board::{LaneError, LaneView};

use super::*;
use crate::status::report::{Channel, Reload, Watchdog};

fn report() -> Report {
    let mut report = Report {
        running: true,
        ..Report::default()
    };
    report.ledger.balanced = true;
    let channel = Channel {
        configured: true,
        ..Channel::default()
    };
    report.channels.insert("ops".into(), channel);
    report
}

fn kinds(mut report: Report, storage: Option<QueueError>) -> Vec<String> {
    judge(&mut report, storage);
    assert_eq!(
        report.healthy,
        report.running && report.attention.is_empty()
    );
    assert!(report.attention.iter().all(|one| !one.todo.is_empty()));
    report.attention.into_iter().map(|one| one.kind).collect()
}

fn ops(change: impl FnOnce(&mut Channel)) -> Report {
    let mut report = report();
    change(report.channels.get_mut("ops").expect("it is there"));
    report
}

#[test]
fn what_mends_itself_needs_nobody() {
    assert!(kinds(report(), None).is_empty());
    let holding = ops(|channel| {
        channel.waiting = 1_000_000;
        channel.lane = Some(LaneView {
            state: LaneState::Holding,
            ..LaneView::default()
        });
    });
    assert!(kinds(holding, None).is_empty());
}

#[test]
fn each_thing_that_needs_a_person_is_said_with_what_to_do() {
    let failed = QueueError::Storage("the disk is gone".into());
    assert_eq!(kinds(report(), Some(failed)), ["storage"]);
    let mut bad = report();
    bad.refusing = Some("it is full".into());
    bad.ledger.balanced = false;
    bad.ledger.lost = 3;
    assert_eq!(kinds(bad, None), ["refusing", "unbalanced", "lost"]);
    let parked = ops(|channel| {
        channel.dead = 2;
        channel.lane = Some(LaneView {
            state: LaneState::Parked,
            last_error: Some(LaneError {
                at_unix_ms: 1,
                outcome: "park".into(),
                code: Some("not_in_channel".into()),
                reason: "Slack answered not_in_channel: invite the bot".into(),
            }),
            ..LaneView::default()
        });
    });
    let mut judged = parked.clone();
    judge(&mut judged, None);
    assert!(judged.attention[0].what.contains("not_in_channel"));
    assert_eq!(kinds(parked, None), ["parked", "dead"]);
    let orphaned = ops(|channel| {
        channel.configured = false;
        channel.waiting = 1;
    });
    assert_eq!(kinds(orphaned, None), ["orphaned"]);
}

#[test]
fn a_configuration_that_does_not_count_and_a_silent_watchdog_are_said() {
    let mut changed = report();
    changed.now_unix_ms = 1_000_000;
    changed.started_unix_ms = Some(0);
    changed.reload = Some(Reload {
        last_successful: true,
        ..Reload::default()
    });
    changed.watchdog = Some(Watchdog {
        interval_seconds: 300,
        last_delivered_unix_ms: Some(150_000),
    });
    assert!(kinds(changed.clone(), None).is_empty());
    changed.reload = Some(Reload {
        restart_pending: 2,
        ..Reload::default()
    });
    changed.watchdog = Some(Watchdog {
        interval_seconds: 300,
        last_delivered_unix_ms: None,
    });
    assert_eq!(kinds(changed, None), ["reload", "restart", "watchdog"]);
}

#[test]
fn a_relay_that_is_stopped_is_not_healthy_and_not_ready() {
    let mut stopped = report();
    stopped.running = false;
    judge(&mut stopped, None);
    assert!(!stopped.healthy && !stopped.ready);
    assert!(stopped.attention.is_empty());
}

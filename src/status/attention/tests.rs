//! Each thing that needs a person, and what does not.

use auditrelay_dispatch::board::{LaneError, LaneView};

use super::*;
use crate::status::report::{Certificate, Channel, Lately, LogFile, Refused, Reload, Watchdog};

fn report() -> Report {
    let mut report = Report {
        running: true,
        ..Report::default()
    };
    report.ledger.get_or_insert_default().balanced = true;
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
    bad.ledger.get_or_insert_default().balanced = false;
    bad.ledger.get_or_insert_default().lost = 3;
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
        leads_since_unix_ms: None,
    });
    assert!(kinds(changed.clone(), None).is_empty());
    changed.reload = Some(Reload {
        restart_pending: 2,
        ..Reload::default()
    });
    changed.watchdog = Some(Watchdog {
        interval_seconds: 300,
        last_delivered_unix_ms: None,
        leads_since_unix_ms: Some(90_000),
    });
    assert_eq!(
        kinds(changed.clone(), None),
        ["reload", "restart", "watchdog"]
    );
    // It has just begun to lead, and did so once before.
    changed.watchdog = Some(Watchdog {
        interval_seconds: 300,
        last_delivered_unix_ms: Some(1_000),
        leads_since_unix_ms: Some(950_000),
    });
    assert_eq!(kinds(changed, None), ["reload", "restart"]);
}

#[test]
fn a_relay_that_is_stopped_is_not_healthy_and_not_ready() {
    let mut stopped = report();
    stopped.running = false;
    judge(&mut stopped, None);
    assert!(!stopped.healthy && !stopped.ready);
    assert!(stopped.attention.is_empty());
}

fn refused(reasons: &[(&str, u64, bool)]) -> Report {
    let reasons = reasons.iter().map(|(reason, times, lasting)| {
        let (times, lasting) = (*times, *lasting);
        ((*reason).to_owned(), Refused { times, lasting })
    });
    let mut report = report();
    report.lately = Some(Lately {
        over_seconds: 600.0,
        refused: reasons.collect(),
        ..Lately::default()
    });
    report
}

#[test]
fn what_is_refused_is_said_where_it_is_lost_or_goes_on() {
    let mut lost = refused(&[("unknown_token", 5, false), ("method", 9, true)]);
    judge(&mut lost, None);
    let [one] = &lost.attention[..] else {
        panic!("{:?}", lost.attention);
    };
    let what = "5 requests refused in the last 10 min: unknown_token, a bearer token that no client has (401)";
    assert_eq!((one.kind.as_str(), one.what.as_str()), ("refused", what));
    // An API server sends it again.
    assert!(kinds(refused(&[("bytes_in_flight", 40, false)]), None).is_empty());
    let both = refused(&[("bytes_in_flight", 40, true), ("internal", 1, false)]);
    assert_eq!(kinds(both, None), ["refused", "refused"]);
    let mut unfinished = refused(&[]);
    let lately = unfinished.lately.as_mut().expect("it is there");
    lately.unfinished.insert("prod".into(), 10);
    assert!(kinds(unfinished.clone(), None).is_empty());
    let lately = unfinished.lately.as_mut().expect("it is there");
    lately.unfinished.insert("prod".into(), 11);
    assert_eq!(kinds(unfinished, None), ["unfinished"]);
}

#[test]
fn a_channel_that_holds_for_long_is_said_where_something_waits() {
    let minutes = |minutes: i64, waiting: u64| {
        let mut report = ops(|channel| {
            channel.waiting = waiting;
            channel.lane = Some(LaneView {
                state: LaneState::Holding,
                since_unix_ms: 1_000,
                ..LaneView::default()
            });
        });
        report.now_unix_ms = 1_000 + minutes * 60_000;
        kinds(report, None)
    };
    assert!(minutes(15, 3).is_empty());
    assert!(minutes(16, 0).is_empty());
    assert_eq!(minutes(16, 3), ["holding"]);
}

#[test]
fn files_and_certificates_are_said_while_there_is_time() {
    const DAY_MS: i64 = 24 * 3_600 * 1_000;
    assert_eq!(
        kinds(
            Report {
                files_current: Some(false),
                ..report()
            },
            None
        ),
        ["files"]
    );
    let ends = |client: Option<&str>, left_ms: i64| {
        let mut report = report();
        report.now_unix_ms = 100 * DAY_MS;
        report.certificates.push(Certificate {
            kind: if client.is_some() { "client" } else { "server" }.into(),
            client: client.map(str::to_owned),
            not_after_unix_ms: report.now_unix_ms + left_ms,
        });
        judge(&mut report, None);
        report.attention.pop().map(|one| one.what)
    };
    assert_eq!(ends(None, 8 * DAY_MS), None);
    let soon = ends(None, 6 * DAY_MS).expect("said");
    assert!(
        soon.contains("tls.certificate_file expires in 6 d"),
        "{soon}"
    );
    assert_eq!(ends(Some("prod"), 15 * DAY_MS), None);
    let soon = ends(Some("prod"), 13 * DAY_MS).expect("said");
    assert!(soon.contains("client prod expires in 13 d"), "{soon}");
    let past = ends(Some("prod"), -1).expect("said");
    assert!(past.contains("has expired: 1970-04-10"), "{past}");
}

#[test]
fn log_files_that_are_not_read_are_said() {
    let of = |one: LogFile| {
        let mut report = report();
        report.started_unix_ms = Some(0);
        report.now_unix_ms = 61_000;
        report.log_files.insert("/a.log".into(), one);
        kinds(report, None)
    };
    let read = LogFile {
        files: 1,
        lag_bytes: 1 << 30,
        ..LogFile::default()
    };
    assert!(of(read.clone()).is_empty());
    assert_eq!(of(LogFile::default()), ["log_file"]);
    let failing = LogFile {
        failing_files: 1,
        ..read.clone()
    };
    assert_eq!(of(failing), ["log_file"]);
    let resting = LogFile {
        resting: true,
        ..read
    };
    assert_eq!(of(resting), ["log_file"]);
}

//! The table in good days and bad ones, with hostile words.

use auditrelay_dispatch::board::{Incident, LaneError};

use super::*;
use crate::status::{
    Attention, Budget,
    report::{Lately, Refused},
};

const NOW: i64 = 1_795_000_000_000;

fn report() -> Report {
    let mut report = Report {
        version: "0.1.0".into(),
        running: true,
        healthy: true,
        now_unix_ms: NOW,
        started_unix_ms: Some(NOW - 7_500_000),
        ..Report::default()
    };
    report.ledger.get_or_insert_default().received = 12_345;
    report.ledger.get_or_insert_default().delivered = 800;
    report.ledger.get_or_insert_default().duplicates = 2;
    report.ledger.get_or_insert_default().balanced = true;
    report.disk.get_or_insert_default().queue_bytes = 3 << 20;
    report.disk.get_or_insert_default().queue_bytes_max = Some(8 << 30);
    report.slack.push(Budget {
        channels: ["a", "b", "c", "d", "e", "f"].map(String::from).to_vec(),
        posts_last_minute: 7,
        messages_per_minute_max: 240,
    });
    let lane = LaneView {
        last_delivered_unix_ms: Some(NOW - 61_000),
        ..LaneView::default()
    };
    let channel = Channel {
        configured: true,
        delivered: 800,
        lane: Some(lane),
        ..Channel::default()
    };
    report.channels.insert("ops".into(), channel);
    report
}

#[test]
fn what_waits_in_an_inbox_is_a_line() {
    let mut report = report();
    let mut inbox = Inbox {
        bytes: 12 << 10,
        bytes_max: 2 << 30,
        messages: 3,
        oldest_age_seconds: 0.31,
    };
    report.inbox = Some(inbox);
    let line = "\ninbox     12.0 KiB of at most 2.0 GiB not taken over yet, oldest 0.3 s\n";
    assert!(table(&report).contains(line), "{}", table(&report));
    inbox = Inbox {
        bytes_max: 2 << 30,
        ..Inbox::default()
    };
    report.inbox = Some(inbox);
    let line = "\ninbox     0 bytes of at most 2.0 GiB not taken over yet\n";
    assert!(table(&report).contains(line), "{}", table(&report));
}

#[test]
fn a_relay_that_is_well_is_said_in_a_few_lines() {
    assert_eq!(
        table(&report()),
        "auditrelay 0.1.0: healthy; running for 2 h 5 min

events    12,345 received, 800 delivered, 2 duplicates, balanced
queue     3.0 MiB of at most 8.0 GiB, an unknown amount free on its disk
slack     7 of 240 messages in the last minute (a, b, c, d, 2 more)

channel  state  waiting  oldest  delivered  dead  last delivery  next
ops      open         0       -        800     0  1m 01s ago     idle
"
    );
}

#[test]
fn what_was_refused_and_log_files_have_lines() {
    let mut report = report();
    let refused = |times| Refused {
        times,
        lasting: false,
    };
    report.lately = Some(Lately {
        over_seconds: 600.0,
        refused: [
            ("method".into(), refused(1_200)),
            ("path".into(), refused(1)),
        ]
        .into(),
        ..Lately::default()
    });
    let log_file = LogFile {
        lag_bytes: 3 << 20,
        last_read_unix_ms: Some(NOW - 2_000),
        ..LogFile::default()
    };
    report
        .log_files
        .insert("/var/log/\u{1b}[2J.log".into(), log_file);
    let text = table(&report);
    for line in [
        "\nrefused   1,200 method, 1 path in the last 10 min\n",
        "log: 3.0 MiB not read, read 2s ago\n",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn trouble_stands_first_and_what_is_open_with_little_to_wait_for_last() {
    let mut report = report();
    for number in 0..40 {
        let channel = Channel {
            configured: true,
            lane: Some(LaneView::default()),
            waiting: number,
            ..Channel::default()
        };
        report.channels.insert(format!("c{number:02}"), channel);
    }
    let parked = report.channels.entry("c00".into()).or_default();
    parked.lane = Some(LaneView {
        state: LaneState::Parked,
        next_try_unix_ms: Some(NOW + 125_000),
        ..LaneView::default()
    });
    report.healthy = false;
    report.attention.push(Attention {
        kind: "parked".into(),
        channel: Some("c00".into()),
        what: "the channel is parked: Slack answered is_archived".into(),
        todo: "unarchive it".into(),
    });
    let text = table(&report);
    let start = "auditrelay 0.1.0: 1 thing needs a person; running for 2 h 5 min
  ! c00: the channel is parked: Slack answered is_archived
    -> unarchive it
";
    assert!(text.starts_with(start), "{text}");
    let at = |name: &str| {
        text.find(name)
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    assert!(
        at("\nc00 ") < at("\nc39 ") && at("\nc39 ") < at("\nc38 "),
        "{text}"
    );
    assert!(text.contains("tries in 2m 05s"), "{text}");
    assert!(text.contains("11 more channels, "), "{text}");
}

#[test]
fn what_does_not_balance_and_a_relay_that_is_stopped_are_said() {
    let mut bad = report();
    bad.ledger.get_or_insert_default().balanced = false;
    assert!(table(&bad).contains("NOT BALANCED"));
    let mut stopped = report();
    stopped.running = false;
    stopped.channels.entry("ops".into()).or_default().lane = None;
    let text = table(&stopped);
    assert!(text.starts_with("the relay is not running: "), "{text}");
    assert!(text.contains("ops      stopped"), "{text}");
}

#[test]
fn words_of_others_cannot_act_on_the_terminal() {
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}x\r\n::error::y";
    let mut report = report();
    report.version = hostile.into();
    report.attention.push(Attention {
        kind: hostile.into(),
        channel: Some(hostile.into()),
        what: hostile.into(),
        todo: "mend it".into(),
    });
    report.errors.push(Incident {
        at_unix_ms: NOW,
        first_unix_ms: NOW,
        times: 3,
        part: "delivery".into(),
        channel: Some(hostile.into()),
        text: hostile.into(),
    });
    report.mutes.push(ActiveMute {
        author: hostile.into(),
        reason: hostile.into(),
        ..ActiveMute::default()
    });
    let lane = LaneView {
        state: LaneState::Holding,
        last_error: Some(LaneError {
            at_unix_ms: NOW,
            outcome: hostile.into(),
            code: None,
            reason: hostile.into(),
        }),
        ..LaneView::default()
    };
    let channel = Channel {
        configured: true,
        lane: Some(lane),
        ..Channel::default()
    };
    report.channels.insert(hostile.into(), channel);
    let text = table(&report);
    let bad = text
        .chars()
        .find(|one| (one.is_control() && *one != '\n') || *one == '\u{202e}');
    assert_eq!(bad, None, "{text:?}");
    assert!(text.contains(" (3 times)"), "{text}");
}

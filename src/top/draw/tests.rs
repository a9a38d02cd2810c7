//! The screen as text: in good days and bad ones, small and large, with hostile words.

use std::time::Duration;

use auditrelay_dispatch::board::{Incident, LaneError, LaneState, LaneView, WaitsFor};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};

use super::*;
use crate::{
    status::{Budget, Inbox},
    top::app::{Next, Rate},
};

const NOW: i64 = 1_795_000_000_000;
const GIB: u64 = 1 << 30;

fn lane(state: LaneState) -> LaneView {
    LaneView {
        state,
        since_unix_ms: NOW - 90_000,
        waits_for: WaitsFor::Pace,
        last_delivered_unix_ms: Some(NOW - 3_000),
        delivered: 812,
        messages: 71,
        posts: 75,
        ..LaneView::default()
    }
}

fn healthy() -> Report {
    let mut report = Report {
        version: "0.1.0".into(),
        running: true,
        healthy: true,
        ready: true,
        now_unix_ms: NOW,
        started_unix_ms: Some(NOW - 7_500_000),
        ..Report::default()
    };
    report.ledger.get_or_insert_default().received = 1_300;
    report.ledger.get_or_insert_default().balanced = true;
    report.disk.get_or_insert_default().queue_bytes = 3 * GIB;
    report.disk.get_or_insert_default().queue_bytes_max = Some(8 * GIB);
    report.disk.get_or_insert_default().free_bytes = Some(40 * GIB);
    report.slack.push(Budget {
        channels: vec!["platform".into(), "security".into()],
        posts_last_minute: 96,
        messages_per_minute_max: 240,
    });
    for (name, waiting) in [("platform", 40), ("security", 0)] {
        let channel = Channel {
            configured: true,
            waiting,
            oldest_age_seconds: (waiting > 0).then_some(64),
            delivered: 812,
            lane: Some(lane(LaneState::Open)),
            ..Channel::default()
        };
        report.channels.insert(name.into(), channel);
    }
    report
}

fn troubled() -> Report {
    let mut report = healthy();
    let reason = "Slack answered not_in_channel: invite the bot into the channel";
    let security = report.channels.entry("security".into()).or_default();
    security.waiting = 1_204;
    security.oldest_age_seconds = Some(7_300);
    security.lane = Some(LaneView {
        waits_for: WaitsFor::Park,
        next_try_unix_ms: Some(NOW + 240_000),
        last_error: Some(LaneError {
            at_unix_ms: NOW - 60_000,
            outcome: "park".into(),
            code: Some("not_in_channel".into()),
            reason: reason.into(),
        }),
        ..lane(LaneState::Parked)
    });
    report.attention.push(crate::status::Attention {
        kind: "parked".into(),
        channel: Some("security".into()),
        what: format!("the channel is parked: {reason}"),
        todo: "mend it".into(),
    });
    report.errors.push(Incident {
        at_unix_ms: NOW - 60_000,
        first_unix_ms: NOW - 7_300_000,
        times: 4,
        part: "delivery".into(),
        channel: Some("security".into()),
        text: format!("parked: {reason}"),
    });
    report
}

fn app(report: Report) -> App {
    let mut app = App::new(Duration::from_secs(1), false);
    app.take(Ok(report), NOW);
    for n in 0..60_u32 {
        let received = f64::from(n % 20) * 4.0;
        let delivered = f64::from(n % 7);
        app.rates.push_back(Rate {
            received,
            delivered,
        });
    }
    app
}

fn screen(app: &App, width: u16, height: u16) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, app)).expect("drawn");
    terminal.backend().clone()
}

fn press(app: &mut App, code: KeyCode) -> Next {
    app.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn a_relay_that_is_well() {
    insta::assert_snapshot!(screen(&app(healthy()), 80, 24));
}

#[test]
fn of_several_relays_it_says_who_leads_and_what_the_inbox_holds() {
    let mut report = healthy();
    report.replica = Some("relay-1".to_owned());
    report.leader = Some("relay-0".to_owned());
    report.inbox = Some(Inbox {
        bytes: 5 * GIB,
        ..Inbox::default()
    });
    let shown = screen(&app(report.clone()), 80, 24).to_string();
    assert!(
        shown.contains("on relay-1 (relay-0 leads) healthy"),
        "{shown}"
    );
    assert!(
        shown.contains("of 8.0 GiB, 5.0 GiB more in the inbox"),
        "{shown}"
    );
    (report.leader, report.disk, report.inbox) = (None, None, None);
    let shown = screen(&app(report), 80, 24).to_string();
    assert!(
        shown.contains("nobody leads") && shown.contains("not known"),
        "{shown}"
    );
}

#[test]
fn a_channel_that_is_parked_stands_first() {
    insta::assert_snapshot!(screen(&app(troubled()), 80, 24));
}

#[test]
fn what_is_left_out_of_what_needs_a_person_is_counted() {
    let with = |things: usize| {
        let mut report = troubled();
        let first = report.attention[0].clone();
        report.attention = (0..things)
            .map(|number| crate::status::Attention {
                what: format!("thing {number}."),
                ..first.clone()
            })
            .collect();
        screen(&app(report), 80, 24).to_string()
    };
    let text = with(3);
    assert!(
        text.contains("thing 2.") && !text.contains("more ("),
        "{text}"
    );
    let text = with(7);
    assert!(text.contains("… and 5 more (auditrelay status)"), "{text}");
    assert!(
        text.contains("thing 1.") && !text.contains("thing 2."),
        "{text}"
    );
}

#[test]
fn one_channel() {
    let mut app = app(troubled());
    press(&mut app, KeyCode::Enter);
    insta::assert_snapshot!(screen(&app, 80, 24));
}

#[test]
fn a_relay_that_went_away_is_said_and_what_it_said_last_stays() {
    let mut app = app(healthy());
    app.take(
        Err("the relay does not answer on 127.0.0.1:9090".into()),
        NOW,
    );
    app.take(
        Err("the relay does not run, or it starts".into()),
        NOW + 9_000,
    );
    let text = screen(&app, 80, 24).to_string();
    assert!(text.contains("NO ANSWER since 11:06:40"), "{text}");
    assert!(
        text.contains("! the relay does not run, or it starts; trying again"),
        "{text}"
    );
    assert!(text.contains("platform"), "{text}");
    app.take(Ok(healthy()), NOW + 10_000);
    let text = screen(&app, 80, 24).to_string();
    assert!(!text.contains("NO ANSWER"), "{text}");
    let mut first = App::new(Duration::from_secs(1), false);
    first.take(Err("the relay does not run, or it starts".into()), NOW);
    let text = screen(&first, 80, 24).to_string();
    assert!(
        text.contains("the relay does not run, or it starts; trying again"),
        "{text}"
    );
}

#[test]
fn every_size_can_be_drawn_in_every_view() {
    let mut app = app(troubled());
    for view in [View::Overview, View::Channel, View::Help] {
        app.view = view;
        for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 10), (80, 24), (300, 100)] {
            screen(&app, width, height);
        }
    }
    app.view = View::Help;
    let text = screen(&app, 80, 24).to_string();
    assert!(
        text.contains("auditrelay status prints the same once"),
        "{text}"
    );
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let colours = |has_colour| {
        let mut app = app(troubled());
        app.has_colour = has_colour;
        let screen = screen(&app, 80, 24);
        let cells = screen.buffer().content().iter();
        cells
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(colours(false), 0);
    assert!(colours(true) > 20);
}

#[test]
fn words_of_others_cannot_act_on_the_terminal() {
    let mut report = troubled();
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}x\r\n";
    report.attention[0].what = hostile.into();
    report.errors[0].text = hostile.into();
    report.version = hostile.into();
    let lane = report
        .channels
        .get_mut("security")
        .and_then(|one| one.lane.as_mut());
    let error = lane.and_then(|lane| lane.last_error.as_mut());
    error.expect("one").reason = hostile.into();
    let channel = report.channels.remove("platform").expect("there");
    report.channels.insert(hostile.into(), channel);
    let mut app = app(report);
    for view in [View::Overview, View::Channel] {
        app.view = view;
        for selected in 0..2 {
            let screen = screen(&app, 80, 24);
            for cell in screen.buffer().content() {
                let is_bad = |one: char| one.is_control() || one == '\u{202e}';
                assert!(!cell.symbol().contains(is_bad), "{view:?} {selected}");
            }
            press(&mut app, KeyCode::Down);
        }
    }
}

#[test]
fn keys_do_what_the_help_says() {
    let mut app = app(troubled());
    let selected = |app: &App| app.names()[app.selected()].clone();
    assert_eq!(selected(&app), "security");
    press(&mut app, KeyCode::Down);
    assert_eq!(selected(&app), "platform");
    press(&mut app, KeyCode::Char('j'));
    assert_eq!(selected(&app), "platform", "beyond the last");
    // The order changes, what is selected does not.
    app.take(Ok(healthy()), NOW);
    assert_eq!(selected(&app), "platform");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.view, View::Channel);
    assert_eq!(press(&mut app, KeyCode::Char('q')), Next::Go);
    assert_eq!(app.view, View::Overview);
    press(&mut app, KeyCode::Char('p'));
    app.take(Ok(troubled()), NOW);
    assert!(
        app.report
            .as_ref()
            .is_some_and(|report| report.attention.is_empty())
    );
    assert!(screen(&app, 80, 24).to_string().contains("PAUSED"));
    press(&mut app, KeyCode::Char('p'));
    app.take(Ok(troubled()), NOW);
    assert!(
        app.report
            .as_ref()
            .is_some_and(|report| !report.attention.is_empty())
    );
    press(&mut app, KeyCode::Char('?'));
    assert_eq!(app.view, View::Help);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.key(control_c), Next::Quit);
    press(&mut app, KeyCode::Esc);
    assert_eq!(press(&mut app, KeyCode::Char('q')), Next::Quit);
}

#[test]
fn rates_are_between_two_looks_at_the_same_run() {
    let mut app = App::new(Duration::from_secs(1), false);
    let look = |received, at, started| {
        let mut report = healthy();
        report.ledger.get_or_insert_default().received = received;
        report.now_unix_ms = at;
        report.started_unix_ms = Some(started);
        Ok(report)
    };
    app.take(look(100, NOW, 1), NOW);
    app.take(look(150, NOW + 2_000, 1), NOW);
    assert_eq!(app.rates.back().map(|rate| rate.received), Some(25.0));
    // Another run, whose clock goes on.
    app.take(look(9_000, NOW + 3_000, 2), NOW);
    assert_eq!(app.rates.len(), 1);
    for n in 0..1_000 {
        app.take(look(9_000 + n, NOW + 4_000 + n as i64, 2), NOW);
    }
    assert_eq!(app.rates.len(), 400);
}

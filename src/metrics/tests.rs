//! What a scrape says of a ledger and of space.

use auditrelay_audit::Severity;
use auditrelay_store::{Backlog, ChannelCounts, Dropped};

use super::*;

/// The value of a series in what a scrape reads; `None` if there is no such series.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|number| number.parse().expect("a number"))
}

fn scrape(metrics: &LedgerMetrics, ledger: &Ledger, space: &Space) -> String {
    let text = metrics.text(ledger, space, Format::Text).expect("encoded");
    String::from_utf8(text).expect("text")
}

#[test]
fn what_was_dropped_stands_by_reason_and_once() {
    let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
    let mut ledger = Ledger {
        lost: 4,
        ..Ledger::default()
    };
    let counts = ChannelCounts {
        routed: 9,
        delivered: 1,
        waiting: 2,
        dead: 1,
        dropped: Dropped {
            quota: 3,
            command: 2,
        },
    };
    ledger.channels.insert("ops".into(), counts);
    let others = OtherCounts {
        queued: 15,
        delivered: 1,
        waiting: 2,
        dead: 4,
        dropped: 8,
    };
    ledger.notices.insert("ops".into(), others);
    ledger.copies.insert("dev".into(), others);
    // Twice, as counters that are copied must not add up.
    scrape(&metrics, &ledger, &Space::default());
    let text = scrape(&metrics, &ledger, &Space::default());
    for (series, expected) in [
        ("auditrelay_ledger_lost_events", 4.0),
        (
            r#"auditrelay_channel_events_total{channel="ops",fate="routed"}"#,
            9.0,
        ),
        (
            r#"auditrelay_channel_dropped_events_total{channel="ops",reason="quota"}"#,
            3.0,
        ),
        (
            r#"auditrelay_channel_dropped_events_total{channel="ops",reason="command"}"#,
            2.0,
        ),
        (
            r#"auditrelay_notices_total{channel="ops",fate="queued"}"#,
            15.0,
        ),
        (
            r#"auditrelay_notices_total{channel="ops",fate="dropped"}"#,
            8.0,
        ),
        (r#"auditrelay_waiting_notices{channel="ops"}"#, 2.0),
        (r#"auditrelay_dead_copies{channel="dev"}"#, 4.0),
        (r#"auditrelay_waiting_copies{channel="dev"}"#, 2.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    let sum = r#"auditrelay_channel_events_total{channel="ops",fate="dropped"}"#;
    assert_eq!(value(&text, sum), None);
}

#[test]
fn what_was_filtered_stands_by_the_route_that_took_it() {
    let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
    let mut ledger = Ledger::default();
    ledger.counts.filtered = 9;
    ledger.filtered_by.insert("leases".into(), 4);
    ledger.filtered_by.insert("gone".into(), 2);
    let series = |route: &str| format!(r#"auditrelay_events_filtered_total{{route="{route}"}}"#);
    let text = scrape(&metrics, &ledger, &Space::default());
    for (route, events) in [("", 3.0), ("leases", 4.0), ("gone", 2.0)] {
        assert_eq!(value(&text, &series(route)), Some(events), "{text}");
    }
    ledger.filtered_by.remove("gone");
    let text = scrape(&metrics, &ledger, &Space::default());
    assert_eq!(value(&text, &series("gone")), None);
    assert_eq!(value(&text, &series("")), Some(5.0));
}

#[test]
fn space_is_told_by_who_has_it_and_nothing_stays_that_is_gone() {
    let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
    let mut ledger = Ledger::default();
    for name in ["ops", "dev"] {
        ledger
            .channels
            .insert(name.into(), ChannelCounts::default());
    }
    let mut space = Space {
        used_bytes: 1,
        bytes_max: 2,
        disk_free_bytes: Some(3),
        disk_free_bytes_min: 4,
        refusing: Some("full".into()),
        waiting_bytes: [("ops".to_owned(), 5), ("gone".to_owned(), 6)].into(),
        channel_bytes_max: 7,
        dead_bytes: 8,
        quarantine_bytes: 9,
        detail_bytes: 10,
        retained_bytes: 11,
    };
    let text = scrape(&metrics, &ledger, &space);
    for (series, expected) in [
        ("auditrelay_queue_bytes", 1.0),
        ("auditrelay_queue_bytes_max", 2.0),
        ("auditrelay_disk_free_bytes", 3.0),
        ("auditrelay_disk_free_bytes_min", 4.0),
        ("auditrelay_queue_refusing", 1.0),
        (r#"auditrelay_channel_waiting_bytes{channel="ops"}"#, 5.0),
        (r#"auditrelay_channel_waiting_bytes{channel="dev"}"#, 0.0),
        (r#"auditrelay_channel_waiting_bytes{channel="gone"}"#, 6.0),
        ("auditrelay_channel_bytes_max", 7.0),
        ("auditrelay_dead_bytes", 8.0),
        ("auditrelay_quarantine_bytes", 9.0),
        ("auditrelay_detail_bytes", 10.0),
        ("auditrelay_retained_bytes", 11.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    space.refusing = None;
    space.disk_free_bytes = None;
    space.waiting_bytes.clear();
    let text = scrape(&metrics, &ledger, &space);
    for (series, expected) in [
        ("auditrelay_queue_refusing", Some(0.0)),
        ("auditrelay_disk_free_bytes", None),
        (
            r#"auditrelay_channel_waiting_bytes{channel="ops"}"#,
            Some(0.0),
        ),
        (r#"auditrelay_channel_waiting_bytes{channel="gone"}"#, None),
    ] {
        assert_eq!(value(&text, series), expected, "{series}\n{text}");
    }
}

#[test]
fn what_was_muted_stands_by_channel_and_a_0_is_told_from_an_absence() {
    let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
    let mut ledger = Ledger::default();
    ledger.channels.insert("ops".into(), Default::default());
    ledger.channels.insert("sec".into(), Default::default());
    ledger.muted_deliveries.insert("sec".into(), 4);
    metrics.mutes.active.set(2);
    for _ in 0..2 {
        let text = scrape(&metrics, &ledger, &Space::default());
        for (series, expected) in [
            (r#"auditrelay_events_muted_total{channel="ops"}"#, Some(0.0)),
            (r#"auditrelay_events_muted_total{channel="sec"}"#, Some(4.0)),
            (r#"auditrelay_events_muted_total{channel="dev"}"#, None),
            ("auditrelay_mutes_active", Some(2.0)),
        ] {
            assert_eq!(value(&text, series), expected, "{series}\n{text}");
        }
    }
}

#[test]
fn a_backlog_is_told_by_severity_with_the_age_of_what_is_told_next() {
    let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
    let backlog = |severity, events, oldest_unix_ms| Backlog {
        channel: "ops".to_owned(),
        severity,
        events,
        bytes: events * 100,
        oldest_unix_ms,
    };
    let waits = [
        backlog(Severity::Critical, 3, Some(1_000)),
        // The clock was set back.
        backlog(Severity::Warning, 1, Some(9_000)),
        backlog(Severity::Info, 0, None),
    ];
    metrics.backlog.copy(&waits, 3_500);
    let text = scrape(&metrics, &Ledger::default(), &Space::default());
    for (name, severity, expected) in [
        ("events", "critical", 3.0),
        ("bytes", "critical", 300.0),
        ("oldest_age_seconds", "critical", 2.5),
        ("oldest_age_seconds", "warning", 0.0),
        ("events", "info", 0.0),
        ("oldest_age_seconds", "info", 0.0),
    ] {
        let series = format!(r#"auditrelay_backlog_{name}{{channel="ops",severity="{severity}"}}"#);
        assert_eq!(value(&text, &series), Some(expected), "{series}\n{text}");
    }
    // What was delivered leaves a 0.
    metrics
        .backlog
        .copy(&[backlog(Severity::Critical, 0, None)], 3_500);
    let text = scrape(&metrics, &Ledger::default(), &Space::default());
    let age = r#"auditrelay_backlog_oldest_age_seconds{channel="ops",severity="critical"}"#;
    assert_eq!(value(&text, age), Some(0.0));
}

#[test]
fn a_configured_channel_has_its_series_before_anything_is_routed_to_it() {
    let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
    let mut ledger = Ledger::default();
    let counts = ChannelCounts {
        routed: 1,
        dead: 1,
        ..ChannelCounts::default()
    };
    ledger.channels.insert("ops".into(), counts);
    let ledger = with_channels(ledger, ["ops", "sec"].into_iter());
    let text = scrape(&metrics, &ledger, &Space::default());
    for (series, expected) in [
        (r#"auditrelay_channel_dead_events{channel="ops"}"#, 1.0),
        (r#"auditrelay_channel_dead_events{channel="sec"}"#, 0.0),
        (r#"auditrelay_channel_waiting_events{channel="sec"}"#, 0.0),
        (r#"auditrelay_dead_notices{channel="ops"}"#, 0.0),
        (r#"auditrelay_dead_copies{channel="sec"}"#, 0.0),
        (
            r#"auditrelay_channel_dropped_events_total{channel="sec",reason="quota"}"#,
            0.0,
        ),
        (
            r#"auditrelay_channel_events_total{channel="sec",fate="routed"}"#,
            0.0,
        ),
        (r#"auditrelay_events_muted_total{channel="sec"}"#, 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
}

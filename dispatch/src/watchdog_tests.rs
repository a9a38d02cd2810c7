//! The watchdog's events are known by nobody's claim, and counted once.

use auditrelay_audit::list::Readable;
use auditrelay_store::Marks;

use super::*;

fn key(byte: u8) -> HashKey {
    HashKey::new([byte; 32])
}

fn now() -> Timestamp {
    "2026-11-26T08:00:00.25Z".parse().expect("a time")
}

/// The event of a list, as JSON.
fn event(list: &str) -> String {
    let list: serde_json::Value = serde_json::from_str(list).expect("JSON");
    list["items"][0].to_string()
}

fn made(by: u8, json: &str) -> bool {
    Own::new(&key(by)).made(&Envelope::parse(json).expect("an event"))
}

#[test]
fn only_who_has_the_key_makes_one() {
    let heartbeat = Heartbeat::new(&key(1), now(), 0x0123_4567_89ab_cdef, "prod");
    let mut read = 0;
    let list = Readable::new(heartbeat.list.as_bytes());
    let parsed = list.events(10, |_, envelope| {
        let envelope = envelope.expect("an event");
        assert_eq!(envelope.audit_id.as_str(), heartbeat.audit_id);
        assert!(envelope.is_told_by_default());
        read += 1;
    });
    parsed.expect("a list");
    assert_eq!(read, 1);
    let json = event(&heartbeat.list);
    assert!(made(1, &json));
    assert!(!made(2, &json), "another relay's");
    assert!(heartbeat.audit_id.starts_with("01234567-89ab-cdef-"));
    assert_eq!(heartbeat.audit_id.len(), 36);
    for (from, to) in [
        (USER, "alice"),
        ("\"watchdogs\"", "\"pods\""),
        ("auditrelay.io", "apps"),
        ("08:00:00", "08:00:01"),
        ("01234567-89ab", "01234567-89ac"),
        (heartbeat.audit_id.as_str(), "x"),
        (heartbeat.audit_id.as_str(), "ééééééééééé"),
        (heartbeat.audit_id.as_str(), ""),
    ] {
        let other = json.replace(from, to);
        assert_ne!(other, json, "{from}");
        assert!(!made(1, &other), "{from} -> {to}");
    }
}

#[test]
fn one_is_delivered_once_and_only_by_who_sent_it() {
    let heartbeats = Heartbeats::new(&Registry::new()).expect("registered");
    heartbeats.delivered("before", 9_000);
    assert_eq!(heartbeats.last_delivered.get(), 0, "of the process before");
    heartbeats.begins("own");
    heartbeats.delivered("own", 5_000);
    assert_eq!(heartbeats.last_delivered.get(), 5);
    heartbeats.delivered("own", 60_000);
    assert_eq!(heartbeats.last_delivered.get(), 5, "a repetition");
    for n in 0..=UNDERWAY_MAX {
        heartbeats.begins(&n.to_string());
    }
    heartbeats.delivered("0", 70_000);
    assert_eq!(heartbeats.last_delivered.get(), 5, "it was given up");
    heartbeats.delivered("1", 71_000);
    assert_eq!(heartbeats.last_delivered.get(), 71);
}

#[test]
fn it_is_told_in_a_line_and_what_only_has_its_route_is_not() {
    let heartbeat = Heartbeat::new(&key(1), now(), 7, "prod <!channel>");
    let mut delivery = EventDelivery {
        cluster: CLUSTER.to_owned(),
        route: WATCHDOG.to_owned(),
        json: event(&heartbeat.list),
        marks: Marks::default(),
        meant_for: None,
    };
    let said = |delivery: &EventDelivery, after_ms| {
        let envelope = Envelope::parse(&delivery.json).expect("an event");
        sentence(delivery, &envelope, now().as_millisecond() + after_ms)
    };
    assert_eq!(
        said(&delivery, 430).as_deref(),
        Some(
            "auditrelay of prod <!channel> is alive: its own event of 2026-11-26 08:00:00 UTC came through webhook, \
             queue and routes in 0.4 s"
        )
    );
    let late = said(&delivery, 3_600_000).expect("a sentence");
    assert!(late.ends_with("in 60 min"), "{late}");
    delivery.route = "another".to_owned();
    assert_eq!(said(&delivery, 430), None);
    delivery.route = WATCHDOG.to_owned();
    delivery.json = delivery.json.replace(USER, "alice");
    assert_eq!(said(&delivery, 430), None);
}

//! Messages: what they say, and that no event can make one that Slack refuses.

use auditrelay_store::{LeaseId, Marks};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::checker::assert_slack_takes;

/// As a channel does whose messages' members are kept.
pub(super) fn render(lease: &Lease, sentences_max: usize) -> Message {
    let style = Style {
        sentences_max,
        ..Style::default()
    };
    super::render(lease, &style, NOW_UNIX_MS)
}

/// A minute after the events.
pub(super) const NOW_UNIX_MS: i64 = 1_795_230_989_000;

pub(super) fn event(user: &str, verb: &str, name: &str) -> EventDelivery {
    EventDelivery {
        cluster: "prod".into(),
        route: String::new(),
        json: json!({
            "level": "Metadata", "stage": "ResponseComplete", "auditID": "a", "verb": verb,
            "user": {"username": user}, "objectRef": {"resource": "pods", "namespace": "shop", "name": name},
            "responseStatus": {"code": 200}, "stageTimestamp": "2026-11-21T03:15:29.1Z",
        })
        .to_string(),
        marks: Marks::default(),
meant_for: None,
}
}

pub(super) fn lease(members: Vec<(Severity, Delivery)>, resumed: bool) -> Lease {
    Lease {
        id: LeaseId {
            channel: "ops".into(),
            id: 1,
        },
        members,
        resumed,
        sealed_unix_ms: 0,
    }
}

pub(super) fn info(events: impl IntoIterator<Item = EventDelivery>) -> Vec<(Severity, Delivery)> {
    events
        .into_iter()
        .map(|event| (Severity::Info, Delivery::Event(event)))
        .collect()
}

#[test]
fn a_few_events_are_a_sentence_each() {
    let message = render(&lease(info([event("alice", "delete", "api")]), false), 8);
    assert_eq!(message.form, "sentences");
    assert_eq!(message.text, "[prod] alice deleted pod shop/api (200)");
    assert_eq!(message.blocks.len(), 2);
    assert_slack_takes(&message);
}

#[test]
fn many_events_are_a_digest_with_exact_totals() {
    let events = (0..500).map(|n| {
        event(
            if n % 5 == 0 { "bob" } else { "alice" },
            "get",
            &format!("p{n}"),
        )
    });
    let mut members = info(events);
    members[7].0 = Severity::Critical;
    if let Delivery::Event(event) = &mut members[8].1 {
        event.marks.body_unreadable = true;
    }
    let message = render(&lease(members, false), 8);
    assert_eq!(message.form, "digest");
    assert!(
        message
            .text
            .starts_with("500 audit events from prod: 🔴 1 critical"),
        "{}",
        message.text
    );
    assert!(
        message.text.contains("399 × alice read pods in shop — 200"),
        "{}",
        message.text
    );
    assert!(
        message.text.contains("100 × bob read pods in shop — 200"),
        "{}",
        message.text
    );
    assert_slack_takes(&message);
}

#[test]
fn what_a_digest_does_not_list_it_counts() {
    let events = (0..300).map(|n| event(&format!("user-{n}"), "get", "p"));
    let message = render(&lease(info(events), false), 8);
    assert!(
        message.text.contains("300 audit events"),
        "{}",
        message.text
    );
    let texts: Vec<_> = message.blocks[2..]
        .iter()
        .map(|block| block["elements"][0]["text"].clone())
        .collect();
    assert_eq!(
        texts,
        [
            "and 260 more events in 260 more groups",
            "auditrelay events --message 1 lists each of them"
        ]
    );
    assert_slack_takes(&message);
}

#[test]
fn characters_of_four_bytes_count_as_four() {
    let events = (0..8).map(|_| event(&"😀".repeat(500), "delete", &"😀&".repeat(500)));
    assert_slack_takes(&render(&lease(info(events), false), 8));
}

#[test]
fn a_resumed_lease_says_so() {
    let message = render(&lease(info([event("alice", "delete", "api")]), true), 8);
    let second = message.text.lines().nth(1).unwrap_or_default();
    assert!(second.starts_with("⚠ Possibly repeated"), "{second}");
    assert!(message.blocks[0].to_string().contains("Possibly repeated"));
}

#[test]
fn equal_notices_add_up() {
    let notice = |events| {
        let text = "could not be read".into();
        (
            Severity::Warning,
            Delivery::Notice(Notice {
                text,
                events,
                cluster: "prod".into(),
            }),
        )
    };
    let message = render(&lease(vec![notice(2), notice(3)], false), 8);
    assert!(
        message
            .text
            .contains("5 events from prod could not be read"),
        "{}",
        message.text
    );
    assert_slack_takes(&message);
}

#[test]
fn only_a_digest_says_how_to_list_its_members() {
    let render = |count: usize| {
        let events = (0..count).map(|n| event("alice", "get", &format!("p{n}")));
        render(&lease(info(events), false), 8)
    };
    let line = "auditrelay events --message 1 lists each of them";
    assert!(render(9).text.ends_with(line), "{}", render(9).text);
    assert!(!render(8).text.contains("--message"), "{}", render(8).text);
    let unrendered = unrendered(9, 1);
    assert!(unrendered.text.ends_with(line), "{}", unrendered.text);
}

#[test]
fn what_was_or_may_have_been_told_before_is_marked() {
    let mut repeated = event("alice", "get", "a");
    repeated.marks.possibly_repeated = true;
    let mut replayed = event("alice", "get", "b");
    replayed.marks.replayed = true;
    let few = render(&lease(info([repeated.clone(), replayed.clone()]), false), 8);
    let lines: Vec<&str> = few.text.lines().collect();
    assert!(lines[0].ends_with("[possibly repeated]"), "{lines:?}");
    assert!(lines[1].ends_with("[replayed]"), "{lines:?}");
    let many = (0..10).map(|n| [&repeated, &replayed][usize::from(n < 3)].clone());
    let many = render(&lease(info(many), false), 8);
    assert!(
        many.text.contains("[7 possibly repeated] [3 replayed]"),
        "{}",
        many.text
    );
    assert_slack_takes(&many);
}

#[test]
fn notices_that_are_not_shown_are_counted_with_their_events() {
    let notice = |n: u64| {
        let notice = Notice {
            text: format!("reason {n}"),
            events: n,
            cluster: "prod".into(),
        };
        (Severity::Warning, Delivery::Notice(notice))
    };
    let text = |count| render(&lease((1..=count).map(notice).collect(), false), 8).text;
    assert!(
        text(7).ends_with("and 2 more notices about 13 events"),
        "{}",
        text(7)
    );
    assert!(
        text(6).ends_with("and 1 more notice about 6 events"),
        "{}",
        text(6)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_event_makes_a_message_that_slack_refuses(
        texts in prop::collection::vec(any::<String>(), 1..60),
        repeat in 1usize..400,
        sentences_max in 1usize..20,
    ) {
        let notice = |text: &String| (Severity::Warning, Delivery::Notice(Notice {
            text: text.repeat(repeat), events: 1, cluster: text.clone(),
        }));
        let notices: Vec<_> = texts.iter().take(9).map(notice).collect();
        let events = texts.iter().map(|text| {
            let text = text.repeat(repeat);
            let mut event = event(&text, &text, &text);
            event.cluster = text.chars().take(60).collect();
            event
        });
        let mut members = info(events);
        members.extend(notices);
        assert_slack_takes(&render(&lease(members, true), sentences_max));
    }
}

#[test]
fn a_digest_whose_members_are_not_kept_names_no_command() {
    let members = info((0..9).map(|n| event("alice", "get", &n.to_string())));
    let style = Style {
        names_members: false,
        ..Style::default()
    };
    let message = super::render(&lease(members, false), &style, NOW_UNIX_MS);
    assert_eq!(message.form, "digest");
    assert!(
        !message.text.contains("auditrelay events"),
        "{}",
        message.text
    );
    assert_slack_takes(&message);
}

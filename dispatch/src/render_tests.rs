//! Messages: what they say, and that no event can make one that Slack refuses.

use auditrelay_store::{LeaseId, Marks};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::checker::assert_slack_takes;

/// As a channel does whose messages' members are kept.
fn render(lease: &Lease, sentences_max: usize) -> Message {
    let style = Style {
        sentences_max,
        ..Style::default()
    };
    super::render(lease, &style, NOW_UNIX_MS)
}

/// A minute after the events.
const NOW_UNIX_MS: i64 = 1_795_230_989_000;

fn event(user: &str, verb: &str, name: &str) -> EventDelivery {
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
    }
}

fn lease(members: Vec<(Severity, Delivery)>, resumed: bool) -> Lease {
    Lease {
        id: LeaseId {
            channel: "ops".into(),
            id: 1,
        },
        members,
        resumed,
    }
}

fn info(events: impl IntoIterator<Item = EventDelivery>) -> Vec<(Severity, Delivery)> {
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

/// An exec, told from its address.
fn exec(command: &str) -> EventDelivery {
    let mut exec = event("alice", "create", "api");
    exec.route = "sessions".into();
    exec.json = exec.json.replace(
        "\"level\"",
        &format!("\"requestURI\":\"/x?{command}\",\"level\""),
    );
    exec.json = exec.json.replace(
        "\"name\":\"api\"",
        "\"name\":\"api\",\"subresource\":\"exec\"",
    );
    exec
}

fn shown(message: &Message) -> String {
    crate::preview::show("ops", &message.blocks, false)
}

#[test]
fn an_exec_says_what_was_run_and_hides_its_secrets() {
    let exec = exec("command=mysql&command=-phunter2&command=shop&container=db");
    let message = render(&lease(info([exec]), false), 8);
    assert_eq!(
        shown(&message),
        "#ops\n  🔵 sessions: alice exec'd into pod shop/api — 200\n  Command: mysql -p[masked] shop in container \
         db (what looks like a secret is masked)\n    prod · 2026-11-21 03:15:29 UTC · verb create · \
         ResponseComplete · audit ID a\n\n"
    );
    assert_slack_takes(&message);
}

#[test]
fn what_is_told_late_says_so() {
    let lease = lease(info([event("alice", "get", "a")]), false);
    let told = |later_ms: i64| {
        shown(&super::render(
            &lease,
            &Style::default(),
            NOW_UNIX_MS + later_ms,
        ))
    };
    assert!(!told(0).contains("late"), "{}", told(0));
    assert!(
        told(300_000).contains(" · told 5 min late · "),
        "{}",
        told(300_000)
    );
    assert!(told(i64::MAX - NOW_UNIX_MS).contains("days late"));
    assert!(!told(-i64::MAX).contains("late"));
}

/// A patch of so many labels, none of which is short.
fn patched(name: &str, labels: usize) -> EventDelivery {
    let mut patched = event("alice", "patch", name);
    let labels: serde_json::Map<String, Value> = (0..labels)
        .map(|n| {
            (
                format!("label-{n}-{}", "x".repeat(40)),
                json!("y".repeat(70)),
            )
        })
        .collect();
    let body = json!({"metadata": {"labels": labels}}).to_string();
    patched.json = patched
        .json
        .replacen('{', &format!("{{\"requestObject\":{body},"), 1);
    patched
}

#[test]
fn what_does_not_fit_is_cut_said_and_named() {
    let line = "Shortened: auditrelay events --message 1 --json shows all of it";
    let message = render(&lease(info([patched("a", 8)]), false), 8);
    assert!(
        !shown(&message).contains("Shortened"),
        "{}",
        shown(&message)
    );
    let message = render(&lease(info([patched("a", 12)]), false), 8);
    assert!(
        shown(&message).contains("  │ … and 4 more lines\n"),
        "{}",
        shown(&message)
    );
    assert!(
        shown(&message).ends_with(&format!("    {line}\n\n")),
        "{}",
        shown(&message)
    );
    let many = (0..20).map(|n| patched(&format!("p{n}"), 8));
    let message = render(&lease(info(many), false), 20);
    assert_eq!(message.form, "sentences");
    for n in 0..20 {
        assert!(
            shown(&message).contains(&format!("patched pod shop/p{n} ")),
            "p{n}"
        );
    }
    assert!(shown(&message).contains(line), "{}", shown(&message));
    assert_slack_takes(&message);
}

#[test]
fn sentences_that_do_not_fit_become_a_digest() {
    let long = "é".repeat(200);
    let events = (0..20).map(|n| event(&long, "get", &format!("{long}{n}")));
    let message = render(&lease(info(events), false), 20);
    assert_eq!(message.form, "digest");
    assert!(
        message.text.starts_with("20 audit events"),
        "{}",
        message.text
    );
    assert_slack_takes(&message);
}

#[test]
fn a_digest_says_where_all_of_it_is() {
    let members = || info((0..9).map(|n| event("alice", "get", &n.to_string())));
    let last = |details, names_members| {
        let style = Style {
            details,
            names_members,
            ..Style::default()
        };
        let text = super::render(&lease(members(), false), &style, NOW_UNIX_MS).text;
        text.lines().last().unwrap_or_default().to_owned()
    };
    let command = "auditrelay events --message 1 lists each of them";
    assert_eq!(last(DigestDetails::Command, true), command);
    assert_eq!(
        last(DigestDetails::Thread, true),
        format!("each of them follows in the thread; {command}")
    );
    assert_eq!(
        last(DigestDetails::File, false),
        "each of them follows as a file in the thread"
    );
}

#[test]
fn a_digest_has_as_many_groups_as_the_channel_wants() {
    let events = (0..30).map(|n| event(&format!("user-{n}"), "get", "p"));
    let style = Style {
        digest_groups_max: 3,
        ..Style::default()
    };
    let message = super::render(&lease(info(events), false), &style, NOW_UNIX_MS);
    assert!(
        message
            .text
            .contains("and 27 more events in 27 more groups"),
        "{}",
        message.text
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Counts of all rows and of the rest add up, however events are mixed.
    #[test]
    fn a_digests_totals_are_exact(users in prop::collection::vec(0usize..60, 21..300)) {
        let events = users.iter().map(|user| event(&format!("user-{user}"), "get", "p"));
        let message = render(&lease(info(events), false), 8);
        let number = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse::<usize>();
        let counted: usize = shown(&message).lines().filter_map(|line| {
            let row = line.trim().strip_prefix("• 🔵 ").and_then(|row| row.split(" × ").next());
            let rest = line.trim().strip_prefix("and ").and_then(|rest| rest.split(" more events").next());
            number(row.or(rest)?).ok()
        }).sum();
        prop_assert_eq!(counted, users.len(), "{}", shown(&message));
    }
}

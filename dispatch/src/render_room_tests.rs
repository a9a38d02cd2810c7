//! Messages: what stands in the room that there is, and what is said where it does not suffice.

use proptest::prelude::*;
use serde_json::json;

use super::{
    tests::{NOW_UNIX_MS, event, info, lease, render},
    *,
};
use crate::checker::assert_slack_takes;

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

//! Known secrets, planted wherever the redaction at the door and the masking of messages claim to find them:
//! none stands in what would be posted or listed. Commands and bodies stand in `planted.rs`.

use auditrelay_audit::{
    Envelope, HashKey, Severity,
    redact::{Bodies, Redactor},
};
use auditrelay_dispatch::{
    Message,
    details::{listing, replies},
    render::{Style, render},
};
use auditrelay_store::{Delivery, EventDelivery, Lease, LeaseId, Marks};
use serde_json::Value;

use crate::planted;

/// What nothing but its place gives away.
const PLAIN: [&str; 4] = [
    "hunter2",
    "correcthorse",
    "Tr0ub4dor-3",
    "s3cr3t/with/slashes",
];
/// What gives itself away wherever it stands. None of them opens anything.
const TOKENS: [&str; 24] = [
    "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLW9mLWl0",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    concat!("xox", "b-123456789012-1234567890123-abcdefGHIJKLmnop"),
    concat!("xox", "p-1234-5678-abcdef"),
    concat!("xox", "a-2-1234-abcdef"),
    concat!("xox", "s-1234-abcdef"),
    concat!("xox", "e.xoxp-1-abcdef"),
    concat!("xox", "e-1-abcdefgh"),
    concat!("xa", "pp-1-A1-2-abcdef"),
    concat!("gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"),
    concat!("gh", "o_abcdefghij"),
    concat!("gh", "u_abcdefghij"),
    concat!("gh", "s_abcdefghij"),
    concat!("gh", "r_abcdefghij"),
    "github_pat_11ABCDEFG0abcdefghij",
    concat!("glp", "at-abcdefghij0123456789"),
    "hvs.CAESIJabcdef",
    concat!("sk_", "live_abcdefghij"),
    concat!("AI", "zaSyA-abcdefghijklmnop"),
    "-----BEGIN RSA PRIVATE KEY----- MIIabcdefgh",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c",
    "aHR0cHM6Ly9leGFtcGxlLmNvbS9zZWNyZXQ=",
];
/// What takes several lines.
const DOCUMENTS: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END PRIVATE KEY-----\n",
    "apiVersion: v1\nkind: Config\nusers:\n- name: admin\n  user:\n    token: abcdefsecret\n",
];

pub fn redactor() -> Redactor {
    Redactor::new(HashKey::new([7; 32]))
}

/// Everything that anybody sees of an event, in every form, behind the door or without it.
fn shown(event: &Value, with_door: bool) -> String {
    let text = event.to_string();
    let json = match Envelope::parse(&text) {
        Ok(envelope) if with_door => redactor()
            .redact(&text, &envelope, true, Bodies::Keep)
            .json
            .into_owned(),
        _ => text,
    };
    let member = |json: &str| {
        let event = EventDelivery {
            cluster: "prod".into(),
            route: "r".into(),
            json: json.to_owned(),
            marks: Marks::default(),
            meant_for: None,
        };
        (Severity::Critical, Delivery::Event(event))
    };
    let lease = Lease {
        id: LeaseId {
            channel: "ops".into(),
            id: 1,
        },
        members: vec![member(&json)],
        resumed: false,
        sealed_unix_ms: 0,
    };
    let styles = [20, 0].map(|sentences_max| Style {
        sentences_max,
        ..Style::default()
    });
    let mut messages: Vec<Message> = styles
        .iter()
        .map(|style| render(&lease, style, 0))
        .collect();
    messages.extend(replies(&lease.members, 1, 3, true));
    let shown = messages
        .into_iter()
        .map(|message| format!("{}\n{}\n", message.text, Value::from(message.blocks)));
    shown.collect::<String>() + &listing(&lease.members)
}

/// Whether the secret can be read, or as much of its beginning or end as nobody would guess.
fn stands_in(shown: &str, secret: &str) -> bool {
    // Of a document, what is secret in it.
    let start = ["MII", "token: "].iter().find_map(|mark| secret.find(mark));
    let own = start.map_or(secret, |start| &secret[start..]);
    let own = own.lines().next().unwrap_or_default();
    let own = own.strip_prefix("token: ").unwrap_or(own);
    let part = own.len().min(10);
    shown.contains(&own[..part]) || shown.contains(&own[own.len() - part..])
}

fn leaks(events: &[(String, Value)], secret: &str, with_door: bool) -> Vec<String> {
    events
        .iter()
        .filter_map(|(place, event)| {
            let shown = shown(event, with_door);
            stands_in(&shown, secret).then(|| {
                let at = secret
                    .lines()
                    .find_map(|line| shown.find(line))
                    .unwrap_or_default();
                let around: String = shown[..at].chars().rev().take(60).collect();
                let before: String = around.chars().rev().collect();
                format!("{place}: {secret:?} after {before:?}")
            })
        })
        .collect()
}

fn none(found: &[String]) {
    assert!(
        found.is_empty(),
        "{} leaks\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn nothing_that_a_name_calls_secret_is_shown() {
    let mut found = Vec::new();
    for secret in PLAIN.iter().chain(&TOKENS) {
        found.extend(leaks(&planted::commands(secret), secret, true));
    }
    for secret in PLAIN.iter().chain(&TOKENS).chain(&DOCUMENTS) {
        found.extend(leaks(&planted::named(secret), secret, true));
        // The second line holds by itself.
        found.extend(leaks(&planted::named(secret), secret, false));
    }
    none(&found);
}

#[test]
fn nothing_that_the_door_redacts_is_shown() {
    let mut found = Vec::new();
    for secret in PLAIN.iter().chain(&TOKENS).chain(&DOCUMENTS) {
        found.extend(leaks(&planted::at_the_door(secret), secret, true));
    }
    none(&found);
}

#[test]
fn a_token_is_shown_nowhere_whatever_it_is_called() {
    let mut found = Vec::new();
    for secret in TOKENS.iter().chain(&DOCUMENTS) {
        found.extend(leaks(&planted::anywhere(secret), secret, true));
    }
    for secret in TOKENS {
        found.extend(leaks(&planted::in_a_refusal(secret), secret, true));
    }
    none(&found);
}

/// What is planted is looked for where it would be seen.
#[test]
fn an_open_word_at_the_same_places_is_seen() {
    let word = "cinnamon";
    let mut events = planted::anywhere(word);
    events.extend(planted::in_a_refusal(word));
    let seen = leaks(&events, word, true);
    assert!(seen.len() * 10 >= events.len() * 8, "{seen:?}");
}

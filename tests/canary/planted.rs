//! Where a secret may stand in what the webhook is sent. `§` stands for the secret, `¶` for it in Base64, `¤` for it in a
//! query.
//!
//! Each place has its own secret, so that a leak names its place. It is one that only its place gives away: no
//! guess by its looks would mask it.

use auditrelay_audit::mask::looks_secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::search::Needle;

/// An event with a secret.
pub struct Planted {
    pub place: String,
    pub secret: String,
    pub event: Vec<u8>,
}

/// How each secret begins, in letters that no encoding but Base64 changes.
pub const STEM: &str = "kanarekAlleMaleVoegel";

/// The secret of a place.
pub fn secret(number: usize) -> String {
    format!("{STEM}/no+{number:02}")
}

/// Puts a secret into a text of an event.
fn filled(text: &str, secret: &str) -> String {
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    text.replace('¶', &STANDARD.encode(secret))
        .replace('¤', &encoded)
        .replace('§', secret)
}

/// Lines of `object | what else stands in the event`, by user.
const PLACES: &str = include_str!("places.txt");

/// All of them, with audit IDs and names that tell them apart.
pub fn all() -> Vec<Planted> {
    let lines = PLACES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .enumerate()
        .map(|(number, line)| {
            let mut parts = line.splitn(3, " | ");
            let mut part = || parts.next().expect("a user, an object and members");
            let (user, object, members) = (part(), part(), part());
            let (resource, subresource) = object.split_once('/').unwrap_or((object, ""));
            let secret = secret(number);
            let members = filled(&shaped(members), &secret);
            let is_session = matches!(subresource, "exec" | "attach");
            let stage = if is_session { "ResponseStarted" } else { "ResponseComplete" };
            let verb = if user == "nobody" { "watch" } else { "create" };
            let uri = match members.contains("\"requestURI\"") {
                true => String::new(),
                false => format!(r#""requestURI":"/apis/x/{object}","#),
            };
            let annotations = match members.contains("\"annotations\"") {
                true => "",
                false => r#","annotations":{"authorization.k8s.io/decision":"allow"}"#,
            };
            let object = match resource {
                "-" => String::new(),
                _ => format!(
                    r#","objectRef":{{"resource":"{resource}","subresource":"{subresource}","namespace":"shop","name":"n{number}"}}"#
                ),
            };
            let event = format!(
                r#"{{"level":"RequestResponse","auditID":"id-{number}","stage":"{stage}",{uri}"verb":"{verb}","user":{{"username":"{user}"}},"sourceIPs":["10.0.0.9"],"userAgent":"curl"{object}{annotations},"stageTimestamp":"2026-11-21T03:15:29.133245Z",{members}}}"#
            );
            Planted {
                place: line.to_owned(),
                secret,
                event: invalid(event),
            }
        })
        .collect()
}

/// Nesting is told by its depth: `[*100 x]`.
fn shaped(members: &str) -> String {
    let Some((before, rest)) = members.split_once("[*") else {
        return members.to_owned();
    };
    let (depth, rest) = rest.split_once(' ').expect("a depth");
    let (inner, after) = rest.split_once(" *]").expect("an end");
    let depth: usize = depth.parse().expect("a number");
    format!(
        "{before}{}{inner}{}{after}",
        "[".repeat(depth),
        "]".repeat(depth)
    )
}

/// `¿` stands for a byte that is no UTF-8.
fn invalid(event: String) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(event.len());
    for (number, part) in event.split('¿').enumerate() {
        if number > 0 {
            bytes.push(0xff);
        }
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// Each event has to be one: what the API server sends is JSON, but for its bytes.
#[test]
fn each_place_is_an_event_that_holds_its_secret() {
    let all = all();
    assert!(all.len() >= 60, "{} places", all.len());
    for planted in all {
        let text = String::from_utf8_lossy(&planted.event).into_owned();
        if !text.contains("[[[[[[[[") && !text.contains("\\ud800") {
            let event: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert!(event.is_object());
        }
        assert!(
            !Needle::new(STEM).found_in(&planted.event).is_empty(),
            "{}",
            planted.place
        );
        assert!(!looks_secret(&planted.secret), "its looks give it away");
    }
}

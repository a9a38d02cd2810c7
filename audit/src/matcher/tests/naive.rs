//! The matcher against a second one that is written from the documentation alone, on trees and without haste.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Whether a pattern matches all of a text, by trying everything.
fn glob(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        Some((one, rest)) => text
            .split_first()
            .is_some_and(|(first, others)| (*one == '?' || one == first) && glob(rest, others)),
    }
}

fn is_glob(pattern: &str, text: &str) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    glob(&chars(pattern), &chars(text))
}

/// Stands for `nobody: true` among those who are impersonated.
const NOBODY: &str = "nobody";

/// The keys of a match as they are written.
#[derive(Debug, Clone)]
struct Written {
    users: Vec<&'static str>,
    verbs: Vec<&'static str>,
    resources: Vec<&'static str>,
    codes: Vec<&'static str>,
    decision: Option<&'static str>,
    impersonated: Option<Vec<&'static str>>,
    networks: Vec<&'static str>,
    agents: Vec<&'static str>,
    annotation: Option<&'static str>,
    clusters: Vec<&'static str>,
}

impl Written {
    fn matcher(&self) -> Matcher {
        let texts = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let resources = (!self.resources.is_empty()).then(|| GroupResources {
            resources: texts(&self.resources),
            ..GroupResources::default()
        });
        Matcher {
            rule: Match {
                users: texts(&self.users),
                verbs: texts(&self.verbs),
                resources: resources.into_iter().collect(),
                ..Match::default()
            },
            clusters: texts(&self.clusters),
            codes: parsed(&self.codes),
            decision: self.decision.map(|word| match word {
                "allow" => AuthorizerDecision::Allow,
                _ => AuthorizerDecision::Forbid,
            }),
            impersonated: self.impersonated.as_ref().map(|users| Impersonation {
                nobody: users.contains(&NOBODY),
                users: texts(users)
                    .into_iter()
                    .filter(|user| user != NOBODY)
                    .collect(),
                user_groups: Vec::new(),
            }),
            source_ips: parsed(&self.networks),
            user_agents: parsed(&self.agents),
            annotations: self
                .annotation
                .iter()
                .map(|pattern| ("note".to_owned(), pattern.parse().expect("short")))
                .collect(),
            ..Matcher::default()
        }
    }

    /// The same by reading the event as a tree.
    fn takes(&self, event: &Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one_of = |list: &[&str], value: &str| list.is_empty() || list.contains(&value);
        let code = event["responseStatus"]["code"].as_i64().unwrap_or(0);
        let has_code = |written: &&str| match (written.strip_suffix("xx"), written.split_once('-'))
        {
            (Some(class), _) => code / 100 == class.parse::<i64>().expect("a digit"),
            (_, Some((from, to))) => {
                from.parse::<i64>().expect("a code") <= code && code <= to.parse().expect("a code")
            }
            _ => written.parse::<i64>().expect("a code") == code,
        };
        let resource = match text(&event["objectRef"]["subresource"]) {
            none if none.is_empty() => text(&event["objectRef"]["resource"]),
            sub => format!("{}/{sub}", text(&event["objectRef"]["resource"])),
        };
        let has_resource = |pattern: &&str| match pattern.strip_suffix("/*") {
            Some(plural) => resource == plural || resource.starts_with(&format!("{plural}/")),
            None => *pattern == "*" || *pattern == resource,
        };
        let annotations = &event["annotations"];
        let peer = event["sourceIPs"].as_array().and_then(|list| list.last());
        let peer = peer.and_then(|peer| peer.as_str()?.parse::<IpAddr>().ok());
        let in_network = |written: &&str| match (*written, peer) {
            ("10.0.0.0/8", Some(IpAddr::V4(address))) => address.octets()[0] == 10,
            ("fd00::/8", Some(IpAddr::V6(address))) => address.octets()[0] == 0xfd,
            (_, Some(address)) => address.to_string() == *written,
            (_, None) => false,
        };
        let agent = text(&event["userAgent"]);
        let note = annotations["note"].as_str();
        one_of(&self.users, &text(&event["user"]["username"]))
            && one_of(&self.verbs, &text(&event["verb"]))
            && one_of(&self.clusters, "home")
            && (self.resources.is_empty()
                || event["objectRef"].is_object() && self.resources.iter().any(has_resource))
            && (self.codes.is_empty() || code != 0 && self.codes.iter().any(has_code))
            && self
                .decision
                .is_none_or(|word| annotations["authorization.k8s.io/decision"] == word)
            && self.impersonated.as_ref().is_none_or(|users| {
                let user = &event["impersonatedUser"];
                match users.contains(&NOBODY) {
                    true => user.is_null(),
                    false => user.is_object() && one_of(users, &text(&user["username"])),
                }
            })
            && (self.networks.is_empty() || self.networks.iter().any(in_network))
            && (self.agents.is_empty()
                || self.agents.iter().any(|pattern| is_glob(pattern, &agent)))
            && self
                .annotation
                .is_none_or(|pattern| note.is_some_and(|note| is_glob(pattern, note)))
    }
}

fn some(from: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    // Nothing half of the time, so that many keys still leave something to match.
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(prop::sample::select(from), 1..4)
    ]
}

fn written() -> impl Strategy<Value = Written> {
    let who = (
        some(&["alice", "bob", ""]),
        prop::option::of(some(&["bob", "eve", NOBODY])),
        some(&["10.0.0.0/8", "fd00::/8", "192.168.1.7"]),
        some(&["kubectl/*", "*a?", "", "*"]),
    );
    let what = (
        some(&["get", "create", ""]),
        some(&["pods", "pods/log", "pods/*", "*", "secrets"]),
        some(&["403", "4xx", "2xx", "400-403"]),
        prop::option::of(prop::sample::select(&["allow", "forbid"][..])),
        prop::option::of(prop::sample::select(&["*", "a*b", "?"][..])),
        some(&["home", "other"]),
    );
    (who, what).prop_map(
        |(
            (users, impersonated, networks, agents),
            (verbs, resources, codes, decision, annotation, clusters),
        )| Written {
            users,
            verbs,
            resources,
            codes,
            decision,
            impersonated,
            networks,
            agents,
            annotation,
            clusters,
        },
    )
}

fn written_event() -> impl Strategy<Value = Value> {
    let one = |from: &'static [&'static str]| prop::sample::select(from);
    let object = (one(&["pods", "secrets"]), one(&["", "log", "status"]));
    let addresses = one(&["10.1.2.3", "fd00::1", "192.168.1.7", "203.0.113.9", "none"]);
    (
        one(&["alice", "bob", "eve", ""]),
        prop::option::of(one(&["bob", "eve", "mallory"])),
        one(&["get", "create", ""]),
        prop::option::of(object),
        prop::sample::select(&[0, 200, 400, 403, 404, 500][..]),
        one(&["allow", "forbid", "", "maybe"]),
        prop::collection::vec(addresses, 0..3),
        one(&["kubectl/v1", "xxab", "", "ab"]),
        prop::option::of(one(&["ab", "axxb", "x", ""])),
    )
        .prop_map(|(user, other, verb, object, code, decision, addresses, agent, note)| {
            let mut event = json!({ "level": "Metadata", "stage": "ResponseComplete", "verb": verb,
                "user": { "username": user }, "sourceIPs": addresses, "userAgent": agent,
                "annotations": { "authorization.k8s.io/decision": decision },
                "responseStatus": { "code": code } });
            if let Some(other) = other {
                event["impersonatedUser"] = json!({ "username": other });
            }
            if let Some((resource, subresource)) = object {
                event["objectRef"] = json!({ "resource": resource, "subresource": subresource });
            }
            if let Some(note) = note {
                event["annotations"]["note"] = note.into();
            }
            event
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn two_matchers_agree(written in written(), event in written_event()) {
        let text = event.to_string();
        let envelope = Envelope::parse(&text).expect("readable");
        let seen = Event { cluster: "home", envelope: &envelope };
        let found = written.matcher().matches(&seen);
        prop_assert_eq!(found, written.takes(&event));
        // What is said of why not is said exactly where it does not match.
        prop_assert_eq!(written.matcher().mismatch(&seen).is_none(), found);
    }

    #[test]
    fn patterns_match_as_if_everything_were_tried(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
        let fast: Glob = pattern.parse().expect("short");
        prop_assert_eq!(fast.matches(&text), is_glob(&pattern, &text));
    }

    /// Whatever a body is: an answer, never a panic.
    #[test]
    fn any_body_is_answered(body in any::<String>(), more in "[\\[{\"a:,}\\]]{0,40}") {
        for body in [body, more] {
            let text = json!({ "level": "Request", "stage": "ResponseComplete", "verb": "patch",
                "objectRef": { "resource": "pods" } });
            let text = text.to_string();
            let mut envelope = Envelope::parse(&text).expect("readable");
            envelope.request_object = Some(&body);
            let risks = [Risk::Privileged];
            let readable = serde_json::from_str::<Value>(&body);
            let is_container = readable.is_ok_and(|value| value.is_object());
            prop_assert!(is_container || risk::has_any(&risks, &envelope) || body.starts_with('['));
        }
    }
}

//! What an attacker writes cannot speak (promise P9): texts of the attack corpus at every place of an event, in
//! every form of message; and events that are no events at all.

use std::collections::BTreeMap;

use auditrelay_audit::Severity;
use auditrelay_config::DigestDetails;
use auditrelay_store::{Delivery, EventDelivery, Lease, LeaseId, Marks, Notice};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    Message,
    checker::assert_slack_takes,
    details::{listing, replies},
    preview,
    render::{Style, render},
};

const ATTACKS: &str = include_str!("../tests/data/attacks.json");
const NOW_UNIX_MS: i64 = 1_795_299_999_000;

fn lease(events: Vec<EventDelivery>) -> Lease {
    let severities = Severity::ALL.into_iter().cycle();
    let members = events.into_iter().zip(severities);
    Lease {
        id: LeaseId {
            channel: "ops".into(),
            id: 1,
        },
        members: members
            .map(|(event, severity)| (severity, Delivery::Event(event)))
            .collect(),
        resumed: true,
        sealed_unix_ms: 0,
    }
}

/// An event that says the text wherever an event says anything.
fn event(text: &str, verb: &str, object: &str) -> EventDelivery {
    let (resource, subresource) = object.split_once('/').unwrap_or((object, ""));
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("command", "sh"), ("command", text), ("container", text)])
        .finish();
    let body = json!({"kind": text, "metadata": {"name": text, "generateName": text, "labels": {text: text}},
        "data": {text: text}, "spec": {text: [text, {"name": text, "value": text}], "signerName": text, "username": text,
        "audiences": [text], "replicas": text}, "roleRef": {"kind": text, "name": text},
        "subjects": [{"kind": text, "name": text, "namespace": text}],
        "rules": [{"verbs": [text], "apiGroups": [text], "resources": [text], "nonResourceURLs": [text]}]});
    let user = json!({"username": text, "groups": [text, "system:masters"]});
    let json = json!({
        "level": "RequestResponse", "stage": "ResponseComplete", "auditID": text, "verb": verb,
        "requestURI": format!("/{text}?{query}"), "user": user, "impersonatedUser": user,
        "sourceIPs": [text, text, text, text], "userAgent": text, "stageTimestamp": "2026-11-21T03:15:29.1Z",
        "objectRef": {"resource": resource, "subresource": subresource, "apiGroup": text, "namespace": text, "name": text},
        "responseStatus": {"code": 403, "reason": text, "message": text},
        "requestObject": body, "responseObject": body,
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": text, text: text},
    });
    EventDelivery {
        cluster: text.into(),
        route: text.into(),
        json: json.to_string(),
        meant_for: None,
        marks: Marks::default(),
    }
}

const REQUESTS: [(&str, &str); 10] = [
    ("create", "pods/exec"),
    ("create", "configmaps"),
    ("patch", "deployments"),
    ("update", "deployments/scale"),
    ("create", "rolebindings"),
    ("update", "clusterroles"),
    ("update", "certificatesigningrequests/approval"),
    ("create", "serviceaccounts/token"),
    ("deletecollection", "pods"),
    ("<!channel>", "<!here>/<!everyone>"),
];

/// All forms of messages that tell such a lease.
fn messages(lease: &Lease) -> Vec<Message> {
    let details = [
        DigestDetails::Command,
        DigestDetails::Thread,
        DigestDetails::File,
    ];
    let mut all = Vec::new();
    for (sentences_max, details) in [1, 0, 20].into_iter().zip(details) {
        let style = Style {
            sentences_max,
            details,
            ..Style::default()
        };
        all.push(render(lease, &style, NOW_UNIX_MS));
    }
    all.extend(replies(&lease.members, 1, 3, true));
    all
}

fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            out.extend(
                ["broadcast", "user", "usergroup", "channel", "emoji", "link"]
                    .iter()
                    .filter(|kind| map.get("type").is_some_and(|found| found == **kind))
                    .map(|kind| format!("TYPE {kind}")),
            );
            map.values().for_each(|inner| strings(inner, out));
        }
        Value::Array(values) => values.iter().for_each(|inner| strings(inner, out)),
        Value::String(text) => out.push(text.clone()),
        _ => {}
    }
}

#[test]
fn no_attack_speaks_anywhere() {
    let attacks: BTreeMap<String, String> = serde_json::from_str(ATTACKS).expect("a map");
    assert!(attacks.len() > 25);
    for (name, attack) in &attacks {
        for (text, alone) in [(attack.clone(), true), (attack.repeat(12), false)] {
            let events: Vec<_> = REQUESTS
                .iter()
                .map(|(verb, object)| event(&text, verb, object))
                .collect();
            let each = events
                .iter()
                .filter(|_| alone)
                .map(|one| lease(vec![one.clone()]));
            for lease in each.chain([lease(events.clone())]) {
                for message in messages(&lease) {
                    assert_slack_takes(&message);
                    let mut found = Vec::new();
                    message
                        .blocks
                        .iter()
                        .for_each(|block| strings(block, &mut found));
                    let acts = found.iter().find(|one| one.starts_with("TYPE "));
                    assert_eq!(acts, None, "{name}");
                    let shown = preview::show("ops", &message.blocks, false);
                    assert!(!shown.contains('\u{1b}'), "{name}");
                }
                let list = listing(&lease.members);
                assert_eq!(list.lines().count(), lease.members.len(), "{name}");
                assert!(
                    !list.contains(|one: char| one.is_control() && !"\t\n".contains(one)),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn notices_are_as_harmless() {
    let attacks: BTreeMap<String, String> = serde_json::from_str(ATTACKS).expect("a map");
    let notice = |text: &String| {
        let notice = Notice {
            text: text.repeat(100),
            events: 1,
            cluster: text.clone(),
        };
        (Severity::Warning, Delivery::Notice(notice))
    };
    let mut all = lease(vec![event("x", "get", "pods")]);
    all.members.extend(attacks.values().map(notice));
    messages(&all).iter().for_each(assert_slack_takes);
}

#[test]
fn ten_thousand_hostile_events_are_one_digest() {
    let attacks: BTreeMap<String, String> = serde_json::from_str(ATTACKS).expect("a map");
    let texts = attacks.values().cycle().zip(REQUESTS.iter().cycle());
    let mut events: Vec<_> = texts
        .take(10_000)
        .map(|(text, (verb, object))| event(text, verb, object))
        .collect();
    events[17].json = "{".into();
    let message = render(&lease(events), &Style::default(), NOW_UNIX_MS);
    assert!(
        message.text.starts_with("10000 audit events from "),
        "{}",
        message.text
    );
    assert_slack_takes(&message);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z&<>`*@!\u{202e}]{0,400}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(
                "(name|kind|metadata|spec|data|items|op|path|value|rules|subjects|[a-z/]{0,9})",
                inner,
                0..8
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// A readable envelope around any body, now and then with a field of the wrong type.
    #[test]
    fn no_body_makes_a_message_that_slack_refuses(
        body in any_json(), answer in any_json(), wrong in any_json(), place in 0usize..40, request in 0usize..10,
    ) {
        let (verb, object) = REQUESTS[request];
        let mut event = event("x", verb, object);
        let mut json: Value = serde_json::from_str(&event.json).expect("JSON");
        json["requestObject"] = body;
        json["responseObject"] = answer;
        let fields: Vec<String> = json.as_object().expect("an object").keys().cloned().collect();
        if let Some(field) = fields.get(place) {
            json[field.as_str()] = wrong;
        }
        event.json = json.to_string();
        let lease = lease(vec![event; 3]);
        messages(&lease).iter().for_each(assert_slack_takes);
    }

    #[test]
    fn any_json_and_any_text_is_told_as_an_event(json in any_json(), text in any::<String>()) {
        let events = [json.to_string(), text].map(|json| EventDelivery {
            cluster: String::new(),
            route: String::new(),
            json,
            meant_for: None,
            marks: Marks::default(),
        });
        messages(&lease(events.to_vec())).iter().for_each(assert_slack_takes);
    }
}

//! What goes, what stays, and what stands there instead, rule by rule.

use auditrelay_audit::{
    Envelope, HashKey,
    policy::GroupResources,
    redact::{Bodies, Redacted, Redactor, is_redacted},
};
use serde_json::{Value, json};

const CANARY: &str = "hunter2-canary";

pub fn redactor() -> Redactor {
    Redactor::new(HashKey::new([3; 32]))
}

pub fn event(object: &str, more: Value) -> Value {
    let (resource, subresource) = object.split_once('/').unwrap_or((object, ""));
    let mut event = json!({
        "level": "RequestResponse", "stage": "ResponseComplete", "verb": "create", "requestURI": "/api/v1/x",
        "objectRef": {"resource": resource, "subresource": subresource, "name": "n"},
    });
    if let Value::Object(more) = more {
        event.as_object_mut().expect("an object").extend(more);
    }
    event
}

pub fn redacted_by(redactor: &Redactor, event: &Value, bodies: Bodies) -> (Value, bool) {
    let text = event.to_string();
    let envelope = Envelope::parse(&text).expect("an event");
    let Redacted {
        json,
        body_unreadable,
    } = redactor.redact(&text, &envelope, true, bodies);
    (serde_json::from_str(&json).expect("JSON"), body_unreadable)
}

pub fn redacted(event: &Value) -> Value {
    redacted_by(&redactor(), event, Bodies::Keep).0
}

fn is_mark(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| is_redacted(text) && text != "[redacted]")
}

#[test]
fn equal_values_have_equal_marks_wherever_they_stand() {
    let one = redacted(&event(
        "secrets",
        json!({"requestObject": {"data": {"a": CANARY, "b": CANARY, "c": "other-value"}}}),
    ));
    let nested = json!({"items": [{"kind": "Secret", "stringData": {"x": CANARY}}]});
    let two = redacted(&event("configmaps", json!({"responseObject": nested})));
    let data = &one["requestObject"]["data"];
    assert!(is_mark(&data["a"]), "{data}");
    assert_eq!(data["a"], data["b"]);
    assert_ne!(data["a"], data["c"]);
    assert_eq!(
        data["a"],
        two["responseObject"]["items"][0]["stringData"]["x"]
    );
    let elsewhere = Redactor::new(HashKey::new([4; 32]));
    let event = event("secrets", json!({"requestObject": {"data": {"a": CANARY}}}));
    let (three, _) = redacted_by(&elsewhere, &event, Bodies::Keep);
    assert_ne!(three["requestObject"]["data"]["a"], data["a"]);
}

#[test]
fn of_a_signing_request_stays_who_asks_for_what_and_what_was_decided() {
    let body = json!({
        "kind": "CertificateSigningRequest", "metadata": {"name": "n", "annotations": {"a": CANARY}},
        "spec": {
            "request": CANARY, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
            "expirationSeconds": 3600, "username": "alice", "groups": ["dev"], "uid": "7", "extra": {"k": [CANARY]},
        },
        "status": {
            "certificate": CANARY,
            "conditions": [{"type": "Approved", "status": "True", "reason": "ByHand", "message": CANARY}],
        },
    });
    let list = json!({"kind": "CertificateSigningRequestList", "items": [body]});
    for (object, held, path) in [
        ("certificatesigningrequests", &body, ""),
        ("certificatesigningrequests/approval", &body, ""),
        ("certificatesigningrequests/status", &list, "/items/0"),
        ("configmaps", &json!({"inner": body}), "/inner"),
    ] {
        let told = redacted(&event(object, json!({"requestObject": held})));
        assert!(!told.to_string().contains(CANARY), "{told}");
        let told = told["requestObject"].pointer(path).expect("it is there");
        let mut spec = body["spec"].clone();
        spec["request"] = told["spec"]["request"].clone();
        spec["extra"] = told["spec"]["extra"].clone();
        assert_eq!(told["spec"], spec, "{object}");
        let decided = &told["status"]["conditions"][0];
        assert_eq!(
            (&decided["type"], &decided["reason"]),
            (&json!("Approved"), &json!("ByHand"))
        );
        assert!(
            is_mark(&decided["message"]) && is_mark(&told["status"]["certificate"]),
            "{told}"
        );
    }
    // What is none has none of its rights.
    let other = json!({"kind": "Secret", "spec": {"username": CANARY}, "status": {"conditions": [{"type": CANARY}]}});
    for object in ["certificatesigningrequests", "secrets"] {
        let told = redacted(&event(object, json!({"requestObject": other})));
        assert!(!told.to_string().contains(CANARY), "{told}");
    }
}

#[test]
fn listed_resources_are_secret_under_every_subresource_and_in_lists() {
    let listed = |resources: &[&str], names: &[&str]| {
        redactor().resources(vec![GroupResources {
            group: String::new(),
            resources: resources.iter().map(|one| (*one).to_owned()).collect(),
            resource_names: names.iter().map(|one| (*one).to_owned()).collect(),
        }])
    };
    let hides = |redactor: &Redactor, object: &str, name: &str| {
        let mut event = event(object, json!({"requestObject": {"spec": {"a": CANARY}}}));
        event["objectRef"]["name"] = name.into();
        let (told, _) = redacted_by(redactor, &event, Bodies::Keep);
        !told.to_string().contains(CANARY)
    };
    let vaults = listed(&["vaults"], &[]);
    assert!(hides(&vaults, "vaults", "n") && hides(&vaults, "vaults/status", "n"));
    assert!(!hides(&vaults, "configmaps", "n") && !hides(&redactor(), "vaults", "n"));
    let status = listed(&["vaults/status"], &[]);
    assert!(hides(&status, "vaults/status", "n") && !hides(&status, "vaults", "n"));
    let named = listed(&["configmaps"], &["a"]);
    assert!(hides(&named, "configmaps", "a") && !hides(&named, "configmaps", "b"));
    assert!(hides(&named, "configmaps", ""), "a list holds it too");
}

#[test]
fn values_of_the_environment_go_by_option_and_their_names_stay() {
    let container = json!({"name": "c", "image": "i", "env": [
        {"name": "A", "value": CANARY}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": "pw"}}}]});
    let pods = json!({"template": {"spec": {
        "containers": [container], "initContainers": [container], "ephemeralContainers": [container]}}});
    let patch = json!([
        {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "A", "value": CANARY}},
        {"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": CANARY},
        {"op": "replace", "path": "/spec/template/spec/containers/0/env/0/name", "value": "NAME"},
        {"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [{"name": "A", "value": CANARY}]},
        {"op": "add", "path": "/spec/template/spec/containers/-", "value": container},
    ]);
    let labels = json!({"metadata": {"labels": {"env": CANARY}}});
    let by_option = redactor().environment(true);
    for body in [pods, patch] {
        let event = event("deployments", json!({"requestObject": body}));
        let (told, _) = redacted_by(&by_option, &event, Bodies::Keep);
        let text = told.to_string();
        assert!(!text.contains(CANARY), "{text}");
        for stays in [r#""name":"A""#, r#""key":"pw""#] {
            assert_eq!(
                text.contains(stays),
                event.to_string().contains(stays),
                "{text}"
            );
        }
        assert!(
            text.contains("NAME") == event.to_string().contains("NAME"),
            "{text}"
        );
        assert_eq!(redacted(&event)["requestObject"], event["requestObject"]);
    }
    let event = event("pods", json!({"requestObject": labels}));
    assert_eq!(redacted_by(&by_option, &event, Bodies::Keep).0, event);
}

#[test]
fn a_route_may_have_bodies_without_values_or_none() {
    let body =
        json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"key": CANARY, "n": null}});
    let event = event(
        "configmaps",
        json!({"requestObject": body, "responseObject": body,
        "annotations": {"authorization.k8s.io/decision": "allow", "x.example/note": CANARY},
        "responseStatus": {"code": 422, "reason": "Invalid", "message": format!("bad {CANARY}")}}),
    );
    let (shape, unreadable) = redacted_by(&redactor(), &event, Bodies::Redact);
    let held = &shape["requestObject"];
    assert!(!unreadable && is_mark(&held["data"]["key"]), "{shape}");
    assert_eq!(
        (&held["kind"], &held["metadata"]["name"]),
        (&json!("ConfigMap"), &json!("c"))
    );
    assert_eq!(held["data"]["n"], Value::Null);
    let (none, unreadable) = redacted_by(&redactor(), &event, Bodies::Drop);
    assert!(
        !unreadable && none.get("requestObject").is_none() && none.get("responseObject").is_none(),
        "{none}"
    );
    for told in [shape, none] {
        assert!(!told.to_string().contains(CANARY), "{told}");
        assert_eq!(
            told["annotations"]["authorization.k8s.io/decision"],
            "allow"
        );
        assert_eq!(told["responseStatus"]["reason"], "Invalid");
    }
    assert_eq!(redacted(&event), event);
}

#[test]
fn an_address_is_masked_in_every_event_and_where_it_is_quoted() {
    let uri =
        format!("/api/v1/namespaces/x/pods/p/exec?command=mysql&command=-p{CANARY}&container=c");
    let event = event(
        "pods/exec",
        json!({"requestURI": uri,
        "responseStatus": {"code": 500, "reason": "InternalError", "message": format!("cannot run \"-p{CANARY}\"")},
        "userAgent": format!("x/{CANARY}"), "requestObject": {"kind": "PodExecOptions", "command": ["mysql", format!("-p{CANARY}")]},
        "annotations": {"x.example/uri": uri, "authorization.k8s.io/decision": "allow"}}),
    );
    let told = redacted(&event);
    assert_eq!(
        told["requestURI"],
        "/api/v1/namespaces/x/pods/p/exec?command=mysql&command=-p%5Bmasked%5D&container=c"
    );
    assert_eq!(
        told["responseStatus"]["message"],
        "cannot run \"-p[masked]\""
    );
    assert_eq!(told["requestObject"]["command"][1], "-p[masked]");
    assert!(!told.to_string().contains(CANARY), "{told}");
    assert_eq!(
        told["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
}

/// Too much to look for: then whatever may quote it goes, and Kubernetes' own words stay.
#[test]
fn where_too_much_was_taken_out_every_text_that_may_quote_it_goes() {
    let many: String = (0..1_000)
        .map(|n| format!("&command=--token={CANARY}-{n}"))
        .collect();
    let event = event(
        "pods/exec",
        json!({"requestURI": format!("/exec?x=y{many}"), "userAgent": format!("x/{CANARY}-7"),
        "responseStatus": {"code": 500, "reason": "InternalError", "message": format!("no {CANARY}-9")},
        "annotations": {"x.example/a": CANARY, "authorization.k8s.io/reason": "because"}}),
    );
    let told = redacted(&event);
    assert!(!told.to_string().contains(CANARY), "{told}");
    assert_eq!(told["responseStatus"]["message"], "[masked]");
    assert_eq!(told["responseStatus"]["reason"], "InternalError");
    assert_eq!(
        told["annotations"]["authorization.k8s.io/reason"],
        "because"
    );
}

/// What a client writes must not take the evidence of what was decided out of its own event.
#[test]
fn an_argument_cannot_hide_what_the_api_server_says() {
    let uri = "/api/v1/namespaces/x/pods/p/exec?command=-pforbid&command=-pForbidden&command=-pResponseComplete";
    let event = event(
        "pods/exec",
        json!({"requestURI": uri, "user": {"username": "forbid"},
        "responseStatus": {"code": 403, "reason": "Forbidden", "status": "Failure"},
        "annotations": {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": "forbid"}}),
    );
    let told = redacted(&event);
    for name in [
        "user",
        "responseStatus",
        "annotations",
        "stage",
        "objectRef",
    ] {
        assert_eq!(told[name], event[name], "{name}");
    }
}

#[test]
fn a_refusal_that_quotes_a_part_of_a_body_loses_what_the_body_lost() {
    let env = json!({"spec": {"containers": [{"env": [{"name": "A", "value": CANARY}]}]}});
    let status =
        |code: u16, message: &str| json!({"code": code, "reason": "Invalid", "message": message});
    let by_option = redactor().environment(true);
    let of = |status: Value| {
        let event = event(
            "pods",
            json!({"responseStatus": status, "requestObject": env}),
        );
        redacted_by(&by_option, &event, Bodies::Keep).0["responseStatus"]["message"].clone()
    };
    assert_eq!(
        of(status(
            422,
            &format!("env[0].value: \"{CANARY}\": too long")
        )),
        "env[0].value: \"[masked]\": too long"
    );
    assert_eq!(of(status(400, "found in |hunter2-|")), "[redacted]");
    assert_eq!(
        of(status(409, "the object has been modified")),
        "the object has been modified"
    );
}

#[test]
fn what_stands_under_a_name_of_no_event_is_a_body() {
    for (name, hides) in [
        ("requestobject", true),
        ("extraObject", true),
        ("requestReceivedTimestamp", false),
    ] {
        let mut event = event("secrets", json!({}));
        event[name] = json!({"data": {"a": CANARY}});
        assert_eq!(
            !redacted(&event).to_string().contains(CANARY),
            hides,
            "{name}"
        );
    }
    // Whoever reads the envelope finds out, the scanner or serde.
    let unusual = event("secrets", json!({"verb": null, "other": {"data": CANARY}}));
    assert!(!redacted(&unusual).to_string().contains(CANARY));
}

/// Of each pair of lines `before …` and `after …` of the documentation, whatever the digits of marks are.
#[test]
fn the_examples_of_the_documentation_are_what_is_done() {
    const PAGE: &str = include_str!("../../../docs/redaction.md");
    let lines = |start: &'static str| {
        PAGE.lines()
            .filter_map(move |line| line.strip_prefix(start))
            .map(str::trim)
    };
    let without_digits = |text: &str| {
        let parts = text.split("[redacted ").enumerate();
        let parts = parts.map(|(number, part)| part.get(8 * usize::from(number > 0)..));
        parts
            .map(Option::unwrap_or_default)
            .collect::<Vec<_>>()
            .join("[redacted ")
    };
    let mut examples = 0;
    for (before, after) in lines("before   ").zip(lines("after    ")) {
        let (event, pointer) = if before.starts_with('"') {
            let body: Value = serde_json::from_str(&format!("{{{before}}}")).expect("JSON");
            (
                event("secrets", json!({"requestObject": body})),
                "/requestObject",
            )
        } else {
            (
                event("pods/exec", json!({"requestURI": before})),
                "/requestURI",
            )
        };
        let told = redacted(&event);
        let told = told.pointer(pointer).expect("it is there");
        let told = told
            .as_str()
            .map_or_else(|| told.to_string(), str::to_owned);
        let told = told.trim_start_matches('{').trim_end_matches('}');
        let after = after.trim_end_matches('}');
        assert_eq!(without_digits(told), without_digits(after));
        examples += 1;
    }
    assert_eq!(examples, 2);
}

//! Redaction against every form in which a secret has been seen to travel.

use proptest::prelude::*;

use super::{
    scrub::{Scrubber, has_nothing_to_hide},
    *,
};

const CANARY: &str = "c2VjcmV0LWNhbmFyeQ==";

fn event(object: &str, rest: &str) -> String {
    format!(
        r#"{{"level":"RequestResponse","stage":"ResponseComplete","auditID":"a","verb":"create","user":{{"username":"alice"}},"objectRef":{object}{rest}}}"#
    )
}

fn redactor() -> Redactor {
    Redactor::new(HashKey::new([7; 32]))
}

fn redacted(text: &str) -> (String, bool) {
    let envelope = Envelope::parse(text).expect("readable");
    let out = redactor().redact(text, &envelope, true, Bodies::Keep);
    let again = Envelope::parse(&out.json).expect("still an event");
    let twice = redactor().redact(&out.json, &again, true, Bodies::Keep);
    assert_eq!(twice.json, out.json, "redacting twice is redacting once");
    (out.json.into_owned(), out.body_unreadable)
}

fn assert_hidden(text: &str) -> String {
    assert!(text.contains(CANARY), "the input must hold the canary");
    let (json, _) = redacted(text);
    assert!(!json.contains(CANARY), "leaked: {json}");
    json
}

const SECRETS: &str = r#"{"resource":"secrets","namespace":"demo","name":"db"}"#;
const CONFIGMAPS: &str = r#"{"resource":"configmaps","namespace":"demo","name":"c"}"#;

#[test]
fn values_of_secrets_go_in_every_form_and_key_names_stay() {
    for body in [
        r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db"},"data":{"password":"CANARY"}}"#,
        r#"{"stringData":{"password":"CANARY"}}"#,
        r#"{"data":{"password":"CANARY","type":"CANARY"},"type":"Opaque"}"#,
        r#"[{"op":"replace","path":"/data/password","value":"CANARY"}]"#,
        r#"[{"op":"add","path":"/data","value":{"password":"CANARY"}}]"#,
        r#"{"kind":"SecretList","items":[{"metadata":{"name":"db"},"data":{"password":"CANARY"}}]}"#,
        r#"{"kind":"Table","rows":[{"cells":["CANARY"],"object":{"data":{"password":"CANARY"}}}]}"#,
        r#"{"metadata":{"annotations":{"note":"CANARY"},"name":{"password":"CANARY"}}}"#,
        r#"{"data":{"password":"CANARY"},"data":{"password":"x"}}"#,
        r#""CANARY""#,
        r#"["CANARY"]"#,
    ] {
        let body = body.replace("CANARY", CANARY);
        for field in ["requestObject", "responseObject"] {
            let json = assert_hidden(&event(SECRETS, &format!(r#","{field}":{body}"#)));
            assert_eq!(
                json.contains("password"),
                body.contains("password"),
                "{json}"
            );
        }
    }
}

#[test]
fn how_long_a_token_lasts_stays_and_nothing_else_of_it() {
    let token = r#"{"resource":"serviceaccounts","subresource":"token","name":"bot"}"#;
    let kept = |kind: &str, lifetime: &str| {
        let body = format!(
            r#","requestObject":{{"kind":"{kind}","spec":{{"expirationSeconds":{lifetime},"audiences":["{CANARY}"],"n":7}}}}"#
        );
        let json = assert_hidden(&event(token, &body));
        assert!(!json.contains(":7"), "{json}");
        json.contains(&format!(r#""expirationSeconds":{lifetime}"#))
    };
    assert!(kept("TokenRequest", "864000"));
    assert!(!kept("TokenRequest", &format!(r#""{CANARY}""#)));
    assert!(!kept("TokenRequest", &format!(r#"{{"x":"{CANARY}"}}"#)));
    assert!(!kept("Secret", "864000"));
}

#[test]
fn token_reviews_and_token_requests_are_hidden() {
    for object in [
        r#"{"resource":"tokenreviews","apiGroup":"authentication.k8s.io"}"#,
        r#"{"resource":"serviceaccounts","name":"ci","namespace":"demo","subresource":"token"}"#,
    ] {
        let body = format!(
            r#"{{"kind":"X","spec":{{"token":"{CANARY}"}},"status":{{"token":"{CANARY}"}}}}"#
        );
        assert_hidden(&event(
            object,
            &format!(r#","requestObject":{body},"responseObject":{body}"#),
        ));
    }
}

#[test]
fn a_secret_inside_another_body_is_hidden() {
    let body = format!(
        r#"{{"kind":"List","items":[{{"data":{{"k":"{CANARY}"}},"KIND":"secret"}},{{"kind":"ConfigMap","data":{{"plain":"stays"}}}}]}}"#
    );
    let json = assert_hidden(&event(CONFIGMAPS, &format!(r#","requestObject":{body}"#)));
    assert!(json.contains("stays"), "{json}");
}

#[test]
fn last_applied_configuration_goes_wherever_it_stands() {
    for body in [
        r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"CANARY","team":"stays"}}}"#,
        r#"[{"op":"add","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":"CANARY"},{"stays":1}]"#,
        r#"{"patch":"{\"kubectl.kubernetes.io/last-applied-configuration\": \"CANARY\"}","x":"stays"}"#,
    ] {
        let body = body.replace("CANARY", CANARY);
        let json = assert_hidden(&event(CONFIGMAPS, &format!(r#","responseObject":{body}"#)));
        assert!(json.contains("stays"), "{json}");
    }
}

#[test]
fn a_failure_that_may_quote_a_secret_loses_its_message_and_keeps_its_reason() {
    let status = format!(
        r#","responseStatus":{{"metadata":{{}},"code":400,"reason":"BadRequest","message":"error in |{CANARY}|","details":{{"causes":[{{"message":"{CANARY}"}}]}}}}"#
    );
    let json = assert_hidden(&event(SECRETS, &status));
    assert!(json.contains("BadRequest"), "{json}");
    let of_403 = |message: &str| {
        let status = format!(
            r#","responseStatus":{{"code":403,"message":"{message}","details":{{"x":"{CANARY}"}}}}"#
        );
        assert_hidden(&event(SECRETS, &status))
    };
    let authorizer =
        of_403(r#"secrets is forbidden: User \"alice\" cannot get resource \"secrets\""#);
    assert!(authorizer.contains("cannot get resource"), "{authorizer}");
    of_403(&format!(
        r#"admission webhook \"gate\" denied the request: value {CANARY}"#
    ));
}

#[test]
fn annotations_that_may_hold_values_are_hidden() {
    let patch = r#"{\"patch\":[{\"op\":\"add\",\"path\":\"/data/p\",\"value\":\"CANARY\"}]}"#;
    let last_applied = "kubectl.kubernetes.io/last-applied-configuration CANARY";
    for (object, key, value) in [
        (
            SECRETS,
            "patch.webhook.admission.k8s.io/round_0_index_0",
            patch,
        ),
        (
            CONFIGMAPS,
            "patch.webhook.admission.k8s.io/round_0_index_0",
            patch,
        ),
        (
            SECRETS,
            "validation.policy.admission.k8s.io/validation_failure",
            "CANARY",
        ),
        (CONFIGMAPS, "x.example.org/note", last_applied),
    ] {
        let value = value.replace("CANARY", CANARY);
        for body in ["", r#","requestObject":{"kind":"X"}"#] {
            let allowed = r#""authorization.k8s.io/decision":"allow""#;
            let rest = format!(r#"{body},"annotations":{{{allowed},"{key}":"{value}"}}"#);
            let json = assert_hidden(&event(object, &rest));
            assert!(json.contains(allowed), "{json}");
        }
    }
    let harmless = r#","annotations":{"authorization.k8s.io/reason":"RBAC: x","team.example.org/note":"stays"}"#;
    assert!(redacted(&event(CONFIGMAPS, harmless)).0.contains("stays"));
}

#[test]
fn a_body_that_cannot_be_read_is_dropped_and_the_event_stays() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let large = format!(r#"["{}"]"#, "x".repeat(5 << 20));
    for body in [
        deep.as_str(),
        large.as_str(),
        r#"{"a":"\ud800"}"#,
        r#"{"kind":"Secret","n":1e999}"#,
    ] {
        let text = event(
            CONFIGMAPS,
            &format!(r#","requestObject":{body},"userAgent":"curl""#),
        );
        let (json, unreadable) = redacted(&text);
        assert!(unreadable);
        assert!(
            !json.contains("requestObject") && json.contains("curl"),
            "{json}"
        );
    }
    let text = event(CONFIGMAPS, r#","requestObject":{"a":"?"}"#);
    let envelope = Envelope::parse(&text).expect("readable");
    let out = redactor().redact(&text, &envelope, false, Bodies::Keep);
    assert!(
        out.body_unreadable && !out.json.contains("requestObject"),
        "{out:?}"
    );
}

#[test]
fn an_event_without_bodies_passes_as_it_is() {
    let text = event(CONFIGMAPS, "");
    let envelope = Envelope::parse(&text).expect("readable");
    assert!(matches!(
        redactor().redact(&text, &envelope, true, Bodies::Keep).json,
        Cow::Borrowed(_)
    ));
}

#[test]
fn a_body_whose_bytes_rule_out_a_secret_passes_as_it_is() {
    for body in [
        r#"{"kind":"Pod",  "n":1e999, "a":1,"a":2, "s":"\"x\"", "secretName":"db"}"#,
        "[]",
        "7",
    ] {
        let text = event(CONFIGMAPS, &format!(r#","requestObject":{body}"#));
        assert_eq!(redacted(&text), (text, false));
    }
}

#[test]
fn an_escape_hides_no_annotation() {
    let hidden = r#"{\"last-applied-configuration\":\"hunter2\"}"#;
    let coded = r#"last\u002dapplied\u002dconfiguration hunter2"#;
    for value in [hidden, coded, "last-applied-configuration hunter2"] {
        let rest = format!(r#","annotations":{{"x":"{value}","y":"kept"}}"#);
        let (json, _) = redacted(&event(CONFIGMAPS, &rest));
        assert!(!json.contains("hunter2") && json.contains("kept"), "{json}");
    }
}

fn body() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "kind",
        "KIND",
        "\\u006bind",
        "data",
        "path",
        "value",
        "metadata",
        "last-applied-configuration",
        "x/last-applied-configuration",
        "env",
        "op",
    ]);
    let text = prop::sample::select(vec![
        "Secret",
        "sEcret",
        "SecretList",
        "TokenReview",
        "Pod",
        "secretary",
        "\\u0053ecret",
        "hunter2",
        "/metadata/annotations/x~1last-applied-configuration",
        "a\\\"b",
        "kind: Secret",
        "{\\\"kind\\\":\\\"Secret\\\"}",
        "'kind' : Secret",
        "kind  : Secret",
        "kind:\\n  Secret",
        "kind\\t: !!str Secret",
        "{\\\"kind\\\"\\t: \\\"Secret\\\"}",
        "\\\"kind\\\": TokenReview",
        "/spec/containers/0/env/0/value",
        "/spec/containers/0/env/-",
    ]);
    let leaf = prop_oneof![
        text.prop_map(|text| format!("\"{text}\"")),
        Just("1".to_owned())
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((name.clone(), inner), 0..4).prop_map(|members| {
                let member = |(name, value)| format!("\"{name}\":{value}");
                let members: Vec<_> = members.into_iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    /// Whatever passes as it is holds nothing that the slow way would have hidden, whichever of two
    /// members with one name counts.
    #[test]
    fn what_passes_needs_no_redaction(body in body(), environment in any::<bool>()) {
        if has_nothing_to_hide(&body, environment) {
            let parsed: Value = serde_json::from_str(&body).expect("JSON");
            let mut hidden = parsed.clone();
            let key = HashKey::new([7; 32]);
            Scrubber { key: &key, environment, lost: None }.scrub(&mut hidden);
            prop_assert_eq!(hidden, parsed);
            let lower = body.to_lowercase();
            for (kind, _) in shape::SECRET_KINDS {
                let name = format!("\"{}\"", kind.to_lowercase());
                prop_assert!(!lower.contains(&name), "{}", name);
            }
        }
    }
}

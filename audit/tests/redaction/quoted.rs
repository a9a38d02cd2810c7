//! What was taken out of a body does not come back in what quotes the body: the answer, the outcome, annotations.

use auditrelay_audit::redact::Bodies;
use serde_json::{Value, json};

use crate::rules::{event, redacted, redacted_by, redactor};

const CANARY: &str = "hunter2-canary";

fn pods() -> Value {
    json!({"kind": "Pod", "spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": CANARY}]}]}})
}

fn by_option(event: &Value) -> Value {
    redacted_by(&redactor().environment(true), event, Bodies::Keep).0
}

#[test]
fn an_answer_that_quotes_a_body_loses_what_the_body_lost() {
    let secret =
        json!({"kind": "List", "items": [{"kind": "Secret", "stringData": {"p": CANARY}}]});
    let applied = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": CANARY}}});
    for body in [pods(), secret, applied] {
        let message = format!("env[0].value: Invalid value: \"{CANARY}\": too long");
        let status = json!({"kind": "Status", "code": 422, "status": "Failure", "reason": "Invalid", "message": message,
            "details": {"name": "n", "causes": [{"field": "env[0].value", "message": message}]}});
        let told = by_option(&event(
            "pods",
            json!({"responseStatus": status, "responseObject": status, "requestObject": body}),
        ));
        assert!(!told.to_string().contains(CANARY), "{told}");
        for name in ["responseStatus", "responseObject"] {
            let masked = "env[0].value: Invalid value: \"[masked]\": too long";
            assert_eq!(told[name]["message"], masked);
            assert_eq!(told[name]["reason"], "Invalid");
            assert_eq!(told[name]["details"]["name"], "n");
        }
        let parts = json!({"kind": "Status", "code": 400, "reason": "BadRequest", "message": "found in |hunter2-ca|",
            "details": {"causes": [{"message": "hunter2-ca"}]}});
        let told = by_option(&event(
            "pods",
            json!({"responseStatus": parts, "responseObject": parts, "requestObject": body}),
        ));
        assert!(!told.to_string().contains("hunter2"), "{told}");
        assert_eq!(told["responseObject"]["reason"], "BadRequest");
    }
}

/// Whatever code and reason a webhook chooses.
#[test]
fn no_code_and_no_reason_lets_a_secret_pass() {
    for code in [401, 403, 404, 405, 409, 410, 418, 422, 429, 500] {
        for message in [
            format!("admission webhook \"x\" denied the request: value {CANARY} is used"),
            format!("secrets \"n\" is forbidden: {CANARY}"),
            format!("value {CANARY} not found"),
            format!("Operation cannot be fulfilled on secrets \"n\": {CANARY}"),
        ] {
            let status =
                json!({"code": code, "reason": format!("value {CANARY}"), "message": message});
            let told = redacted(&event("secrets", json!({"responseStatus": status})));
            assert!(!told.to_string().contains(CANARY), "{told}");
            assert_eq!(told["responseStatus"]["code"], code);
            let status =
                json!({"code": code, "reason": format!("value {CANARY}"), "message": message});
            let told = by_option(&event(
                "pods",
                json!({"responseStatus": status, "requestObject": pods()}),
            ));
            assert!(!told.to_string().contains(CANARY), "{told}");
        }
        let told = r#"secrets "n" not found"#;
        let status = json!({"code": code, "reason": "NotFound", "message": told});
        let known = redacted(&event("secrets", json!({"responseStatus": status})));
        assert_eq!(known["responseStatus"], status);
    }
    let webhook = json!({"code": 409, "message": "admission webhook \"x\" denied the request: no"});
    let told = redacted(&event("secrets", json!({"responseStatus": webhook})));
    assert_eq!(
        told["responseStatus"]["message"],
        "admission webhook \"x\" denied the request: [redacted]"
    );
}

#[test]
fn an_annotation_of_a_request_that_succeeds_quotes_nothing_either() {
    let key = "validation.policy.admission.k8s.io/validation_failure";
    let failure = format!(
        r#"[{{"message":"value \"{CANARY}\" is used","policy":"p","validationActions":["Audit"]}}]"#
    );
    let told = by_option(&event(
        "pods",
        json!({
            "responseStatus": {"code": 201}, "requestObject": pods(), "responseObject": pods(),
            "annotations": {key: failure, "authorization.k8s.io/decision": "allow"},
        }),
    ));
    assert!(!told.to_string().contains(CANARY), "{told}");
    assert!(
        told["annotations"][key]
            .as_str()
            .is_some_and(|text| text.contains(r#""policy":"p""#)),
        "{told}"
    );
}

/// Of a value with quotes, line ends or brackets in it an escaped form is quoted.
#[test]
fn a_value_is_found_where_it_is_quoted_with_escapes() {
    let mut body = pods();
    body["spec"]["containers"][0]["env"][0]["value"] =
        "first-canary\nsecond<\"third-canary\"".into();
    let message = r#"Invalid value: "first-canary\nsecond\u003c\"third-canary\"""#;
    let told = by_option(&event(
        "pods",
        json!({"requestObject": body, "responseStatus": {"code": 422, "message": message}}),
    ));
    assert!(!told.to_string().contains("canary"), "{told}");
}

#[test]
fn a_secret_object_inside_a_string_is_found_however_its_kind_is_written() {
    for manifest in [
        "kind: Secret\nstringData:\n  p: CANARY\n",
        "kind  : Secret\nstringData: {p: CANARY}\n",
        "kind\t:\tSecret\nstringData: {p: CANARY}\n",
        "kind:\n  Secret\nstringData: {p: CANARY}\n",
        "kind: !!str Secret\nstringData: {p: CANARY}\n",
        "kind: !<tag:yaml.org,2002:str> Secret\nstringData: {p: CANARY}\n",
        "kind: &x Secret\nstringData: {p: CANARY}\n",
        "kind: &x !!str 'Secret'\nstringData: {p: CANARY}\n",
        "kind: # a comment: here\n  Secret\nstringData: {p: CANARY}\n",
        "kind: >-\n  Secret\nstringData: {p: CANARY}\n",
        "kind: \"S\\x65cret\"\nstringData: {p: CANARY}\n",
        "x: &k Secret\nkind: *k\nstringData: {p: CANARY}\n",
        "? kind\n: Secret\nstringData: {p: CANARY}\n",
        "'kind' : Secret\nstringData: {p: CANARY}\n",
        "{\"kind\"\t: \"Secret\", \"stringData\": {\"p\": \"CANARY\"}}",
        "{\"kind\"\r\n:\r\n\"TokenReview\", \"spec\": {\"token\": \"CANARY\"}}",
        "\"{\\\"kind\\\"\\t:\\n \\\"Secret\\\", \\\"stringData\\\": {\\\"p\\\": \\\"CANARY\\\"}}\"",
    ] {
        let manifest = manifest.replace("CANARY", CANARY);
        for more in [
            json!({"requestObject": {"kind": "ConfigMap", "data": {"m": manifest}}}),
            json!({"annotations": {"x.example/said": manifest}}),
        ] {
            let told = redacted(&event("configmaps", more));
            assert!(!told.to_string().contains(CANARY), "{manifest}: {told}");
        }
    }
    for harmless in [
        "kind: Pod\n",
        "kind  : Deployment",
        "kind: *",
        "the kind of thing",
        "kind:",
        "kinds: Secret",
        "kind: Secretary",
    ] {
        let event = event(
            "configmaps",
            json!({"requestObject": {"data": {"m": harmless}}}),
        );
        assert_eq!(redacted(&event), event, "{harmless}");
    }
}

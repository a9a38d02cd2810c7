//! Changes of what the door redacted.

use auditrelay_audit::{
    HashKey,
    redact::{Bodies, Redactor},
};
use serde_json::json;

use super::{tests::event, *};

/// Two writes of one secret are told apart by what they wrote, and nothing of it is told.
#[test]
fn another_secret_value_is_told_as_another_one_and_the_same_as_the_same() {
    let redactor = Redactor::new(HashKey::new([7; 32]));
    let told = |value: &str| {
        let json = event(
            "patch",
            "secrets",
            &json!({"data": {"password": value, "list": [value, "x"]}}),
            &json!({}),
        );
        let envelope = Envelope::parse(&json).expect("an event");
        let stored = redactor.redact(&json, &envelope, true, Bodies::Keep).json;
        Change::of(&Envelope::parse(&stored).expect("an event")).lines
    };
    let one = told("aHVudGVyMg==");
    assert!(
        one[0].starts_with("data.")
            && one
                .iter()
                .any(|line| line.starts_with("data.password = [redacted ")),
        "{one:?}"
    );
    assert_eq!(one, told("aHVudGVyMg=="));
    assert_ne!(one, told("aHVudGVyMw=="));
}

#[test]
fn a_signing_request_is_told_though_it_was_redacted() {
    let body = json!({"kind": "CertificateSigningRequest", "spec": {"request": "LS0tLS1CRUdJTg==",
        "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"], "username": "eve",
        "groups": ["system:masters"], "expirationSeconds": 864_000},
        "status": {"conditions": [{"type": "Approved", "status": "True", "message": "ok"}]}});
    let json = event(
        "update",
        "certificatesigningrequests/approval",
        &body,
        &body,
    );
    let redactor = Redactor::new(HashKey::new([7; 32]));
    let plain = Envelope::parse(&json).expect("an event");
    let stored = redactor.redact(&json, &plain, true, Bodies::Keep).json;
    let told = Change::of(&Envelope::parse(&stored).expect("an event"));
    assert!(!stored.contains("LS0tLS1CRUdJTg"), "{stored}");
    assert_eq!(told, Change::of(&plain));
    assert!(
        told.fields.len() >= 5 && told.decision.is_some(),
        "{told:?}"
    );
}

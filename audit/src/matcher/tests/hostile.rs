//! Risks: what is found, and that nothing which is sent to hide them does.

use super::*;

const BINDING: &str = "clusterrolebindings";
const ROLE: &str = "clusterroles";
const POD: &str = "pods";

/// Which risks an event with this body has.
fn risks(verb: &str, resource: &str, more: &str) -> Vec<Risk> {
    let all = [
        Risk::ClusterAdmin,
        Risk::Wildcard,
        Risk::Escalation,
        Risk::Privileged,
        Risk::HostPath,
        Risk::HostNamespaces,
    ];
    let more = format!(r#""verb":"{verb}","objectRef":{{"resource":"{resource}"}}{more}"#);
    let has = |risk: &Risk| {
        let matcher = Matcher {
            risks: vec![*risk],
            ..Matcher::default()
        };
        matches(&matcher, &more)
    };
    all.into_iter().filter(has).collect()
}

fn in_body(resource: &str, body: &str) -> Vec<Risk> {
    risks("patch", resource, &format!(r#","requestObject":{body}"#))
}

const GRANTED: [Risk; 3] = [Risk::ClusterAdmin, Risk::Wildcard, Risk::Escalation];
const RUN: [Risk; 3] = [Risk::Privileged, Risk::HostPath, Risk::HostNamespaces];

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_a_body_grants() {
    for (resource, body, expected) in [
        (
            BINDING,
            r#"{"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}}"#,
            &[Risk::ClusterAdmin][..],
        ),
        (
            "rolebindings",
            r#"{"roleRef":{"name":"cluster-admin"}}"#,
            &[Risk::ClusterAdmin],
        ),
        (
            "rolebindings",
            r#"{"roleRef":{"kind":"Role","name":"cluster-admin"}}"#,
            &[],
        ),
        (
            BINDING,
            r#"{"roleRef":{"kind":"ClusterRole","name":"view"},"subjects":[{"name":"cluster-admin"}]}"#,
            &[],
        ),
        (
            ROLE,
            r#"{"rules":[{"verbs":["get"]},{"verbs":["*"]}]}"#,
            &[Risk::Wildcard],
        ),
        (
            ROLE,
            r#"{"rules":[{"apiGroups":["*"],"resources":["pods"],"verbs":["get"]}]}"#,
            &[Risk::Wildcard],
        ),
        (
            ROLE,
            r#"{"rules":[{"resources":["*"]}]}"#,
            &[Risk::Wildcard],
        ),
        (
            ROLE,
            r#"{"rules":[{"resources":["pods/*","*/scale"],"verbs":["get"]}]}"#,
            &[],
        ),
        (
            "roles",
            r#"{"rules":[{"verbs":["get","impersonate"]}]}"#,
            &[Risk::Escalation],
        ),
        (
            ROLE,
            r#"{"rules":[{"verbs":["bind"]},{"verbs":["escalate"]}]}"#,
            &[Risk::Escalation],
        ),
        (
            ROLE,
            r#"{"rules":[{"nonResourceURLs":["*"],"verbs":["get"],"resourceNames":["bind"]}]}"#,
            &[],
        ),
        (
            ROLE,
            r#"[{"op":"add","path":"/rules/0/verbs/-","value":"*"}]"#,
            &[Risk::Wildcard],
        ),
        (
            ROLE,
            r#"[{"op":"add","path":"/rules/-","value":{"verbs":["escalate"]}}]"#,
            &[Risk::Escalation],
        ),
        (
            ROLE,
            r#"[{"op":"replace","path":"/rules/0/verbs","value":["bind"]}]"#,
            &[Risk::Escalation],
        ),
        (
            ROLE,
            r#"[{"op":"copy","from":"/metadata/labels/a","path":"/rules/0/verbs/0"}]"#,
            &[Risk::Wildcard, Risk::Escalation],
        ),
        (
            ROLE,
            r#"[{"op":"move","from":"/metadata/labels/a","path":"/rules/0/apiGroups/0"}]"#,
            &[Risk::Wildcard],
        ),
        (
            ROLE,
            r#"[{"op":"test","path":"/rules/0/verbs/0","value":"*"},{"op":"remove","path":"/rules/0/verbs"}]"#,
            &[],
        ),
        // Not what roles are made of.
        (ROLE, r#"{"spec":{"hostPID":true}}"#, &[]),
    ] {
        assert_eq!(in_body(resource, body), expected, "{body}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_a_body_runs() {
    for (resource, body, expected) in [
        (
            POD,
            r#"{"spec":{"containers":[{"securityContext":{"privileged":true}}]}}"#,
            &[Risk::Privileged][..],
        ),
        (
            POD,
            r#"{"spec":{"initContainers":[{"securityContext":{"privileged":true}}]}}"#,
            &[Risk::Privileged],
        ),
        (
            POD,
            r#"{"spec":{"ephemeralContainers":[{"securityContext":{"privileged":true}}]}}"#,
            &[Risk::Privileged],
        ),
        (
            POD,
            r#"{"spec":{"securityContext":{"windowsOptions":{"hostProcess":true}}}}"#,
            &[Risk::Privileged],
        ),
        (
            POD,
            r#"{"spec":{"containers":[{"securityContext":{"privileged":false}}]}}"#,
            &[],
        ),
        (
            "cronjobs",
            r#"{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"hostPID":true}}}}}}"#,
            &[Risk::HostNamespaces],
        ),
        (
            POD,
            r#"{"spec":{"hostIPC":true,"hostNetwork":false}}"#,
            &[Risk::HostNamespaces],
        ),
        (
            POD,
            r#"{"spec":{"hostNetwork":true}}"#,
            &[Risk::HostNamespaces],
        ),
        (
            "deployments",
            r#"{"spec":{"template":{"spec":{"volumes":[{"hostPath":{"path":"/"}}]}}}}"#,
            &[Risk::HostPath],
        ),
        (
            "rollouts",
            r#"{"spec":{"template":{"spec":{"volumes":[{"hostPath":{"path":"/","type":""}}]}}}}"#,
            &[Risk::HostPath],
        ),
        // The schema of one, as in a custom resource's definition.
        (
            "customresourcedefinitions",
            r#"{"hostPath":{"type":"object","properties":{"path":{"type":"string"}}},"privileged":{"type":"boolean"}}"#,
            &[],
        ),
        (
            POD,
            r#"[{"op":"add","path":"/spec/volumes/-","value":{"hostPath":{"path":"/etc"}}}]"#,
            &[Risk::HostPath],
        ),
        (
            POD,
            r#"[{"op":"replace","path":"/spec/volumes/0/hostPath/path","value":"/"}]"#,
            &[Risk::HostPath],
        ),
        (
            POD,
            r#"[{"op":"add","path":"/spec/containers/0/securityContext/privileged","value":true}]"#,
            &[Risk::Privileged],
        ),
        (
            POD,
            r#"[{"op":"copy","from":"/a","path":"/spec/hostPID"}]"#,
            &[Risk::HostNamespaces],
        ),
        (
            POD,
            r#"[{"op":"add","path":"/spec/hostPID","value":false}]"#,
            &[],
        ),
        (POD, r#"{"rules":[{"verbs":["*"]}],"resources":["*"]}"#, &[]),
    ] {
        assert_eq!(in_body(resource, body), expected, "{body}");
    }
}

#[test]
fn only_a_request_that_writes_has_risks_and_only_with_its_body() {
    let body = r#","requestObject":{"spec":{"hostPID":true}}"#;
    for (verb, expected) in [
        ("create", true),
        ("update", true),
        ("patch", true),
        ("get", false),
        ("delete", false),
        ("deletecollection", false),
        ("", false),
    ] {
        assert_eq!(!risks(verb, POD, body).is_empty(), expected, "{verb}");
    }
    assert!(risks("create", POD, "").is_empty());
    let answer = r#","responseObject":{"spec":{"hostPID":true}}"#;
    assert!(
        risks("create", POD, answer).is_empty(),
        "what is asked for counts"
    );
    assert!(risks("create", POD, r#","requestObject":null"#).is_empty());
}

#[test]
fn nobody_hides_in_a_body() {
    // Whichever of two the API server takes.
    for body in [
        r#"{"spec":{"hostPID":true,"hostPID":false}}"#,
        r#"{"spec":{"hostPID":false,"hostPID":true}}"#,
        r#"{"spec":{"host\u0050ID":true}}"#,
        r#"{"spec":{},"spec":{"hostPID":true}}"#,
    ] {
        assert_eq!(in_body(POD, body), [Risk::HostNamespaces], "{body}");
    }
    let both =
        r#"{"roleRef":{"name":"cluster-admin","name":"view","kind":"Role","kind":"ClusterRole"}}"#;
    assert_eq!(in_body(BINDING, both), [Risk::ClusterAdmin]);
    // The API server's library takes more for a place in a list than digits.
    for place in ["-1", "+0", "-", "00", "x", "-1/x"] {
        for (op, list, expected) in [
            ("add", "verbs", &[Risk::Wildcard][..]),
            ("replace", "resources", &[Risk::Wildcard]),
            ("copy", "verbs", &[Risk::Wildcard, Risk::Escalation]),
            ("move", "apiGroups", &[Risk::Wildcard]),
        ] {
            let value = match op {
                "add" | "replace" => r#""value":"*""#,
                _ => r#""from":"/metadata/labels/a""#,
            };
            let body = format!(r#"[{{"op":"{op}","path":"/rules/-1/{list}/{place}",{value}}}]"#);
            assert_eq!(in_body(ROLE, &body), expected, "{body}");
        }
    }
    let escalate = r#"[{"op":"add","path":"/rules/0/verbs/-1","value":"escalate"}]"#;
    assert_eq!(in_body(ROLE, escalate), [Risk::Escalation]);
    // Escapes of a JSON pointer say what they say.
    let named = r#"[{"op":"add","path":"/spec/a~1hostPID","value":true}]"#;
    assert_eq!(in_body(POD, named), []);
}

#[test]
fn whoever_is_added_to_the_binding_of_that_name_is_made_an_admin() {
    let subjects = r#"{"subjects":[{"kind":"User","name":"eve"}]}"#;
    let patch = r#"[{"op":"add","path":"/subjects/-","value":{"kind":"User","name":"eve"}}]"#;
    for body in [subjects, patch] {
        let named = |resource: &str, name: &str, verb: &str| {
            let text = event(&format!(
                r#""verb":"{verb}","objectRef":{{"resource":"{resource}","name":"{name}"}},"requestObject":{body}"#
            ));
            let envelope = Envelope::parse(&text).expect("readable");
            risk::has_any(&[Risk::ClusterAdmin], &envelope)
        };
        assert!(named("clusterrolebindings", "cluster-admin", "patch"));
        // Of another nobody can say to what it binds, and most are to something small.
        assert!(!named("clusterrolebindings", "admins", "patch"));
        assert!(!named("rolebindings", "cluster-admin", "patch"));
        assert!(!named("clusterroles", "cluster-admin", "patch"));
        assert!(!named("clusterrolebindings", "cluster-admin", "get"));
    }
}

#[test]
fn what_cannot_be_read_has_every_risk() {
    let deep = format!("{}{}", r#"{"a":"#.repeat(9_990), "1");
    let deep = format!("{deep}{}", "}".repeat(9_990));
    let deep_list = format!("{}{}", "[".repeat(9_990), "]".repeat(9_990));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    let in_patch = format!(r#"[{{"op":"add","path":"/x","value":{deep}}}]"#);
    for body in [
        &deep,
        &deep_list,
        &long,
        &in_patch,
        r#"{"n":1e999}"#,
        r#"{"s":"\ud800"}"#,
        r#""kind: Pod\nspec: {hostPID: true}""#,
        "7",
        r#"[{"op":"add"}]"#,
        r#"[{"op":1,"path":"/"}]"#,
        r#"[{"op":"add","path":"/a","path":"/b","value":1}]"#,
    ] {
        let head: String = body.chars().take(80).collect();
        assert_eq!(in_body(POD, body), RUN, "{head}");
        assert_eq!(in_body(ROLE, body), GRANTED, "{head}");
    }
    let cut = r#","annotations":{"audit.k8s.io/truncated":"true"}"#;
    assert_eq!(risks("create", POD, cut), RUN);
    let metadata = event(&format!(
        r#""verb":"create","objectRef":{{"resource":"pods"}}{cut}"#
    ))
    .replace("Request\"", "Metadata\"");
    let envelope = Envelope::parse(&metadata).expect("readable");
    assert_eq!(envelope.level, Level::Metadata);
    assert!(
        !risk::has_any(&RUN, &envelope),
        "at Metadata there is no body to cut off"
    );
}

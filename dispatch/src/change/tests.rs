//! Changes: what a body says, and what must never be shown of it.

use serde_json::json;

use super::*;

pub(super) fn event(verb: &str, object: &str, request: &Value, response: &Value) -> String {
    let (resource, subresource) = object.split_once('/').unwrap_or((object, ""));
    json!({
        "level": "RequestResponse", "stage": "ResponseComplete", "verb": verb, "requestURI": "/x",
        "objectRef": {"resource": resource, "subresource": subresource, "name": "n", "namespace": "x"},
        "requestObject": request, "responseObject": response, "responseStatus": {"code": 200},
    })
    .to_string()
}

fn change(verb: &str, object: &str, request: &Value, response: &Value) -> Change {
    let json = event(verb, object, request, response);
    Change::of(&Envelope::parse(&json).expect("an event"))
}

fn lines(verb: &str, object: &str, request: &Value) -> Vec<String> {
    change(verb, object, request, &json!({})).lines
}

#[test]
fn a_merge_patch_says_what_it_sets_and_takes_away() {
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "c"}],
        "containers": [{"name": "c", "image": "nginx:1.28", "args": ["-v", "--token", "hunter2"]}],
        "nodeSelector": null}}},
        "metadata": {"labels": {"a/b": "x"}, "managedFields": [], "resourceVersion": "1"}});
    assert_eq!(
        lines("patch", "deployments", &patch),
        [
            "spec.template.spec.containers[c].args = [-v, --token, [masked]]",
            "spec.template.spec.containers[c].image = nginx:1.28",
            "spec.template.spec.nodeSelector removed",
            "metadata.labels[a/b] = x",
        ]
    );
}

#[test]
fn a_json_patch_says_each_operation() {
    let patch = json!([
        {"op": "replace", "path": "/spec/replicas", "value": 3},
        {"op": "remove", "path": "/metadata/labels/a~1b"},
        {"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "DB_PASSWORD", "value": "hunter2"}},
        {"op": "replace", "path": "/spec/containers/0/env/3/value", "value": "hunter2"},
        {"op": "move", "path": "/spec/b", "from": "/spec/a"},
        {"op": "test", "path": "/data/password", "value": "hunter2"},
        {"no": "operation"}, 7,
    ]);
    let lines = lines("patch", "deployments", &patch);
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(lines.contains(&"spec.replicas = 3".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&"metadata.labels[a/b] removed".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"data.password was tested".to_owned()),
        "{lines:?}"
    );
    assert!(!lines.concat().contains("hunter2"), "{lines:?}");
}

#[test]
fn an_update_says_that_the_old_values_are_unknown() {
    let object = json!({"kind": "Deployment", "spec": {"replicas": 0, "paused": true}, "status": {"replicas": 4}});
    let change = change("update", "deployments", &object, &json!({}));
    assert_eq!(change.lines, ["spec.paused = true", "spec.replicas = 0"]);
    assert!(
        change
            .note
            .is_some_and(|note| note.contains("does not hold the old"))
    );
}

const S: &str = "hunter2";

/// Requests whose bodies hold a secret: [`S`], 1234 or 4321.
fn secrets() -> Vec<(&'static str, &'static str, Value)> {
    let objects = secret_objects()
        .into_iter()
        .map(|(object, body)| ("create", object, body));
    let patches = [
        json!({"data": {"a": S}}),
        json!([{"op": "replace", "path": "/data/a", "value": S}]),
        json!([{"op": "add", "path": "/data", "value": {"a": S}}]),
    ];
    objects
        .chain(patches.map(|body| ("patch", "secrets", body)))
        .collect()
}

fn secret_objects() -> Vec<(&'static str, Value)> {
    let pod = |container: Value| ("pods", json!({"spec": {"containers": [container]}}));
    let thing = |spec: Value| ("things", json!({"spec": spec}));
    let config = |data: Value| ("configmaps", json!({"data": data}));
    vec![
        (
            "secrets",
            json!({"kind": "Secret", "data": {"a": S}, "stringData": {"b": S}, "other": {"x": S}}),
        ),
        ("things", json!({"kind": "secret", "data": {"a": S}})),
        config(json!({"password": S, "db-token": S, "API_KEY": S})),
        config(json!({"url": format!("postgres://u:{S}@db/x"), "cfg": format!("password={S}")})),
        config(json!({"app.conf": format!("x\npassword {S}\n")})),
        pod(json!({"name": "c", "env": [{"name": "DB_PASSWORD", "value": S}]})),
        pod(json!({"name": "c", "command": ["x", "--password", S, format!("-p{S}")]})),
        pod(json!({"name": "c", "args": [format!("--token={S}")]})),
        thing(
            json!({"headers": [{"key": "X-Auth-Token", "value": S}, {"name": "Cookie", "values": [S]}]}),
        ),
        thing(json!({"auth": {"deep": [{"name": "x", "value": S}]}})),
        thing(json!({"secretRef": {"name": "x", "inline": S}, "secret": {"value": S}})),
        thing(json!({"key": S, "secretKey": 1234, "privateKey": [S, S]})),
        thing(json!({"credentials": {"pin": 4321, "user": S}})),
        thing(json!({"x": [{"kind": "Secret", "data": {"a": S}}]})),
        thing(json!({"x": {"vault.hashicorp.com/token": S, "k8s.io/token": S}})),
    ]
}

#[test]
fn no_secret_value_is_shown_whatever_the_shape() {
    for (verb, object, body) in secrets() {
        let change = change(verb, object, &body, &json!({}));
        let told = format!("{change:?}");
        let leaks = [S, "1234", "4321"]
            .iter()
            .any(|secret| told.contains(secret));
        assert!(!leaks, "{told}");
        assert!(!change.lines.is_empty(), "{body}");
    }
}

#[test]
fn a_domain_that_says_authorization_hides_nothing() {
    let labels =
        json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}});
    let line = "metadata.labels[rbac.authorization.k8s.io/aggregate-to-edit] = true";
    assert_eq!(lines("patch", "clusterroles", &labels), [line]);
}

#[test]
fn references_to_secrets_are_no_secrets() {
    let pod = json!({"spec": {
        "volumes": [{"name": "v", "secret": {"secretName": "db", "defaultMode": 420}}],
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "automountServiceAccountToken": true,
        "containers": [{"name": "c", "image": "a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "pw"}}}]}]}});
    let change = change("create", "pods", &pod, &json!({}));
    let told = change.lines.join("\n");
    for shown in [
        "spec.volumes[v].secret.secretName = db",
        "spec.automountServiceAccountToken = true",
        "spec.tolerations[0].key = gpu",
        "valueFrom.secretKeyRef.key = pw",
        "image = a@sha256:9f86",
    ] {
        assert!(told.contains(shown), "{shown} in {told}");
    }
    assert!(!told.contains("[masked]"), "{told}");
}

#[test]
fn only_what_certainly_changed_nothing_is_said_to() {
    let version =
        |version: &str| json!({"metadata": {"resourceVersion": version}, "data": {"a": "b"}});
    let nothing = |verb: &str, request: &Value, response: &Value| {
        change(verb, "configmaps", request, response).nothing
    };
    for (patch, is_nothing) in [
        (json!({}), true),
        (json!([]), true),
        (json!({"metadata": {"managedFields": []}}), true),
        (json!([{"op": "test", "path": "/a", "value": 1}]), true),
        (json!({"metadata": {"labels": {}}}), false),
        (json!({"data": {}}), false),
        (
            json!([{"op": "test", "path": "/a"}, {"op": "add", "path": "/b", "value": 1}]),
            false,
        ),
        (json!([{"op": "replace", "path": "/a", "value": 1}]), false),
    ] {
        assert_eq!(nothing("patch", &patch, &json!({})), is_nothing, "{patch}");
    }
    assert!(nothing("update", &version("7"), &version("7")));
    assert!(!nothing("update", &version("7"), &version("8")));
    assert!(
        !nothing("update", &version(""), &version("")),
        "it asked for no version"
    );
    assert!(!nothing("create", &version("7"), &version("7")));
    let unclear = event("update", "configmaps", &version("7"), &version("7"));
    for (from, to) in [("200", "409"), ("\"/x\"", "\"/x?dryRun=All\"")] {
        let json = unclear.replace(from, to);
        assert!(
            !Change::of(&Envelope::parse(&json).expect("an event")).nothing,
            "{to}"
        );
    }
}

#[test]
fn roles_say_what_they_hold_and_bindings_to_whom() {
    let role = json!({"rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]},
        {"verbs": ["bind", "escalate"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
    ]});
    let held = change("patch", "clusterroles", &json!([{"op": "add"}]), &role);
    assert_eq!(
        held.lines,
        [
            "may bind, escalate on roles in rbac.authorization.k8s.io  ⚠ escalate, bind",
            "may * on * in all API groups  ⚠ everything",
            "may get on pods, only a",
            "may get at /metrics",
        ]
    );
    let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [
        {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}, {"kind": "Group", "name": "system:authenticated"},
        {"kind": "User", "name": "eve — allowed"}]});
    assert_eq!(
        lines("create", "clusterrolebindings", &binding),
        [
            "grants ClusterRole cluster-admin  ⚠ everything is allowed",
            "to Group system:authenticated  ⚠ everybody with a credential",
            "to ServiceAccount ci/bot",
            "to User “eve — allowed”",
        ]
    );
}

#[test]
fn scale_approval_and_deletion_have_their_words() {
    let answer = json!({"spec": {"replicas": 0}, "status": {"replicas": 5}});
    let scaled = change(
        "patch",
        "deployments/scale",
        &json!({"spec": {"replicas": 0}}),
        &answer,
    );
    assert_eq!(scaled.lines, ["spec.replicas = 0 (5 ran at that moment)"]);
    let csr = json!({"spec": {"signerName": "s/x", "username": "eve", "usages": ["client auth"], "request": "UEVN"},
        "status": {"conditions": [{"type": "Approved"}]}});
    // What the approver's own body says of it is a claim that the API server ignores.
    let claim = json!({"spec": {"signerName": "s/forged", "username": "system:node:n1"},
        "status": {"conditions": [{"type": "Approved"}]}});
    let approved = change(
        "update",
        "certificatesigningrequests/approval",
        &claim,
        &csr,
    );
    assert_eq!(approved.decision, Some(("approved", "approve")));
    assert_eq!(
        approved.fields[..2],
        [
            ("Signer", "s/x".to_owned()),
            ("Requested by", "eve".to_owned())
        ]
    );
    assert!(approved.lines.is_empty());
    let asked = change("create", "certificatesigningrequests", &claim, &json!(null));
    assert_eq!(asked.fields, [("Signer", "s/forged".to_owned())]);
    let forced = change(
        "delete",
        "pods",
        &json!({"gracePeriodSeconds": 0}),
        &json!({}),
    );
    assert_eq!(forced.fields, [("Forced", "grace period 0 s".to_owned())]);
    let many = change(
        "deletecollection",
        "pods",
        &json!(null),
        &json!({"items": [{}, {}, 7]}),
    );
    assert_eq!(many.fields, [("Objects", "3".to_owned())]);
    let token = change(
        "create",
        "serviceaccounts/token",
        &json!({"spec": {"audiences": ["vault"], "expirationSeconds": 864_000}}),
        &json!({}),
    );
    assert_eq!(
        token.fields,
        [
            ("Audiences", "vault".to_owned()),
            ("Lasts", "10 days".to_owned())
        ]
    );
    let redacted = change(
        "create",
        "serviceaccounts/token",
        &json!({"spec": {"audiences": ["[redacted 0123abcd]"], "expirationSeconds": "[redacted]"}}),
        &json!({}),
    );
    assert_eq!(redacted.fields, []);
}

#[test]
fn a_large_body_costs_little_and_its_rest_is_counted() {
    let wide: serde_json::Map<String, Value> =
        (0..9_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let wide = change("patch", "things", &json!({"spec": wide}), &json!({}));
    assert_eq!(wide.lines.len(), LINES_MAX);
    assert!(wide.uncounted && wide.more > 1_000, "{}", wide.more);
    let mut deep = json!({"a": 1});
    (0..100).for_each(|_| deep = json!({"a": [deep.take()]}));
    let deep = change("patch", "things", &json!({"spec": deep}), &json!({}));
    assert!(
        deep.note.is_some()
            || deep
                .lines
                .iter()
                .all(|line| line.chars().count() <= LINE_CHARS_MAX)
    );
    let huge = change(
        "patch",
        "things",
        &json!({"spec": "x".repeat(4 << 20)}),
        &json!({}),
    );
    assert_eq!(
        (huge.lines.len(), huge.note.as_deref()),
        (0, Some("the body has 4096 KiB and is not shown"))
    );
    let nested = "[".repeat(5_000) + &"]".repeat(5_000);
    let json = event("patch", "things", &json!({"b": 1}), &json!({})).replace("{\"b\":1}", &nested);
    let note = Change::of(&Envelope::parse(&json).expect("an event")).note;
    assert!(note.is_some_and(|note| note.contains("nested too deep")));
}

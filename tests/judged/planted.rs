//! Where a secret may stand in an event: what each place is, and an event that has it there.

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

/// Stands for the secret in a command.
const HERE: &str = "§";

type Planted = Vec<(String, Value)>;

fn event(verb: &str, object: &str, request: &Value) -> (String, Value) {
    let (resource, subresource) = object.split_once('/').unwrap_or((object, ""));
    let event = json!({
        "level": "RequestResponse", "stage": "ResponseComplete", "auditID": "1", "verb": verb,
        "requestURI": format!("/api/v1/namespaces/shop/{object}"),
        "user": {"username": "alice", "groups": ["devs"]}, "sourceIPs": ["10.0.0.1"], "userAgent": "kubectl",
        "objectRef": {"resource": resource, "subresource": subresource, "namespace": "shop", "name": "n"},
        "requestObject": request, "responseStatus": {"code": 200}, "stageTimestamp": "2026-11-21T03:15:29Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    });
    (format!("{verb} {object} {request}"), event)
}

fn exec(arguments: &[String]) -> (String, Value) {
    let query = Serializer::new(String::new())
        .extend_pairs(arguments.iter().map(|one| ("command", one)))
        .finish();
    let (_, mut event) = event("create", "pods/exec", &Value::Null);
    event["requestURI"] = format!("/api/v1/namespaces/shop/pods/n/exec?{query}").into();
    (arguments.join(" "), event)
}

/// Commands that point to the secret, one a line; `|` stands between arguments.
pub fn commands(secret: &str) -> Planted {
    let lines = include_str!("commands.txt").lines();
    let words = |line: &str| {
        let line = line.replace("\\n", "\n").replace(HERE, secret);
        line.split('|').map(str::to_owned).collect::<Vec<_>>()
    };
    lines.map(|line| exec(&words(line))).collect()
}

/// Bodies whose names say that it is a secret.
pub fn named(s: &str) -> Planted {
    let variable = json!({"name": "DB_PASSWORD", "value": s});
    let pod =
        json!({"containers": [{"name": "c", "env": [variable, {"name": "X", "value": "y"}]}]});
    let workload = json!({"kind": "Deployment", "metadata": {"name": "n"}, "spec": {"template": {"spec": pod}}});
    let mut strategic = workload.clone();
    strategic["spec"]["template"]["spec"]["$setElementOrder/containers"] = json!([{"name": "c"}]);
    strategic["spec"]["template"]["spec"]["containers"][0]["$setElementOrder/env"] =
        json!([{"name": "DB_PASSWORD"}]);
    let operation = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    let mut planted = vec![
        event("create", "pods", &json!({"kind": "Pod", "spec": pod})),
        event("create", "deployments", &workload),
        event("update", "deployments", &workload),
        event("patch", "deployments", &workload),
        event("patch", "deployments", &strategic),
        event(
            "patch",
            "deployments",
            &operation("/spec/template/spec/containers/0/env/-", variable.clone()),
        ),
        event(
            "patch",
            "deployments",
            &operation("/spec/template/spec/containers/0/env", json!([variable])),
        ),
        event(
            "patch",
            "pods",
            &operation("/spec/containers", pod["containers"].clone()),
        ),
        event(
            "patch",
            "deployments",
            &operation("/spec/template/spec/containers/0/env/3/value", s.into()),
        ),
        event(
            "patch",
            "deployments",
            &operation("/spec/template/spec/initContainers/0/env/0/value", s.into()),
        ),
        event(
            "patch",
            "pods/ephemeralcontainers",
            &json!({"spec": {"ephemeralContainers": pod["containers"]}}),
        ),
        event(
            "patch",
            "configmaps",
            &operation("/data/password", s.into()),
        ),
        event(
            "patch",
            "configmaps",
            &operation("/data/db.token", s.into()),
        ),
        event(
            "patch",
            "configmaps",
            &operation("/data", json!({"api-key": s})),
        ),
        event(
            "patch",
            "secrets",
            &json!({"data": {"a": s}, "stringData": {"b": s}}),
        ),
        event("patch", "secrets", &operation("/data/a", s.into())),
        event(
            "patch",
            "secrets",
            &operation("/stringData", json!({"a": s})),
        ),
        event(
            "update",
            "secrets",
            &json!({"kind": "Secret", "data": {"a": s}}),
        ),
        event(
            "create",
            "secrets",
            &json!({"kind": "Secret", "stringData": {"a": s}}),
        ),
    ];
    for key in [
        "password",
        "DB_PASSWORD",
        "api-key",
        "client_secret",
        "token",
        "credentials",
        "ssh-privatekey",
        "accessKey",
    ] {
        planted.push(event(
            "create",
            "configmaps",
            &json!({"kind": "ConfigMap", "data": {key: s}}),
        ));
        planted.push(event("patch", "configmaps", &json!({"data": {key: s}})));
        planted.push(event(
            "create",
            "things",
            &json!({"spec": {key: {"deep": [s, {"x": s}]}}}),
        ));
        planted.push(event(
            "patch",
            "things",
            &json!({"metadata": {"annotations": {key: s}}}),
        ));
        planted.push(event(
            "patch",
            "things",
            &operation(&format!("/spec/a/{key}"), s.into()),
        ));
        planted.push(event(
            "patch",
            "things",
            &operation(&format!("/spec/{key}/0/value"), s.into()),
        ));
        planted.push(event(
            "create",
            "things",
            &json!({"spec": {"headers": [{"name": key, "values": [s]}]}}),
        ));
        planted.push(event(
            "create",
            "things",
            &json!({"spec": {"headers": [{"key": key, "value": s}]}}),
        ));
    }
    for text in [
        "password=§",
        "https://admin:§@x.example/y",
        "--token=§",
        "{\"password\":\"§\"}",
        "Bearer §",
    ] {
        let text = text.replace(HERE, s);
        planted.push(event(
            "patch",
            "configmaps",
            &json!({"data": {"conf": text}}),
        ));
        planted.push(event(
            "create",
            "pods",
            &json!({"spec": {"containers": [{"name": "c", "args": [text]}]}}),
        ));
        planted.push(event(
            "patch",
            "things",
            &operation("/spec/url", text.into()),
        ));
    }
    let words = json!(["run", "--password", s, format!("--token={s}")]);
    planted.push(event(
        "create",
        "pods",
        &json!({"spec": {"containers": [{"name": "c", "command": words}]}}),
    ));
    planted.push(event(
        "patch",
        "pods",
        &operation("/spec/containers/0/args", words),
    ));
    planted
}

/// What the door takes out, whatever it is.
pub fn at_the_door(s: &str) -> Planted {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "n", "labels": {"x": s}}, "data": {"a": s}});
    let applied = secret.to_string();
    let mut planted = vec![
        event(
            "create",
            "secrets",
            &json!({"kind": "SecretList", "items": [secret]}),
        ),
        event(
            "create",
            "things",
            &json!({"kind": "List", "items": [secret]}),
        ),
        event(
            "create",
            "things",
            &json!({"spec": {"template": secret, "raw": {"KIND": "secret", "x": s}}}),
        ),
        event(
            "create",
            "serviceaccounts/token",
            &json!({"kind": "TokenRequest", "spec": {"audiences": [s]}, "status": {"token": s}}),
        ),
        event(
            "create",
            "tokenreviews",
            &json!({"kind": "TokenReview", "spec": {"token": s}}),
        ),
        event(
            "create",
            "things",
            &json!({"spec": {"x": {"kind": "TokenReview", "spec": {"token": s}}}}),
        ),
        event(
            "patch",
            "secrets",
            &json!([{"op": "test", "path": "/data/a", "value": s}, {"op": "add", "path": "/x", "value": s}]),
        ),
        event(
            "patch",
            "secrets",
            &json!({"metadata": {"annotations": {"note": s}}, "x": [s, {"y": s}]}),
        ),
    ];
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let path = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
    for object in ["configmaps", "secrets", "deployments"] {
        let annotated =
            json!({"metadata": {"annotations": {annotation: applied}}, "spec": {"x": 1}});
        planted.push(event("update", object, &annotated));
        planted.push(event("patch", object, &annotated));
        planted.push(event(
            "patch",
            object,
            &json!([{"op": "replace", "path": path, "value": applied}]),
        ));
        planted.push(event(
            "patch",
            object,
            &json!({"spec": {"text": format!("{annotation}: {applied}")}}),
        ));
    }
    let answered: Planted = planted
        .iter()
        .filter(|(_, event)| event["requestObject"].is_object())
        .map(|(place, event)| {
            let mut event = event.clone();
            event["responseObject"] = event["requestObject"].clone();
            (format!("answer: {place}"), event)
        })
        .collect();
    planted.extend(answered);
    for object in ["secrets", "serviceaccounts/token", "tokenreviews"] {
        let (place, mut refused) = event("create", object, &json!({}));
        refused["responseStatus"] =
            json!({"code": 400, "message": format!("cannot decode {s}"), "details": {"name": s}});
        refused["annotations"][format!("policy.example/{s}-")] = "x".into();
        refused["annotations"]["policy.example/said"] = s.into();
        refused["annotations"]["patch.webhook.admission.k8s.io/round_0_index_0"] = s.into();
        planted.push((format!("refused {place}"), refused));
    }
    planted
}

/// Wherever a value is shown, under a name that says nothing.
pub fn anywhere(s: &str) -> Planted {
    let command = |words: &[&str]| {
        exec(
            &words
                .iter()
                .map(|one| (*one).to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let assigned = format!("x={s}");
    let operation = |path: &str| json!([{"op": "replace", "path": path, "value": s}]);
    let pod =
        |name: &str, value: Value| json!({"spec": {"containers": [{"name": "c", name: value}]}});
    vec![
        command(&["echo", s]),
        command(&["sh", "-c", &format!("echo '{s}' | base64 -d")]),
        command(&["env", &assigned]),
        event("create", "configmaps", &json!({"data": {"conf": s}})),
        event("patch", "configmaps", &json!({"data": {"conf": s}})),
        event("patch", "configmaps", &operation("/data/conf")),
        event("create", "pods", &pod("args", json!([s, "x"]))),
        event("create", "pods", &pod("command", json!(["run", assigned]))),
        event(
            "create",
            "pods",
            &pod("env", json!([{"name": "X", "value": s}])),
        ),
        event(
            "patch",
            "deployments",
            &json!({"spec": {"x": [{"name": "y", "z": s}]}}),
        ),
        event(
            "patch",
            "things",
            &json!({"metadata": {"labels": {"x": s}}}),
        ),
        event(
            "patch",
            "things",
            &json!({"metadata": {"annotations": {"x": s}}}),
        ),
        event("patch", "things", &operation("/spec/x")),
        event(
            "patch",
            "things",
            &json!([{"op": "add", "path": "/spec/x/-", "value": {"name": "y", "z": [s]}}]),
        ),
        event(
            "update",
            "things",
            &json!({"kind": "Thing", "spec": {"x": s}}),
        ),
        event(
            "create",
            "certificatesigningrequests",
            &json!({"spec": {"signerName": s, "usages": [s]}}),
        ),
    ]
}

/// Quoted by whoever refused the request.
pub fn in_a_refusal(s: &str) -> Planted {
    let (place, mut refused) = event("create", "pods", &json!({}));
    let message = format!("Pod \"n\" is invalid: spec.x: Invalid value: \"{s}\": must be short");
    refused["responseStatus"] = json!({"code": 422, "reason": "Invalid", "message": message});
    vec![(format!("refused {place}"), refused)]
}

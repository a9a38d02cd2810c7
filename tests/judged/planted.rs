//! Where a secret may stand in an event: what each place is, and an event that has it there.
//!
//! `commands.txt` holds commands, `|` between their arguments; the others hold verb, resource and body of
//! requests. `§` stands for the secret, `KEY` for each name that says so, `TEXT` for each text that does.

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

const HERE: &str = "§";
const SECRET: &str =
    r#"{"kind":"Secret","metadata":{"name":"n","labels":{"x":"§"}},"data":{"a":"§"}}"#;
const KEYS: [&str; 8] = [
    "password",
    "DB_PASSWORD",
    "api-key",
    "client_secret",
    "token",
    "credentials",
    "ssh-privatekey",
    "accessKey",
];
const TEXTS: [&str; 6] = [
    "password=§",
    "https://admin:§@x.example/y",
    "--token=§",
    r#"{"password":"§"}"#,
    "Bearer §",
    "Authorization: Basic §",
];

type Planted = Vec<(String, Value)>;

fn event(verb: &str, object: &str, request: &Value) -> Value {
    let (resource, subresource) = object.split_once('/').unwrap_or((object, ""));
    json!({
        "level": "RequestResponse", "stage": "ResponseComplete", "auditID": "1", "verb": verb,
        "requestURI": format!("/api/v1/namespaces/shop/{object}"),
        "user": {"username": "alice", "groups": ["devs"]}, "sourceIPs": ["10.0.0.1"], "userAgent": "kubectl",
        "objectRef": {"resource": resource, "subresource": subresource, "namespace": "shop", "name": "n"},
        "requestObject": request, "responseStatus": {"code": 200}, "stageTimestamp": "2026-11-21T03:15:29Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    })
}

fn exec(arguments: &[String]) -> (String, Value) {
    let query = Serializer::new(String::new())
        .extend_pairs(arguments.iter().map(|one| ("command", one)))
        .finish();
    let mut event = event("create", "pods/exec", &Value::Null);
    event["requestURI"] = format!("/api/v1/namespaces/shop/pods/n/exec?{query}").into();
    (arguments.join(" "), event)
}

/// Puts a text in place of another one, whatever has to be escaped in it.
fn put(value: &mut Value, place: &str, text: &str) {
    match value {
        Value::Object(fields) => {
            let before = std::mem::take(fields);
            for (name, mut inner) in before {
                put(&mut inner, place, text);
                let name = if name == place { text.to_owned() } else { name };
                fields.insert(name, inner);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put(item, place, text)),
        Value::String(held) => *held = held.replace(place, text),
        _ => {}
    }
}

fn requests(lines: &str, secret: &str) -> Planted {
    let mut planted = Planted::new();
    for line in lines.lines() {
        let mut parts = line.splitn(3, ' ');
        let mut part = || parts.next().expect("a verb, a resource and a body");
        let (verb, object, body) = (part(), part(), part().replace("SECRET", SECRET));
        let each: &[&str] = match line {
            _ if line.contains("KEY") => &KEYS,
            _ if line.contains("TEXT") => &TEXTS,
            _ => &[""],
        };
        for one in each {
            let mut body: Value = serde_json::from_str(&body).expect("JSON");
            for place in ["KEY", "TEXT"] {
                put(&mut body, place, one);
            }
            put(&mut body, "APPLIED", SECRET);
            put(&mut body, HERE, secret);
            planted.push((
                format!("{verb} {object} {body}"),
                event(verb, object, &body),
            ));
        }
    }
    planted
}

/// Commands that point to the secret.
pub fn commands(secret: &str) -> Planted {
    let lines = include_str!("commands.txt").lines();
    let words = |line: &str| {
        let line = line.replace("\\n", "\n").replace(HERE, secret);
        line.split('|').map(str::to_owned).collect::<Vec<_>>()
    };
    lines.map(|line| exec(&words(line))).collect()
}

/// Bodies whose names say that it is a secret.
pub fn named(secret: &str) -> Planted {
    requests(include_str!("named.txt"), secret)
}

/// What the door takes out, whatever it is.
pub fn at_the_door(secret: &str) -> Planted {
    let mut planted = requests(include_str!("redacted.txt"), secret);
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
        let mut refused = event("create", object, &json!({}));
        let message = format!("cannot decode {secret}");
        refused["responseStatus"] =
            json!({"code": 400, "message": message, "details": {"name": secret}});
        let annotations = &mut refused["annotations"];
        annotations["policy.example/said"] = secret.into();
        annotations["patch.webhook.admission.k8s.io/round_0_index_0"] = secret.into();
        planted.push((format!("refused: create {object}"), refused));
    }
    planted
}

/// Wherever a value is shown, under a name that says nothing.
pub fn anywhere(secret: &str) -> Planted {
    let commands = ["echo|§", "sh|-c|echo '§' > x", "env|x=§"];
    let words = |command: &str| {
        let command = command.replace(HERE, secret);
        exec(&command.split('|').map(str::to_owned).collect::<Vec<_>>())
    };
    let mut planted = requests(include_str!("anywhere.txt"), secret);
    planted.extend(commands.map(words));
    planted
}

/// Quoted by whoever refused the request.
pub fn in_a_refusal(secret: &str) -> Planted {
    let mut refused = event("create", "pods", &json!({}));
    let message = format!("Pod \"n\" is invalid: spec.x: Invalid value: \"{secret}\": too long");
    refused["responseStatus"] = json!({"code": 422, "reason": "Invalid", "message": message});
    vec![("a refusal".to_owned(), refused)]
}

//! However an event is made, redacting it takes less time than the API server waits (promise P7: an answer within a
//! second), also when a client without any rights made it to be slow.

use std::time::{Duration, SystemTime};

use auditrelay_audit::redact::Bodies;
use serde_json::{Value, json};

use crate::rules::{event, redacted_by, redactor};

/// An address may have so many bytes at the API server (Go: headers of 1 MiB) and reaches the audit log whole.
const BYTES: usize = 64 * 1024;
const PROMISED: Duration = Duration::from_secs(1);

fn redacted_in_time(what: &str, event: &Value) -> Value {
    let redactor = redactor().environment(true);
    let start = SystemTime::now();
    let (told, _) = redacted_by(&redactor, event, Bodies::Keep);
    let took = start.elapsed().unwrap_or_default();
    assert!(took < PROMISED, "{what} took {took:?}");
    told
}

/// One letter many times and then all others: what a table of a search over it would be largest for.
fn run_and_alphabet(bytes: usize) -> String {
    let alphabet: String = ('!'..='~').filter(|one| !"&%+#=".contains(*one)).collect();
    "a".repeat(bytes - alphabet.len()) + &alphabet
}

#[test]
fn no_address_is_slow() {
    let quoting = json!({
        "responseStatus": {"code": 400, "reason": "BadRequest", "message": "a".repeat(BYTES)},
        "annotations": {"x.example/said": "a".repeat(BYTES)}, "userAgent": "a".repeat(BYTES),
        "requestObject": {"kind": "PodExecOptions", "command": ["a".repeat(BYTES)]},
    });
    let many = |pair: &str| {
        (0..BYTES / pair.len())
            .map(|n| format!("{pair}{n}&"))
            .collect()
    };
    let queries: [(&str, String); 9] = [
        ("4 KB", format!("token={}", run_and_alphabet(4_000))),
        ("8 KB", format!("token={}", run_and_alphabet(8 * 1024))),
        ("64 KB", format!("token={}", run_and_alphabet(BYTES))),
        ("plain", format!("a={}", run_and_alphabet(BYTES))),
        (
            "arguments",
            many("command=--password&command=aaaaaaaaaaaaaaaa"),
        ),
        ("parameters", many("token=aaaaaaaaaaaaaaaaaaaaaaaa")),
        (
            "prefixes",
            (4..340)
                .map(|n| format!("token={}&", "a".repeat(n)))
                .collect(),
        ),
        (
            "words",
            format!("command=-p{}", "aaaaaa%20".repeat(BYTES / 9)),
        ),
        (
            "pairs",
            format!("command={}", "a:token=x,".repeat(BYTES / 10)),
        ),
    ];
    for (what, query) in queries {
        for object in ["pods/exec", "services/proxy", "configmaps"] {
            let mut event = event(object, quoting.clone());
            event["requestURI"] = format!("/api?{query}").into();
            redacted_in_time(&format!("{what} of {object}"), &event);
        }
    }
}

#[test]
fn no_environment_is_slow() {
    let long = run_and_alphabet(BYTES);
    let variable = |value: &str| json!({"name": "A", "value": value});
    let many: Vec<Value> = (0..4_000)
        .map(|n| variable(&format!("{}{n}", "a".repeat(99))))
        .collect();
    let growing: Vec<Value> = (4..340).map(|n| variable(&"a".repeat(n))).collect();
    for (what, env) in [
        ("long", vec![variable(&long)]),
        ("many", many),
        ("growing", growing),
    ] {
        let pods = json!({"spec": {"containers": [{"env": env}]}});
        let said = format!("env: {}", "a".repeat(BYTES));
        let told = redacted_in_time(
            what,
            &event(
                "pods",
                json!({
                    "requestObject": pods,
                    "responseStatus": {"code": 422, "reason": "Invalid", "message": said},
                    "annotations": {"x.example/said": said, "authorization.k8s.io/reason": "because"},
                    "responseObject": {"kind": "Status", "code": 422, "reason": "Invalid", "message": said},
                }),
            ),
        );
        assert!(!told.to_string().contains("aaaaaaaa"), "{what}");
        assert_eq!(told["responseStatus"]["reason"], "Invalid");
        assert_eq!(
            told["annotations"]["authorization.k8s.io/reason"],
            "because"
        );
    }
}

/// Text that holds the word `kind` everywhere, and what YAML allows behind it.
#[test]
fn no_text_is_slow() {
    for part in [
        "kind:!",
        "kind ",
        "kind:#",
        "kind:&a ",
        "kind:\\n",
        "kind:   |",
        "kind\\",
    ] {
        let text = part.repeat((1 << 20) / part.len());
        let body = json!({"requestObject": {"data": {"x": text}}});
        redacted_in_time(part, &event("configmaps", body));
    }
}

//! The tests of routes that a configuration holds: how their events are read, and what is refused.

mod common;

use common::Case;
use serde_json::{Value, json};

fn tests(text: &str) -> String {
    format!("channels: {{default: {{preview: true}}}}\ntests:\n{text}")
}

#[test]
fn an_event_is_kept_as_it_is_written_as_a_map_and_as_text() {
    let loaded = Case::file(tests(
        r#"
- name: map
  expect: []
  event:
    verb: get
    objectRef: {resource: pods, apiGroup: ""}
    annotations: {authorization.k8s.io/decision: allow, Upper.Case/Key: null}
    responseStatus: {code: 200, metadata: {}}
    requestObject: [1, -2.5, 9223372036854775807]
- name: text
  expect: []
  event: '{"verb":"get","user":{"username":"a"}}'
"#,
    ))
    .loaded();
    let event = |index: usize| -> Value {
        let event = loaded.config.tests[index].event.as_ref().expect("set");
        serde_json::from_str(event.as_str()).expect("JSON")
    };
    assert_eq!(
        event(0),
        json!({
            "verb": "get",
            "objectRef": {"resource": "pods", "apiGroup": ""},
            "annotations": {"authorization.k8s.io/decision": "allow", "Upper.Case/Key": null},
            "responseStatus": {"code": 200, "metadata": {}},
            "requestObject": [1, -2.5, 9_223_372_036_854_775_807_u64],
        })
    );
    let text = loaded.config.tests[1].event.as_ref().expect("set");
    assert_eq!(text.as_str(), r#"{"verb":"get","user":{"username":"a"}}"#);
}

#[test]
fn what_is_no_test_is_refused_by_its_key() {
    for (test, problem) in [
        (
            "- {name: a, expect: []}",
            "tests[0].event: is missing, expected an event, or event_file for the file of one",
        ),
        (
            "- {name: a, event: {}, event_file: x, expect: []}",
            "tests[0].event_file: event is set too, expected only one of the two",
        ),
        (
            "- {name: a, event: 7, expect: []}",
            "tests[0].event: found integer `7`, expected an event as a map, or as JSON text (if it is meant as \
             text, put it in quotes)",
        ),
        (
            "- {name: a, event: {}, expect: []}\n- {name: a, event: {}, expect: []}",
            "tests[1].name: found \"a\", which another test has",
        ),
        (
            "- {name: a, event: {}, expect: [{channel: nowhere}]}",
            "tests[0].expect[0].channel: found \"nowhere\", expected one of the channels (default)",
        ),
        ("- {name: a, event: {}}", "tests[0].expect: is missing"),
        (
            "- {name: a, event: {}, expct: []}",
            "tests[0].expct: there is no such key: did you mean `expect`?",
        ),
    ] {
        assert_eq!(Case::file(tests(test)).line(), format!("a.yaml: {problem}"));
    }
}

#[test]
fn how_many_there_are_and_how_deep_and_long_they_are_is_bounded() {
    let many: String = (0..=1_000)
        .map(|number| format!("- {{name: t{number}, event: {{}}, expect: []}}\n"))
        .collect();
    let line = Case::file(tests(&many)).line();
    assert_eq!(
        line,
        "a.yaml: tests: found 1001 tests, expected at most 1000"
    );
    let nested = |levels: usize| {
        let event = format!("{}{}", "{a: ".repeat(levels), "}".repeat(levels));
        Case::file(tests(&format!(
            "- {{name: t, expect: [], event: {{requestObject: {event}}}}}\n"
        )))
    };
    nested(60).loaded();
    assert!(nested(70).line().ends_with("is nested too deep"));
    let long = "x".repeat(300 << 10);
    let line = Case::file(tests(&format!(
        "- {{name: t, expect: [], event: {{verb: {long}}}}}\n"
    )))
    .line();
    assert!(line.contains("expected at most 262144"), "{line}");
}

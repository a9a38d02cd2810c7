//! Tests of routes that hold, and that do not.

use std::{fs, io::Write};

use auditrelay_config::{Overrides, load};

use super::*;

const CONFIG: &str = r#"
channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: noise, level: None, verbs: [watch]}
- {name: burst, channel: sec, severity: critical, verbs: [list], rate: {moreThan: 3, withinSeconds: 60}}
- {name: again, channel: sec, auditIDReused: true}
- {name: secrets, channel: [ops, sec], severity: warning, resources: [{resources: [secrets]}]}
- {name: prod, channel: ops, cluster: prod}
tests:
"#;

fn outcome(test: &str) -> Outcome {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!("{CONFIG}- {{name: t, {test}}}\n");
    file.write_all(text.as_bytes()).expect("written");
    let config = load(Some(file.path()), [], Overrides::default());
    let mut outcomes = run_tests(&config.expect("valid").config);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

const SECRET: &str =
    "event: {level: Metadata, stage: ResponseComplete, verb: get, objectRef: {resource: secrets}}";

#[test]
fn a_test_holds_where_everybody_that_is_expected_hears_of_it_and_nobody_else() {
    for (expect, holds) in [
        ("[{channel: ops}, {channel: sec}]", true),
        (
            "[{channel: sec, severity: warning, route: secrets}, {channel: ops}]",
            true,
        ),
        ("[{channel: ops}]", false),
        (
            "[{channel: ops}, {channel: sec, severity: critical}]",
            false,
        ),
        ("[{channel: ops}, {channel: sec, route: burst}]", false),
        ("[]", false),
    ] {
        let outcome = outcome(&format!("{SECRET}, expect: {expect}"));
        assert_eq!(outcome.holds, holds, "{expect}");
        assert_eq!(outcome.problem.is_none(), holds, "{expect}");
        assert_eq!(outcome.explanation.is_none(), holds, "{expect}");
    }
}

#[test]
fn what_was_found_instead_is_said() {
    let outcome = outcome(&format!(
        "{SECRET}, expect: [{{channel: sec, severity: critical}}]"
    ));
    assert_eq!(
        outcome.problem.as_deref(),
        Some(
            "expected sec (critical); found: told in ops (warning, by route secrets), sec (warning, by route secrets)"
        )
    );
}

#[test]
fn the_last_of_a_repetition_counts_and_reuse_and_cluster_are_asked_for() {
    let list = "event: {level: Metadata, stage: ResponseComplete, verb: list, stageTimestamp: '2026-11-21T03:15:00Z'}";
    for (test, holds) in [
        (format!("{list}, repeat: 3, expect: []"), true),
        (format!("{list}, repeat: 4, expect: []"), false),
        (
            format!("{list}, repeat: 4, expect: [{{channel: sec, route: burst}}]"),
            true,
        ),
        (
            format!("{list}, auditIDReused: true, expect: [{{channel: sec, route: again}}]"),
            true,
        ),
        (
            format!("{list}, cluster: prod, expect: [{{channel: ops, route: prod}}]"),
            true,
        ),
        (
            "event: {level: Metadata, stage: Panic, verb: watch}, expect: []".to_owned(),
            true,
        ),
    ] {
        assert_eq!(outcome(&test).holds, holds, "{test}");
    }
}

#[test]
fn an_event_that_cannot_be_read_is_a_test_that_fails() {
    for (test, problem) in [
        (
            "event: {verb: get}, expect: []",
            "its event cannot be read: missing field `level`",
        ),
        ("event: nonsense, expect: []", "its event cannot be read: "),
        (
            "event_file: /nowhere/at/all, expect: []",
            "its event_file /nowhere/at/all cannot be read: No such file",
        ),
    ] {
        let outcome = outcome(test);
        let found = outcome.problem.expect("it fails");
        assert!(found.starts_with(problem), "{found}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("two.json");
    let event = r#"{"level":"Metadata","stage":"Panic","verb":"get"}"#;
    fs::write(&path, format!("[{event},{event}]")).expect("disk");
    let found = outcome(&format!("event_file: {}, expect: []", path.display())).problem;
    assert_eq!(found.as_deref(), Some("it holds 2 events, expected one"));
    fs::write(&path, event).expect("disk");
    assert!(outcome(&format!("event_file: {}, expect: []", path.display())).holds);
}

//! Logs and policies of every form, and what is wrong with some of them.

use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::{EVERYTHING, LOG, QUIET, json, lines, simulate, simulate_with, written};

/// What has to be the same however the events come.
fn numbers(report: &Value) -> Value {
    let mut report = report.clone();
    let members = report.as_object_mut().expect("an object");
    let log = members["log"].as_object_mut().expect("an object");
    for name in ["files", "unreadable", "first_unreadable", "passed_over"] {
        log.remove(name);
    }
    report
}

#[test]
fn a_folder_of_every_form_is_the_same_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let (at, lines) = (folder.path(), lines());
    let text = |from: usize, to: usize| lines[from..to].join("\n") + "\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text(0, 1_000).as_bytes()).expect("memory");
    fs::write(at.join("audit-1.log.gz"), gzip.finish().expect("memory")).expect("written");
    let packed = zstd::encode_all(text(1_000, 2_000).as_bytes(), 1).expect("memory");
    fs::write(at.join("audit-2.log.zst"), packed).expect("written");
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#,
        lines[2_000..2_500].join(",")
    );
    written(at, "body.json", &(list + "\n"));
    let broken = format!("{}{{\"kind\":\n\nnonsense\n", text(2_500, 3_500));
    written(at, "audit.log", &broken);
    written(at, "notes.txt", "no event\n");
    let folder = at.to_str().expect("text");
    let report = json(&[QUIET, "--log", folder]);
    assert_eq!(numbers(&report), numbers(&json(&[QUIET, "--log", LOG])));
    let log = &report["log"];
    assert_eq!((&log["files"], &log["unreadable"]), (&4.into(), &2.into()));
    let places = log["first_unreadable"].as_array().expect("a list");
    let numbers: Vec<_> = places.iter().map(|place| place["line"].as_u64()).collect();
    assert_eq!(numbers, [Some(1_001), Some(1_003)]);
    assert_eq!(log["passed_over"].as_array().map(Vec::len), Some(1));
    let told = simulate(&[QUIET, "--log", folder]);
    assert!(
        told.contains("2 items could not be read as events"),
        "{told}"
    );
    assert!(told.contains("notes.txt"), "{told}");
}

#[test]
fn standard_input_and_several_files_are_a_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = lines();
    let first = written(folder.path(), "first", &lines[..100].join("\n"));
    let second = lines[100..200].join("\n");
    let args = [QUIET, "--json", "--log", &first, "-"];
    let (code, stdout, stderr) = simulate_with(second.as_bytes(), &args);
    assert_eq!(code, 0, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (&report["log"]["events"], &report["log"]["files"]),
        (&200.into(), &2.into())
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: metadata\n";
    let policy = written(folder.path(), "policy.yaml", policy);
    let empty = written(folder.path(), "empty.log", "");
    let nowhere = folder.path().join("nowhere");
    let nowhere = nowhere.to_str().expect("text");
    for (args, expected, problem) in [
        ([&policy, "--log", LOG], 65, "line 4: rules[0].level"),
        ([nowhere, "--log", LOG], 2, "No such file"),
        ([QUIET, "--log", nowhere], 2, "cannot read"),
        ([QUIET, "--log", &empty], 2, "empty"),
        (["-", "--log", "-"], 2, "only one of"),
    ] {
        let (code, stdout, stderr) = simulate_with(b"", &args);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{args:?} {stderr}");
        assert!(stderr.contains(problem), "{stderr}");
    }
    // The other one is looked at as well.
    let (code, _, stderr) = simulate_with(b"", &[QUIET, "--log", LOG, "--against", &policy]);
    assert!(code == 65 && stderr.contains("policy.yaml"), "{stderr}");
}

#[test]
fn what_stands_in_a_log_cannot_speak_to_a_terminal() {
    let user = r"\u001b[31mred\u202e\u009b2J\u200b";
    let line = format!(
        r#"{{"level":"RequestResponse","stage":"ResponseComplete","verb":"get{user}","user":{{"username":"{user}"}},"userAgent":"{user}","requestURI":"/{user}","responseStatus":{{"code":403}},"stageTimestamp":"{user}"}}"#
    );
    let hides = |one: char| {
        (one.is_control() && one != '\n') || ['\u{202e}', '\u{200b}', '\u{9b}'].contains(&one)
    };
    for more in [&[][..], &["--json"]] {
        let args: Vec<&str> = [QUIET, "--log", "-"].iter().chain(more).copied().collect();
        let (code, stdout, stderr) = simulate_with(line.as_bytes(), &args);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("31mred"), "it is told");
        assert_eq!(stdout.chars().find(|one| hides(*one)), None, "{stdout:?}");
    }
    // In a suggested policy it stands in quotes, as escapes.
    let folder = tempfile::tempdir().expect("a folder");
    let body = "y".repeat(10_000);
    let line = format!(
        r#"{{"level":"RequestResponse","stage":"ResponseComplete","verb":"get","user":{{"username":"{user}"}},"objectRef":{{"resource":"pods"}},"responseObject":"{body}"}}"#
    );
    let log = written(folder.path(), "log", &(line + "\n"));
    let (code, policy, report) = simulate_with(b"", &[EVERYTHING, "--log", &log, "--suggest", "-"]);
    assert_eq!(code, 0, "{report}");
    assert!(
        policy.contains(r#"users: ["\u001b[31mred\u202e\u009b2J\u200b"]"#),
        "{policy}"
    );
    assert_eq!(policy.chars().find(|one| hides(*one)), None, "{policy:?}");
}

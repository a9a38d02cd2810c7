//! `auditrelay policy check` and `policy explain`, with the real binary: what they print, and how they end.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

const OURS: &str = "src/init/set/audit-policy.yaml";

/// Exit code, standard output and standard error.
fn run(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_auditrelay"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("policy")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    // It may have ended without reading.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("a code");
    (code, text(output.stdout), text(output.stderr))
}

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

#[test]
fn a_check_tells_everything_with_its_line() {
    for (policy, code) in [("worst", 1), ("gke", 0), ("documented", 0), ("invalid", 65)] {
        let (ended, out, err) = run(&["check", &format!("tests/policy/{policy}.yaml")], "");
        assert_eq!((ended, err.as_str()), (code, ""), "{policy}: {out}");
        insta::assert_snapshot!(policy, out);
    }
    let (ended, out, _) = run(&["check", OURS], "");
    assert_eq!(ended, 0, "{out}");
    insta::assert_snapshot!("ours", out);
}

#[test]
fn a_check_ends_as_it_is_asked_to() {
    let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n";
    let noted = file(OURS);
    let warned = format!("{noted}\nwebhook: {{}}\n");
    let wrong = format!("{head}- level: RequestResponse\n");
    let broken = format!("{head}- level: metadata\n");
    for (policy, args, code) in [
        (&noted, &[][..], 0),
        (&noted, &["--deny", "warnings"], 0),
        (&noted, &["--deny", "notes"], 1),
        (&warned, &[], 0),
        (&warned, &["--deny", "warnings"], 1),
        (&wrong, &[], 1),
        (&broken, &[], 65),
    ] {
        for format in ["text", "json", "github"] {
            let args = [&["check", "-", "--format", format], args].concat();
            let (ended, out, _) = run(&args, policy);
            assert_eq!(ended, code, "{args:?}: {out}");
        }
    }
    assert_eq!(run(&["check", "none.yaml"], "").0, 2);
}

#[test]
fn scripts_and_github_get_the_same_findings() {
    let (_, out, _) = run(
        &["check", "tests/policy/invalid.yaml", "--format", "json"],
        "",
    );
    let json: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&json["isValid"], &json["errors"]),
        (&json!(false), &json!(6))
    );
    let findings = json["findings"].as_array().expect("a list");
    let places: Vec<_> = findings
        .iter()
        .map(|one| (&one["line"], &one["path"], &one["rule"]))
        .collect();
    assert_eq!(
        places,
        [
            (&json!(1), &json!("apiVersion"), &Value::Null),
            (&json!(4), &json!("rules[0].level"), &json!(0)),
            (&json!(5), &json!("rules[0].users"), &json!(0)),
            (&json!(7), &json!("rules[1].nonResourceURLs"), &json!(1)),
            (&json!(7), &json!("rules[1].nonResourceURLs[0]"), &json!(1)),
            (&json!(9), &json!("rules[1].resources.group"), &json!(1)),
        ]
    );
    // What would end a command's message or a property is escaped.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a,b:c%.yaml");
    let policy =
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: \"a\\n::error::b%\\u202e\"\n";
    fs::write(&path, policy).expect("written");
    let (_, out, _) = run(
        &["check", path.to_str().expect("UTF-8"), "--format", "github"],
        "",
    );
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(
        out.starts_with("::error file=") && out.contains("/a%2Cb%3Ac%25.yaml,line=4,col="),
        "{out}"
    );
    assert!(!out.contains('\u{202e}') && out.contains("b%25"), "{out}");
}

#[test]
fn a_request_is_explained() {
    let request = "explain tests/policy/documented.yaml --user alice --group dev --verb create --resource pods/exec --namespace shop --name web";
    let args: Vec<&str> = request.split(' ').collect();
    let (code, out, _) = run(&args, "");
    assert_eq!(code, 0);
    insta::assert_snapshot!("request", out);
    let path = [
        "explain",
        "tests/policy/documented.yaml",
        "--verb",
        "get",
        "--path",
        "/metrics",
    ];
    insta::assert_snapshot!("path", run(&path, "").1);
    assert_eq!(run(&["explain", OURS], "").0, 2);
    assert_eq!(
        run(
            &[
                "explain",
                "tests/policy/invalid.yaml",
                "--verb",
                "get",
                "--path",
                "/x"
            ],
            ""
        )
        .0,
        65
    );
}

#[test]
fn every_event_of_a_file_is_explained() {
    let corpus = file("tests/judged/corpus.jsonl");
    let events: Vec<&str> = corpus.lines().collect();
    let args = ["explain", OURS, "--event", "-", "--json"];
    let (code, out, err) = run(&args, &corpus);
    assert_eq!((code, err.as_str()), (0, ""));
    let answers: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), events.len());
    for (event, answer) in events.iter().zip(&answers) {
        let event: Value = serde_json::from_str(event).expect("JSON");
        assert_eq!(event["auditID"], answer["auditID"]);
        // Each rule before the one that decides has its reason.
        let missed = answer["missed"].as_array().expect("a list").len() as u64;
        assert_eq!(answer["rule"].as_u64(), Some(missed), "{answer}");
    }
    // The same as a list, and as an array.
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{}]}}"#,
        events.join(",")
    );
    assert_eq!(run(&args, &list).1, out);
    assert_eq!(run(&args, &format!("[{}]", events.join(",\n"))).1, out);
    // What is no event is said, and costs nothing.
    let (code, some, err) = run(&args, &format!("{corpus}\n{{\"a\":\n"));
    assert_eq!((code, some), (65, out));
    assert!(err.contains("1 item could not be read"), "{err}");
    let (_, shown, _) = run(&["explain", OURS, "--event", "-"], events[0]);
    insta::assert_snapshot!("event", shown);
}

const ATTRIBUTES: &str = r#"{"user":"alice","groups":["dev"],"verb":"get","resource":"pods","subresource":"log","namespace":"shop","name":"a","isResourceRequest":true}
{"user":"alice","verb":"list","resource":"widgets","apiGroup":"example.com","isResourceRequest":true}
{"verb":"get","path":"/healthz/etcd"}

{"groups":null,"user":null,"resource":"pods","extra":1}
"#;

#[test]
fn attributes_are_answered_line_by_line() {
    let policy = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [Panic]
omitManagedFields: true
rules:
- {level: RequestResponse, resources: [{group: '', resources: [pods/log]}], omitStages: [ResponseStarted, RequestReceived], omitManagedFields: false}
- {level: Metadata, nonResourceURLs: ['/healthz*']}
- {level: Request, users: ['']}
";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.yaml");
    fs::write(&path, policy).expect("written");
    let args = [
        "explain",
        path.to_str().expect("UTF-8"),
        "--attributes",
        "-",
        "--json",
    ];
    let (code, out, err) = run(&args, ATTRIBUTES);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        r#"{"rule":0,"level":"RequestResponse","omitStages":["RequestReceived","ResponseStarted","Panic"],"omitManagedFields":false}
{"rule":null,"level":"None","omitStages":["Panic"],"omitManagedFields":true}
{"rule":1,"level":"Metadata","omitStages":["Panic"],"omitManagedFields":true}
{"rule":2,"level":"Request","omitStages":["Panic"],"omitManagedFields":true}
"#
    );
    // As Go reads it, line 2 and all behind it are answered.
    let odd = "{\"user\":\"x\",\"user\":\"\\ud800\"}\n{\"user\":\"\",\"verb\":\"get\",\"verb\":\"put\"}\n{}\n";
    let (code, answered, err) = run(&args, odd);
    assert_eq!((code, answered.lines().count()), (0, 3), "{answered}{err}");
    for broken in [
        "[]",
        "{\"user\":7}",
        "{\"user\":",
        "7",
        "{\"isResourceRequest\":\"yes\"}",
    ] {
        let input = format!("{ATTRIBUTES}{broken}\n{ATTRIBUTES}");
        let (code, answered, err) = run(&args, &input);
        assert_eq!((code, &answered), (65, &out), "{broken}");
        assert!(err.contains("line 6 is no request"), "{err}");
    }
}

#[test]
fn an_answer_is_there_before_the_next_question() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_auditrelay"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["policy", "explain", OURS, "--attributes", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    for path in ["/healthz", "/other", "/healthz"] {
        writeln!(stdin, "{{\"path\":\"{path}\"}}").expect("taken");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("answered");
        let level = if path == "/other" { "Metadata" } else { "None" };
        assert!(
            answer.contains(&format!("\"level\":\"{level}\"")),
            "{path}: {answer}"
        );
    }
    drop(stdin);
    assert!(child.wait().expect("ended").success());
}

#[test]
fn nobodys_name_is_a_command_of_a_workflow() {
    let event = r###"{"level":"Metadata","stage":"ResponseComplete","verb":"get","user":{"username":"::error file=x::pwned"},"objectRef":{"resource":"pods","name":"##[error]x"}}"###;
    for args in [
        &["explain", OURS, "--event", "-"][..],
        &["explain", OURS, "--event", "-", "--json"],
    ] {
        let (code, out, _) = run(args, event);
        assert_eq!(code, 0, "{out}");
        assert!(out.contains("pwned") || args.len() > 4, "{out}");
        let is_command = |line: &&str| line.trim_start().starts_with("::") || line.contains("##[");
        assert_eq!(out.lines().find(is_command), None);
    }
    let args = ["explain", "-", "--attributes", "-"];
    let (code, _, err) = run(&args, "{}");
    assert_eq!(code, 2);
    assert!(err.contains("only one of the two"), "{err}");
}

//! Items that could not be read, and the key that they are sealed to.

use std::{fs, path::Path, process::Stdio, time::Duration};

use hyper::StatusCode;
use serde_json::json;

use crate::{
    CONFIG, ends, folder, json_of, start, stop,
    support::{command, list, slack},
};

const CANARY: &str = "canary-5f0e";

/// Makes a key, and returns its public half.
fn keygen(folder: &Path, file: &str) -> String {
    let output = command(folder)
        .args(["quarantine", "keygen", "--out", file])
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).expect("text");
    stdout.lines().next().expect("a key").to_owned()
}

/// A list of a good event and two items that are none.
fn body() -> (Vec<u8>, String) {
    let good = list("alice", "delete", ["good".to_owned()]);
    let broken = format!("{{\"level\":nonsense,\"x\":\"{CANARY} \x1b[2J\x07 \u{202e}\"}}");
    let body = good.replacen("\"items\":[", &format!("\"items\":[{broken},7,"), 1);
    assert_ne!(body, good);
    let mut bytes = body.into_bytes();
    let at = bytes
        .windows(4)
        .position(|four| four == b"5f0e")
        .expect("there");
    bytes.insert(at + 4, 0xff);
    (bytes, broken)
}

fn is_anywhere(folder: &Path, needle: &str) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return is_anywhere(&path, needle);
        }
        let bytes = fs::read(&path).expect("a file");
        bytes
            .windows(needle.len())
            .any(|part| part == needle.as_bytes())
    })
}

/// What the list says of the two items; the ID of the first.
fn listed(folder: &Path, body: &[u8], broken: &str, public: &str) -> String {
    let items = json_of(folder, &["quarantine", "list"]);
    let reasons: Vec<_> = items.as_array().expect("a list").iter().collect();
    let [first, second] = reasons[..] else {
        panic!("{items}");
    };
    let offset = offset(body);
    assert_eq!(
        (
            &first["reason"],
            &first["offset_bytes"],
            &first["length_bytes"],
            &first["cluster"]
        ),
        (
            &json!("not valid JSON"),
            &json!(offset),
            &json!(broken.len() + 1),
            &json!("default")
        ),
        "{first}"
    );
    assert_eq!(second["reason"], "not an object", "{second}");
    assert!(public.starts_with(first["sealed_to"].as_str().expect("sealed")));
    assert_eq!(first.get("sealed"), None, "a list is short");
    let table = ends(folder, 0, &["quarantine", "list"]);
    assert!(
        table.contains("sealed") && table.contains("2 items"),
        "{table}"
    );

    first["id"].to_string()
}

fn offset(body: &[u8]) -> usize {
    body.windows(2).position(|two| two == b"[{").expect("there") + 1
}

fn sealed_bytes<'a>(body: &'a [u8], broken: &str) -> &'a [u8] {
    &body[offset(body)..][..broken.len() + 1]
}

fn opened_with_its_key_alone(folder: &Path, id: &str, key: &str, other: &str, sealed: &[u8]) {
    let shown = ends(folder, 0, &["quarantine", "show", id]);
    assert!(
        shown.contains("--key FILE opens them") && !shown.contains(CANARY),
        "{shown}"
    );
    let shown = ends(folder, 0, &["quarantine", "show", id, "--key", key]);
    assert!(shown.contains(CANARY) && shown.contains("\\xff"), "{shown}");
    let harmful = |sign: char| (sign.is_control() && sign != '\n') || sign == '\u{202e}';
    assert!(!shown.contains(harmful), "{shown:?}");
    let raw = command(folder)
        .args(["quarantine", "show", id, "--raw", "--key", key])
        .args(CONFIG)
        .stderr(Stdio::inherit())
        .output()
        .expect("runs");
    assert_eq!(raw.stdout, sealed);
    let opened = json_of(folder, &["quarantine", "show", id, "--key", key]);
    assert!(opened["opened"].as_str().expect("text").contains(CANARY));
    let refused = ends(folder, 1, &["quarantine", "show", id, "--key", other]);
    assert!(
        refused.contains("is sealed to the key that begins with"),
        "{refused}"
    );
    let none = ends(folder, 1, &["quarantine", "show", "999999"]);
    assert!(none.contains("there is no item 999999"), "{none}");
    assert!(!is_anywhere(&folder.join("auditrelay-data"), CANARY));
}

fn it_moves_with_everything_else_still_sealed(folder: &Path, key: &str) {
    ends(folder, 0, &["export", "q.jsonl"]);
    assert!(
        !fs::read_to_string(folder.join("q.jsonl"))
            .expect("text")
            .contains(CANARY)
    );
    let moved = tempfile::tempdir().expect("a folder");
    fs::copy(folder.join("c.yaml"), moved.path().join("c.yaml")).expect("copied");
    let from = folder.join("q.jsonl").display().to_string();
    ends(moved.path(), 0, &["import", &from]);
    let items = json_of(moved.path(), &["quarantine", "list"]);
    let id = items[0]["id"].to_string();
    let opened = json_of(moved.path(), &["quarantine", "show", &id, "--key", key]);
    assert!(opened["opened"].as_str().expect("text").contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_is_listed_and_opened_by_who_has_the_key_alone() {
    let slack = slack(Duration::ZERO).await;
    let keys = tempfile::tempdir().expect("a folder");
    let public = keygen(keys.path(), "a.key");
    keygen(keys.path(), "b.key");
    let key = keys.path().join("a.key").display().to_string();
    let other = keys.path().join("b.key").display().to_string();
    let folder = folder(
        &slack,
        "",
        &format!("queue: {{quarantine_raw: '{public}'}}"),
    );
    let folder = folder.path();
    let mut relay = start(folder);
    assert!(ends(folder, 0, &["quarantine", "list"]).contains("nothing is in quarantine"));
    let (body, broken) = body();
    let (status, answer) = relay.post("/webhook", body.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    relay.drained().await;

    let id = listed(folder, &body, &broken, &public);
    for turn in ["running", "stopped"] {
        opened_with_its_key_alone(folder, &id, &key, &other, sealed_bytes(&body, &broken));
        if turn == "running" {
            stop(&mut relay).await;
        }
    }
    assert!(!relay.all_logs().contains(CANARY));
    let posts = slack.posts();
    assert!(
        posts
            .iter()
            .all(|post| !post.body.to_string().contains(CANARY))
    );

    it_moves_with_everything_else_still_sealed(folder, &key);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_no_bytes_are_kept() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "", "");
    let folder = folder.path();
    keygen(folder, "a.key");
    let relay = start(folder);
    assert_eq!(relay.post("/webhook", body().0).await.0, StatusCode::OK);
    relay.drained().await;
    let items = json_of(folder, &["quarantine", "list"]);
    let id = items[0]["id"].to_string();
    assert_eq!(items[0].get("sealed_to"), None, "{items}");
    let shown = ends(folder, 0, &["quarantine", "show", &id]);
    assert!(shown.contains("no bytes of it"), "{shown}");
    let refused = ends(folder, 1, &["quarantine", "show", &id, "--key", "a.key"]);
    assert!(refused.contains("nothing is kept of item"), "{refused}");
    // A key is made once.
    let again = command(folder)
        .args(["quarantine", "keygen", "--out", "a.key"])
        .output()
        .expect("runs");
    assert_eq!(again.status.code(), Some(2), "{again:?}");
}

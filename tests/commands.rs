//! The operator's commands, with the real binary: on a relay that runs, and on one that is stopped.

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::{PATIENCE, Running, ids, list, run, slack};
use tokio::net::TcpStream;

const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// A folder with a configuration of one channel; `queue` is what it says of the queue.
fn folder(slack: &LocalSlack, channel: &str, queue: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 600}}
channels: {{ops: {{slack_channel: COPS, message_interval_milliseconds: 100, {channel}}}}}
{queue}
",
        slack.api_url()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    folder
}

fn start(folder: &Path) -> Running {
    Running::start(folder, &[], &CONFIG)
}

/// Runs a command to its end, which has to be this one.
fn ends(folder: &Path, code: i32, args: &[&str]) -> String {
    let args: Vec<&str> = args.iter().chain(&CONFIG).copied().collect();
    let (found, stdout, stderr) = run(folder, &[], &args);
    assert_eq!(found, code, "{args:?}: {stdout}{stderr}");
    if code == 0 { stdout } else { stderr }
}

fn json_of(folder: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
    serde_json::from_str(&ends(folder, 0, &args)).expect("JSON")
}

/// Refuses a message with its blocks and without them.
fn refuse(slack: &LocalSlack, messages: u32) {
    let code = "invalid_blocks".into();
    slack.inject(Fault::new(Effect::Error { code }).times(2 * messages));
}

/// Buries one message of so many deletions.
async fn bury(relay: &Running, slack: &LocalSlack, prefix: &str, events: usize) {
    refuse(slack, 1);
    let body = list("alice", "delete", ids(prefix, events));
    assert_eq!(relay.post("/webhook", body).await.0, StatusCode::OK);
    relay.drained().await;
}

async fn stop(relay: &mut Running) {
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0), "{}", relay.logs());
}

/// How often an audit ID stands in what was posted.
fn told(slack: &LocalSlack, id: &str) -> usize {
    let posts = slack.posts().into_iter();
    let needle = format!("audit ID {id}\"");
    posts
        .map(|post| post.body.to_string().matches(&needle).count())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_found_shown_and_redriven_once_while_the_relay_runs() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 10", "");
    let folder = folder.path();
    let mut relay = start(folder);
    bury(&relay, &slack, "never", 3).await;
    let letters = json_of(folder, &["dead", "list"]);
    let letter = &letters[0];
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(
        (&letter["channel"], &letter["events"], &letter["attempts"]),
        (&json!("ops"), &json!(3), &json!(2)),
        "{letter}"
    );
    assert!(letter["first_unix_ms"].as_i64() <= letter["last_unix_ms"].as_i64());
    let id = letter["id"].to_string();
    let table = ends(folder, 0, &["dead", "list"]);
    assert!(
        table.contains("invalid_blocks") && table.contains("1 dead letter with 3 events"),
        "{table}"
    );
    for (filter, found) in [
        (["--channel", "ops"], 1),
        (["--channel", "other"], 0),
        (["--reason", "valid_bl"], 1),
        (["--reason", "archived"], 0),
        (["--since", "1h"], 1),
        (["--until", "1h"], 0),
    ] {
        let args: Vec<&str> = ["dead", "list"].iter().chain(&filter).copied().collect();
        let letters = json_of(folder, &args);
        assert_eq!(letters.as_array().map(Vec::len), Some(found), "{args:?}");
    }
    let shown = ends(folder, 0, &["dead", "show", &id]);
    assert!(
        shown.contains("alice deleted pods/api in shop") && shown.contains("2 times"),
        "{shown}"
    );
    let shown = json_of(folder, &["dead", "show", &id]);
    assert_eq!(
        shown["members"][2]["event"]["auditID"], "never-2",
        "{shown}"
    );

    let question = ends(folder, 2, &["dead", "redrive", "--channel", "ops"]);
    assert!(
        question.contains("1 dead letter with 3 events"),
        "{question}"
    );
    let redriven = json_of(folder, &["dead", "redrive", &id, &id]);
    let expected = json!({"letters": 1, "events": 3, "gone": []});
    assert_eq!(redriven, expected);
    let again = ends(folder, 0, &["dead", "redrive", &id]);
    assert!(again.contains("no dead letter any more"), "{again}");
    ends(folder, 0, &["dead", "redrive", "--all"]);
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["ops"];
    assert_eq!(
        (&counts["delivered"], &counts["dead"], &ledger["balanced"]),
        (&json!(3), &json!(0), &json!(true)),
        "{ledger}"
    );
    assert_eq!(told(&slack, "never-0"), 1, "{:?}", slack.posts());
    ends(folder, 1, &["dead", "show", &id]);
    let token = token(folder);
    assert!(relay.logs().contains("settled dead letters"));
    assert!(!relay.logs().contains(&token), "the token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_stopped_relay_are_dropped_or_redriven_for_its_next_start() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 10", "");
    let folder = folder.path();
    let mut relay = start(folder);
    for prefix in ["first", "second", "third"] {
        bury(&relay, &slack, prefix, 2).await;
    }
    stop(&mut relay).await;
    let letters = json_of(folder, &["dead", "list"]);
    let id = |number: usize| letters[number]["id"].to_string();
    assert_eq!(letters.as_array().map(Vec::len), Some(3), "{letters}");
    let question = ends(folder, 2, &["dead", "drop", "--all"]);
    assert!(
        question.contains("3 dead letters with 6 events") && question.contains("--yes"),
        "{question}"
    );
    assert_eq!(json_of(folder, &["dead", "list"]), letters);
    ends(folder, 0, &["dead", "drop", &id(0)]);
    ends(folder, 0, &["dead", "redrive", &id(1)]);
    let dropped = json_of(folder, &["dead", "drop", "--reason", "invalid", "--yes"]);
    assert_eq!(dropped["events"], 2, "{dropped}");
    let ledger = json_of(folder, &["ledger"]);
    let counts = &ledger["channels"]["ops"];
    assert_eq!(
        (&counts["dead"], &counts["waiting"]),
        (&json!(0), &json!(2))
    );
    let relay = start(folder);
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["ops"]["delivered"], 2, "{ledger}");
    assert_eq!(ledger["balanced"], true, "{ledger}");
    for (id, times) in [("first-0", 0), ("second-0", 1), ("third-0", 0)] {
        assert_eq!(told(&slack, id), times, "{id}");
    }
}

/// What the relay wrote for commands.
fn token(folder: &Path) -> String {
    let file = folder.join("auditrelay-data/admin.address");
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(file).expect("text");
    text.lines().nth(1).expect("a token").to_owned()
}

async fn command(
    relay: &Running,
    method: Method,
    headers: &[(&str, &str)],
    body: &str,
) -> (StatusCode, String) {
    let stream = TcpStream::connect(relay.admin).await.expect("a connection");
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri("/command")
        .header(HOST, relay.admin.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    let answer = client.send_request(request.body(body).expect("a request"));
    let answer = answer.await.expect("an answer");
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_token_the_admin_port_changes_nothing() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 10", "");
    let folder = folder.path();
    let mut relay = start(folder);
    bury(&relay, &slack, "never", 1).await;
    let letters = json_of(folder, &["dead", "list"]);
    let drop_it = json!({"drop_dead": {"which": {"ids": [letters[0]["id"]]}}}).to_string();
    let token = token(folder);
    let (right, wrong) = (
        format!("Bearer {token}"),
        format!("Bearer {}", "0".repeat(64)),
    );
    let json = ("Content-Type", "application/json");
    let allowed = ("Authorization", right.as_str());
    let post = Method::POST;
    let large = " ".repeat((1 << 20) + 1);
    for (method, headers, body, status) in [
        (&post, &[json][..], drop_it.as_str(), 401),
        (&post, &[json, ("Authorization", &wrong)], &drop_it, 401),
        (&post, &[json, ("Authorization", &token)], &drop_it, 401),
        (&post, &[allowed], &drop_it, 415),
        (
            &post,
            &[allowed, ("Content-Type", "text/plain")],
            &drop_it,
            415,
        ),
        (&post, &[allowed, json], &large, 413),
        (&post, &[allowed, json], "{}", 400),
        (
            &post,
            &[allowed, json],
            r#"{"dead_list":{"filter":{"a":1}}}"#,
            400,
        ),
        (&Method::GET, &[allowed, json], &drop_it, 405),
    ] {
        let (found, text) = command(&relay, method.clone(), headers, body).await;
        assert_eq!(found.as_u16(), status, "{headers:?} {text}");
        assert!(!text.contains(&token), "{text}");
    }
    for name in [
        "../auditrelay-data",
        "queue",
        "queue.corrupt-1/../queue",
        "/etc",
    ] {
        let body = json!({"salvage": {"folder": name}}).to_string();
        let (status, text) = command(&relay, post.clone(), &[allowed, json], &body).await;
        assert!(
            status == 200 && text.contains(r#"{"error":"#),
            "{name}: {text}"
        );
    }
    assert_eq!(json_of(folder, &["dead", "list"]), letters);
    let (status, text) = command(&relay, post, &[allowed, json], &drop_it).await;
    assert!(status == 200 && text.contains(r#""letters":1"#), "{text}");
    assert_eq!(json_of(folder, &["dead", "list"]), json!([]));
    let logs = relay.logs();
    assert_eq!(
        logs.matches("without this run's token").count(),
        1,
        "{logs}"
    );
    assert!(!logs.contains(&token), "the token is in the log");
    // Every start has its own.
    stop(&mut relay).await;
    let _relay = start(folder);
    assert_ne!(self::token(folder), token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_names_itself_and_its_members_are_listed() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 3", "");
    let folder = folder.path();
    let mut relay = start(folder);
    relay
        .post("/webhook", list("alice", "get", ids("d", 20)))
        .await;
    relay.drained().await;
    let text = slack.posts()[0].text.clone();
    let (_, id) = text.split_once("events --message ").expect(&text);
    let id = id.split(' ').next().expect("an ID").to_owned();
    let events = ["events", "--message", &id];
    let running = ends(folder, 0, &events);
    let running_json = json_of(folder, &events);
    stop(&mut relay).await;
    assert_eq!(ends(folder, 0, &events), running);
    assert_eq!(json_of(folder, &events), running_json);
    assert_eq!(running.matches("pods/api in shop").count(), 20, "{running}");
    assert!(
        running.contains(&format!("20 events in message {id}")),
        "{running}"
    );
    let members = running_json.as_array().expect("an array");
    let mut told: Vec<&str> = members
        .iter()
        .filter_map(|member| member["event"]["auditID"].as_str())
        .collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 20, "{members:?}");
    assert_eq!(members[0]["cluster"], "default");
    let unknown = ends(folder, 1, &["events", "--message", "999999"]);
    assert!(unknown.contains("queue.digest_detail_hours"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_replayed_and_says_so() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(
        &slack,
        "sentences_max: 20",
        "routes: [{name: gone, channel: ops, verbs: [delete]}, {name: read, channel: ops, verbs: [get]}]
queue: {retain_hours: 1}",
    );
    let folder = folder.path();
    let mut relay = start(folder);
    let none = ends(folder, 1, &["replay", "--since", "1h"]);
    assert!(none.contains("queue.retain_hours"), "{none}");
    for (verb, prefix) in [("delete", "x"), ("get", "y"), ("patch", "z")] {
        relay
            .post("/webhook", list("alice", verb, ids(prefix, 3)))
            .await;
    }
    relay.drained().await;
    let replay = |more: &[&'static str]| -> Vec<&'static str> {
        ["replay", "--since", "1h"]
            .iter()
            .chain(more)
            .copied()
            .collect()
    };
    let dry = json_of(folder, &replay(&["--dry-run"]));
    assert_eq!(
        dry["sent"],
        json!([{"channel": "ops", "route": "gone", "events": 3},
               {"channel": "ops", "route": "read", "events": 3}]),
        "{dry}"
    );
    let unwanted = [&dry["without_text"], &dry["filtered"]].map(Value::as_u64);
    assert_eq!(unwanted.into_iter().flatten().sum::<u64>(), 3, "{dry}");
    assert_eq!(relay.ledger().await["channels"]["ops"]["waiting"], 0);
    let wrong = ends(folder, 70, &replay(&["--route", "nope"]));
    assert!(wrong.contains("gone, read"), "{wrong}");
    ends(folder, 1, &["replay", "--since", "2h", "--until", "1h"]);
    ends(folder, 2, &["replay", "--since", "1h", "--until", "2h"]);

    let replayed = ends(folder, 0, &replay(&["--route", "gone"]));
    assert!(replayed.contains("3 events wait"), "{replayed}");
    wait_told(&slack, "x-0", 2).await;
    let posts = slack.posts();
    let last = posts.last().expect("a message");
    assert_eq!(last.text.matches("[replayed]").count(), 3, "{}", last.text);
    assert_eq!(told(&slack, "y-0"), 1);
    let ledger = relay.drained().await;
    assert_eq!(
        (&ledger["channels"]["ops"]["delivered"], &ledger["balanced"]),
        (&json!(6), &json!(true)),
        "{ledger}"
    );
    stop(&mut relay).await;
    ends(folder, 0, &replay(&[]));
    let relay = start(folder);
    wait_told(&slack, "x-0", 3).await;
    wait_told(&slack, "y-0", 2).await;
    relay.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retention_nothing_is_replayed_even_if_it_still_lies_there() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 20", "");
    let folder = folder.path();
    let mut relay = start(folder);
    relay
        .post("/webhook", list("alice", "get", ids("a", 3)))
        .await;
    relay.drained().await;
    let none = ends(folder, 1, &["replay", "--since", "1h"]);
    assert!(none.contains("queue.retain_hours"), "{none}");
    stop(&mut relay).await;
    let none = ends(folder, 1, &["replay", "--since", "1h"]);
    assert!(none.contains("queue.retain_hours"), "{none}");
}

async fn wait_told(slack: &LocalSlack, id: &str, times: usize) {
    let asked = tokio::time::Instant::now();
    while told(slack, id) < times {
        assert!(asked.elapsed() < PATIENCE, "{id} {:?}", slack.posts());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_moves_as_a_file_and_everything_in_it_is_delivered_once() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 20, park_retry_seconds: 60", "");
    let folder = folder.path();
    let mut relay = start(folder);
    bury(&relay, &slack, "dead", 2).await;
    let code = "is_archived".into();
    slack.inject(Fault::new(Effect::Error { code }).times(1_000));
    relay
        .post("/webhook", list("alice", "get", ids("held", 5)))
        .await;
    while relay.ledger().await["channels"]["ops"]["waiting"] != 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let running = ends(folder, 70, &["export", "q.jsonl.zst"]);
    assert!(running.contains("stop it first"), "{running}");
    assert!(!folder.join("q.jsonl.zst").exists());
    stop(&mut relay).await;
    let ledger = json_of(folder, &["ledger"]);
    let exported = ends(folder, 0, &["export", "q.jsonl.zst"]);
    assert!(
        exported.contains("5 events waiting for channels"),
        "{exported}"
    );
    let before = fs::read(folder.join("q.jsonl.zst")).expect("there");
    assert_eq!(before[..4], [0x28, 0xb5, 0x2f, 0xfd], "no zstd");
    let there = ends(folder, 2, &["export", "q.jsonl.zst"]);
    assert!(there.contains("--force"), "{there}");
    ends(folder, 0, &["export", "q.jsonl.zst", "--force"]);
    let stdout = ends(folder, 0, &["export", "-"]);
    let lines = stdout.lines().map(serde_json::from_str::<Value>);
    assert!(lines.filter(|line| line.is_err()).count() == 0, "{stdout}");

    let new = ["--data-dir", "new-data"];
    let imported = ends(folder, 0, &["import", "q.jsonl.zst", new[0], new[1]]);
    assert!(imported.contains("dedup.key"), "{imported}");
    assert_eq!(json_of(folder, &["ledger", new[0], new[1]]), ledger);
    ends(folder, 70, &["import", "q.jsonl.zst", new[0], new[1]]);
    fs::copy(
        folder.join("auditrelay-data/dedup.key"),
        folder.join("new-data/dedup.key"),
    )
    .expect("copied");
    slack.reset();
    let relay = Running::start(folder, &[], &[CONFIG[0], CONFIG[1], new[0], new[1]]);
    ends(
        folder,
        0,
        &["dead", "redrive", "--all", "--yes", new[0], new[1]],
    );
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["ops"]["delivered"], 7, "{ledger}");
    for id in ["held-0", "held-4", "dead-0", "dead-1"] {
        assert_eq!(told(&slack, id), 1, "{id}");
    }
    // What the old one had seen is known.
    relay
        .post("/webhook", list("alice", "get", ids("held", 5)))
        .await;
    assert_eq!(relay.drained().await["duplicates"], 5);
}

#[test]
fn what_is_asked_wrongly_ends_with_2_and_a_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("c.yaml"),
        "channels: {ops: {preview: true}}\n",
    )
    .expect("written");
    for (code, args, part) in [
        (2, &["dead", "redrive"][..], "--all"),
        (2, &["dead", "drop", "1", "--all"], "--all"),
        (2, &["dead", "list", "--since", "yesterday"], "2h"),
        (
            2,
            &["dead", "list", "--since", "1h", "--until", "2h"],
            "before",
        ),
        (2, &["dead", "show", "x"], "invalid"),
        (2, &["events"], "--message"),
        (2, &["replay"], "--since"),
        (70, &["dead", "list"], "no queue"),
        (70, &["export", "q.jsonl"], "no queue"),
        (70, &["import", "missing.jsonl"], "missing.jsonl"),
        (70, &["salvage"], "auditrelay-data"),
    ] {
        let stderr = ends(folder.path(), code, args);
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
    assert!(
        !folder.path().join("auditrelay-data").exists(),
        "a command that only looks made a queue"
    );
}

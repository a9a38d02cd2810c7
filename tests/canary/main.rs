//! The canary: secrets that are planted wherever an event may hold one are nowhere afterwards (promise P8). The real
//! binary receives them, stores them, posts them to a local Slack, shows them on its standard output, buries some, is
//! aborted with others waiting, and is asked for all it knows.

#[path = "../support/mod.rs"]
mod support;

mod planted;
mod search;

use std::{
    collections::BTreeSet, fs, os::unix::process::ExitStatusExt, path::Path, time::Duration,
};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use hyper::StatusCode;
use planted::{STEM, secret};
use search::{Needle, folder, unpacked};
use serde_json::Value;
use support::{Running, run, slack};

/// What is no secret stands at the same places: who finds nothing has to be able to find something.
const HARMLESS: &str = "zimtstangenbrot";
/// As much as there is, also of the libraries through which everything passes.
const LOG: &str = "trace,hyper=trace,hyper::proto::h1::conn=trace,h2=trace,rustls=trace,sled=trace";
const CONFIG: [&str; 2] = ["--config", "c.yaml"];

fn configure(folder: &Path, slack: &LocalSlack) {
    let config = format!(
        "slack: {{token: xoxb-test, api_url: '{}', messages_per_minute: 6000}}
channels:
  ops: {{slack_channel: COPS, message_interval_milliseconds: 100, sentences_max: 9}}
  bad: {{slack_channel: CBAD, message_interval_milliseconds: 100}}
  term: {{preview: true}}
default_channel: ops
routes:
  - {{name: poison, channel: bad, users: [poison]}}
  - {{name: shown, channel: term, users: [shown]}}
  - {{name: drops, channel: ops, users: [drops], bodies: drop}}
  - {{name: shapes, channel: ops, users: [shapes], bodies: redact}}
  - {{name: rest, channel: ops, users: [a]}}
queue: {{retain_hours: 1}}
inputs: {{log_file: [{{path: audit.log}}]}}
redaction: {{resources: [{{group: '*', resources: [vaults]}}], environment: true}}
",
        slack.api_url()
    );
    fs::write(folder.join("c.yaml"), config).expect("written");
}

fn list(events: &[&[u8]]) -> Vec<u8> {
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":["#;
    [head, events.join(&b',').as_slice(), b"]}"].concat()
}

/// Not by the channel that takes nothing: five dead letters in a row would park it.
fn is_taken(event: &[u8]) -> bool {
    memchr::memmem::find(event, b"\"poison\"").is_none()
}

/// The same under other IDs, with something between them.
fn renamed(events: &[&[u8]], prefix: &str, between: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        let mut from = 0;
        for at in memchr::memmem::find_iter(event, b"\"id-") {
            out.extend_from_slice(&event[from..at]);
            out.extend_from_slice(format!("\"{prefix}").as_bytes());
            from = at + 4;
        }
        out.extend_from_slice(&event[from..]);
        out.extend_from_slice(between);
    }
    out
}

/// A list of the same under other IDs.
fn again(events: &[&[u8]], prefix: &str) -> Vec<u8> {
    let items = renamed(events, prefix, b",");
    list(&[items.strip_suffix(b",").expect("some")])
}

fn harmless(user: &str) -> Vec<u8> {
    format!(
        r#"{{"level":"Request","auditID":"id-{user}","stage":"ResponseComplete","verb":"create","user":{{"username":"{user}"}},"requestURI":"/api/v1/namespaces/x/configmaps?x={HARMLESS}","objectRef":{{"resource":"configmaps","name":"n"}},"requestObject":{{"data":{{"k":"{HARMLESS}"}}}}}}"#
    )
    .into_bytes()
}

/// What anybody can get to see, by where.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, place: &str, bytes: impl AsRef<[u8]>) {
        self.0.push((place.to_owned(), unpacked(bytes.as_ref())));
    }

    /// Runs a command that has to end well.
    fn command(&mut self, folder: &Path, args: &[&str]) -> String {
        let args: Vec<&str> = args.iter().chain(&CONFIG).copied().collect();
        let (code, stdout, stderr) = run(folder, &[("RUST_LOG", LOG)], &args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        self.add(&args.join(" "), format!("{stdout}\n{stderr}"));
        stdout
    }

    fn holds(&self, place: &str, word: &str) -> bool {
        let needle = Needle::new(word);
        let mut here = self.0.iter().filter(|(name, _)| name.contains(place));
        here.any(|(_, bytes)| !needle.found_in(bytes).is_empty())
    }
}

/// What the webhook is sent that is no list of events, or holds what is none.
async fn post_what_is_no_event(relay: &Running, seen: &mut Seen) {
    let secret = secret(99);
    let no_events = [
        format!(r#"{{"stage":"Panic","verb":"{secret}"}}"#),
        format!(r#""{secret}""#),
        format!(r#"{{"level":"Metadata","stage":"Panic","verb":["{secret}"]}}"#),
        format!(r#"{{"level":"Metadata","stage":"Panic","user":"{secret}"}}"#),
    ];
    let events: Vec<&[u8]> = no_events.iter().map(String::as_bytes).collect();
    let (status, answer) = relay.post("/webhook", list(&events)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    seen.add("answer", answer.to_string());
    for body in [
        format!(
            r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{{"data":"{secret}"}}"#
        ),
        format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":"{secret}"}}"#),
        format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[],{secret}:1}}"#),
        format!(r#"{{"kind":"{secret}","apiVersion":"v1","items":[]}}"#),
        format!(r#""{secret}""#),
        secret.clone(),
    ] {
        let (status, answer) = relay.post("/webhook", body.into_bytes()).await;
        assert!(status.is_client_error(), "{status} {answer}");
        seen.add("answer", answer.to_string());
    }
}

/// What is asked of the running relay.
async fn ask(folder: &Path, relay: &Running, slack: &LocalSlack, seen: &mut Seen) {
    for path in ["/metrics", "/ledger", "/readyz?verbose"] {
        seen.add(path, relay.get(path).await.1);
    }
    let dead: Value =
        serde_json::from_str(&seen.command(folder, &["dead", "list", "--json"])).expect("JSON");
    let dead = dead.as_array().expect("an array");
    assert!(dead.len() >= 2, "{dead:?}");
    for letter in dead {
        let id = letter["id"].to_string();
        let id = id.trim_matches('"');
        seen.command(folder, &["dead", "show", id]);
        seen.command(folder, &["dead", "show", id, "--json"]);
    }
    let posts: String = slack
        .posts()
        .into_iter()
        .map(|post| post.body.to_string())
        .collect();
    let digests: BTreeSet<String> = posts
        .split("events --message ")
        .skip(1)
        .map(|id| id.chars().take_while(char::is_ascii_alphanumeric).collect())
        .collect();
    assert!(digests.len() >= 2, "{digests:?}");
    for id in digests {
        seen.command(folder, &["events", "--message", &id]);
        seen.command(folder, &["events", "--message", &id, "--json"]);
    }
}

/// Posts everything; what comes after some of it waits for a Slack that does not take it.
async fn receive(folder: &Path, slack: &LocalSlack, seen: &mut Seen) {
    let code = "invalid_blocks".to_owned();
    let mut refused = Fault::new(Effect::Error { code }).times(1_000);
    refused.channel = Some("CBAD".to_owned());
    slack.inject(refused);
    // The other door: the same events as lines of a log.
    let lines: Vec<Vec<u8>> = planted::all().into_iter().map(|one| one.event).collect();
    let lines: Vec<&[u8]> = lines
        .iter()
        .map(Vec::as_slice)
        .filter(|line| is_taken(line))
        .collect();
    fs::write(folder.join("audit.log"), renamed(&lines, "lines-", b"\n")).expect("written");
    let mut relay = Running::start(folder, &[("RUST_LOG", LOG)], &CONFIG);
    let planted = planted::all();
    let events: Vec<&[u8]> = planted.iter().map(|one| one.event.as_slice()).collect();
    let [to_ops, to_bad, to_terminal] = ["a", "poison", "shown"].map(harmless);
    let harmless: [&[u8]; 3] = [&to_ops, &to_bad, &to_terminal];
    // Few at a time are told one by one.
    for some in [&harmless[..]].into_iter().chain(events.chunks(9)) {
        let (status, answer) = relay.post("/webhook?timeout=30s", list(some)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        seen.add("answer", answer.to_string());
        relay.drained().await;
    }
    let every = harmless.iter().chain(&events).copied();
    let every: Vec<&[u8]> = every.filter(|event| is_taken(event)).collect();
    // Many become a digest.
    relay.post("/webhook", again(&every, "digest-")).await;
    post_what_is_no_event(&relay, seen).await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert!(ledger["filtered"].as_u64() >= Some(1), "{ledger}");
    ask(folder, &relay, slack, seen).await;

    slack.inject(Fault::new(Effect::RetryAfter { seconds: 600 }).times(1_000));
    relay.post("/webhook", again(&every, "waits-")).await;
    while relay.ledger().await["channels"]["ops"]["waiting"].as_u64() < Some(40) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    relay.signal("-ABRT");
    let status = relay.wait().await;
    assert_eq!(status.signal(), Some(6), "{status}");
    let logs = relay.all_logs();
    assert!(!logs.contains("\"target\":\"hyper"), "{logs}");
    seen.add("logs", logs);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_afterwards() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    let slack = slack(Duration::ZERO).await;
    configure(path, &slack);
    let mut seen = Seen::default();
    receive(path, &slack, &mut seen).await;
    seen.add(
        "slack",
        serde_json::to_vec(&slack.recorded()).expect("JSON"),
    );
    seen.add("stdout", fs::read(path.join("stdout")).expect("a file"));
    for file in folder(&path.join("auditrelay-data")) {
        seen.0.push(file);
    }
    seen.command(path, &["export", "-"]);
    seen.command(path, &["export", "out.jsonl.zst"]);
    seen.add(
        "out.jsonl.zst",
        fs::read(path.join("out.jsonl.zst")).expect("a file"),
    );
    let planted = planted::all();
    let rendered: Vec<&[u8]> = planted.iter().map(|one| one.event.as_slice()).collect();
    fs::write(path.join("events.json"), list(&rendered)).expect("written");
    seen.command(path, &["render", "events.json", "--channel", "ops"]);
    seen.command(
        path,
        &[
            "render",
            "events.json",
            "--channel",
            "term",
            "--format",
            "json",
        ],
    );

    for place in [
        "slack",
        "stdout",
        "deliveries-",
        "events-",
        "dead show",
        "export -",
        "out.jsonl.zst",
        "events --message",
    ] {
        assert!(
            seen.holds(place, HARMLESS),
            "nothing is found in {place}, so the search does not work"
        );
    }
    let needle = Needle::new(STEM);
    let leaks: Vec<String> = seen
        .0
        .iter()
        .flat_map(|(place, bytes)| {
            let finds = needle.found_in(bytes).into_iter();
            finds.map(move |around| format!("{place}: …{around}…"))
        })
        .collect();
    assert!(
        leaks.is_empty(),
        "{} leaks\n{}",
        leaks.len(),
        leaks[..leaks.len().min(40)].join("\n")
    );
}

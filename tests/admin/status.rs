//! `auditrelay status`: well, parked, refusing, holding, stopped, with a client whose token is refused, files and a
//! configuration that cannot be used; its exit codes, and JSON.

use std::{fs, os::unix::fs::PermissionsExt};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use hyper::StatusCode;
use serde_json::Value;

use crate::{
    configured, slack, started,
    support::{Running, ids, list, run},
    until,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef\n";
const CLIENTS: &str = "clients: [{ name: prod, token_file: tokens }]\n";

fn status(folder: &std::path::Path) -> (i32, String) {
    let (code, out, error) = run(folder, &[], &["status", "--config", "c.yaml"]);
    (code, out + &error)
}

fn json(folder: &std::path::Path) -> (i32, Value) {
    let args = ["status", "--json", "--config", "c.yaml"];
    let (code, out, error) = run(folder, &[], &args);
    let value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
    (code, value)
}

async fn delete(relay: &Running, id: &str) {
    let list = list("alice", "delete", ids(id, 1));
    relay.post("/webhook", list).await;
}

fn archive(slack: &LocalSlack, is_archived: bool) {
    slack.change_channel("CSECURITY", |channel| channel.archived = is_archived);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_person_is_said_with_what_to_do_and_the_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    configured(path, &slack, "");
    let relay = started(path);
    let (code, text) = status(path);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(": healthy; running for "), "{text}");
    archive(&slack, true);
    delete(&relay, "a").await;
    until("parked", async || {
        let (code, value) = json(path);
        let is_parked = value["channels"]["security"]["lane"]["state"] == "parked";
        is_parked.then(|| assert_eq!(code, 1, "{value}"))
    })
    .await;
    let (code, text) = status(path);
    assert_eq!(code, 1, "{text}");
    for part in [
        "1 thing needs a person",
        "security: the channel is parked: Slack answered is_archived",
        "-> mend it at Slack",
        "tries in ",
        "last errors",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let (_, value) = json(path);
    let error = &value["channels"]["security"]["lane"]["last_error"];
    assert_eq!(error["code"], "is_archived", "{value}");
    assert_eq!(error["outcome"], "park");
    assert_eq!(value["attention"][0]["kind"], "parked");
    assert_eq!(value["attention"][0]["channel"], "security");
    // Slack is no reason to take the relay out of service.
    assert_eq!(relay.get("/readyz").await.0, StatusCode::OK);
    assert_eq!(value["ready"], true);
    relay.kill();
    let (code, text) = status(path);
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("the relay is not running"), "{text}");
    assert!(
        text.contains("1 received") && text.contains("security"),
        "{text}"
    );
    let (code, value) = json(path);
    assert_eq!((code, &value["running"]), (1, &Value::Bool(false)));
    assert_eq!(value["channels"]["security"]["waiting"], 1, "{value}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_holds_needs_nobody_and_says_when_it_tries_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    configured(path, &slack, "");
    let relay = started(path);
    let later = Effect::RetryAfter { seconds: 600 };
    slack.inject(Fault::new(later).on("CSECURITY"));
    delete(&relay, "a").await;
    let value = until("holding", async || {
        let (code, value) = json(path);
        let is_held = value["channels"]["security"]["lane"]["state"] == "holding";
        is_held.then(|| {
            assert_eq!(code, 0, "{value}");
            value
        })
    })
    .await;
    let lane = &value["channels"]["security"]["lane"];
    let now = value["now_unix_ms"].as_i64().expect("a time");
    for key in ["next_try_unix_ms", "retry_after_until_unix_ms"] {
        let until = lane[key]
            .as_i64()
            .unwrap_or_else(|| panic!("no {key}: {lane}"));
        assert!((1..=600_000).contains(&(until - now)), "{key}: {lane}");
    }
    assert_eq!(lane["last_error"]["outcome"], "later", "{lane}");
    assert_eq!(value["errors"][0]["channel"], "security", "{value}");
    assert_eq!(value["errors"][0]["part"], "delivery");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_without_room_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    // More than any disk of a test has.
    configured(
        path,
        &slack,
        "queue: { disk_free_bytes_min: 1099511627776 }\n",
    );
    let relay = started(path);
    let refused = list("alice", "get", ids("a", 1));
    assert_eq!(
        relay.post("/webhook", refused).await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    let (code, value) = json(path);
    assert_eq!(code, 1, "{value}");
    assert_eq!(value["attention"][0]["kind"], "refusing", "{value}");
    assert!(value["refusing"].is_string());
    assert_eq!(value["ready"], true);
    let (_, text) = status(path);
    assert!(text.contains("new batches are refused (429)"), "{text}");
}

fn attention(value: &Value, kind: &str) -> Option<String> {
    let all = value["attention"].as_array().expect("a list");
    let one = all.iter().find(|one| one["kind"] == kind)?;
    assert!(one["do"].is_string(), "{one}");
    Some(one["what"].as_str().expect("text").to_owned())
}

/// The text of the latest incident of a part.
fn incident(value: &Value, part: &str) -> Option<String> {
    let all = value["errors"].as_array().expect("a list");
    let one = all.iter().find(|one| one["part"] == part)?;
    Some(one["text"].as_str().expect("text").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_refused_at_the_door_are_said_with_reason_and_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    write_tokens(path, TOKEN);
    configured(path, &slack, CLIENTS);
    let relay = started(path);
    assert_eq!(status(path).0, 0);
    for batch in 0..5 {
        let list = list("alice", "get", ids(&format!("b{batch}"), 3));
        assert_eq!(
            relay.post("/webhook", list).await.0,
            StatusCode::UNAUTHORIZED
        );
    }
    let (code, text) = status(path);
    assert_eq!(code, 1, "{text}");
    for part in [
        "1 thing needs a person",
        "5 requests refused in the last ",
        ": unauthenticated, nothing was shown of who it is (401)",
        "-> if it is an API server, its events are being lost",
        "\nrefused   5 unauthenticated in the last ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let (code, value) = json(path);
    assert_eq!((code, &value["healthy"]), (1, &Value::Bool(false)));
    assert_eq!(value["lately"]["refused"]["unauthenticated"]["times"], 5);
    assert_eq!(value["files_current"], true);
    // Neither the tokens nor the configuration can be used any more; both go on as they were.
    write_tokens(path, "");
    configured(path, &slack, "hunter: 2\n");
    relay.signal("-HUP");
    let value = until("both are said", async || {
        let value: Value = serde_json::from_str(&relay.get("/status").await.1).expect("JSON");
        attention(&value, "files")?;
        attention(&value, "reload")?;
        incident(&value, "credentials")?;
        Some(value)
    })
    .await;
    let reason = value["reload"]["last_failure"].as_str().expect("a reason");
    assert!(reason.contains("hunter: there is no such key"), "{reason}");
    assert!(attention(&value, "reload").is_some_and(|what| what.contains(reason)));
    assert!(incident(&value, "configuration").is_some_and(|text| text.contains(reason)));
    // That is when somebody asks, by the file that is broken.
    let (code, text) = status(path);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("hunter: there is no such key"), "{text}");
    write_tokens(path, TOKEN);
    configured(path, &slack, CLIENTS);
    relay.signal("-HUP");
    until("the configuration is well again", async || {
        let value: Value = serde_json::from_str(&relay.get("/status").await.1).expect("JSON");
        let text = incident(&value, "configuration")?;
        let is_well = value["reload"]["last_failure"].is_null();
        (is_well && text.contains("can be used again")).then_some(())
    })
    .await;
}

fn write_tokens(folder: &std::path::Path, tokens: &str) {
    let file = folder.join("tokens");
    fs::write(&file, tokens).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("set");
}

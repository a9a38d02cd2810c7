//! What only looks changes nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    archive, bury, ends, folder, json_of, start, stop,
    support::{ids, list, slack},
};

/// A name of 64 KiB that does not become much smaller.
fn noise(seed: u64) -> String {
    let mut state = seed + 1;
    let digits = (0..4 << 10).map(|_| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    });
    digits.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_of_a_stopped_relay_leaves_what_is_kept_to_be_looked_at() {
    let slack = slack(Duration::ZERO).await;
    let channel = "sentences_max: 3, park_retry_seconds: 60";
    let folder = folder(&slack, channel, "queue: {retain_hours: 1}");
    let folder = folder.path();
    let mut relay = start(folder);
    let body = list("alice", "get", ids("kept", 20));
    relay.post("/webhook", body).await;
    relay.drained().await;
    let text = slack.posts()[0].text.clone();
    let (_, id) = text.split_once("events --message ").expect(&text);
    let id = id.split(' ').next().expect("an ID");
    // So many bytes that counting them gives the writer time to tidy up, and something to do.
    archive(&slack);
    for (seed, id) in ids("held", 600).enumerate() {
        let body = list(&noise(seed as u64), "get", [id]);
        relay.post("/webhook", body).await;
    }
    while relay.ledger().await["channels"]["ops"]["waiting"] != 600 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop(&mut relay).await;
    for _ in 0..2 {
        assert_eq!(json_of(folder, &["ledger"])["balanced"], true);
    }
    let dry = json_of(folder, &["replay", "--since", "1h", "--dry-run"]);
    assert_eq!(dry["sent"][0]["events"], json!(620), "{dry}");
    let members = json_of(folder, &["events", "--message", id]);
    assert_eq!(members.as_array().map(Vec::len), Some(20), "{members}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_of_an_event_cannot_steer_the_terminal_and_says_the_same() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 3", "");
    let folder = folder.path();
    let relay = start(folder);
    let user = "al\u{202e}ice\u{9b}2J\u{7f}\u{200b}\u{e0041}é";
    bury(&relay, &slack, user, 2).await;
    relay
        .post("/webhook", list(user, "get", ids("d", 20)))
        .await;
    relay.drained().await;
    let posts = slack.posts();
    let id = posts.iter().find_map(|post| {
        let (_, id) = post.text.split_once("events --message ")?;
        id.split(' ').next()
    });
    let letters = json_of(folder, &["dead", "list"]);
    let letter = letters[0]["id"].to_string();
    for (args, at) in [
        (["events", "--message", id.expect("an ID"), "--json"], "/0"),
        (["dead", "show", &letter, "--json"], "/members/0"),
    ] {
        let text = ends(folder, 0, &args);
        let wild = text.chars().find(|one| one.is_control() && *one != '\n');
        assert_eq!(wild, None, "{args:?}");
        let hidden = ['\u{202e}', '\u{200b}', '\u{e0041}'];
        assert!(!text.contains(hidden) && text.contains('é'), "{text:?}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let event = value.pointer(at).expect("a member")["event"].clone();
        let said = [&event["user"]["username"], &event["auditID"]];
        assert!(
            said.iter()
                .any(|one| one.as_str().is_some_and(|one| one.starts_with(user))),
            "{event}"
        );
    }
}

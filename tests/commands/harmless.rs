//! What only looks changes nothing.

use std::time::Duration;

use serde_json::json;

use crate::{
    archive, folder, json_of, start, stop,
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

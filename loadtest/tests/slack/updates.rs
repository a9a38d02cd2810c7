//! chat.update.

use auditrelay_loadtest::slack::LocalSlack;
use serde_json::{Value, json};

use crate::support::{FORM, TOKEN, call, hook, named, ok, post, posted, send, start, unpaced};

async fn update(slack: &LocalSlack, ts: &str, mut arguments: Value) -> String {
    arguments["channel"] = json!("a");
    arguments["ts"] = json!(ts);
    call(slack, "chat.update", arguments).await.error()
}

async fn shown(slack: &LocalSlack) -> Value {
    let arguments = json!({"channel": "a", "include_all_metadata": true});
    let answer = ok(slack, "conversations.history", arguments).await;
    answer["messages"][0].clone()
}

#[tokio::test]
async fn an_update_changes_what_is_read_and_not_what_was_posted() {
    let slack = start(unpaced()).await;
    let mut message = named("a", "before");
    message["blocks"] = json!([{"type": "divider"}]);
    message["attachments"] = json!([{"text": "kept"}]);
    let ts = posted(&slack, message).await;
    let answer = call(
        &slack,
        "chat.update",
        json!({"channel": "a", "ts": ts, "text": "after"}),
    );
    let answer = answer.await.json();
    assert_eq!(
        (&answer["text"], &answer["ts"]),
        (&json!("after"), &json!(ts))
    );
    let now = shown(&slack).await;
    assert_eq!((&now["text"], &now["ts"]), (&json!("after"), &json!(ts)));
    assert!(
        now.get("blocks").is_none() && now["edited"].is_object(),
        "{now}"
    );
    assert_eq!(now["attachments"], json!([{"text": "kept"}]));
    assert_eq!(now["metadata"]["event_payload"]["id"], "before");
    let stored = slack.posts().remove(0);
    assert_eq!(
        (stored.text.as_str(), stored.current().0),
        ("before", "after")
    );
    // Blocks alone leave the text, and blocks leave no mark.
    assert_eq!(
        update(&slack, &ts, json!({"blocks": [{"type": "divider"}]})).await,
        ""
    );
    let now = shown(&slack).await;
    assert_eq!(now["text"], "after");
    assert!(now.get("edited").is_none(), "{now}");
    let nothing = json!({"attachments": [], "metadata": {}, "text": "bare"});
    assert_eq!(update(&slack, &ts, nothing).await, "");
    let now = shown(&slack).await;
    assert_eq!(now["attachments"], json!([]));
    assert!(now.get("metadata").is_none(), "{now}");
    assert_eq!(slack.posts().len(), 1);
    assert_eq!(slack.posts()[0].updates.len(), 3);
}

#[tokio::test]
async fn only_own_messages_that_are_there_in_channels_that_are_open() {
    let slack = start(unpaced()).await;
    let ts = posted(&slack, named("a", "1")).await;
    let text = json!({"text": "2"});
    assert_eq!(
        update(&slack, "1.000000", text.clone()).await,
        "message_not_found"
    );
    let elsewhere = json!({"channel": "b", "ts": ts, "text": "2"});
    let answer = call(&slack, "chat.update", elsewhere).await;
    assert_eq!(answer.error(), "message_not_found");
    hook(&slack, "a", json!({"text": "3"})).await;
    let foreign = slack.posts()[1].ts.clone();
    assert_eq!(
        update(&slack, &foreign, text.clone()).await,
        "cant_update_message"
    );
    slack.change_channel("a", |channel| channel.archived = true);
    assert_eq!(update(&slack, &ts, text).await, "is_inactive");
    assert!(slack.posts()[0].updates.is_empty());
}

#[tokio::test]
async fn an_update_has_limits_of_its_own() {
    let slack = start(unpaced()).await;
    let rich = json!({"type": "rich_text", "elements": [{"type": "rich_text_section",
        "elements": [{"type": "text", "text": "a"}]}]});
    let mut message = named("a", "1");
    message["blocks"] = json!([rich]);
    let ts = posted(&slack, message).await;
    for (arguments, error) in [
        (json!({"text": "ä".repeat(2_001)}), "msg_too_long"),
        (json!({"blocks": [{"type": "divider"}]}), "block_mismatch"),
        (json!({"blocks": [{"type": "nonsense"}]}), "block_mismatch"),
        (
            json!({"blocks": [rich, {"type": "nonsense"}]}),
            "invalid_blocks",
        ),
        (json!({"blocks": "{"}), "invalid_blocks_format"),
        (json!({"metadata": {"event_type": "a"}}), "no_text"),
        (
            json!({"text": "a", "metadata": {"event_type": "a"}}),
            "invalid_metadata_format",
        ),
        (json!({}), "no_text"),
        (json!({"blocks": [rich]}), ""),
        (json!({"text": "ä".repeat(2_000)}), ""),
    ] {
        assert_eq!(
            update(&slack, &ts, arguments.clone()).await,
            error,
            "{arguments}"
        );
    }
    // The same text may be posted.
    let long = json!({"channel": "a", "text": "ä".repeat(2_001)});
    assert_eq!(post(&slack, long).await.error(), "");
}

#[tokio::test]
async fn a_message_has_an_address_and_only_one_that_there_is() {
    let slack = start(unpaced()).await;
    let ts = posted(&slack, named("CAUDIT", "first")).await;
    let mut reply = named("CAUDIT", "reply");
    reply["thread_ts"] = json!(ts);
    let reply = posted(&slack, reply).await;
    let url = slack.api_url() + "chat.getPermalink";
    let ask = async |channel: &str, ts: &str| {
        let form = format!("channel={channel}&message_ts={ts}");
        send("POST", &url, &[TOKEN, FORM], form).await
    };
    let address = |ts: &str| format!("/archives/CAUDIT/p{}", ts.replace('.', ""));
    let link = |answer: &Value| answer["permalink"].as_str().unwrap_or_default().to_owned();
    let first = ask("CAUDIT", &ts).await.json();
    assert!(link(&first).ends_with(&address(&ts)), "{first}");
    let answer = ask("CAUDIT", &reply).await.json();
    let thread = format!("{}?thread_ts={ts}&cid=CAUDIT", address(&reply));
    assert!(link(&answer).ends_with(&thread), "{answer}");
    for (channel, ts, error) in [
        ("CAUDIT", "1700000000.000001", "message_not_found"),
        ("CAUDIT", "", "message_not_found"),
        ("", ts.as_str(), "channel_not_found"),
    ] {
        assert_eq!(ask(channel, ts).await.error(), error, "{channel} {ts}");
    }
}

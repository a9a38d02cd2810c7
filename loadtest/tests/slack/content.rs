//! What a message may hold, and what in an accepted one is remarked on.

use auditrelay_loadtest::slack::{ContentLimits, Options, validate};
use serde_json::{Value, json};

use crate::support::{FORM, TOKEN, hook, named, post, send, start, unpaced};

#[test]
fn a_message_is_judged_as_a_whole_without_a_server() {
    assert_eq!(validate(&named("a", "1")), Ok(()));
    let invalid = json!({"text": "a", "blocks": [{"type": "header"}]});
    let expected = "missing required field: text [json-pointer:/blocks/0]";
    assert_eq!(validate(&invalid), Err(vec![expected.to_owned()]));
    let mut large = named("a", "1");
    large["metadata"]["event_payload"]["x"] = json!("x".repeat(8_000));
    for (message, code) in [
        (json!({}), "no_text"),
        (json!([]), "json_not_object"),
        (json!({"blocks": 1}), "invalid_blocks_format"),
        (large, "metadata_too_large"),
        (json!({"markdown_text": "a".repeat(12_001)}), "msg_too_long"),
    ] {
        assert_eq!(validate(&message), Err(vec![code.to_owned()]));
    }
}

#[tokio::test]
async fn metadata_needs_a_type_and_a_payload_and_has_a_size() {
    let slack = start(unpaced()).await;
    let payload =
        |bytes: usize| json!({"event_type": "e", "event_payload": {"x": "x".repeat(bytes)}});
    let frame = payload(0).to_string().len();
    for (metadata, error) in [
        (json!({"event_type": "e"}), "invalid_metadata_format"),
        (json!({"event_payload": {}}), "invalid_metadata_format"),
        (
            json!({"event_type": "", "event_payload": {}}),
            "invalid_metadata_format",
        ),
        (
            json!({"event_type": 1, "event_payload": {}}),
            "invalid_metadata_format",
        ),
        (
            json!({"event_type": "e", "event_payload": []}),
            "invalid_metadata_format",
        ),
        (json!("e"), "invalid_metadata_format"),
        (payload(8_001 - frame), "metadata_too_large"),
        (payload(8_000 - frame), ""),
        (Value::Null, ""),
    ] {
        let message = json!({"channel": "a", "text": "1", "metadata": metadata});
        assert_eq!(post(&slack, message).await.error(), error, "{metadata}");
    }
    let body =
        "channel=a&text=1&metadata=%7B%22event_type%22%3A%22e%22%2C%22event_payload%22%3A%7B%7D%7D";
    let url = slack.api_url() + "chat.postMessage";
    assert_eq!(send("POST", &url, &[TOKEN, FORM], body).await.error(), "");
    assert_eq!(slack.posts()[2].body["metadata"]["event_type"], "e");
}

#[tokio::test]
async fn limits_slack_does_not_publish_can_be_set() {
    let slack = start(Options {
        content: ContentLimits {
            blocks_text_bytes: 10,
            metadata_bytes: 60,
            update_text_bytes: 1,
        },
        ..unpaced()
    })
    .await;
    let text = |text: &str| json!([{"type": "section", "text": {"type": "mrkdwn", "text": text}}]);
    let message = |blocks: Value| json!({"channel": "a", "text": "1", "blocks": blocks});
    assert_eq!(post(&slack, message(text("äöüßä"))).await.error(), "");
    assert_eq!(
        post(&slack, message(text("äöüßä1"))).await.error(),
        "msg_blocks_too_long"
    );
    assert_eq!(
        post(&slack, named("a", "long enough")).await.error(),
        "metadata_too_large"
    );
}

#[tokio::test]
async fn what_could_notify_or_deceive_is_recorded_with_the_message() {
    let slack = start(unpaced()).await;
    post(&slack, named("a", "careful &lt;!here&gt;")).await;
    post(&slack, named("a", "<!here> \u{202e}")).await;
    hook(&slack, "a", json!({"text": "a", "link_names": true})).await;
    let audits: Vec<_> = slack.posts().into_iter().map(|post| post.audit).collect();
    assert_eq!(audits[0], [""; 0]);
    assert_eq!(
        audits[1],
        ["/text: mention <!here>", "/text: character U+202E"]
    );
    assert_eq!(
        audits[2],
        [
            "/unfurl_links: is not false",
            "/unfurl_media: is not false",
            "/link_names: names become mentions"
        ]
    );
    let ts = slack.posts()[0].ts.clone();
    let update = json!({"channel": "a", "ts": ts, "text": "<@U1>"});
    crate::support::ok(&slack, "chat.update", update).await;
    assert_eq!(slack.posts()[0].updates[0].audit, ["/text: mention <@U1>"]);
}

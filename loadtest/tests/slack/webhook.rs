//! Incoming webhooks.

use auditrelay_loadtest::slack::{Effect, Fault, StatusCode, Via};
use serde_json::json;

use crate::support::{FORM, JSON, hook, outcomes, refused, send, start, texts, unpaced};

#[tokio::test]
async fn success_is_two_letters_of_plain_text() {
    let slack = start(unpaced()).await;
    let answer = hook(
        &slack,
        "audit",
        json!({"text": "hello", "channel": "other"}),
    )
    .await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::OK, "ok")
    );
    assert!(answer.content_type.starts_with("text/plain"));
    let stored = slack.posts().remove(0);
    assert_eq!(
        (stored.channel.as_str(), stored.via),
        ("audit", Via::Webhook)
    );
    assert_eq!(stored.body, json!({"text": "hello", "channel": "other"}));
}

#[tokio::test]
async fn a_form_carries_the_payload() {
    let slack = start(unpaced()).await;
    let url = slack.webhook_url("audit");
    let answer = send("POST", &url, &[FORM], "payload=%7B%22text%22%3A%22a%22%7D").await;
    assert_eq!(answer.text, "ok");
    assert_eq!(texts(&slack), ["a"]);
    let answer = send("POST", &url, &[FORM], "text=a").await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::BAD_REQUEST, "invalid_payload")
    );
}

#[tokio::test]
async fn a_channel_with_any_name_has_a_url() {
    let slack = start(unpaced()).await;
    for channel in ["audit-prod_1", "a/b", "ä b", "a%2Fb"] {
        assert_eq!(hook(&slack, channel, json!({"text": "a"})).await.text, "ok");
        assert_eq!(slack.posts().last().unwrap().channel, channel);
    }
    assert!(
        slack
            .webhook_url("#audit-prod_1")
            .ends_with("/services/T000/B000/audit-prod_1")
    );
}

#[tokio::test]
async fn errors_are_statuses_with_the_bare_code_labelled_html() {
    let slack = start(unpaced()).await;
    let url = slack.webhook_url("audit");
    let broken_url = url.replace("/T000/", "/X000/");
    let blocks = r#"{"blocks":[{"type":"nonsense"}]}"#;
    for (url, body, status, code) in [
        (&url, "{", 400, "invalid_payload"),
        (&url, "[]", 400, "invalid_payload"),
        (&url, "{}", 400, "no_text"),
        (&url, blocks, 400, "invalid_blocks"),
        (&broken_url, r#"{"text":"a"}"#, 404, "no_service"),
    ] {
        let answer = send("POST", url, &[JSON], body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (status, code)
        );
        assert!(answer.content_type.starts_with("text/html"), "{answer:?}");
    }
    assert!(slack.posts().is_empty());
    assert_eq!(outcomes(&slack).last(), Some(&refused("no_service")));
    assert!(
        slack
            .attempts()
            .iter()
            .all(|attempt| attempt.method == "webhook")
    );
}

#[tokio::test]
async fn an_injected_error_has_the_status_slack_gives_it_on_a_webhook() {
    let slack = start(unpaced()).await;
    for (code, status, body) in [
        ("is_archived", 410, "channel_is_archived"),
        ("action_prohibited", 403, "action_prohibited"),
        ("no_service", 404, "no_service"),
        ("rollup_error", 500, "rollup_error"),
        ("user_not_found", 400, "user_not_found"),
    ] {
        slack.inject(Fault::new(Effect::Error {
            code: code.to_owned(),
        }));
        let answer = hook(&slack, "audit", json!({"text": "a"})).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (status, body)
        );
    }
}

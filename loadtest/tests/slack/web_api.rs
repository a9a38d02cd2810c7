//! chat.postMessage and auth.test.

use auditrelay_loadtest::slack::{Options, Outcome, StatusCode, Via};
use serde_json::{Value, json};

use crate::support::{
    FORM, JSON, TOKEN, hook, outcomes, post, refused, send, start, texts, unpaced,
};

#[tokio::test]
async fn a_json_message_is_stored_and_answered_with_its_time_stamp() {
    let slack = start(unpaced()).await;
    let message = json!({
        "channel": "#audit", "text": "hello", "unfurl_links": false,
        "blocks": [{"type": "divider"}], "metadata": {"event_type": "e", "event_payload": {}},
    });
    let answer = post(&slack, message.clone()).await.json();
    let stored = slack.posts().remove(0);
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["channel"], "audit");
    assert_eq!(answer["ts"], stored.ts);
    assert_eq!(answer["message"]["ts"], stored.ts);
    assert_eq!(answer["message"]["text"], "hello");
    assert_eq!(answer["message"]["blocks"], message["blocks"]);
    assert_eq!(answer.get("warning"), None);
    assert_eq!(
        (stored.channel.as_str(), stored.text.as_str()),
        ("audit", "hello")
    );
    assert_eq!((stored.body, stored.via), (message, Via::PostMessage));
    let (seconds, micros) = stored.ts.split_once('.').unwrap();
    assert_eq!((seconds.len(), micros.len()), (10, 6));
    let unix_ms = seconds.parse::<u64>().unwrap() * 1000 + micros.parse::<u64>().unwrap() / 1000;
    assert_eq!(unix_ms, stored.received_unix_ms);
}

#[tokio::test]
async fn a_form_carries_token_and_blocks_and_the_token_is_not_recorded() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "chat.postMessage";
    let body = "token=xoxb-secret&channel=audit&text=a+b%C3%A4&blocks=%5B%7B%22type%22%3A%22divider%22%7D%5D";
    assert_eq!(send("POST", &url, &[FORM], body).await.error(), "");
    let recorded = slack.posts().remove(0);
    let expected = json!({"channel": "audit", "text": "a bä", "blocks": [{"type": "divider"}]});
    assert_eq!(recorded.body, expected);
    assert!(
        !serde_json::to_string(&slack.recorded())
            .unwrap()
            .contains("xoxb")
    );
    let broken = "channel=audit&blocks=%5B%7B";
    assert_eq!(
        send("POST", &url, &[TOKEN, FORM], broken).await.error(),
        "invalid_blocks_format"
    );
}

#[tokio::test]
async fn time_stamps_grow_strictly() {
    let slack = start(unpaced()).await;
    let mut before = String::new();
    for number in 0..50 {
        let ts = post(&slack, json!({"channel": "a", "text": number.to_string()}))
            .await
            .json();
        let ts = ts["ts"].as_str().unwrap().to_owned();
        assert!(ts > before, "{ts} after {before}");
        before = ts;
    }
}

#[tokio::test]
async fn a_token_comes_in_the_header_or_a_form_field_only() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "chat.postMessage";
    let in_query = format!("{url}?token=xoxb-test");
    let message = r#"{"channel":"a","text":"b"}"#;
    let with_token = r#"{"channel":"a","text":"b","token":"xoxb-test"}"#;
    let lower_case = ("authorization", "bearer xoxb-test");
    let unknown = ("authorization", "Bearer xoxp-test");
    let basic = ("authorization", "Basic xoxb-test");
    for (url, headers, body, expected) in [
        (&url, vec![JSON], message, "not_authed"),
        (&url, vec![JSON, basic], message, "not_authed"),
        (&url, vec![JSON, unknown], message, "invalid_auth"),
        (&url, vec![JSON], with_token, "not_authed"),
        (&url, vec![JSON, TOKEN], with_token, "not_authed"),
        (&in_query, vec![JSON], message, "not_authed"),
        (&in_query, vec![JSON, TOKEN], message, "not_authed"),
        (&url, vec![FORM], "channel=a&text=b", "not_authed"),
        (
            &url,
            vec![FORM],
            "channel=a&text=b&token=xoxp-1",
            "invalid_auth",
        ),
        (&url, vec![FORM], "channel=a&text=b&token=xoxb-1", ""),
        (&url, vec![JSON, lower_case], message, ""),
    ] {
        let answer = send("POST", url, &headers, body).await;
        assert_eq!(answer.error(), expected, "{url} {headers:?} {body}");
    }
    assert_eq!(slack.posts().len(), 2);
}

#[tokio::test]
async fn with_tokens_configured_no_other_is_accepted() {
    let tokens = vec!["xoxb-one".into(), "xoxb-two".into()];
    let slack = start(Options {
        tokens,
        ..unpaced()
    })
    .await;
    let url = slack.api_url() + "auth.test";
    let two = ("authorization", "Bearer xoxb-two");
    assert_eq!(send("POST", &url, &[two], "").await.error(), "");
    assert_eq!(
        send("POST", &url, &[TOKEN], "").await.error(),
        "invalid_auth"
    );
}

#[tokio::test]
async fn auth_test_says_who_calls() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "auth.test";
    for method in ["GET", "POST"] {
        let answer = send(method, &url, &[TOKEN], "").await;
        assert_eq!(answer.error(), "");
        assert_eq!(answer.json()["team_id"], "T000");
        assert_eq!(answer.json()["bot_id"], "B000");
    }
    assert_eq!(send("GET", &url, &[], "").await.error(), "not_authed");
    assert_eq!(
        outcomes(&slack),
        [Outcome::Answered, Outcome::Answered, refused("not_authed")]
    );
    assert_eq!(slack.attempts()[0].method, "auth.test");
}

#[tokio::test]
async fn an_unknown_method_is_an_application_error() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "chat.postMassage";
    assert_eq!(send("POST", &url, &[], "").await.error(), "unknown_method");
    assert_eq!(slack.attempts()[0].method, "chat.postMassage");
}

#[tokio::test]
async fn bodies_slack_cannot_read_are_application_errors() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "chat.postMessage";
    let content_type = |value| ("content-type", value);
    for (headers, body, expected) in [
        (vec![TOKEN, JSON], "{", "invalid_json"),
        (vec![TOKEN, JSON], "[]", "json_not_object"),
        (vec![TOKEN], "{}", "missing_post_type"),
        (
            vec![TOKEN, content_type("application/xml")],
            "<a/>",
            "invalid_post_type",
        ),
        (
            vec![TOKEN, content_type("application/json; charset=koi8-r")],
            "{}",
            "invalid_charset",
        ),
    ] {
        assert_eq!(send("POST", &url, &headers, body).await.error(), expected);
    }
    assert_eq!(slack.attempts().len(), 5);
}

#[tokio::test]
async fn arguments_come_in_a_form_of_parts_or_in_the_query_too() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "chat.postMessage";
    let parts = ("content-type", "multipart/form-data; boundary=xx");
    let part = |name: &str, value: &str| {
        format!("--xx\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = part("token", "xoxb-1") + &part("channel", "a") + &part("text", "b") + "--xx--\r\n";
    assert_eq!(send("POST", &url, &[parts], body).await.error(), "");
    let broken = part("channel", "a");
    let answer = send("POST", &url, &[TOKEN, parts], broken).await;
    assert_eq!(answer.error(), "invalid_form_data");
    let query = format!("{url}?channel=a&text=c");
    assert_eq!(send("GET", &query, &[TOKEN], "").await.error(), "");
    // Beside a body the query is not looked at.
    let answer = send("POST", &query, &[TOKEN, JSON], "{}").await;
    assert_eq!(answer.error(), "channel_not_found");
    // An announced body that is empty holds no arguments.
    let url = slack.api_url() + "auth.test";
    assert_eq!(send("POST", &url, &[TOKEN, JSON], "").await.error(), "");
    assert_eq!(texts(&slack), ["b", "c"]);
}

#[tokio::test]
async fn charsets_are_remarked_on() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "chat.postMessage";
    let json_only = ("content-type", "application/json");
    let form_with = (
        "content-type",
        "application/x-www-form-urlencoded; charset=UTF-8",
    );
    let message = r#"{"channel":"a","text":"b"}"#;
    for (content_type, body, warning) in [
        (JSON, message, Value::Null),
        (json_only, message, json!("missing_charset")),
        (FORM, "channel=a&text=b", Value::Null),
        (form_with, "channel=a&text=b", json!("superfluous_charset")),
    ] {
        let answer = send("POST", &url, &[TOKEN, content_type], body).await;
        assert_eq!(answer.error(), "");
        let answer = answer.json();
        assert_eq!(answer["warning"], warning);
        let warnings = if warning.is_null() {
            Value::Null
        } else {
            json!([warning])
        };
        assert_eq!(answer["response_metadata"]["warnings"], warnings);
    }
}

#[tokio::test]
async fn only_listed_channels_exist() {
    let channels = Some(vec!["audit".into(), "#prod".into()]);
    let slack = start(Options {
        channels,
        ..unpaced()
    })
    .await;
    for (channel, expected) in [
        (json!("audit"), ""),
        (json!("#audit"), ""),
        (json!("prod"), ""),
        (json!("other"), "channel_not_found"),
        (json!(""), "channel_not_found"),
        (Value::Null, "channel_not_found"),
        (json!(7), "invalid_arguments"),
    ] {
        let answer = post(&slack, json!({"channel": channel, "text": "a"})).await;
        assert_eq!(answer.error(), expected, "{channel}");
    }
    assert_eq!(slack.attempts()[3].channel.as_deref(), Some("other"));
    let answer = hook(&slack, "other", json!({"text": "a"})).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::NOT_FOUND, "channel_not_found")
    );
}

#[tokio::test]
async fn a_message_without_content_is_refused() {
    let slack = start(unpaced()).await;
    let answer = post(&slack, json!({"channel": "a", "text": "", "blocks": []})).await;
    assert_eq!(answer.error(), "no_text");
    assert!(slack.posts().is_empty());
}

#[tokio::test]
async fn broken_block_rules_are_told_twice_with_their_pointers() {
    let slack = start(unpaced()).await;
    let text = json!({"type": "mrkdwn", "text": "a".repeat(3_001)});
    let blocks = json!([{"type": "divider"}, {"type": "section", "text": text}]);
    let answer = post(
        &slack,
        json!({"channel": "a", "text": "b", "blocks": blocks}),
    )
    .await;
    assert_eq!(answer.error(), "invalid_blocks");
    let problems = [
        "failed to match all allowed schemas [json-pointer:/blocks/1/text]",
        "must be less than 3001 characters [json-pointer:/blocks/1/text/text]",
    ];
    assert_eq!(answer.json()["errors"], json!(problems));
    let messages = problems.map(|problem| format!("[ERROR] {problem}"));
    assert_eq!(
        answer.json()["response_metadata"]["messages"],
        json!(messages)
    );

    let many = vec![json!({"type": "divider"}); 51];
    let answer = post(&slack, json!({"channel": "a", "text": "b", "blocks": many})).await;
    let expected = ["no more than 50 items allowed [json-pointer:/blocks]"];
    assert_eq!(answer.json()["errors"], json!(expected));
    assert!(slack.posts().is_empty());
}

#[tokio::test]
async fn the_text_of_all_blocks_is_limited() {
    let slack = start(unpaced()).await;
    let section = |chars: usize| json!({"type": "section", "text": {"type": "mrkdwn", "text": "a".repeat(chars)}});
    let mut blocks = vec![section(3_000); 4];
    let message = |blocks: &[Value]| json!({"channel": "a", "text": "b", "blocks": blocks});
    assert_eq!(post(&slack, message(&blocks)).await.error(), "");
    blocks.push(section(1));
    assert_eq!(
        post(&slack, message(&blocks)).await.error(),
        "msg_blocks_too_long"
    );
}

#[tokio::test]
async fn text_is_cut_silently_at_forty_thousand_characters() {
    let slack = start(unpaced()).await;
    let answer = post(&slack, json!({"channel": "a", "text": "ä".repeat(40_001)})).await;
    assert_eq!(answer.error(), "");
    assert_eq!(answer.json().get("warning"), None);
    assert_eq!(texts(&slack), ["ä".repeat(40_000)]);
    assert_eq!(slack.posts()[0].body["text"], "ä".repeat(40_001));
    assert_eq!(slack.attempts()[0].text_start, "ä".repeat(200));
}

#[tokio::test]
async fn a_body_beyond_a_mebibyte_is_not_read() {
    let slack = start(unpaced()).await;
    let url = slack.api_url() + "chat.postMessage";
    let body = "a".repeat(1024 * 1024 + 1);
    let answer = send("POST", &url, &[TOKEN, JSON], body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(outcomes(&slack), [Outcome::HttpStatus { status: 413 }]);
}

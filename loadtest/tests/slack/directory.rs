//! Tokens, scopes, channels and webhooks with state, set at the start or while running.

use auditrelay_loadtest::slack::{
    Channel, ChannelKind, LocalSlack, Options, Posting, Token, TokenState,
};
use serde_json::{Value, json};

use crate::support::{
    FORM, JSON, TOKEN, call, hook, ok, outcomes, post, refused, send, start, unpaced,
};

async fn control(slack: &LocalSlack, what: &str, body: Value) -> u16 {
    let url = format!("http://{}/control/{what}", slack.addr());
    send("POST", &url, &[JSON], body.to_string())
        .await
        .status
        .as_u16()
}

async fn posted_to(slack: &LocalSlack, channel: &str, thread_ts: Option<&str>) -> String {
    let message = json!({"channel": channel, "text": "a", "thread_ts": thread_ts});
    post(slack, message).await.error()
}

fn workspace() -> Options {
    let channel = Channel::new;
    let private = |member| Channel {
        kind: ChannelKind::Private,
        member,
        ..channel(if member { "G1" } else { "G2" }, "secret")
    };
    let restricted = |id: &str, posting| Channel {
        posting,
        ..channel(id, "")
    };
    let outside = Channel {
        member: false,
        ..channel("C2", "outside")
    };
    let mut archived = channel("C3", "old");
    archived.archived = true;
    Options {
        channels: Some(vec![
            channel("C1", "audit"),
            outside,
            archived,
            private(true),
            private(false),
            Channel::direct("D1", "U1"),
            restricted("C4", Posting::ReadOnly),
            restricted("C5", Posting::ThreadOnly),
            restricted("C6", Posting::NonThreadable),
        ]),
        ..unpaced()
    }
}

#[tokio::test]
async fn a_message_goes_where_the_channel_s_state_lets_it() {
    let slack = start(workspace()).await;
    let thread = Some("1.000000");
    for (channel, thread_ts, error) in [
        ("C1", None, ""),
        ("audit", None, ""),
        ("#audit", None, ""),
        ("C2", None, ""),
        ("C3", None, "is_archived"),
        ("G1", None, ""),
        ("secret", None, "channel_not_found"),
        ("G2", None, "channel_not_found"),
        ("U1", None, ""),
        ("D1", None, ""),
        ("U2", None, "channel_not_found"),
        ("C4", None, "restricted_action_read_only_channel"),
        ("C5", None, "restricted_action_thread_only_channel"),
        ("C5", thread, ""),
        ("C6", None, ""),
        ("C6", thread, "restricted_action_non_threadable_channel"),
    ] {
        assert_eq!(
            posted_to(&slack, channel, thread_ts).await,
            error,
            "{channel} {thread_ts:?}"
        );
    }
    // Names and users are answered with the channel's ID.
    let answer = ok(
        &slack,
        "chat.postMessage",
        json!({"channel": "#audit", "text": "a"}),
    )
    .await;
    assert_eq!(answer["channel"], "C1");
    let answer = ok(
        &slack,
        "chat.postMessage",
        json!({"channel": "U1", "text": "a"}),
    )
    .await;
    assert_eq!(answer["channel"], "D1");
}

#[tokio::test]
async fn an_app_outside_posts_only_with_the_scope_for_it() {
    let mut options = workspace();
    options.tokens = vec![Token::from("xoxb-test").with_scopes(&["chat:write"])];
    let slack = start(options).await;
    assert_eq!(posted_to(&slack, "C2", None).await, "not_in_channel");
    let scopes = ["chat:write", "chat:write.public", "channels:join"];
    slack.change_token("xoxb-test", |token| {
        *token = Token::from("xoxb-test").with_scopes(&scopes)
    });
    assert_eq!(posted_to(&slack, "C2", None).await, "");
    let answer = call(&slack, "conversations.join", json!({"channel": "C2"}))
        .await
        .json();
    assert_eq!(answer["channel"]["is_member"], true);
    let again = call(&slack, "conversations.join", json!({"channel": "C2"})).await;
    assert_eq!(
        (again.error().as_str(), &again.json()["warning"]),
        ("", &json!("already_in_channel"))
    );
    for (channel, error) in [
        ("G1", "method_not_supported_for_channel_type"),
        ("C3", "is_archived"),
        ("G2", "channel_not_found"),
    ] {
        let answer = call(&slack, "conversations.join", json!({"channel": channel})).await;
        assert_eq!(answer.error(), error);
    }
}

#[tokio::test]
async fn a_token_has_a_state_and_scopes() {
    let slack = start(unpaced()).await;
    for (state, error) in [
        (TokenState::Revoked, "token_revoked"),
        (TokenState::Inactive, "account_inactive"),
        (TokenState::Expired, "token_expired"),
        (TokenState::Invalid, "invalid_auth"),
        (TokenState::Valid, ""),
    ] {
        slack.change_token("xoxb-test", |token| token.state = state);
        assert_eq!(posted_to(&slack, "a", None).await, error);
    }
    // Other tokens are as good as ever.
    let other = ("authorization", "Bearer xoxb-other");
    let url = slack.api_url() + "auth.test";
    assert_eq!(send("POST", &url, &[other], "").await.error(), "");
    slack.change_token("xoxb-test", |token| {
        token.scopes = vec!["channels:read".to_owned(), "im:read".to_owned()];
        token.team = "T123".to_owned();
    });
    let answer = post(&slack, json!({"channel": "a", "text": "1"})).await;
    assert_eq!(answer.error(), "missing_scope");
    assert_eq!(answer.json()["needed"], "chat:write");
    assert_eq!(answer.json()["provided"], "channels:read,im:read");
    let scopes = ["channels:read,im:read", "chat:write"].map(|s| Some(s.to_owned()));
    assert_eq!(answer.scopes, scopes);
    let answer = call(&slack, "auth.test", json!({})).await;
    assert_eq!(answer.json()["team_id"], "T123");
    assert_eq!(answer.scopes[1].as_deref(), Some(""));
}

#[tokio::test]
async fn conversations_are_described_and_listed_page_by_page() {
    let slack = start(workspace()).await;
    let info = slack.api_url() + "conversations.info";
    let answer = send("GET", &format!("{info}?channel=C3"), &[TOKEN], "")
        .await
        .json();
    let channel = &answer["channel"];
    assert_eq!(
        (&channel["id"], &channel["name"]),
        (&json!("C3"), &json!("old"))
    );
    assert_eq!(
        (&channel["is_archived"], &channel["is_member"]),
        (&json!(true), &json!(true))
    );
    let answer = send("POST", &info, &[TOKEN, FORM], "channel=C4")
        .await
        .json();
    assert_eq!(answer["channel"]["is_read_only"], true);
    assert_eq!(
        send("POST", &info, &[TOKEN, FORM], "channel=audit")
            .await
            .error(),
        "channel_not_found"
    );
    // One of the methods that take no JSON.
    let json = call(&slack, "conversations.info", json!({"channel": "C3"})).await;
    assert_eq!(json.error(), "invalid_arguments");
    let mut seen = Vec::new();
    let mut cursor = json!("");
    while seen.is_empty() || cursor != "" {
        let arguments = json!({"limit": 2, "cursor": cursor, "exclude_archived": true,
            "types": "public_channel,private_channel"});
        let answer = ok(&slack, "conversations.list", arguments).await;
        let page = answer["channels"].as_array().unwrap();
        assert!(page.len() <= 2);
        seen.extend(
            page.iter()
                .map(|channel| channel["id"].as_str().unwrap().to_owned()),
        );
        cursor = answer["response_metadata"]["next_cursor"].clone();
    }
    assert_eq!(seen, ["C1", "C2", "C4", "C5", "C6", "G1"]);
    let wrong = call(&slack, "conversations.list", json!({"types": "secret"})).await;
    assert_eq!(wrong.error(), "invalid_types");
}

#[tokio::test]
async fn webhooks_follow_the_channel_s_state() {
    let slack = start(workspace()).await;
    let text = || json!({"text": "a", "channel": "C4", "username": "other"});
    for (channel, status, body) in [
        ("audit", 200, "ok"),
        ("C2", 200, "ok"),
        ("G2", 200, "ok"),
        ("C3", 410, "channel_is_archived"),
        ("C4", 403, "action_prohibited"),
        ("C5", 403, "action_prohibited"),
        ("nowhere", 404, "channel_not_found"),
    ] {
        let answer = hook(&slack, channel, text()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (status, body),
            "{channel}"
        );
    }
    assert_eq!(slack.posts()[0].channel, "C1");
    for (error, status) in [
        ("no_service", 404),
        ("no_active_hooks", 404),
        ("team_disabled", 404),
        ("invalid_token", 403),
        ("user_not_found", 400),
        ("posting_to_general_channel_denied", 400),
    ] {
        slack.set_webhook("audit", Some(error));
        let answer = hook(&slack, "audit", text()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (status, error)
        );
        assert!(answer.content_type.starts_with("text/html"));
    }
    slack.set_webhook("audit", None);
    assert_eq!(hook(&slack, "audit", text()).await.text, "ok");
    assert_eq!(outcomes(&slack)[3], refused("is_archived"));
}

#[tokio::test]
async fn other_processes_change_the_state_over_http() {
    let slack = start(unpaced()).await;
    assert_eq!(
        control(&slack, "channel", json!({"id": "a", "archived": true})).await,
        200
    );
    assert_eq!(posted_to(&slack, "a", None).await, "is_archived");
    assert_eq!(posted_to(&slack, "b", None).await, "");
    // What was said before stays.
    assert_eq!(
        control(&slack, "channel", json!({"id": "a", "member": false})).await,
        200
    );
    assert_eq!(posted_to(&slack, "a", None).await, "is_archived");
    assert_eq!(
        control(&slack, "channel", json!({"id": "a", "archived": false})).await,
        200
    );
    let answer = call(&slack, "conversations.history", json!({"channel": "a"})).await;
    assert_eq!(answer.error(), "not_in_channel");
    assert_eq!(
        control(
            &slack,
            "webhook",
            json!({"channel": "a", "error": "no_service"})
        )
        .await,
        200
    );
    assert_eq!(
        hook(&slack, "a", json!({"text": "1"})).await.text,
        "no_service"
    );
    assert_eq!(
        control(&slack, "webhook", json!({"channel": "a", "error": null})).await,
        200
    );
    assert_eq!(hook(&slack, "a", json!({"text": "1"})).await.text, "ok");
    let revoked = json!({"token": "xoxb-test", "state": "revoked"});
    assert_eq!(control(&slack, "token", revoked).await, 200);
    assert_eq!(posted_to(&slack, "a", None).await, "token_revoked");
    for (what, wrong) in [
        ("channel", json!({"id": "a", "archeived": true})),
        ("channel", json!({"archived": true})),
        ("token", json!({"token": "xoxb-test", "state": "lost"})),
        ("webhook", json!({"chanel": "a"})),
    ] {
        assert_eq!(control(&slack, what, wrong).await, 400);
    }
    // A reset forgets what happened, not what there is.
    let url = format!("http://{}/reset", slack.addr());
    send("POST", &url, &[], "").await;
    assert_eq!(posted_to(&slack, "a", None).await, "token_revoked");
}

//! `check --online`.

use std::{fs, net::TcpListener, time::Duration};

use auditrelay_loadtest::slack::{Channel, ChannelKind, Effect, Fault, Posting, Token, TokenState};
use tokio::time::Instant;

use super::{
    ONE, OTHER_TOKEN, TOKEN, public, said, said_again, slack_of,
    support::{reserved::Reserved, run},
    token,
};

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well() {
    let slack = slack_of(vec![token(&[])], vec![public()]).await;
    let said = said(&slack.api_url(), ONE, &[]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    said.says("slack.token", "token_works", "ok", &["auditrelay"]);
    said.says("ops", "ready", "ok", &["public"]);
    assert_eq!(said.report["worst"], "ok");
    assert_eq!(said.report["channels"][0]["place"], "#audit (C0AUDIT)");
    assert!(
        said.text.ends_with("Slack is as it should be\n"),
        "{}",
        said.text
    );
    assert!(slack.posts().is_empty(), "something was posted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_told_once_and_named_by_its_place() {
    let revoked = Token {
        state: TokenState::Revoked,
        ..Token::from(OTHER_TOKEN)
    };
    let slack = slack_of(vec![token(&[]), revoked], vec![public()]).await;
    let config = format!(
        "channels: {{ ops: {{ slack_channel: C0AUDIT }},
  \
         security: {{ slack_channel: C0AUDIT, token: {OTHER_TOKEN} }} }}
default_channel: ops
"
    );
    let said = said(&slack.api_url(), &config, &[]).await;
    assert_eq!(said.code, 1, "{}", said.text);
    said.says("slack.token", "token_works", "ok", &[]);
    said.says("ops", "ready", "ok", &[]);
    let words = ["token_revoked", "give the relay a token that works"];
    said.says(
        "channels.security.token",
        "token_refused",
        "problem",
        &words,
    );
    said.says(
        "security",
        "token",
        "problem",
        &["see channels.security.token"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_scopes_are_told_with_what_happens_without_them() {
    let without = [
        "channels:history",
        "groups:history",
        "files:write",
        "groups:read",
    ];
    let slack = slack_of(vec![token(&without)], vec![public()]).await;
    let config = "channels: { ops: { slack_channel: C0AUDIT, digest_details: file } }\ndefault_channel: ops\n";
    let said = said(&slack.api_url(), config, &[]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    let scopes = said.report["tokens"][0]["findings"].to_string();
    for (scope, without) in [
        ("channels:history and groups:history", "repeated and marked"),
        ("files:write", "the digest names the command"),
        ("groups:read", "cannot be described"),
    ] {
        assert!(
            scopes.contains(scope) && scopes.contains(without),
            "{scope}: {scopes}"
        );
    }
    let words = ["channels:history", "repeated and marked"];
    said.says("ops", "history_unreadable", "warning", &words);

    slack.change_token(TOKEN, |token| {
        token.scopes.retain(|one| one != "chat:write")
    });
    let said = said_again(&slack).await;
    assert_eq!(said.code, 1, "{}", said.text);
    said.says("slack.token", "scope_missing", "problem", &["chat:write"]);
    said.says("ops", "token", "problem", &["see slack.token"]);

    // What a scope does not let be described, history tells.
    slack.change_token(TOKEN, |token| {
        token.scopes = vec!["chat:write".into(), "channels:history".into()]
    });
    let said = said_again(&slack).await;
    assert_eq!(said.code, 0, "{}", said.text);
    said.says("ops", "ready", "ok", &[]);
    slack.change_token(TOKEN, |token| token.scopes = vec!["chat:write".into()]);
    let said = said_again(&slack).await;
    said.says("ops", "not_known", "warning", &["not known"]);
}

type Change = fn(&mut Channel);

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_take_nothing_are_problems() {
    let slack = slack_of(vec![token(&["chat:write.public"])], vec![public()]).await;
    let cases: [(&str, Change, &str); 5] = [
        ("archived", |one| one.archived = true, "unarchive"),
        (
            "read_only",
            |one| one.posting = Posting::ReadOnly,
            "let the app post",
        ),
        (
            "read_only",
            |one| one.posting = Posting::ThreadOnly,
            "replies only",
        ),
        ("not_member", |one| one.member = false, "chat:write.public"),
        (
            "not_found",
            |one| (one.member, one.kind) = (false, ChannelKind::Private),
            "invite the bot",
        ),
    ];
    for (code, change, advice) in cases {
        slack.change_channel("C0AUDIT", |one| {
            *one = public();
            change(one);
        });
        let said = said_again(&slack).await;
        assert_eq!(said.code, 1, "{code}: {}", said.text);
        said.says("ops", code, "problem", &[advice]);
        assert!(said.text.contains("will not be delivered"), "{}", said.text);
    }
    let said = said(&slack.api_url(), &ONE.replace("C0AUDIT", "C0NOBODY"), &[]).await;
    assert_eq!(said.code, 1, "{}", said.text);
    said.says("ops", "not_found", "problem", &["correct slack_channel"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_a_public_channel_it_can_post_but_not_look() {
    let outside = Channel {
        member: false,
        ..public()
    };
    let slack = slack_of(vec![token(&[])], vec![outside]).await;
    let said = said_again(&slack).await;
    assert_eq!(said.code, 0, "{}", said.text);
    let words = [
        "can post (chat:write.public)",
        "repeated and marked",
        "invite the bot",
    ];
    said.says("ops", "not_member", "warning", &words);
    assert!(
        said.text.ends_with("no problems, 1 warning\n"),
        "{}",
        said.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_resolved_in_one_listing() {
    let private = Channel {
        kind: ChannelKind::Private,
        ..Channel::new("C0PRIVATE", "incidents")
    };
    let slack = slack_of(vec![token(&[])], vec![public(), private]).await;
    let config = "channels: { ops: { slack_channel: '#audit' }, incidents: { slack_channel: incidents },\n  \
                  gone: { slack_channel: '#gone' } }\ndefault_channel: ops\n";
    let said = said(&slack.api_url(), config, &[]).await;
    assert_eq!(said.code, 1, "{}", said.text);
    said.says("ops", "ready", "ok", &["public"]);
    said.says("incidents", "ready", "ok", &["private"]);
    said.says("gone", "not_found", "problem", &["no channel of that name"]);
    let attempts = slack.attempts();
    let listings = attempts
        .iter()
        .filter(|one| one.method == "conversations.list");
    assert_eq!(listings.count(), 2, "one for each run");

    slack.change_token(TOKEN, |token| {
        token.scopes.retain(|one| one != "groups:read")
    });
    let said = self::said(&slack.api_url(), config, &[]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    said.says(
        "slack.token",
        "scope_missing",
        "warning",
        &["groups:read", "by name"],
    );
    said.says(
        "ops",
        "not_known",
        "warning",
        &["name the channel by its ID"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_slack_is_a_problem_that_says_so() {
    let nobody = Reserved::new();
    let api_url = format!("http://{}/api/", nobody.address());
    let said = said(&api_url, ONE, &[]).await;
    assert_eq!(said.code, 1, "{}", said.text);
    let words = ["cannot connect", "slack.proxy"];
    said.says("slack.token", "unreachable", "problem", &words);
    said.says("ops", "token", "problem", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_bounded_and_what_was_not_checked_is_told() {
    // Connections wait in its backlog for ever.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api_url = format!("http://{}/api/", mute.local_addr().expect("an address"));
    let start = Instant::now();
    let mute = said(&api_url, ONE, &["--within", "2"]).await;
    assert_eq!(mute.code, 1, "{}", mute.text);
    mute.says("slack.token", "unreachable", "problem", &["no answer"]);
    assert!(start.elapsed() < Duration::from_secs(20), "not bounded");

    let slack = slack_of(vec![token(&[])], vec![public()]).await;
    let late = Effect::Delay {
        milliseconds: 30_000,
    };
    slack.inject(Fault::new(late).of("conversations.info").times(2));
    let said = said(&slack.api_url(), ONE, &["--within", "5"]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    said.says("ops", "not_checked", "warning", &["--within"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_than_slack_is_a_problem_that_says_so() {
    let slack = slack_of(vec![token(&[])], vec![public()]).await;
    let page = |status: u16| {
        let status = status.try_into().expect("a status");
        Fault::new(Effect::HttpStatus { status }).of("auth.test")
    };
    slack.inject(page(404).times(2));
    let said = said_again(&slack).await;
    assert_eq!(said.code, 1, "{}", said.text);
    said.says(
        "slack.token",
        "unreachable",
        "problem",
        &["404", "slack.api_url"],
    );
    // One that passes is asked again.
    slack.inject(page(503));
    assert_eq!(said_again(&slack).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_obeyed_while_there_is_time() {
    let slack = slack_of(vec![token(&[])], vec![public()]).await;
    let limit = |seconds| Fault::new(Effect::RetryAfterMethod { seconds }).of("conversations.info");
    slack.inject(limit(3));
    let start = Instant::now();
    let first = said_again(&slack).await;
    assert_eq!(first.code, 0, "{}", first.text);
    first.says("ops", "ready", "ok", &[]);
    assert!(start.elapsed() >= Duration::from_secs(3), "too early");
    let attempts = slack.attempts();
    let infos = attempts
        .iter()
        .filter(|one| one.method == "conversations.info");
    // The first run's two, and the second run's one.
    assert_eq!(infos.count(), 3, "asked within Retry-After: {attempts:?}");

    slack.inject(limit(30));
    let start = Instant::now();
    let said = said(&slack.api_url(), ONE, &["--within", "5"]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    said.says(
        "ops",
        "not_checked",
        "warning",
        &["Slack asks to wait", "check again"],
    );
    assert!(start.elapsed() < Duration::from_secs(25), "waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_not_posted_to_and_a_preview_needs_nothing() {
    let slack = slack_of(vec![token(&[])], vec![public()]).await;
    let config = format!(
        "channels: {{ hook: {{ webhook_url: '{}' }}, odd: {{ webhook_url: '{}' }}, shown: {{ preview: true }} }}\n\
         default_channel: hook\nroutes: [{{ name: all, channel: hook, severity: critical }}]\n",
        slack.webhook_url("never-shown"),
        slack.api_url(),
    );
    let said = said(&slack.api_url(), &config, &[]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    said.says("hook", "webhook", "note", &["known only after posting"]);
    said.says("hook", "no_fallback", "note", &["channels.hook.fallback"]);
    said.says("odd", "webhook_form", "warning", &["/services/"]);
    said.says("shown", "preview", "ok", &[]);
    assert!(slack.posts().is_empty(), "something was posted");
    drop(slack);
}

#[test]
fn what_is_wrong_offline_is_wrong_online_too_and_nobody_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("c.yaml");
    let broken = "channels: { ops: { preview: true, sentence: '{{ user.nme }}' } }\n";
    fs::write(&file, broken).expect("written");
    for more in [&[][..], &["--online"]] {
        let args = [&["check", "--config", "c.yaml"], more].concat();
        let (code, stdout, stderr) = run(folder.path(), &[], &args);
        assert_eq!(code, 78, "{args:?}: {stdout}{stderr}");
        assert!(stderr.contains("channels.ops.sentence"), "{stderr}");
    }
    fs::write(&file, "channels: { ops: { preview: true } }\n").expect("written");
    let args = ["check", "--online", "--config", "c.yaml"];
    let (code, stdout, _) = run(folder.path(), &[], &args);
    assert_eq!(code, 0);
    assert!(stdout.ends_with("Slack was asked nothing\n"), "{stdout}");
}

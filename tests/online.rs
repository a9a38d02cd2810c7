//! What `check --online` and the start of the relay say about Slack: over HTTP, with the real binary.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use auditrelay_loadtest::slack::{
    Channel, ChannelKind, Effect, Fault, LocalSlack, Options, Posting, Token, TokenState,
};
use serde_json::{Value, json};
use support::{PATIENCE, Running, ids, list, run};

const TOKEN: &str = "xoxb-1-never-shown";
const OTHER_TOKEN: &str = "xoxb-2-never-shown";
const ALL: [&str; 7] = [
    "chat:write",
    "chat:write.public",
    "channels:read",
    "groups:read",
    "channels:history",
    "groups:history",
    "files:write",
];

fn token(without: &[&str]) -> Token {
    let scopes: Vec<&str> = ALL
        .into_iter()
        .filter(|one| !without.contains(one))
        .collect();
    Token::from(TOKEN).with_scopes(&scopes)
}

fn public() -> Channel {
    Channel::new("C0AUDIT", "audit")
}

async fn slack_of(tokens: Vec<Token>, channels: Vec<Channel>) -> LocalSlack {
    let options = Options {
        tokens,
        channels: Some(channels),
        ..Options::default()
    };
    LocalSlack::start(SocketAddr::from(([127, 0, 0, 1], 0)), options)
        .await
        .expect("a free port")
}

fn write(folder: &Path, api_url: &str, rest: &str) {
    let slack = format!("slack: {{ token: {TOKEN}, api_url: {api_url} }}\n{rest}");
    fs::write(folder.join("c.yaml"), slack).expect("written");
}

const ONE: &str = "channels: { ops: { slack_channel: C0AUDIT } }\ndefault_channel: ops\n";

/// What the command said.
struct Said {
    code: i32,
    report: Value,
    text: String,
}

/// Runs the command as people and as scripts do; neither output holds a secret, and both end the same.
async fn said(api_url: &str, config: &str, more: &[&str]) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), api_url, config);
    let more: Vec<String> = more.iter().map(|one| (*one).to_owned()).collect();
    let run = move || {
        let ask = |also: &[&str]| {
            let mut args = vec!["check", "--online", "--config", "c.yaml"];
            args.extend(more.iter().map(String::as_str));
            args.extend(also);
            run(folder.path(), &[("RUST_LOG", "trace")], &args)
        };
        (ask(&["--json"]), ask(&[]))
    };
    let (scripts, people) = tokio::task::spawn_blocking(run).await.expect("it ran");
    for (_, stdout, stderr) in [&scripts, &people] {
        assert!(!stdout.contains("never-shown"), "{stdout}");
        assert!(!stderr.contains("never-shown"), "{stderr}");
        assert!(
            !stdout.contains('\u{1b}'),
            "colour without a terminal: {stdout}"
        );
    }
    assert_eq!(scripts.0, people.0, "{} {}", scripts.2, people.2);
    let report = serde_json::from_str(&scripts.1);
    Said {
        code: scripts.0,
        report: report.unwrap_or_else(|_| panic!("no JSON: {scripts:?}")),
        text: people.1,
    }
}

impl Said {
    /// Level and finding of this code about a token or channel, which the table shows as well.
    fn about(&self, name: &str, code: &str) -> (&str, &Value) {
        let subjects = ["tokens", "channels"].into_iter();
        let subjects = subjects.flat_map(|kind| self.report[kind].as_array().expect("an array"));
        let finding = subjects
            .filter(|subject| subject["name"] == name)
            .flat_map(|subject| subject["findings"].as_array().expect("an array"))
            .find(|finding| finding["code"] == code);
        let finding = finding.unwrap_or_else(|| panic!("no {code}: {:#}", self.report));
        let level = finding["level"].as_str().expect("text");
        let row = |line: &&str| line.starts_with(level) && line.contains(name);
        assert!(self.text.lines().any(|line| row(&line)), "{}", self.text);
        (level, finding)
    }

    fn says(&self, name: &str, code: &str, level: &str, words: &[&str]) {
        let (found, finding) = self.about(name, code);
        assert_eq!(found, level, "{finding}");
        for word in words {
            assert!(finding.to_string().contains(word), "{word}: {finding}");
        }
    }
}

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
        "{ONE}channels: {{ ops: {{ slack_channel: C0AUDIT }}, security: {{ slack_channel: C0AUDIT, token: {OTHER_TOKEN} }} }}"
    );
    let config = config.trim_start_matches(ONE.split_inclusive('\n').next().expect("a line"));
    let said = said(&slack.api_url(), config, &[]).await;
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

async fn said_again(slack: &LocalSlack) -> Said {
    said(&slack.api_url(), ONE, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_take_nothing_are_problems() {
    let slack = slack_of(vec![token(&["chat:write.public"])], vec![public()]).await;
    let cases: [(&str, fn(&mut Channel), &str); 5] = [
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
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api_url = format!("http://{}/api/", gone.local_addr().expect("an address"));
    drop(gone);
    let said = said(&api_url, ONE, &[]).await;
    assert_eq!(said.code, 1, "{}", said.text);
    let words = ["cannot connect", "slack.proxy"];
    said.says("slack.token", "unreachable", "problem", &words);
    said.says("ops", "token", "problem", &[]);
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

/// Waits for a line in the relay's log.
async fn logged(relay: &mut Running, words: &str) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let logs = relay.logs();
        if logs.contains(words) {
            assert!(!logs.contains("never-shown"), "{logs}");
            return logs
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
        }
        assert!(start.elapsed() < PATIENCE, "no {words}: {logs}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_asks_at_its_start_in_the_turns_of_its_lanes() {
    let folder = tempfile::tempdir().expect("a folder");
    let channels =
        ["a", "b", "c"].map(|name| Channel::new(&format!("C0{}XX", name.to_uppercase()), name));
    let slack = slack_of(vec![token(&[])], channels.to_vec()).await;
    let config = "channels: { a: { slack_channel: C0AXX }, b: { slack_channel: C0BXX }, c: { slack_channel: C0CXX } }\n\
                  default_channel: a\n";
    write(folder.path(), &slack.api_url(), config);
    let env = [("AUDITRELAY__SLACK__LOOKUPS_PER_MINUTE", "60")];
    let mut relay = Running::start(folder.path(), &env, &["--config", "c.yaml"]);
    let logs = logged(&mut relay, "Slack is as it should be").await;
    let levels: Vec<&Value> = logs.iter().map(|log| &log["level"]).collect();
    assert!(levels.iter().all(|level| **level == "INFO"), "{logs:?}");
    let looks: Vec<u64> = slack
        .attempts()
        .into_iter()
        .filter(|one| one.method.starts_with("conversations."))
        .map(|one| one.elapsed_ms)
        .collect();
    assert_eq!(looks.len(), 6, "{looks:?}");
    assert!(
        looks[5] - looks[0] >= 4_500,
        "faster than the lanes' turns: {looks:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_start_is_logged_and_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let archived = Channel {
        archived: true,
        ..Channel::new("C0OLD", "old")
    };
    let slack = slack_of(vec![token(&[])], vec![public(), archived]).await;
    let config = "channels: { ops: { slack_channel: C0AUDIT }, old: { slack_channel: C0OLD } }\ndefault_channel: ops\n";
    write(folder.path(), &slack.api_url(), config);
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    relay
        .post("/webhook", list("alice", "get", ids("a", 1)))
        .await;
    relay.drained().await;
    let logs = logged(&mut relay, "the channel is archived").await;
    let told: Vec<&Value> = logs
        .iter()
        .filter(|log| log["checked"] != json!(null))
        .collect();
    assert_eq!(told.len(), 1, "one line for one finding: {logs:?}");
    assert_eq!(
        (&told[0]["level"], &told[0]["checked"]),
        (&json!("ERROR"), &json!("old"))
    );
    assert_eq!(
        told[0]["what_to_do"],
        "unarchive the channel or name another one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slack_that_never_answers_delays_neither_start_nor_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    // Connections wait in its backlog for ever.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api_url = format!("http://{}/api/", mute.local_addr().expect("an address"));
    write(folder.path(), &api_url, ONE);
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let (status, _) = relay.get("/readyz").await;
    assert!(status.is_success(), "{status}");
    let start = Instant::now();
    relay.signal("-TERM");
    assert!(relay.wait().await.success());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_relay_asks_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack_of(vec![token(&[])], vec![public()]).await;
    let config = format!(
        "channels: {{ hook: {{ webhook_url: '{}' }}, shown: {{ preview: true }} }}\ndefault_channel: hook\n",
        slack.webhook_url("C0AUDIT"),
    );
    write(folder.path(), &slack.api_url(), &config);
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    relay
        .post("/webhook", list("alice", "get", ids("a", 1)))
        .await;
    relay.drained().await;
    let attempts = slack.attempts();
    assert!(
        attempts.iter().all(|one| one.method == "webhook"),
        "{attempts:?}"
    );
    assert!(!relay.logs().contains("Slack is as it should be"));
}

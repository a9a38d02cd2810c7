//! `AUDITRELAY__…`: every kind of key, and what is refused.

mod common;

use common::{Case, destination};

/// The refusal of one variable, which it has to name.
fn refusal(name: &str, value: &str) -> String {
    let line = Case::bare().env(name, value).line();
    let prefix = format!("environment variable {name}: ");
    line.strip_prefix(&prefix)
        .unwrap_or_else(|| panic!("{line}"))
        .to_owned()
}

#[test]
fn the_environment_sets_every_kind_of_key() {
    let config =
        Case::file("channels: {security: {preview: true}}\nroutes: [{name: a, channel: security}]")
            .env("AUDITRELAY__ALLOW_PLAIN_HTTP", "true")
            .env("AUDITRELAY__CLUSTER", "12345")
            .env("AUDITRELAY__SLACK__TOKEN", "xoxb-1")
            .env("AUDITRELAY__CHANNELS__SECURITY__PREVIEW", "false")
            .env("AUDITRELAY__CHANNELS__SECURITY__SLACK_CHANNEL", "12345")
            .env("AUDITRELAY__CHANNELS__SECURITY__SENTENCES_MAX", "3")
            .env("AUDITRELAY__CHANNELS__A__B-C__PREVIEW", "true")
            .env(
                "AUDITRELAY__CHANNELS__JSON",
                r#"{"preview": true, "sentences_max": 4}"#,
            )
            .env("AUDITRELAY__CHANNELS", r#"{"more": {"preview": true}}"#)
            .env("AUDITRELAY__DEFAULT_CHANNEL", "more")
            .env(
                "AUDITRELAY__ROUTES__0__USER_GROUPS",
                r#"["system:masters"]"#,
            )
            .env("AUDITRELAY__ROUTES__0__SEVERITY", "critical")
            .env(
                "AUDITRELAY__ROUTES__1",
                r#"{"name": "b", "channel": "json"}"#,
            )
            .env("AUDITRELAY__ROUTES__2__NAME", "c")
            .env("AUDITRELAY__ROUTES__2__CHANNEL", "more")
            .env("AUDITRELAY_LOG", "debug")
            .loaded()
            .config;
    assert!(config.allow_plain_http);
    assert_eq!(config.cluster.as_str(), "12345");
    assert_eq!(destination(&config, "security"), "12345 with xoxb-1");
    let names: Vec<&str> = config.channels.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["a__b-c", "json", "more", "security"]);
    let sentences = |name: &str| config.channels[&name.parse().unwrap()].sentences_max.get();
    assert_eq!(
        (sentences("security"), sentences("json"), sentences("more")),
        (3, 4, 8)
    );
    let routes: Vec<String> = config
        .routes
        .iter()
        .map(|route| {
            format!(
                "{} {} {:?}",
                route.name, route.channel[0], route.user_groups
            )
        })
        .collect();
    assert_eq!(
        routes,
        ["a security [\"system:masters\"]", "b json []", "c more []"]
    );
}

#[test]
fn a_list_in_the_environment_replaces_that_of_the_file() {
    let config = Case::file(
        "channels: {a: {preview: true}}\nroutes: [{name: a, channel: a}, {name: b, channel: a}]",
    )
    .env("AUDITRELAY__ROUTES", r#"[{"name": "c", "channel": "a"}]"#)
    .env("AUDITRELAY__ROUTES__0__VERBS", r#"["get"]"#)
    .loaded()
    .config;
    assert_eq!(config.routes.len(), 1);
    assert_eq!(
        (config.routes[0].name.as_str(), &config.routes[0].verbs[..]),
        ("c", &["get".to_owned()][..])
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let loaded = Case::bare()
        .env("SLACK_TOKEN", "")
        .env("CHANNEL_ID", "")
        .env("SLACK_API_URL", "")
        .env("AUDITRELAY__LISTEN", "")
        .env("AUDITRELAY__NO_SUCH_KEY", "")
        .loaded();
    assert_eq!(loaded, Case::bare().loaded());
}

#[test]
fn unknown_variables_are_refused() {
    assert_eq!(
        refusal("AUDITRELAY__SLACK__MESAGES_PER_MINUTE", "1"),
        "there is no such key `mesages_per_minute` in `slack`: did you mean `messages_per_minute`?"
    );
    assert_eq!(
        refusal("AUDITRELAY__ZEBRA", "1"),
        "there is no such key `zebra`"
    );
    assert_eq!(refusal("AUDITRELAY__", "1"), "there is no such key ``");
    assert_eq!(
        refusal("AUDITRELAY__LISTEN__PORT", "1"),
        "there is no such key `listen__port`"
    );
    assert_eq!(
        refusal("AUDITRELAY__CHANNELS__A__SENTENCE_MAX", "1"),
        "there is no such key `sentence_max` in `channels`: did you mean `sentences_max`?"
    );
    assert_eq!(
        refusal("AUDITRELAY__ROUTES__0__CHANEL", "a"),
        "there is no such key `chanel` in `routes`: did you mean `channel`?"
    );
    assert_eq!(
        refusal("AUDITRELAY__ROUTES__+0__CHANNEL", "a"),
        "there is no such key `+0` in `routes`"
    );
}

#[test]
fn routes_leave_no_gap() {
    assert_eq!(
        refusal("AUDITRELAY__ROUTES__1__CHANNEL", "a"),
        "routes[1].channel: there are 0 routes, so the next one is 0"
    );
    assert_eq!(
        refusal("AUDITRELAY__ROUTES__99999999999999__CHANNEL", "a"),
        "routes[99999999999999].channel: there are 0 routes, so the next one is 0"
    );
    assert_eq!(
        refusal("AUDITRELAY__ROUTES__0__CHANNEL", "a"),
        "routes[0].name: is missing"
    );
    assert_eq!(
        refusal("AUDITRELAY__ROUTES__99999999999999999999__CHANNEL", "a"),
        "there is no such key `99999999999999999999` in `routes`"
    );
}

#[test]
fn text_is_typed_by_what_the_key_takes() {
    assert_eq!(
        refusal("AUDITRELAY__ALLOW_PLAIN_HTTP", "1"),
        "allow_plain_http: found \"1\", expected true or false"
    );
    for text in ["yes", "1.0", " 1", "1e3", "0x10", "+1", "-"] {
        assert_eq!(
            refusal("AUDITRELAY__INGEST__CONNECTIONS_MAX", text),
            format!("ingest.connections_max: found \"{text}\", expected an integer")
        );
    }
    for (text, shown) in [
        ("-5", "integer `-5`"),
        ("0", "integer `0`"),
        ("100001", "integer `100001`"),
        ("99999999999999999999", "floating point `1e+20`"),
    ] {
        assert_eq!(
            refusal("AUDITRELAY__INGEST__CONNECTIONS_MAX", text),
            format!("ingest.connections_max: found {shown}, expected an integer from 1 to 100000")
        );
    }
}

#[test]
fn lists_and_maps_are_json() {
    assert_eq!(
        refusal("AUDITRELAY__ROUTES__0__VERBS", "get,list"),
        "routes[0].verbs: not valid JSON: expected value at line 1 column 1"
    );
    assert_eq!(
        refusal(
            "AUDITRELAY__CHANNELS",
            r#"{"a": {"preview": true, "preview": false}}"#
        ),
        "channels: not valid JSON: duplicate key `preview` at line 1 column 41"
    );
    assert_eq!(
        refusal("AUDITRELAY__CHANNELS", r#"{"a": {"previw": true}}"#),
        "channels.a.previw: there is no such key: did you mean `preview`?"
    );
    assert_eq!(
        refusal("AUDITRELAY__SLACK", "5"),
        "slack: found integer `5`, expected a map"
    );
}

#[test]
fn values_are_checked_as_in_a_file() {
    assert_eq!(
        refusal("AUDITRELAY__LISTEN", "localhost:80"),
        "listen: found string \"localhost:80\", expected an IP address and a port such as 127.0.0.1:8080"
    );
    assert_eq!(
        refusal("AUDITRELAY__CHANNELS__A B__PREVIEW", "true"),
        "channels.a b: found \"a b\", expected a name of 1 to 63 characters a-z 0-9 _ -, the first a letter or digit"
    );
    let both = Case::bare()
        .env("AUDITRELAY__LISTEN", "127.0.0.1:1")
        .env("auditrelay__listen", "127.0.0.1:1");
    assert_eq!(
        both.line(),
        "environment variable AUDITRELAY__LISTEN: auditrelay__listen is set too"
    );
}

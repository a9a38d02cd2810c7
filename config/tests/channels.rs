//! Channels, their secrets, and routes.

mod common;

use auditrelay_config::{Destination, Level, Severity, Stage};
use common::{Case, line};
use secrecy::ExposeSecret;

const ONE_OF: &str = "expected exactly one of slack_channel, webhook_url, webhook_url_file and \
                      preview: true";

#[test]
fn a_channel_has_exactly_one_destination() {
    let refusal = |channel: &str| {
        let line = line(&format!("channels: {{a: {channel}}}"));
        line.strip_prefix("a.yaml: channels.a: found ")
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    };
    assert_eq!(refusal("null"), format!("no destination, {ONE_OF}"));
    assert_eq!(refusal("{}"), format!("no destination, {ONE_OF}"));
    assert_eq!(
        refusal("{preview: false}"),
        format!("no destination, {ONE_OF}")
    );
    assert_eq!(
        refusal("{preview: true, slack_channel: C1}"),
        format!("slack_channel and preview: true, {ONE_OF}")
    );
    assert_eq!(
        refusal("{webhook_url: \"https://hooks.slack.com/x\", slack_channel: C1}"),
        format!("slack_channel and webhook_url, {ONE_OF}")
    );
    let only = "a token is of use with slack_channel only";
    assert_eq!(
        line("channels: {a: {preview: true, token: xoxb-1}}"),
        format!("a.yaml: channels.a.token: {only}")
    );
}

#[test]
fn destinations() {
    let case = Case::bare();
    let token = case.write("token", "xoxb-file\r\n");
    let url = case.write("url", "https://hooks.slack.com/services/file\n");
    let text = format!(
        "slack: {{token: xoxb-shared}}
default_channel: own
channels:
  own: {{slack_channel: C1, token: xoxb-own}}
  filed: {{slack_channel: C2, token_file: {}}}
  shared: {{slack_channel: '#audit'}}
  hook: {{webhook_url: 'https://hooks.slack.com/services/x'}}
  hook-filed: {{webhook_url_file: {}}}
  shown: {{preview: true}}",
        token.display(),
        url.display()
    );
    let loaded = Case::file(text).loaded();
    let shown: Vec<String> = loaded
        .config
        .channels
        .keys()
        .map(|name| match loaded.config.destination(name).unwrap() {
            Destination::SlackApi { channel, token } => {
                format!("{name}: {channel} {}", token.expose_secret())
            }
            Destination::Webhook { url } => format!("{name}: {}", url.expose_secret()),
            Destination::PlainWebhook { url } => format!("{name}: plain {}", url.expose_secret()),
            Destination::Preview => format!("{name}: preview"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "filed: C2 xoxb-file",
            "hook: https://hooks.slack.com/services/x",
            "hook-filed: https://hooks.slack.com/services/file",
            "own: C1 xoxb-own",
            "shared: #audit xoxb-shared",
            "shown: preview",
        ]
    );
    assert_eq!(loaded.notes, Vec::<String>::new());
    let debug = format!(
        "{loaded:?} {:?}",
        loaded.config.destination(&loaded.config.default_channel)
    );
    let json = serde_json::to_string(&loaded.config).unwrap();
    for secret in ["xoxb", "hooks.slack.com"] {
        assert!(!debug.contains(secret), "{debug}");
        assert!(!json.contains(secret), "{json}");
    }
    assert!(
        json.contains(r##""slack_channel":"#audit","token":null"##),
        "{json}"
    );
}

#[test]
fn slack_channels_without_a_token_are_previewed_and_a_note_says_so() {
    let start =
        "no Slack token is configured (SLACK_TOKEN, slack.token or slack.token_file): messages";
    let end = "are shown in this terminal instead of being posted";
    let notes = |text: &str| Case::file(text).loaded().notes;
    assert_eq!(
        notes("channels: {a: {slack_channel: C1}}"),
        [format!("{start} {end}")]
    );
    assert_eq!(
        notes("channels: {default: {preview: true}, b: {slack_channel: C1}}"),
        [format!("{start} of channel b {end}")]
    );
    let text = "channels: {default: {slack_channel: C0, token: xoxb-1}, b: {slack_channel: C1}, c: {slack_channel: C2}}";
    assert_eq!(notes(text), [format!("{start} of channels b, c {end}")]);
    let config = Case::file(text).loaded().config;
    let preview = |name: &str| {
        matches!(
            config.destination(&name.parse().unwrap()),
            Some(Destination::Preview)
        )
    };
    assert_eq!((preview("default"), preview("b")), (false, true));
    assert_eq!(
        notes("channels: {a: {preview: true}}"),
        Vec::<String>::new()
    );
}

#[test]
fn secrets_in_files() {
    let refusal = |name: &str, content: Option<&[u8]>| {
        let case = Case::bare();
        let path = case.folder.path().join(name);
        if let Some(content) = content {
            case.write(name, content);
        }
        let case = case
            .env("AUDITRELAY__SLACK__TOKEN_FILE", path.to_str().unwrap())
            .env("CHANNEL_ID", "C1");
        let line = case.line();
        let start = "environment variable AUDITRELAY__SLACK__TOKEN_FILE: slack.token_file: ";
        line.strip_prefix(start)
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    };
    assert_eq!(
        refusal("t", None),
        "cannot read `t`: No such file or directory (os error 2)"
    );
    assert_eq!(refusal("t", Some(b"")), "`t` is empty");
    assert_eq!(refusal("t", Some(b" \n")), "`t` is empty");
    let what = "what `t` holds is not a Slack token (letters, digits and . _ ~ + / = - only)";
    assert_eq!(refusal("t", Some(b"hunter 2")), what);
    assert_eq!(refusal("t", Some(b"xoxb-\xff")), what);
    assert_eq!(
        refusal("t", Some(&[b'a'; 4097])),
        "`t` is longer than 4096 bytes"
    );
}

#[test]
fn a_secret_and_its_file_exclude_each_other() {
    assert_eq!(
        line("slack: {token: xoxb-1, token_file: /t}\nchannels: {a: {preview: true}}"),
        "a.yaml: slack.token_file: token is set too (by a.yaml), expected only one of the two"
    );
    let case = Case::file("channels: {a: {slack_channel: C1, token_file: /t}}");
    assert_eq!(
        case.env("AUDITRELAY__CHANNELS__A__TOKEN", "xoxb-1").line(),
        "a.yaml: channels.a.token_file: token is set too (by environment variable \
         AUDITRELAY__CHANNELS__A__TOKEN), expected only one of the two"
    );
    assert_eq!(
        line("channels: {a: {webhook_url: 'https://hooks.slack.com/x', webhook_url_file: /t}}"),
        "a.yaml: channels.a.webhook_url_file: webhook_url is set too (by a.yaml), expected only one of the two"
    );
    assert_eq!(
        line("channels: {a: {webhook_url_file: /no/such}}"),
        "a.yaml: channels.a.webhook_url_file: cannot read `/no/such`: No such file or directory (os error 2)"
    );
    assert_eq!(
        line("channels: {a: {webhook_url: 'http://example.com/x'}}"),
        "a.yaml: channels.a.webhook_url: found a value that is not shown, as it is a secret, expected \
         an https:// URL (http:// only to a loopback host)"
    );
}

#[test]
fn the_default_channel() {
    let default = |text: &str| Case::file(text).loaded().config.default_channel.to_string();
    assert_eq!(default("channels: {only: {preview: true}}"), "only");
    assert_eq!(
        default("channels: {a: {preview: true}, default: {preview: true}}"),
        "default"
    );
    let two = "channels: {a: {preview: true}, b: {preview: true}}";
    assert_eq!(default(&format!("{two}\ndefault_channel: b")), "b");
    assert_eq!(
        line(two),
        "a.yaml: default_channel: is not set, expected one of the channels (a, b)"
    );
    assert_eq!(
        line(&format!("{two}\ndefault_channel: c")),
        "a.yaml: default_channel: found \"c\", expected one of the channels (a, b)"
    );
    assert_eq!(
        line("default_channel: ops"),
        "a.yaml: default_channel: found \"ops\", expected one of the channels (default)"
    );
    assert_eq!(
        line("channels: {Sec: {preview: true}}"),
        "a.yaml: channels.Sec: found \"Sec\", expected a name of 1 to 63 characters a-z 0-9 _ -, the \
         first a letter or digit"
    );
}

#[test]
fn a_route_is_the_matcher_it_says() {
    let text = "
routes:
  - name: Wide.Open-1
    channel: default
  - name: narrow
    channel: default
    severity: warning
    users: [alice]
    userGroups: ['system:masters']
    verbs: [get]
    resources:
      - resources: [pods, pods/log]
        resourceNames: [web]
      - group: apps
      - group: '*'
    namespaces: ['', kube-system]
    stages: [Panic]
    levels: [Metadata, RequestResponse]
  - name: urls
    channel: default
    nonResourceURLs: ['*', /healthz*, /a, /]
";
    let routes = Case::file(text).loaded().config.routes;
    assert_eq!(routes[0].matcher(), auditrelay_audit::Matcher::default());
    assert_eq!(routes[0].severity, Severity::Info);
    assert_eq!(routes[1].severity, Severity::Warning);
    let narrow = routes[1].matcher();
    assert_eq!(narrow.rule.users, ["alice"]);
    assert_eq!(narrow.rule.user_groups, ["system:masters"]);
    assert_eq!(narrow.rule.verbs, ["get"]);
    let groups: Vec<&str> = narrow
        .rule
        .resources
        .iter()
        .map(|group| group.group.as_str())
        .collect();
    assert_eq!(groups, ["", "apps", "*"]);
    assert_eq!(narrow.rule.resources[0].resources, ["pods", "pods/log"]);
    assert_eq!(narrow.rule.resources[0].resource_names, ["web"]);
    assert_eq!(narrow.rule.namespaces, ["", "kube-system"]);
    assert_eq!(narrow.stages, [Stage::Panic]);
    assert_eq!(narrow.levels, [Level::Metadata, Level::RequestResponse]);
    assert_eq!(
        routes[2].matcher().rule.non_resource_urls,
        ["*", "/healthz*", "/a", "/"]
    );
}

/// The refusal of a second route with these keys.
fn route_line(keys: &str) -> String {
    let line = line(&format!(
        "routes: [{{name: a, channel: default}}, {{name: b, channel: default, {keys}}}]"
    ));
    line.strip_prefix("a.yaml: routes[1].")
        .unwrap_or_else(|| panic!("{line}"))
        .to_owned()
}

#[test]
fn rules_are_checked_as_kubernetes_does() {
    let both =
        "nonResourceURLs: a route cannot have both nonResourceURLs and resources or namespaces";
    assert_eq!(
        route_line("nonResourceURLs: [/a], resources: [{group: apps}]"),
        both
    );
    assert_eq!(route_line("nonResourceURLs: [/a], namespaces: [a]"), both);
    for url in ["/a*b", "**", "/**", "*/a"] {
        let expected = if url.starts_with('/') {
            "* as the last character only"
        } else {
            "a path that starts with / (or * alone)"
        };
        assert_eq!(
            route_line(&format!("nonResourceURLs: [/ok, '{url}']")),
            format!("nonResourceURLs[1]: found \"{url}\", expected {expected}")
        );
    }
    for url in ["healthz", ""] {
        assert_eq!(
            route_line(&format!("nonResourceURLs: ['{url}']")),
            format!(
                "nonResourceURLs[0]: found \"{url}\", expected a path that starts with / (or * alone)"
            )
        );
    }
    assert_eq!(
        route_line("resources: [{group: apps}, {resourceNames: [a]}]"),
        "resources[1].resourceNames: expected at least one entry in resources beside it"
    );
    for group in ["apps/v1", "/", "Apps", "-a", "a..b", "a.", "*.io"] {
        assert_eq!(
            route_line(&format!("resources: [{{group: '{group}'}}]")),
            format!(
                "resources[0].group: found \"{group}\", expected an API group in lower case such as \
                 apps, without its version (\"\" is the core group, * is any)"
            )
        );
    }
}

#[test]
fn other_refusals_of_routes() {
    assert_eq!(
        line("routes: [{name: a, channel: default}, {name: a, channel: default}]"),
        "a.yaml: routes[1].name: found \"a\", which another route has"
    );
    assert_eq!(
        line("routes: [{channel: default}]"),
        "a.yaml: routes[0].name: is missing"
    );
    assert_eq!(
        line("routes: [{name: a}]"),
        "a.yaml: routes[0].channel: is missing, expected a channel, or level: None beside the name for none at all"
    );
    assert_eq!(
        line("routes: [{name: a, channel: nope}]"),
        "a.yaml: routes[0].channel: found \"nope\", expected one of the channels (default)"
    );
    assert_eq!(
        route_line("severity: Critical"),
        "severity: unknown variant `Critical`, expected one of `critical`, `warning`, `info`"
    );
    assert_eq!(
        route_line("stages: [Panic, Done]"),
        "stages[1]: unknown variant `Done`, expected one of `RequestReceived`, `ResponseStarted`, \
         `ResponseComplete`, `Panic`"
    );
    assert_eq!(
        route_line("levels: [metadata]"),
        "levels[0]: unknown variant `metadata`, expected one of `None`, `Metadata`, `Request`, \
         `RequestResponse`"
    );
    let case = Case::bare().env(
        "AUDITRELAY__ROUTES",
        r#"[{"name": "a", "channel": "nope"}]"#,
    );
    assert_eq!(
        case.line(),
        "environment variable AUDITRELAY__ROUTES: routes[0].channel: found \"nope\", expected one of \
         the channels (default)"
    );
}

//! The variables of the older tool: `SLACK_TOKEN`, `CHANNEL_ID`, `SLACK_API_URL`.

mod common;

use common::{Case, PREVIEW_NOTE, destination, line};

#[test]
fn token_and_channel_of_the_older_tool_are_enough() {
    let loaded = Case::bare()
        .env("SLACK_TOKEN", "xoxb-old\n")
        .env("CHANNEL_ID", "C1")
        .env("SLACK_API_URL", "http://127.0.0.1:9/api")
        .loaded();
    assert_eq!(destination(&loaded.config, "default"), "C1 with xoxb-old");
    assert_eq!(
        loaded.config.slack.api_url.as_str(),
        "http://127.0.0.1:9/api/"
    );
    assert_eq!(loaded.notes, Vec::<String>::new());
}

#[test]
fn a_channel_of_the_older_tool_without_a_token_is_previewed() {
    let loaded = Case::bare().env("CHANNEL_ID", "C1").loaded();
    assert_eq!(destination(&loaded.config, "default"), "preview");
    assert_eq!(loaded.notes, [PREVIEW_NOTE]);
}

#[test]
fn a_token_without_any_channel_is_refused() {
    let problem = "channels: a Slack token is configured, but no channel to post to: set CHANNEL_ID \
                   or configure channels";
    assert_eq!(
        Case::bare().env("SLACK_TOKEN", "xoxb-old").line(),
        format!("environment variable SLACK_TOKEN: {problem}")
    );
    assert_eq!(line("slack: {token: xoxb-1}"), format!("a.yaml: {problem}"));
    assert_eq!(
        line("slack: {token_file: t}\nchannels: {}"),
        format!("a.yaml: {problem}")
    );
    let variable = Case::bare()
        .env("AUDITRELAY__SLACK__TOKEN", "xoxb-1")
        .line();
    assert_eq!(
        variable,
        format!("environment variable AUDITRELAY__SLACK__TOKEN: {problem}")
    );
}

#[test]
fn the_older_tools_variables_are_weaker_than_any_other() {
    let old = |case: Case| {
        case.env("SLACK_TOKEN", "xoxb-old")
            .env("CHANNEL_ID", "C-old")
            .env("SLACK_API_URL", "https://old.example/")
    };
    let text = "slack: {token: xoxb-new, api_url: https://new.example/}\nchannels: {a: {slack_channel: C1}}";
    let loaded = old(Case::file(text)).loaded();
    assert_eq!(destination(&loaded.config, "a"), "C1 with xoxb-new");
    assert_eq!(loaded.config.slack.api_url.as_str(), "https://new.example/");
    assert_eq!(loaded.config.channels.len(), 1);
    assert_eq!(
        loaded.notes,
        ["CHANNEL_ID is ignored: channels are configured"]
    );

    let loaded = old(Case::file("channels: {a: {slack_channel: C1}}")).loaded();
    assert_eq!(destination(&loaded.config, "a"), "C1 with xoxb-old");

    let case = Case::bare();
    let path = case.write("token", "xoxb-file\n");
    let case = old(case).env("AUDITRELAY__SLACK__TOKEN_FILE", path.to_str().unwrap());
    assert_eq!(
        destination(&case.loaded().config, "default"),
        "C-old with xoxb-file"
    );
}

#[test]
fn refusals_of_the_older_tools_variables_show_no_secret() {
    assert_eq!(
        Case::bare()
            .env("SLACK_TOKEN", "hunter 2")
            .env("CHANNEL_ID", "C1")
            .line(),
        "environment variable SLACK_TOKEN: slack.token: found a value that is not shown, as it is a \
         secret, expected a Slack token (letters, digits and . _ ~ + / = - only)"
    );
    assert_eq!(
        Case::bare().env("CHANNEL_ID", "a b").line(),
        "environment variable CHANNEL_ID: channels.default.slack_channel: found string \"a b\", \
         expected a Slack channel id or name of 1 to 80 characters without spaces or commas"
    );
    assert_eq!(
        Case::bare()
            .env("SLACK_API_URL", "http://slack.com/api/")
            .line(),
        "environment variable SLACK_API_URL: slack.api_url: found string \"http://slack.com/api/\", \
         expected an https:// URL without user, query or fragment (http:// only to a loopback host)"
    );
}

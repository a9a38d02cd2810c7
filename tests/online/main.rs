//! What `check --online` and the start of the relay say about Slack: over HTTP, with the real binary.

mod check;
mod start;
#[path = "../support/mod.rs"]
mod support;

use std::{fs, net::SocketAddr, path::Path};

use auditrelay_loadtest::slack::{Channel, LocalSlack, Options, Token};
use serde_json::Value;
use support::run;

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

async fn said_again(slack: &LocalSlack) -> Said {
    said(&slack.api_url(), ONE, &[]).await
}

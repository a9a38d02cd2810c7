//! Slack's own SDKs as clients of the local Slack: what they understand, Slack would
//! have said.
//!
//! They are installed by `loadtest/tests/sdk/install.sh`, which the test command runs.
//! A test whose SDK is not there says that it is skipped and succeeds.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the finding, also in its helpers"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use auditrelay_loadtest::slack::{LocalSlack, Options, Via};

fn sdks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/slack-sdks")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sdk")
        .join(name)
}

/// Runs the script against a local Slack and returns that, if the SDK is installed.
async fn drive(language: &str, program: &Path, script: &Path) -> Option<LocalSlack> {
    if !sdks().join(format!("{language}-ready")).exists() {
        println!("skipped: run loadtest/tests/sdk/install.sh to have the SDK for {language}");
        return None;
    }
    let options = Options {
        message_interval: Duration::ZERO,
        ..Options::default()
    };
    let loopback = "127.0.0.1:0".parse().unwrap();
    let slack = LocalSlack::start(loopback, options).await.unwrap();
    let mut command = Command::new(program);
    command
        .arg(script)
        .env("SLACK", format!("http://{}", slack.addr()))
        .env("SDKS", sdks())
        .env("NO_PROXY", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{language}: {}\n{}\n{:?}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        slack.attempts().last()
    );
    Some(slack)
}

fn stored(slack: &LocalSlack) -> Vec<(Via, String)> {
    let posts = slack.posts().into_iter();
    posts.map(|post| (post.via, post.text)).collect()
}

fn expected(messages: &[(Via, &str)]) -> Vec<(Via, String)> {
    let owned = |(via, text): &(Via, &str)| (*via, (*text).to_owned());
    messages.iter().map(owned).collect()
}

/// The one file the script shared, byte by byte.
fn assert_file(slack: &LocalSlack) {
    let files = slack.files();
    let contents: Vec<_> = files.iter().map(|file| file.content.as_deref()).collect();
    assert_eq!(contents, [Some(b"line <1>\n".as_slice())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_understands_it() {
    let python = sdks().join("venv/bin/python");
    let Some(slack) = drive("python", &python, &script("check.py")).await else {
        return;
    };
    let posted = |text| (Via::PostMessage, text);
    let messages = [
        posted("one"),
        posted("reply"),
        (Via::File, ""),
        (Via::Webhook, "hook"),
        posted("after 429"),
        posted("after 503"),
        posted("after a lost connection"),
    ];
    assert_eq!(stored(&slack), expected(&messages));
    assert_eq!(slack.posts()[0].updates[0].text, "changed");
    assert_eq!(slack.posts()[0].audit, [""; 0]);
    assert_file(&slack);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_understands_it() {
    let Some(slack) = drive("node", Path::new("node"), &script("check.cjs")).await else {
        return;
    };
    let posted = |text| (Via::PostMessage, text);
    let messages = [
        posted("one"),
        posted("reply"),
        (Via::File, ""),
        posted("after 429"),
        posted("after 503"),
    ];
    assert_eq!(stored(&slack), expected(&messages));
    assert_eq!(slack.posts()[0].updates[0].text, "changed");
    assert_eq!(slack.posts()[0].audit, [""; 0]);
    assert_file(&slack);
}

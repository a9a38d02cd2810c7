//! Files that change: by content, however they do.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    time::Duration,
};

use auditrelay_loadtest::slack::{LocalSlack, Options, Token, TokenState};

use crate::{
    channel, config, in_use, lines, reloads, start,
    support::{BINARY, PATIENCE, Running, list, slack, told},
    until_reloads, write,
};

fn routes(name: &str) -> String {
    format!("routes: [{{name: {name}, channel: a}}]")
}

/// As kubelet does: a folder for each version, a link to the one that counts, and links through that.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_is_swapped() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let version = |name: &str, route: &str| {
        fs::create_dir(folder.join(name)).expect("made");
        let text = config(&slack, &channel("a", ""), &routes(route));
        fs::write(folder.join(name).join("c.yaml"), text).expect("written");
    };
    version("..1", "one");
    symlink("..1", folder.join("..data")).expect("linked");
    symlink("..data/c.yaml", folder.join("c.yaml")).expect("linked");
    let mut relay = Running::start(folder, &[], &crate::CONFIG);
    version("..2", "two");
    symlink("..2", folder.join("..new")).expect("linked");
    fs::rename(folder.join("..new"), folder.join("..data")).expect("renamed");
    until_reloads(&mut relay, (1.0, 0.0)).await;
    assert_eq!(in_use(&relay).await["routes"][0]["name"], "two");
    let said = lines(&mut relay, "loaded again").await;
    assert!(
        said.len() == 1 && said[0].contains("\"file\"") && said[0].contains("routes.two added"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_written_is_not_taken_and_what_is_wrong_is_said_once() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of = |route: &str| config(&slack, &channel("a", ""), &routes(route));
    let mut relay = start(folder, &of("one"));
    write(
        folder,
        &of("wrong").replace("channel: a}", "channel: nowhere}"),
    );
    until_reloads(&mut relay, (0.0, 1.0)).await;
    // A half of it could be used; without its routes.
    let whole = of("two");
    let half = &whole[..whole.find("routes").expect("there")];
    write(folder, half);
    tokio::time::sleep(Duration::from_millis(500)).await;
    write(folder, &whole);
    until_reloads(&mut relay, (1.0, 1.0)).await;
    assert_eq!(in_use(&relay).await["routes"][0]["name"], "two");
    assert_eq!(lines(&mut relay, "cannot be used").await.len(), 1);
    let said = lines(&mut relay, "loaded again: what").await;
    assert!(
        said.len() == 1 && said[0].contains("routes.one removed, routes.two added"),
        "{said:?}"
    );
    // The same content in another file is nothing new.
    write(folder, &whole);
    assert_eq!(reloads(&relay).await, (1.0, 1.0));
}

/// A token that Slack does not take any more is exchanged in its file: what waited is delivered without a restart, and
/// without waiting for the next try of a parked channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_exchanged_in_its_file() {
    let options = Options {
        message_interval: Duration::ZERO,
        tokens: ["xoxb-old", "xoxb-new"].map(Token::from).to_vec(),
        ..Options::default()
    };
    let slack = LocalSlack::start(([127, 0, 0, 1], 0).into(), options).await;
    let slack = slack.expect("a free port");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("token"), "xoxb-old").expect("written");
    let text = config(&slack, &channel("a", ", park_retry_seconds: 3600"), "");
    let mut relay = start(
        folder,
        &text.replace("token: xoxb-test", "token_file: token"),
    );
    slack.change_token("xoxb-old", |token| {
        token.state = TokenState::Revoked;
    });
    let body = list("alice", "delete", ["e-1".to_owned()]);
    relay.post("/webhook", body).await;
    let parked = "auditrelay_lane_state{channel=\"a\",state=\"parked\"}";
    let parking = tokio::time::timeout(PATIENCE, async {
        while crate::value(&relay, parked).await != 1.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    parking.await.expect("it is parked");
    fs::write(folder.join("token.new"), "xoxb-new\n").expect("written");
    fs::rename(folder.join("token.new"), folder.join("token")).expect("renamed");
    until_reloads(&mut relay, (1.0, 0.0)).await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["a"]["delivered"], 1, "{ledger}");
    assert_eq!(told(&slack).0.get("e-1"), Some(&1));
    let said = lines(&mut relay, "slack.token changed").await;
    assert_eq!(said.len(), 1, "{}", relay.logs());
    assert!(!relay.logs().contains("xoxb-"), "a token is in the log");
}

/// The first line of the log comes before the queue is opened.
#[test]
fn a_signal_while_it_opens_does_not_end_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // A channel that is shown for want of a token is worth a note.
    write(folder, "channels: {a: {slack_channel: CA}}\n");
    let mut command = Command::new(BINARY);
    let mut child = command
        .env_clear()
        .current_dir(folder)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .args(crate::CONFIG)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let pid = child.id();
    let signal = |name: &str| {
        let kill = format!("kill {name} {pid}");
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("a shell").success());
    };
    let stderr = child.stderr.take().expect("piped");
    let mut seen = Vec::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(stderr)) {
        let line = line.expect("text");
        if seen.is_empty() {
            signal("-HUP");
        }
        if line.contains("loaded again") {
            signal("-TERM");
        }
        seen.push(line);
    }
    let ended = child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0), "{seen:?}");
    let position = |part: &str| seen.iter().position(|line| line.contains(part));
    assert!(
        position("\"ready\"") < position("loaded again") && position("\"ready\"").is_some(),
        "{seen:?}"
    );
}

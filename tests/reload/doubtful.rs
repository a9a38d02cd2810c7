//! Configurations that could be loaded and are surely not meant: emptied, cut off, without a place to post to; and one
//! that can be read only once.

use std::{fs, io::Write, process::Stdio, time::Duration};

use crate::{
    channel, config, in_use, lines, reload, start,
    support::{Running, command, list, slack, told},
    until_reloads, value, write,
};

const ROUTES: &str = "routes:\n- {name: one, channel: a, verbs: [get]}\n- {name: two, channel: b}";

/// An emptied file takes nobody's channels, whoever asks; an event afterwards is posted as before.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_file_is_taken_by_nobody() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let text = config(&slack, &channel("a", ""), "");
    let mut relay = start(folder, &text);
    write(folder, "");
    until_reloads(&mut relay, (0.0, 1.0)).await;
    let series = "auditrelay_config_last_reload_successful";
    assert_eq!(value(&relay, series).await, 0.0);
    let said = lines(&mut relay, "cannot be used").await;
    assert!(
        said.len() == 1 && said[0].contains("c.yaml: it says nothing any more"),
        "{said:?}"
    );
    write(folder, "# to be written\n");
    // The command finds the relay by its data directory, as the file does not say more.
    assert!(reload(folder, 78).1.contains("says nothing any more"));
    write(
        folder,
        "channels: {a: {preview: true}}\ndefault_channel: a\n",
    );
    assert!(reload(folder, 78).1.contains("none posts anywhere"));
    write(folder, &text.replace("token: xoxb-test, ", ""));
    assert!(reload(folder, 78).1.contains("for want of a Slack token"));
    relay
        .post("/webhook", list("alice", "delete", ["e-1".to_owned()]))
        .await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["a"]["delivered"], 1, "{ledger}");
    assert_eq!(told(&slack).0.get("e-1"), Some(&1));
    write(folder, &text);
    reload(folder, 0);
    assert_eq!(value(&relay, series).await, 1.0);
}

/// A file that lost its end is not taken by itself; in so many words it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_off_waits_to_be_asked_for() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let channels = format!("{}, {}", channel("a", ""), channel("b", ""));
    let text = config(&slack, &channels, ROUTES);
    let mut relay = start(folder, &text);
    let cut = &text[..text.find("- {name: two").expect("there")];
    write(folder, cut);
    until_reloads(&mut relay, (0.0, 1.0)).await;
    let said = lines(&mut relay, "cannot be used").await;
    assert!(
        said.len() == 1
            && said[0].contains("its end cut off")
            && said[0].contains("auditrelay reload"),
        "{said:?}"
    );
    let routes = async |relay: &Running| in_use(relay).await["routes"].as_array().map(Vec::len);
    assert_eq!(routes(&relay).await, Some(2));
    let done = reload(folder, 0).0;
    assert!(done.contains("routes.two"), "{done}");
    assert_eq!(routes(&relay).await, Some(1));
    // What was taken is what counts now: a blank line at its end less is no cut.
    fs::write(folder.join("c.yaml"), cut.trim_end()).expect("written");
    until_reloads(&mut relay, (2.0, 1.0)).await;
}

/// What a pipe says counts, is not read again, and nobody waits for more of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_may_come_through_a_pipe() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let text = config(&slack, &channel("a", ""), "");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(text.as_bytes()).expect("written");
    drop(writer);
    let mut command = command(folder);
    command.stdin(Stdio::from(reader));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    let mut relay = Running::ready(command, folder, &[], &["--config", "/dev/stdin"]);
    let said = lines(&mut relay, "is no regular file").await;
    assert!(
        said.len() == 1 && said[0].contains("is not watched"),
        "{said:?}"
    );
    assert_eq!(in_use(&relay).await["channels"]["a"]["slack_channel"], "CA");
    relay.signal("-HUP");
    until_reloads(&mut relay, (0.0, 1.0)).await;
    let said = lines(&mut relay, "cannot be used").await;
    assert!(said[0].contains("cannot be loaded again"), "{said:?}");
    assert_eq!(in_use(&relay).await["channels"]["a"]["slack_channel"], "CA");
}

//! What was posted: as which message, with which address.

use std::{fs, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use serde_json::json;

use crate::{
    delivery, ends, event, folder, has, one, send, start, stop,
    support::{ids, slack},
    text, trace, until,
};

/// Lanes of two channels post when they are ready, not one after the other.
fn ts_of(slack: &LocalSlack, channel: &str) -> String {
    let posts = slack.posts();
    let post = posts.iter().find(|post| post.channel == channel);
    post.expect("it was posted").ts.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_posted_has_its_message_and_address_on_a_relay_that_runs_and_on_a_stopped_one() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let mut relay = start(folder);
    send(&relay, "delete", one("alone")).await;
    send(&relay, "patch", one("hooked")).await;
    relay.drained().await;
    let ts = ts_of(&slack, "CSEC");
    let link = format!("/archives/CSEC/p{}", ts.replace('.', ""));

    let running = delivery(folder, "alone");
    assert_eq!(
        (&running["channel"], &running["severity"], &running["route"]),
        (&json!("sec"), &json!("critical"), &json!("deletions")),
        "{running:#}"
    );
    assert_eq!(
        (&running["state"], &running["slack_channel"], &running["ts"]),
        (&json!("posted"), &json!("CSEC"), &json!(ts)),
        "{running:#}"
    );
    let found = running["permalink"].as_str().expect("a link");
    assert!(
        found.starts_with("http://") && found.ends_with(&link),
        "{found}"
    );
    let told = text(folder, "alone");
    has(
        &told,
        &[
            "audit ID alone: 1 event\n",
            "ResponseComplete, cluster default, level Metadata",
            "alice delete pods/api in shop → 200",
            "2026-11-21 03:15:29 UTC",
            "received, in block 1",
            "channel sec (critical, by route deletions): posted in message ",
            &link,
        ],
    );
    assert!(
        !told.contains("sent again") && !told.contains("today's routes"),
        "{told}"
    );
    assert!(
        !told.contains('\u{1b}'),
        "colour where there is no terminal: {told}"
    );

    // A webhook says neither where nor when it put it.
    let hooked = delivery(folder, "hooked");
    assert_eq!(
        (&hooked["state"], &hooked["ts"], &hooked["permalink"]),
        (&json!("posted"), &json!(null), &json!(null)),
        "{hooked:#}"
    );
    has(
        &text(folder, "hooked"),
        &["no link: an incoming webhook does not say"],
    );

    stop(&mut relay).await;
    assert_eq!(delivery(folder, "alone"), running);
    has(&text(folder, "alone"), &[&link, "the relay is stopped"]);
    // What the command has to ask Slack it cannot have where there is no Slack: all else is told.
    let config = fs::read_to_string(folder.join("c.yaml")).expect("text");
    let nowhere = config.replace(&slack.api_url(), "http://127.0.0.1:1/api/");
    fs::write(folder.join("c.yaml"), nowhere).expect("written");
    has(
        &text(folder, "alone"),
        &[
            &format!("Slack's channel CSEC, ts {ts}"),
            "no link: Slack did not tell",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_digest_is_told_with_how_many_the_message_stands_for() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let relay = start(folder);
    send(&relay, "get", ids("d", 20)).await;
    relay.drained().await;
    let told = delivery(folder, "d-7");
    assert_eq!(
        (&told["state"], &told["events"]),
        (&json!("posted"), &json!(20))
    );
    let message = told["message"].to_string();
    let events = ends(folder, 0, &["events", "--message", &message]);
    let ts = told["ts"].as_str().expect("a time stamp");
    let place = format!(": Slack's channel COPS, ts {ts}\n");
    has(&events, &["20 events in message", &place]);
    has(
        &text(folder, "d-7"),
        &[&format!(
            "stands for 20 events (auditrelay events --message {message})"
        )],
    );
    // d-1 is not d-11.
    assert_eq!(
        event(folder, "d-1")["deliveries"][0]["message"],
        told["message"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_say_whose_they_are() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "queue: {retain_hours: 1}");
    let folder = folder.path();
    let relay = start(folder);
    slack.change_channel("CSEC", |channel| channel.archived = true);
    send(&relay, "delete", one("fallen")).await;
    let of = |id: &str, copy: usize| trace(folder, id)["events"][0]["deliveries"][copy].clone();
    until("a copy in ops", || of("fallen", 1)["state"] == "posted").await;
    let (meant, copy) = (of("fallen", 0), of("fallen", 1));
    assert_eq!(
        (
            &meant["channel"],
            &meant["state"],
            &meant["lane"],
            &meant["before"]
        ),
        (
            &json!("sec"),
            &json!("waiting"),
            &json!("parked"),
            &json!(0)
        ),
        "{meant:#}"
    );
    assert_eq!(
        (&copy["channel"], &copy["meant_for"], &copy["replayed"]),
        (&json!("ops"), &json!("sec"), &json!(false)),
        "{copy:#}"
    );
    has(
        &text(folder, "fallen"),
        &[
            "waits, first in its line; the channel is parked",
            "channel ops (critical, by route deletions, in place of channel sec, which could not be served): posted",
        ],
    );

    assert!(!text(folder, "fallen").contains("today's routes"));

    send(&relay, "get", one("twice")).await;
    until("it is posted", || of("twice", 0)["state"] == "posted").await;
    ends(folder, 0, &["replay", "--since", "1h", "--route", "reads"]);
    until("it is posted again", || of("twice", 1)["state"] == "posted").await;
    let (first, again) = (of("twice", 0), of("twice", 1));
    assert_eq!(
        (&first["replayed"], &again["replayed"]),
        (&json!(false), &json!(true))
    );
    assert_ne!(first["ts"], again["ts"]);
    has(
        &text(folder, "twice"),
        &["by route reads, replayed): posted"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_found_again_after_a_lost_answer_has_its_address_too() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let relay = start(folder);
    slack.inject(Fault::new(Effect::CloseAfterStoring));
    send(&relay, "get", one("lost")).await;
    relay.drained().await;
    let told = delivery(folder, "lost");
    assert_eq!(told["ts"], json!(slack.posts()[0].ts), "{told:#}");
    assert!(told["permalink"].is_string(), "{told:#}");
}

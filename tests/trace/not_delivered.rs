//! What waits, is being posted, is dead or was given up.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault};
use serde_json::json;

use crate::{
    delivery, ends, folder, has, one, send, start, state, stop,
    support::{ids, slack},
    text, trace, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_hold_says_how_much_goes_first() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let mut relay = start(folder);
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 600 }).on("COPS"));
    send(&relay, "get", ids("w", 5)).await;
    let holds = || state(folder, "w-3").1 == "holding";
    until("the channel holds", holds).await;
    send(&relay, "create", one("last")).await;
    until("it is queued", || state(folder, "last").0 == "waiting").await;
    let (early, last) = (delivery(folder, "w-3"), delivery(folder, "last"));
    assert_eq!((&early["before"], &last["before"]), (&json!(3), &json!(5)));
    let next_try = last["lane_next_try_unix_ms"].as_i64();
    assert!(next_try > Some(1_700_000_000_000), "{last:#}");
    assert!(last["lane_error"].is_string(), "{last:#}");
    let told = text(folder, "last");
    has(&told, &["; next try at "]);
    has(
        &told,
        &["waits, 5 deliveries of its channel before it; the channel holds"],
    );
    // What is more severe overtakes it.
    stop(&mut relay).await;
    let stopped = delivery(folder, "last");
    assert_eq!(
        (&stopped["state"], &stopped["before"], &stopped["lane"]),
        (&json!("waiting"), &json!(5), &json!(null))
    );
    has(&text(folder, "last"), &["before it; the relay is stopped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_posted_says_in_which_message_and_so_does_what_a_killed_relay_left() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let relay = start(folder);
    slack.inject(
        Fault::new(Effect::Delay {
            milliseconds: 9_000,
        })
        .on("CSEC"),
    );
    send(&relay, "delete", one("under-way")).await;
    until("Slack has it", || !slack.posts().is_empty()).await;
    let running = delivery(folder, "under-way");
    assert_eq!(running["state"], "being_posted", "{running:#}");
    assert!(
        running["since_unix_ms"].as_i64() > Some(1_700_000_000_000),
        "{running:#}"
    );
    relay.kill();
    let killed = delivery(folder, "under-way");
    assert_eq!(
        (&killed["state"], &killed["message"]),
        (&running["state"], &running["message"])
    );
    has(&text(folder, "under-way"), &["is being posted in message "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_why_and_that_it_was_given_up() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let mut relay = start(folder);
    for id in ["dead", "given-up", "raised"] {
        let code = "invalid_blocks".into();
        slack.inject(Fault::new(Effect::Error { code }).times(2).on("COPS"));
        send(&relay, "get", one(id)).await;
        relay.drained().await;
    }
    let letter = |id: &str| {
        let letter = delivery(folder, id);
        assert_eq!(letter["state"], "dead", "{letter:#}");
        letter["message"].to_string()
    };
    let dead = letter("dead");
    has(
        &text(folder, "dead"),
        &[
            "can never be posted: ",
            "invalid_blocks",
            &format!("auditrelay dead show {dead}"),
        ],
    );
    let (given_up, raised) = (letter("given-up"), letter("raised"));
    ends(folder, 0, &["dead", "drop", &given_up]);
    ends(folder, 0, &["dead", "redrive", &raised]);
    relay.drained().await;
    assert_eq!(delivery(folder, "raised")["state"], "posted");
    let gone = delivery(folder, "given-up");
    assert_eq!(
        (&gone["state"], gone["message"].to_string()),
        (&json!("given_up"), given_up.clone()),
        "{gone:#}"
    );
    stop(&mut relay).await;
    has(
        &text(folder, "given-up"),
        &[
            &format!("given up: it was dead letter {given_up}"),
            "invalid_blocks",
        ],
    );
    assert_eq!(letter("dead"), dead);
    assert_eq!(trace(folder, "dead")["searched"]["running"], false);
}

//! What is asked of a relay that runs, and of one that is stopped.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    command, folder, hears, json_of, mute, posted, send, start,
    support::{ids, metric, slack},
};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_mute_is_announced_holds_back_and_ends_with_its_exact_count() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack);
    let folder = folder.path();
    let mut relay = start(folder);
    send(&relay, "bob", "delete", ids("before", 1)).await;
    relay.drained().await;
    let text = mute(
        folder,
        0,
        &[
            "add",
            "--for",
            "2h",
            "--user",
            "bob",
            "--resource",
            "pods",
            "--reason",
            "deploy of payments",
            "--author",
            "alice",
        ],
    );
    assert!(
        text.contains("mute 1 is active until") && text.contains("(2 h)"),
        "{text}"
    );
    assert!(text.contains("resources: pods; users: bob"), "{text}");
    for channel in ["COPS", "CSEC"] {
        hears(
            &slack,
            channel,
            "mute 1 begins: “alice” holds back resources: pods; users: bob",
        )
        .await;
        hears(&slack, channel, "since “deploy of payments”").await;
    }
    send(&relay, "bob", "delete", ids("held", 12)).await;
    send(&relay, "bob", "get", ids("held-too", 3)).await;
    send(&relay, "eve", "delete", ids("eve", 1)).await;
    // Told once as any other.
    send(&relay, "bob", "get", ids("held-too", 3)).await;
    let ledger = relay.drained().await;
    let counts = (
        &ledger["muted"],
        &ledger["routed"],
        &ledger["duplicates"],
        &ledger["balanced"],
    );
    assert_eq!(
        counts,
        (&json!(15), &json!(2), &json!(3), &json!(true)),
        "{ledger}"
    );
    assert_eq!(ledger["muted_deliveries"], json!({"ops": 15, "sec": 12}));
    let (_, metrics) = relay.get("/metrics").await;
    let muted = |channel| {
        let series = format!("auditrelay_events_muted_total{{channel=\"{channel}\"}}");
        metric(&metrics, &series)
    };
    assert_eq!((muted("ops"), muted("sec")), (15.0, 12.0));
    assert_eq!(metric(&metrics, "auditrelay_mutes_active"), 1.0);
    let table = mute(folder, 0, &["list"]);
    assert!(
        table.contains("alice") && table.contains("ops 15, sec 12"),
        "{table}"
    );
    let table = command(folder, 0, &["ledger"]);
    for line in [
        "    deliveries          15   to channel ops\n",
        "1                27  20",
    ] {
        assert!(table.contains(line), "no {line:?} in\n{table}");
    }

    let ended = mute(
        folder,
        0,
        &["expire", "1", "--author", "carol", "--reason", "too wide"],
    );
    assert!(ended.contains("mute 1 ended at"), "{ended}");
    let who = "mute 1 by “alice” (“deploy of payments”) was ended by “carol” (“too wide”):";
    hears(
        &slack,
        "COPS",
        &format!("{who} 15 events were held back from this channel in"),
    )
    .await;
    hears(&slack, "COPS", "; 12 from sec").await;
    hears(
        &slack,
        "CSEC",
        &format!("{who} 12 events were held back from this channel in"),
    )
    .await;
    let again = mute(folder, 1, &["expire", "1", "--author", "carol"]);
    assert!(again.contains("no mute 1 is active"), "{again}");
    send(&relay, "bob", "delete", ids("after", 1)).await;
    relay.drained().await;
    let all = posted(&slack, "COPS").concat() + &posted(&slack, "CSEC").concat();
    for (id, times) in [("before-0", 2), ("eve-0", 2), ("after-0", 2), ("held-", 0)] {
        assert_eq!(
            all.matches(&format!("audit ID {id}")).count(),
            times,
            "{id}"
        );
    }
    assert_eq!(mute(folder, 0, &["list"]), "no mute is active\n");
    let ended = json_of(folder, &["mute", "list", "--all"]);
    assert_eq!(ended[0]["held"], json!({"ops": 15, "sec": 12}));
    assert_eq!(ended[0]["ended"]["by"], "carol");
    assert!(relay.logs().contains("a command began a mute"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_relay_takes_mutes_for_its_next_start_and_words_speak_to_nobody() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack);
    let folder = folder.path();
    let mut relay = start(folder);
    relay.signal("-TERM");
    relay.wait().await;
    let hostile = "<!channel> x”: 0 events \u{202e}\u{1b}[2J";
    let text = mute(
        folder,
        0,
        &[
            "add",
            "--for",
            "1h",
            "--channel",
            "sec",
            "--reason",
            hostile,
            "--author",
            hostile,
            "--match",
            "users: ['<!here>']\nverbs: [delete]",
        ],
    );
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    for args in [&["list"][..], &["list", "--json"]] {
        let text = mute(folder, 0, args);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
    let relay = start(folder);
    send(&relay, "<!here>", "delete", ids("one", 1)).await;
    let ledger = relay.drained().await;
    assert_eq!(
        (&ledger["muted"], &ledger["routed"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(ledger["muted_deliveries"], json!({"sec": 1}));
    hears(&slack, "CSEC", "mute 1 begins").await;
    hears(&slack, "COPS", "(only channel sec)").await;
    mute(folder, 0, &["expire", "1", "--author", hostile]);
    hears(&slack, "CSEC", "1 event was held back from this channel").await;
    let bodies = [posted(&slack, "CSEC"), posted(&slack, "COPS")].concat();
    // They stand there, as text, and end where our quotes do.
    let stands = |body: &String| body.contains("channel> x\\\": 0 events");
    assert!(bodies.iter().any(stands), "{bodies:#?}");
    for body in bodies {
        assert!(!body.contains("x”: 0 events"), "{body}");
        let body = serde_json::from_str(&body).expect("JSON");
        assert_eq!(live_words(&body), [""; 0], "{body}");
    }
}

/// What Slack or a terminal would take for more than text, in any string of a message.
fn live_words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => {
            // A time is the relay's own, and made of numbers alone.
            let text_only = text.replace("<!date^", "");
            let in_markup = text_only.contains("<!") || text.contains("<@") || text.contains("<#");
            let is_live = in_markup || text.contains(['\u{1b}', '\u{202e}']);
            is_live.then_some(text.as_str()).into_iter().collect()
        }
        Value::Array(values) => values.iter().flat_map(live_words).collect(),
        // Of this Slack reads nothing but text: what is not to be seen has no place there either.
        Value::Object(map)
            if map
                .get("type")
                .is_some_and(|kind| kind == "text" || kind == "plain_text") =>
        {
            let text = map["text"].as_str().expect("text");
            text.contains(['\u{1b}', '\u{202e}'])
                .then_some(text)
                .into_iter()
                .collect()
        }
        Value::Object(map) => map.values().flat_map(live_words).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn words_that_are_live_are_found_where_slack_reads_them() {
    let found = |value: Value| live_words(&value).len();
    assert_eq!(found(json!({"text": "<!here>"})), 1);
    assert_eq!(
        found(json!({"blocks": [{"text": {"type": "mrkdwn", "text": "<@U1>"}}]})),
        1
    );
    assert_eq!(found(json!({"text": "<!date^1^{date}|1>"})), 0);
    assert_eq!(
        found(json!({"elements": [{"type": "text", "text": "a\u{202e}"}]})),
        1
    );
    assert_eq!(
        found(json!({"elements": [{"type": "text", "text": "<!here>"}], "text": "&lt;!here&gt;"})),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_is_asked_wrongly_says_what_to_do_and_mutes_nothing() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack);
    let folder = folder.path();
    let relay = start(folder);
    let hour = ["add", "--for", "1h", "--reason", "r", "--author", "a"];
    for (code, args, part) in [
        (2, &["add", "--reason", "r"][..], "--for"),
        (2, &["add", "--for", "1h"], "--reason"),
        (
            2,
            &["add", "--for", "59s", "--reason", "r", "--author", "a"],
            "1 minute",
        ),
        (
            2,
            &["add", "--for", "31d", "--reason", "r", "--author", "a"],
            "30 days",
        ),
        (
            2,
            &[
                "add",
                "--until",
                "2020-01-01T00:00:00Z",
                "--reason",
                "r",
                "--author",
                "a",
            ],
            "1 minute",
        ),
        (
            2,
            &[
                "add",
                "--for",
                "1h",
                "--until",
                "2020-01-01T00:00:00Z",
                "--reason",
                "r",
            ],
            "--until",
        ),
        (
            2,
            &["add", "--for", "1h", "--reason", "r", "--user", "bob"],
            "--author",
        ),
        (
            2,
            &[
                "add", "--for", "1h", "--reason", "r", "--author", " ", "--user", "bob",
            ],
            "--author",
        ),
        (
            2,
            &[
                "add", "--for", "1h", "--reason", " ", "--author", "a", "--user", "b",
            ],
            "--reason is empty",
        ),
        (
            2,
            &[&hour[..], &["--resource", "pods/"]].concat(),
            "pods/exec",
        ),
        (
            2,
            &[&hour[..], &["--match", "@none.yaml"]].concat(),
            "none.yaml",
        ),
        (
            2,
            &[&hour[..], &["--match", "{}", "--user", "b"]].concat(),
            "--match",
        ),
        (2, &hour, "--all-events"),
        (2, &[&hour[..], &["--match", "{}"]].concat(), "--all-events"),
        (
            70,
            &[&hour[..], &["--channel", "opps"]].concat(),
            "there are: ops, sec",
        ),
        (
            70,
            &[&hour[..], &["--route", "x"]].concat(),
            "there are: deletions, rest",
        ),
        (
            2,
            &[&hour[..], &["--match", "verb: [get]"]].concat(),
            "match.verb",
        ),
        (
            2,
            &[&hour[..], &["--match", "channel: ops"]].concat(),
            "a key of routes",
        ),
        (2, &[&hour[..], &["--user", ""]].concat(), "--user is empty"),
        (
            2,
            &[&hour[..], &["--user", "a*"]].concat(),
            "a letter there",
        ),
        (1, &["expire", "1", "--author", "a"], "no mute 1"),
        (2, &["expire", "x", "--author", "a"], "invalid"),
    ] {
        let stderr = mute(folder, code, args);
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
    assert_eq!(json_of(folder, &["mute", "list", "--all"]), json!([]));
    mute(folder, 0, &[&hour[..], &["--all-events"]].concat());
    send(&relay, "bob", "get", ids("held", 1)).await;
    assert_eq!(relay.drained().await["muted"], 1);
}

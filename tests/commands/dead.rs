//! Dead letters.

use std::time::Duration;

use serde_json::json;

use crate::{bury, ends, folder, json_of, start, stop, support::slack, token, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_found_shown_and_redriven_once_while_the_relay_runs() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 10", "");
    let folder = folder.path();
    let mut relay = start(folder);
    bury(&relay, &slack, "never", 1).await;
    let letters = json_of(folder, &["dead", "list"]);
    let letter = &letters[0];
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(
        (&letter["channel"], &letter["events"], &letter["attempts"]),
        (&json!("ops"), &json!(1), &json!(2)),
        "{letter}"
    );
    assert!(letter["first_unix_ms"].as_i64() <= letter["last_unix_ms"].as_i64());
    let id = letter["id"].to_string();
    let table = ends(folder, 0, &["dead", "list"]);
    assert!(
        table.contains("invalid_blocks") && table.contains("1 dead letter with 1 event"),
        "{table}"
    );
    for (filter, found) in [
        (["--channel", "ops"], 1),
        (["--channel", "other"], 0),
        (["--reason", "valid_bl"], 1),
        (["--reason", "archived"], 0),
        (["--since", "1h"], 1),
        (["--until", "1h"], 0),
    ] {
        let args: Vec<&str> = ["dead", "list"].iter().chain(&filter).copied().collect();
        let letters = json_of(folder, &args);
        assert_eq!(letters.as_array().map(Vec::len), Some(found), "{args:?}");
    }
    let shown = ends(folder, 0, &["dead", "show", &id]);
    assert!(
        shown.contains("alice deleted pod shop/api") && shown.contains("2 times"),
        "{shown}"
    );
    let shown = json_of(folder, &["dead", "show", &id]);
    assert_eq!(
        shown["members"][0]["event"]["auditID"], "never-0",
        "{shown}"
    );

    let question = ends(folder, 2, &["dead", "redrive", "--channel", "ops"]);
    assert!(
        question.contains("1 dead letter with 1 event"),
        "{question}"
    );
    let redriven = json_of(folder, &["dead", "redrive", &id, &id]);
    let expected = json!({"letters": 1, "events": 1, "gone": []});
    assert_eq!(redriven, expected);
    let again = ends(folder, 0, &["dead", "redrive", &id]);
    assert!(again.contains("no dead letter any more"), "{again}");
    let none = ends(folder, 0, &["dead", "redrive", "--all"]);
    assert!(none.contains("no dead letter matches"), "{none}");
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["ops"];
    assert_eq!(
        (&counts["delivered"], &counts["dead"], &ledger["balanced"]),
        (&json!(1), &json!(0), &json!(true)),
        "{ledger}"
    );
    assert_eq!(told(&slack, "never-0"), 1, "{:?}", slack.posts());
    ends(folder, 1, &["dead", "show", &id]);
    let token = token(folder);
    assert!(relay.logs().contains("settled dead letters"));
    assert!(!relay.logs().contains(&token), "the token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_stopped_relay_are_dropped_or_redriven_for_its_next_start() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 10", "");
    let folder = folder.path();
    let mut relay = start(folder);
    for prefix in ["first", "second", "third"] {
        bury(&relay, &slack, prefix, 1).await;
    }
    stop(&mut relay).await;
    let letters = json_of(folder, &["dead", "list"]);
    let id = |number: usize| letters[number]["id"].to_string();
    assert_eq!(letters.as_array().map(Vec::len), Some(3), "{letters}");
    let question = ends(folder, 2, &["dead", "drop", "--all"]);
    assert!(
        question.contains("3 dead letters with 3 events") && question.contains("--yes"),
        "{question}"
    );
    assert_eq!(json_of(folder, &["dead", "list"]), letters);
    ends(folder, 0, &["dead", "drop", &id(0)]);
    ends(folder, 0, &["dead", "redrive", &id(1)]);
    let dropped = json_of(folder, &["dead", "drop", "--reason", "invalid", "--yes"]);
    assert_eq!(dropped["events"], 1, "{dropped}");
    let ledger = json_of(folder, &["ledger"]);
    let counts = &ledger["channels"]["ops"];
    assert_eq!(
        (&counts["dead"], &counts["waiting"]),
        (&json!(0), &json!(1))
    );
    let relay = start(folder);
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["ops"]["delivered"], 1, "{ledger}");
    assert_eq!(ledger["balanced"], true, "{ledger}");
    for (id, times) in [("first-0", 0), ("second-0", 1), ("third-0", 0)] {
        assert_eq!(told(&slack, id), times, "{id}");
    }
}

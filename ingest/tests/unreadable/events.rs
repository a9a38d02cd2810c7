//! Each row of the table.

use crate::{
    SECRET, become_of,
    common::*,
    table::{
        Becomes::{Quarantined, Told, ToldWithoutBody},
        events_and_what_becomes_of_them,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_that_nobody_should_send_becomes_what_is_said_of_it() {
    let rows = events_and_what_becomes_of_them();
    let became = become_of(rows.iter().map(|(_, event, _)| event.clone()).collect()).await;
    for ((what, _, expected), (json, reason, without_body)) in rows.iter().zip(became) {
        let found = match &reason {
            None if without_body => ToldWithoutBody,
            None => Told,
            Some(reason) => {
                assert!(!reason.contains(SECRET), "{what}: {reason}");
                let Quarantined(expected) = expected else {
                    panic!("{what}: {reason}");
                };
                assert_eq!(reason, expected, "{what}");
                continue;
            }
        };
        assert_eq!(found, *expected, "{what}: {json:.300}");
        let has_body = json.contains("requestObject") && !json.contains("\"requestObject\":null");
        assert!(!(without_body && has_body), "{what}: {json:.300}");
    }
}

/// Alone in its list, each event becomes the same: no other one decides how it is read.
#[tokio::test(flavor = "multi_thread")]
async fn company_changes_nothing() {
    let (server, _dir) = start(&config()).await;
    for (what, event, _) in events_and_what_becomes_of_them() {
        let answer = server.post("/webhook", list(&[event])).await;
        assert_eq!(answer.code, 200, "{what}: {answer:?}");
    }
    let counted = |outcome| server.metric("auditrelay_ingest_events_total", outcome);
    let rows = events_and_what_becomes_of_them();
    let quarantined = rows
        .iter()
        .filter(|row| matches!(row.2, Quarantined(_)))
        .count();
    assert_eq!(counted("unreadable"), quarantined as f64);
    assert_eq!(counted("stored"), (rows.len() - quarantined) as f64);
}

//! Limits of the door and of the queue count for whoever comes after.

use std::time::Duration;

use hyper::StatusCode;

use crate::{
    channel, config, load, start,
    support::{ids, list, slack},
};

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_from_the_answer_on_and_may_be_taken_back() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of = |rest: &str| config(&slack, &channel("a", ""), rest);
    let relay = start(folder, &of(""));
    let post = async |prefix: &str| {
        let body = list("alice", "delete", ids(prefix, 10));
        let (status, answer) = relay.post("/webhook", body).await;
        (status, answer.to_string())
    };
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;
    let too_many = StatusCode::TOO_MANY_REQUESTS;
    for (number, (limits, refused)) in [
        ("ingest: {body_bytes_max: 1024}", too_large),
        ("ingest: {events_per_list_max: 3}", too_large),
        (
            "ingest: {body_bytes_max: 1024, bytes_in_flight_max: 1024}",
            too_large,
        ),
        ("queue: {disk_free_bytes_min: 1099511627776}", too_many),
    ]
    .into_iter()
    .enumerate()
    {
        load(folder, &of(limits));
        let (status, answer) = post(&format!("refused-{number}")).await;
        assert_eq!(status, refused, "{limits}: {answer}");
        load(folder, &of(""));
        let (status, answer) = post(&format!("taken-{number}")).await;
        assert_eq!(status, StatusCode::OK, "after {limits}: {answer}");
    }
    let metrics = relay.get("/metrics").await.1;
    let shown = crate::metric(&metrics, "auditrelay_ingest_bytes_in_flight");
    assert_eq!(shown, 0.0);
    let ledger = relay.drained().await;
    assert_eq!(
        (&ledger["received"], &ledger["balanced"]),
        (&serde_json::json!(40), &serde_json::json!(true)),
        "{ledger}"
    );
}

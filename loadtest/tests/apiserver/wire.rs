//! What goes over the wire.

use std::collections::HashSet;
use std::time::Duration;

use auditrelay_loadtest::apiserver::Options;

use crate::support::{Reply, Sink, count, ok, response, response_text, run};

#[tokio::test]
async fn the_head_is_the_api_servers_header_by_header() {
    let sink = Sink::start(|_, _| ok()).await;
    run(sink.one_batch(7)).await;
    let seen = sink.seen();
    assert_eq!(seen.len(), 1);
    let expected = [
        "POST /webhook?timeout=30s HTTP/1.1".to_owned(),
        format!("Host: {}", sink.addr),
        "User-Agent: Go-http-client/1.1".to_owned(),
        format!("Content-Length: {}", seen[0].body.len()),
        "Accept: application/json, */*".to_owned(),
        "Content-Type: application/json".to_owned(),
        "Accept-Encoding: gzip".to_owned(),
    ];
    assert_eq!(seen[0].head, expected.join("\r\n"));
}

#[tokio::test]
async fn the_body_is_an_event_list_of_events_with_ids_of_their_own() {
    let sink = Sink::start(|_, _| ok()).await;
    let report = run(sink.one_batch(50)).await;
    assert_eq!(report.events_accepted, 50);
    let seen = sink.seen();
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"#;
    assert!(seen[0].body.starts_with(head));
    assert!(seen[0].body.ends_with(b"}]}\n"));
    let items = seen[0].items();
    let ids: HashSet<&str> = items
        .iter()
        .map(|item| item["auditID"].as_str().unwrap())
        .collect();
    assert_eq!((items.len(), ids.len()), (50, 50));
    assert!(items.iter().all(|item| item.get("kind").is_none()));
}

#[tokio::test]
async fn the_path_is_kept_and_the_query_is_not() {
    let sink = Sink::start(|_, _| ok()).await;
    let url = format!("http://{}/webhook//prod/?cluster=prod", sink.addr);
    let options = Options {
        target: url.parse().unwrap(),
        ..sink.one_batch(1)
    };
    run(options).await;
    assert_eq!(
        sink.seen()[0].line(),
        "POST /webhook/prod?timeout=30s HTTP/1.1"
    );
}

#[tokio::test]
async fn a_connection_is_used_again_whatever_the_answer() {
    let sink = Sink::start(|number, _| match number {
        1 => response(500, &[]),
        2 => response(429, &[("Retry-After", "0")]),
        3 => response(307, &[("Location", "/elsewhere")]),
        4 => response(400, &[]),
        _ => ok(),
    })
    .await;
    let report = run(sink.one_batch(10)).await;
    assert_eq!((report.events_accepted, report.requests), (10, 5));
    assert_eq!(report.connections, 1);
    assert!(sink.seen().iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn a_connection_that_the_sink_has_closed_is_replaced() {
    let sink = Sink::start(|_, _| Reply::Close(response_text(200, &[]))).await;
    let report = run(Options {
        events_per_second: count(100),
        duration: Duration::from_millis(500),
        batch_events: count(10),
        ..sink.one_batch(1)
    })
    .await;
    assert_eq!(report.events_accepted, 50);
    assert!(report.connections >= 5, "{report}");
}

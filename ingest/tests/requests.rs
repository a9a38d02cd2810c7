//! What is accepted, what is refused, and with which words.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use auditrelay_store::{Content, Queue};
use common::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_path_names_the_cluster() {
    let (server, _dir) = start(&config()).await;
    let paths = [
        ("/webhook", "home"),
        ("/webhook?timeout=30s", "home"),
        ("/webhook/", "home"),
        ("/webhook/prod-1.eu", "prod-1.eu"),
        ("/webhook/stage/", "stage"),
        ("/webhook/other?timeout=30s&x=/../", "other"),
    ];
    for (path, cluster) in paths {
        let answer = server.post(path, list(&[event(path, "")])).await;
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
        let blocks = all_unrouted(&server.queue).await;
        assert_eq!(blocks.last().unwrap().cluster, cluster, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_at_once_stay_apart() {
    let (server, _dir) = start(&config()).await;
    let server = std::sync::Arc::new(server);
    let posts: Vec<_> = (0..40)
        .map(|number| {
            let cluster = ["even", "odd"][number % 2];
            let body = list(&[event(&format!("{cluster}-{number}"), "")]);
            let server = std::sync::Arc::clone(&server);
            tokio::spawn(
                async move { server.post(&format!("/webhook/{cluster}"), body).await.code },
            )
        })
        .collect();
    for post in posts {
        assert_eq!(post.await.unwrap(), 200);
    }
    let blocks = all_unrouted(&server.queue).await;
    assert_eq!(blocks.len(), 40);
    for block in blocks {
        let Content::Event { json, .. } = &common::entries(&block)[0].content else {
            panic!("unreadable");
        };
        assert!(
            json.contains(&format!(r#""auditID":"{}-"#, block.cluster)),
            "{json}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_methods_and_encodings_are_refused() {
    let (server, _dir) = start(&config()).await;
    let long = format!("/webhook/{}", "a".repeat(64));
    for path in [
        "/",
        "/webhooks",
        "/webhook//",
        "/webhook/a/b",
        "/webhook/.a",
        "/webhook/a%20b",
        "/healthz",
        "/webhook/a//",
        &long,
    ] {
        server
            .post(path, list(&[event("a", "")]))
            .await
            .expect(404, "NotFound");
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = server
            .send(server.request(method, "/webhook", &[], ""))
            .await;
        answer.expect(405, "MethodNotAllowed");
        assert_eq!(answer.headers["allow"], "POST");
    }
    for encoding in ["br", "gzip, gzip", "x"] {
        let headers = [("content-encoding", encoding)];
        let request = server.request("POST", "/webhook", &headers, "x");
        server
            .send(request)
            .await
            .expect(415, "UnsupportedMediaType");
    }
    let headers = [("content-encoding", "Identity")];
    let body = list(&[event("a", "")]);
    let request = server.request("POST", "/webhook", &headers, body);
    assert_eq!(server.send(request).await.code, 200);
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "path"),
        9.0
    );
    assert_eq!(
        server.metric("auditrelay_ingest_requests_total", "405"),
        5.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_list_is_refused_without_being_quoted() {
    let (server, _dir) = start(&config()).await;
    let secret = "hunter2-s3cret";
    let bad = [
        (400, "BadRequest", String::new()),
        (400, "BadRequest", format!("{secret} is no JSON")),
        (
            400,
            "BadRequest",
            format!(r#"{{"kind":"EventList","{secret}"#),
        ),
        (
            400,
            "BadRequest",
            format!(r#"{{"kind":"EventList"}} {secret}"#),
        ),
        (422, "Invalid", format!(r#""{secret}""#)),
        (
            422,
            "Invalid",
            format!(r#"{{"kind":"EventList","items":"{secret}"}}"#),
        ),
        (
            422,
            "Invalid",
            format!(r#"{{"kind":"{secret}","apiVersion":"audit.k8s.io/v1"}}"#),
        ),
        (
            422,
            "Invalid",
            format!(r#"{{"kind":"EventList","apiVersion":"{secret}","items":[]}}"#),
        ),
        (422, "Invalid", event(secret, "")),
    ];
    for (code, reason, body) in bad {
        let answer = server.post("/webhook", body.clone()).await;
        answer.expect(code, reason);
        assert!(!answer.message.contains(secret), "{answer:?}");
        assert_eq!(answer.retry_after(), None);
    }
    assert_eq!(server.queue.ledger().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_is_stored_by_doing_nothing() {
    let (server, _dir) = start(&config()).await;
    let none: [&str; 0] = [];
    assert_eq!(server.post("/webhook", list(&none)).await.code, 200);
    assert_eq!(server.queue.ledger().received, 0);
    assert_eq!(
        server.metric("auditrelay_ingest_commit_duration_seconds", ""),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_events_than_allowed_are_refused() {
    let mut config = config();
    config.events_per_list_max = bounded(2);
    let (server, _dir) = start(&config).await;
    let events = ["a", "b", "c"].map(|id| event(id, ""));
    assert_eq!(server.post("/webhook", list(&events[..2])).await.code, 200);
    let answer = server.post("/webhook", list(&events)).await;
    answer.expect(413, "RequestEntityTooLarge");
    assert_eq!(server.queue.ledger().received, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_exists_before_the_first_request() {
    let (server, _dir) = start(&config()).await;
    for code in [
        "200", "400", "404", "405", "408", "413", "415", "422", "429", "503",
    ] {
        assert_eq!(server.metric("auditrelay_ingest_requests_total", code), 0.0);
    }
    for reason in [
        "bytes_in_flight",
        "connections",
        "header_timeout",
        "queue",
        "queue_full",
        "queue_unavailable",
        "ack_timeout",
    ] {
        assert_eq!(
            server.metric("auditrelay_ingest_refused_total", reason),
            0.0
        );
    }
    for outcome in ["stored", "unreadable"] {
        assert_eq!(
            server.metric("auditrelay_ingest_events_total", outcome),
            0.0
        );
    }
    for name in [
        "auditrelay_ingest_request_duration_seconds",
        "auditrelay_ingest_commit_duration_seconds",
        "auditrelay_ingest_received_bytes_total",
        "auditrelay_ingest_bytes_in_flight",
        "auditrelay_ingest_connections",
    ] {
        assert_eq!(server.metric(name, ""), 0.0, "{name}");
    }
    let body = list(&[event("a", "")]);
    let length = body.len() as f64;
    server.post("/webhook", body).await;
    assert_eq!(
        server.metric("auditrelay_ingest_requests_total", "200"),
        1.0
    );
    assert_eq!(
        server.metric("auditrelay_ingest_events_total", "stored"),
        1.0
    );
    assert_eq!(
        server.metric("auditrelay_ingest_received_bytes_total", ""),
        length
    );
    assert_eq!(
        server.metric("auditrelay_ingest_request_duration_seconds", ""),
        1.0
    );
    assert_eq!(
        server.metric("auditrelay_ingest_commit_duration_seconds", ""),
        1.0
    );
    assert_eq!(server.metric("auditrelay_ingest_bytes_in_flight", ""), 0.0);
}

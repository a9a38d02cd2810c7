//! `POST /command` of the admin port, as whoever may connect to it.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    bury, folder, json_of, start, stop,
    support::{Running, slack},
};

async fn command(
    relay: &Running,
    method: Method,
    headers: &[(&str, &str)],
    body: &str,
) -> (StatusCode, String) {
    let stream = TcpStream::connect(relay.admin).await.expect("a connection");
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri("/command")
        .header(HOST, relay.admin.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    let answer = client.send_request(request.body(body).expect("a request"));
    let answer = answer.await.expect("an answer");
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_token_the_admin_port_changes_nothing() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 10", "");
    let folder = folder.path();
    let mut relay = start(folder);
    bury(&relay, &slack, "never", 1).await;
    let letters = json_of(folder, &["dead", "list"]);
    let drop_it = json!({"drop_dead": {"which": {"ids": [letters[0]["id"]]}}}).to_string();
    let token = crate::token(folder);
    let (right, wrong) = (
        format!("Bearer {token}"),
        format!("Bearer {}", "0".repeat(64)),
    );
    let json = ("Content-Type", "application/json");
    let allowed = ("Authorization", right.as_str());
    let post = Method::POST;
    let large = " ".repeat((1 << 20) + 1);
    for (method, headers, body, status) in [
        (&post, &[json][..], drop_it.as_str(), 401),
        (&post, &[json, ("Authorization", &wrong)], &drop_it, 401),
        (&post, &[json, ("Authorization", &token)], &drop_it, 401),
        (&post, &[allowed], &drop_it, 415),
        (
            &post,
            &[allowed, ("Content-Type", "text/plain")],
            &drop_it,
            415,
        ),
        (&post, &[allowed, json], &large, 413),
        (&post, &[allowed, json], "{}", 400),
        (
            &post,
            &[allowed, json],
            r#"{"dead_list":{"filter":{"a":1}}}"#,
            400,
        ),
        (&Method::GET, &[allowed, json], &drop_it, 405),
    ] {
        let (found, text) = command(&relay, method.clone(), headers, body).await;
        assert_eq!(found.as_u16(), status, "{headers:?} {text}");
        assert!(!text.contains(&token), "{text}");
    }
    for name in [
        "../auditrelay-data",
        "queue",
        "queue.corrupt-1/../queue",
        "/etc",
    ] {
        let body = json!({"salvage": {"folder": name}}).to_string();
        let (status, text) = command(&relay, post.clone(), &[allowed, json], &body).await;
        assert!(
            status == 200 && text.contains(r#"{"error":"#),
            "{name}: {text}"
        );
    }
    assert_eq!(json_of(folder, &["dead", "list"]), letters);
    let (status, text) = command(&relay, post, &[allowed, json], &drop_it).await;
    assert!(status == 200 && text.contains(r#""letters":1"#), "{text}");
    assert_eq!(json_of(folder, &["dead", "list"]), json!([]));
    let logs = relay.logs();
    assert_eq!(
        logs.matches("without this run's token").count(),
        1,
        "{logs}"
    );
    assert!(!logs.contains(&token), "the token is in the log");
    // Every start has its own.
    stop(&mut relay).await;
    let _relay = start(folder);
    assert_ne!(crate::token(folder), token);
}

//! Over https with a kubeconfig, against a TLS server of another make than the relay's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditrelay_loadtest::apiserver::{Options, Target};
use hyper::{StatusCode, Version};
use tokio::time::sleep;

use crate::support::{PATIENCE, answers, count, run, run_until};
use crate::tls_server::{CA, Seen, Server, authority, kubeconfig};

#[tokio::test]
async fn requests_share_one_http2_connection_and_look_like_gos() {
    let server = Server::start(&["h2", "http/1.1"], |_, _| StatusCode::OK).await;
    let user = ["client-certificate: client.crt", "client-key: client.key"];
    let report = run(Options {
        batch_events: count(10),
        qps: count(1000),
        ..server.options(100, &[CA], &user)
    })
    .await;
    assert_eq!((report.events_accepted, report.connections), (100, 1));
    assert!(report.latencies_begin.contains("HTTP/2"));
    let seen = server.seen();
    assert!(seen.len() >= 10);
    for one in &seen {
        assert_eq!(one.version, Version::HTTP_2);
        assert_eq!(one.connection, 0);
        assert!(one.has_certificate);
        assert_eq!(one.sni, None, "an IP address is no name to ask for");
        let authority = format!("https://127.0.0.1:{}", server.port);
        assert_eq!(one.uri, format!("{authority}/webhook/prod?timeout=30s"));
        let length = one.body.len().to_string();
        let expected = [
            ("user-agent", "Go-http-client/2.0"),
            ("content-length", &length),
            ("accept", "application/json, */*"),
            ("content-type", "application/json"),
            ("accept-encoding", "gzip"),
        ];
        assert_eq!(one.headers.len(), expected.len(), "{:?}", one.headers);
        for (name, value) in expected {
            assert_eq!(one.header(name), Some(value));
        }
    }
}

#[tokio::test]
async fn a_sink_without_http2_is_spoken_to_as_before_and_its_first_connection_is_used() {
    let server = Server::start(&["http/1.1"], |_, _| StatusCode::OK).await;
    let report = run(server.options(10, &[CA], &["token: of-the-file"])).await;
    assert_eq!((report.events_accepted, report.connections), (10, 1));
    let seen = server.seen();
    assert_eq!(seen[0].version, Version::HTTP_11);
    assert_eq!(seen[0].uri, "/webhook/prod?timeout=30s");
    assert_eq!(seen[0].header("user-agent"), Some("Go-http-client/1.1"));
    assert_eq!(seen[0].header("authorization"), Some("Bearer of-the-file"));
    assert!(!seen[0].has_certificate);
}

#[tokio::test]
async fn certificate_and_token_go_together_and_data_beats_files() {
    let server = Server::start(&["h2"], |_, _| StatusCode::OK).await;
    let ca = format!("certificate-authority-data: {}", server.data("ca.crt"));
    let user = [
        format!("client-certificate-data: {}", server.data("client.crt")),
        format!("client-key-data: {}", server.data("client.key")),
        "client-certificate: gone.crt".to_owned(),
        "token: a-token".to_owned(),
    ];
    let user: Vec<&str> = user.iter().map(String::as_str).collect();
    let cluster = [
        &*ca,
        "certificate-authority: gone.crt",
        "tls-server-name: sink.example",
    ];
    let report = run(server.options(5, &cluster, &user)).await;
    assert_eq!(report.events_accepted, 5);
    let one = &server.seen()[0];
    assert!(one.has_certificate);
    assert_eq!(one.header("authorization"), Some("Bearer a-token"));
    assert_eq!(one.sni.as_deref(), Some("sink.example"));
}

#[tokio::test]
async fn a_refused_token_is_read_again_for_the_next_try() {
    let fresh = |seen: &Seen| seen.header("authorization") == Some("Bearer fresh");
    let path = Arc::new(Mutex::new(PathBuf::new()));
    let known = Arc::clone(&path);
    let server = Server::start(&["h2"], move |_, seen| {
        if fresh(seen) {
            return StatusCode::OK;
        }
        // Between the two tries somebody rotates it.
        fs::write(&*known.lock().unwrap(), "fresh\n").unwrap();
        StatusCode::UNAUTHORIZED
    })
    .await;
    *path.lock().unwrap() = server.path("token");
    fs::write(server.path("token"), "stale\n").unwrap();
    // A token file beats a token.
    let user = ["tokenFile: token", "token: unused"];
    let report = run(server.options(10, &[CA], &user)).await;
    assert_eq!((report.events_accepted, report.tries), (10, 2));
    assert_eq!(answers(&report), [("200", 1), ("401", 1)]);
}

#[tokio::test]
async fn user_and_password_are_basic_authentication() {
    let server = Server::start(&["h2"], |_, _| StatusCode::OK).await;
    let user = ["username: me", "password: 'a:b'"];
    run(server.options(1, &[CA], &user)).await;
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), Some("Basic bWU6YTpi"));
}

#[tokio::test]
async fn a_server_that_the_ca_does_not_know_gets_nothing() {
    let server = Server::start(&["h2"], |_, _| StatusCode::OK).await;
    fs::write(server.path("ca.crt"), authority().pem()).unwrap();
    let report = run(server.options(10, &[CA], &["token: secret"])).await;
    assert_eq!(report.events_lost, 10);
    assert_eq!(answers(&report), [("not connected", 5)]);
    assert!(server.seen().is_empty());
    let other = ["tls-server-name: other.example"];
    let server = Server::start(&["h2"], |_, _| StatusCode::OK).await;
    let report = run(server.options(10, &[CA, other[0]], &[])).await;
    assert_eq!((report.events_lost, server.seen().len()), (10, 0));
}

#[tokio::test]
async fn a_connection_that_ends_is_replaced() {
    let server = Server::start_with(&["h2"], true, |_, _| StatusCode::OK).await;
    let options = Options {
        events_per_second: count(100),
        duration: PATIENCE,
        batch_events: count(10),
        ..server.options(1, &[CA], &[])
    };
    // What is sent before the end is known goes over the connection that ends.
    let is_replaced = async {
        while server.seen().iter().all(|seen| seen.connection == 0) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let report = run_until(options, is_replaced).await;
    assert_eq!(report.events_accepted, report.events_made, "{report}");
    assert!(report.connections >= 2, "{report}");
}

#[tokio::test]
async fn without_tls_no_credential_is_sent() {
    let sink = crate::support::Sink::start(|_, _| crate::support::ok()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig.yaml");
    let server = format!("http://{}", sink.addr);
    for user in ["token: secret", "username: secret"] {
        fs::write(&path, kubeconfig(&server, &[], &[user])).unwrap();
        run(Options {
            target: Target::from_kubeconfig(&path).unwrap(),
            ..sink.one_batch(1)
        })
        .await;
    }
    let seen = sink.seen();
    assert_eq!(seen.len(), 2);
    for one in seen {
        assert_eq!(one.line(), "POST /webhook/prod?timeout=30s HTTP/1.1");
        assert!(!one.head.contains("Authorization"), "{}", one.head);
    }
}

#[tokio::test]
async fn what_the_api_server_would_not_start_with_is_refused_without_quoting_it() {
    let server = Server::start(&["h2"], |_, _| StatusCode::OK).await;
    let refused = |path: &Path| Target::from_kubeconfig(path).unwrap_err().to_string();
    for (cluster, user, names) in [
        (CA, "token: hunter2\n    username: me", "refuses to start"),
        (CA, "tokenFile: gone", "tokenFile"),
        (CA, "exec: {command: hunter2}", "exec"),
        (CA, "client-key: client.key", "need each other"),
        (
            CA,
            "client-certificate-data: hunter2",
            "client-certificate-data",
        ),
        (
            "certificate-authority: gone.crt",
            "token: x",
            "certificate-authority",
        ),
        (
            "certificate-authority: client.key",
            "token: x",
            "certificate-authority",
        ),
        (
            "insecure-skip-tls-verify: true",
            "token: x",
            "insecure-skip-tls-verify",
        ),
        ("proxy-url: x", "token: hunter2", "certificate-authority"),
    ] {
        let error = refused(&server.kubeconfig(&[cluster], &[user]));
        assert!(error.contains(names), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let path = server.path("kubeconfig.yaml");
    let away = kubeconfig("https://192.0.2.1", &[CA], &["token: x"]);
    fs::write(&path, away).unwrap();
    assert!(refused(&path).contains("loopback"));
    fs::write(&path, "token: [hunter2").unwrap();
    assert!(!refused(&path).contains("hunter2"));
    fs::write(&path, "apiVersion: v1\nkind: Config\n").unwrap();
    assert!(refused(&path).contains("context"));
}

#[tokio::test]
async fn the_binary_takes_a_kubeconfig() {
    let server = Server::start(&["h2", "http/1.1"], |_, _| StatusCode::OK).await;
    let path = server.kubeconfig(&[CA], &["token: a-token"]);
    let path = path.to_str().unwrap();
    let arguments = ["--seconds", "1", "--events-per-second", "10"];
    let output = crate::binary::with_kubeconfig(path, &arguments).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        server.seen()[0].header("authorization"),
        Some("Bearer a-token")
    );
    fs::remove_file(server.path("ca.crt")).unwrap();
    let output = crate::binary::with_kubeconfig(path, &arguments).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

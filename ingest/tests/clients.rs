//! Who is let in, as whom, over real TLS: each way in, alone and together.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use std::time::Duration;

use auditrelay_config::ClientConfig;
use common::{
    guests::{House, Open, Shows, entry},
    pki::{Authority, client, server},
    *,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "token-of-one-client-0001";
const NEXT: &str = "token-of-one-client-0002";
const STRICT: &str = "token-of-the-strict-one-1";
const BASIC: &str = "Basic b3BzOmNvcnJlY3QgaG9yc2UgYmF0dGVyeQ=="; // ops:correct horse battery

/// A house with a client of each kind.
async fn every_kind() -> (House, Open) {
    let house = House::new();
    let clients = [
        ClientConfig {
            username: Some("ops".into()),
            password_file: Some(house.write("passwords", "correct horse battery\n")),
            ..entry("basic")
        },
        ClientConfig {
            token_file: Some(house.write("tokens", &format!("# two\n{TOKEN}\n{NEXT}\n"))),
            cluster: Some("t".parse().unwrap()),
            ..entry("token")
        },
        ClientConfig {
            certificate_names: vec!["strict".into()],
            token_file: Some(house.write("strict", STRICT)),
            ..entry("both")
        },
        ClientConfig {
            certificate_names: vec!["prod".into(), "spiffe://audit/stage".into()],
            cluster: Some("c".parse().unwrap()),
            ..entry("certificate")
        },
    ];
    let open = house.open(&clients).await;
    (house, open)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_in_names_its_client_and_its_cluster() {
    let (house, open) = every_kind().await;
    let pair = |name| house.client_ca.signs(&client(name));
    let (prod, strict) = (pair("prod"), pair("strict"));
    let mut by_uri = client("nobody");
    by_uri.sans = vec![rcgen::SanType::URI(
        "spiffe://audit/stage".try_into().unwrap(),
    )];
    let by_uri = house.client_ca.signs(&by_uri);
    let cases = [
        (Shows::pair(&prod), "", "certificate", "c"),
        (Shows::pair(&prod), "/c", "certificate", "c"),
        (Shows::pair(&by_uri), "", "certificate", "c"),
        (
            Shows::pair(&strict).and(&bearer(STRICT)),
            "/any",
            "both",
            "any",
        ),
        (Shows::header(&bearer(TOKEN)), "", "token", "t"),
        (Shows::header(&bearer(NEXT)), "/t", "token", "t"),
        (Shows::header(BASIC), "", "basic", "home"),
        (Shows::header(BASIC), "/p", "basic", "p"),
        // The strongest decides: the certificate, whatever comes with it, also what says nothing valid.
        (
            Shows::pair(&prod).and("Negotiate abc").and(BASIC),
            "",
            "certificate",
            "c",
        ),
        (
            Shows::pair(&prod).and(&bearer(TOKEN)),
            "",
            "certificate",
            "c",
        ),
    ];
    for (shows, path, name, cluster) in cases {
        let requests = || open.server.metric("auditrelay_client_requests_total", name);
        let before = requests();
        for shows in [shows.clone(), shows.over_http2()] {
            let path = format!("/webhook{path}?timeout=30s");
            let answer = house.ask(&open.server, &shows, &path).await;
            assert_eq!(answer.code, 200, "{name} {path}: {answer:?}");
            let blocks = all_unrouted(&open.server.queue).await;
            assert_eq!(blocks.last().unwrap().cluster, cluster, "{name} {path}");
        }
        assert_eq!(requests(), before + 2.0, "{name}");
    }
}

/// In words that quote nothing; a 401 says what would do.
fn expect_refusal(answer: &Answer, code: u16) {
    let kind = if code == 401 {
        "Unauthorized"
    } else {
        "Forbidden"
    };
    answer.expect(code, kind);
    assert_eq!(answer.retry_after(), None, "{answer:?}");
    let challenges = answer.headers.get_all("www-authenticate").iter();
    let challenges: Vec<_> = challenges
        .map(|value| value.to_str().unwrap().split(' ').next().unwrap())
        .collect();
    let expected: &[&str] = if code == 401 {
        &["Bearer", "Basic"]
    } else {
        &[]
    };
    assert_eq!(challenges, expected, "{answer:?}");
    for secret in ["nobody-has", STRICT, TOKEN, "horse", "b3Bz"] {
        assert!(!answer.message.contains(secret), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_else_is_told_what_is_missing() {
    let (house, open) = every_kind().await;
    let pair = |name| house.client_ca.signs(&client(name));
    let (prod, strict, other) = (pair("prod"), pair("strict"), pair("other"));
    let strict_and_token = Shows::pair(&strict).and(&bearer(STRICT));
    let wrong = bearer("token-that-nobody-has");
    let cases = [
        (Shows::nothing(), "", 401, "unauthenticated"),
        (Shows::header(&wrong), "", 401, "unknown_token"),
        (
            Shows::header(&bearer(STRICT)),
            "",
            401,
            "credentials_incomplete",
        ),
        (
            Shows::header("Basic b3BzOndyb25n"),
            "",
            401,
            "wrong_password",
        ),
        (
            Shows::header("Negotiate abc"),
            "",
            401,
            "authorization_malformed",
        ),
        (
            Shows::header(BASIC).and(BASIC),
            "",
            401,
            "authorization_malformed",
        ),
        (Shows::pair(&other), "", 403, "unknown_certificate"),
        (Shows::pair(&strict), "", 401, "credentials_incomplete"),
        (Shows::pair(&strict).and(&wrong), "", 401, "unknown_token"),
        (Shows::pair(&prod), "/t", 403, "wrong_cluster"),
        (
            Shows::pair(&prod).and(&bearer(TOKEN)),
            "/t",
            403,
            "wrong_cluster",
        ),
        (Shows::header(&bearer(TOKEN)), "/c", 403, "wrong_cluster"),
        // Those without a cluster post for none that another has.
        (Shows::header(BASIC), "/c", 403, "wrong_cluster"),
        (strict_and_token, "/t", 403, "wrong_cluster"),
    ];
    for (shows, path, code, reason) in cases {
        let refused = || {
            open.server
                .metric("auditrelay_ingest_refused_total", reason)
        };
        let before = refused();
        for shows in [shows.clone(), shows.over_http2()] {
            let path = format!("/webhook{path}");
            let answer = house.ask(&open.server, &shows, &path).await;
            expect_refusal(&answer, code);
        }
        assert_eq!(refused(), before + 2.0, "{reason}");
    }
    let stored = open
        .server
        .metric("auditrelay_ingest_events_total", "stored");
    assert_eq!(stored, 0.0);
    let received = open
        .server
        .metric("auditrelay_ingest_received_bytes_total", "");
    assert_eq!(received, 0.0, "no body of theirs was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_none_of_ours_end_in_the_handshake() {
    let (house, open) = every_kind().await;
    let mut expired = client("prod");
    expired.seconds = -5;
    let mut for_servers = server("prod");
    for_servers.sans.clear();
    let pairs = [
        (
            "another CA",
            Authority::new("signs clients").signs(&client("prod")),
        ),
        ("expired", house.client_ca.signs(&expired)),
        ("not for clients", house.client_ca.signs(&for_servers)),
    ];
    for (what, pair) in pairs {
        for tls12 in [false, true] {
            let shows = Shows {
                tls12,
                ..Shows::pair(&pair).and(&bearer(TOKEN))
            };
            // With TLS 1.3 the client learns of it with the first answer only.
            let outcome = match house.dial(&open.server, &shows).await {
                Ok(mut line) => line.post("/webhook").await.map(|answer| answer.code).ok(),
                Err(_) => None,
            };
            assert_eq!(outcome, None, "{what}");
        }
    }
    let failed = || {
        open.server
            .metric("auditrelay_ingest_refused_total", "handshake_failed")
    };
    eventually("each is counted", || failed() == 6.0).await;
    let stored = open
        .server
        .metric("auditrelay_ingest_events_total", "stored");
    assert_eq!(stored, 0.0);
    let shows = Shows {
        tls12: true,
        ..Shows::pair(&house.client_ca.signs(&client("prod")))
    };
    assert_eq!(house.ask(&open.server, &shows, "/webhook").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_come_in_is_told_before_the_body() {
    let (house, open) = every_kind().await;
    let mut stream = house
        .shake_hands(&open.server, &Shows::nothing())
        .await
        .unwrap();
    let head = head("/webhook", 60_000_000);
    within(stream.write_all(head.as_bytes())).await.unwrap();
    let mut answer = [0; 12];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(
        open.server.metric("auditrelay_ingest_bytes_in_flight", ""),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_until_its_time_is_over_not_until_the_connection_ends() {
    let (house, open) = every_kind().await;
    // Long enough for the first request, however slow the machine is.
    for seconds in [2, 5, 15] {
        let mut wish = client("prod");
        wish.seconds = seconds;
        let pair = house.client_ca.signs(&wish);
        let shows = Shows::pair(&pair);
        let Ok(mut line) = house.dial(&open.server, &shows).await else {
            continue;
        };
        let Ok(first) = line.post("/webhook").await else {
            continue;
        };
        if first.code != 200 {
            continue;
        }
        let expired = || {
            let reason = "certificate_expired";
            let name = "auditrelay_ingest_refused_total";
            open.server.metric(name, reason)
        };
        let before = expired();
        let until_refused = async {
            loop {
                let answer = line
                    .post("/webhook")
                    .await
                    .expect("the connection stays open");
                if answer.code != 200 {
                    break answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let refused = within(until_refused).await;
        refused.expect(401, "Unauthorized");
        assert!(
            refused.message.contains("not valid at this time; renew it"),
            "{refused:?}"
        );
        assert_eq!(expired(), before + 1.0);
        return;
    }
    panic!("no request came through within 15 seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_ends_tls_hands_the_header_on() {
    let house = House::new();
    let clients = [ClientConfig {
        token_file: Some(house.write("tokens", TOKEN)),
        ..entry("token")
    }];
    let keyring = auditrelay_ingest::Keyring::open(&Default::default(), &clients).unwrap();
    assert!(keyring.warnings().join("\n").contains("over plain http"));
    let dir = tempfile::TempDir::new().unwrap();
    let server = start_behind(open(dir.path()), &config(), false, keyring).await;
    let body = || list(&[event("a", "")]);
    server
        .post("/webhook", body())
        .await
        .expect(401, "Unauthorized");
    let headers = [("authorization", &*bearer(TOKEN))];
    let request = server.request("POST", "/webhook", &headers, body());
    assert_eq!(server.send(request).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_certificates_expire_is_a_metric() {
    let house = House::new();
    let clients = [ClientConfig {
        certificate_names: vec!["prod".into()],
        ..entry("certificate")
    }];
    let open = house.open_and_watch(&clients).await;
    let name = "auditrelay_tls_certificate_not_after_timestamp_seconds";
    let expires = || open.server.metric(name, "server");
    let first = expires();
    assert!(open.server.metric(name, "client_ca") > first);
    let mut wish = server("short");
    wish.seconds = 1000;
    house.serve(&house.ca.signs(&wish));
    eventually("it is read", || expires() < first).await;
    let earlier = first - expires();
    let expected = (60 * 24 * 3600 - 1000) as f64;
    assert!((earlier - expected).abs() < 100.0, "{earlier}");
    // That of a client, once it was there: it lasts for an hour.
    let prod = Shows::pair(&house.client_ca.signs(&client("prod")));
    assert_eq!(house.ask(&open.server, &prod, "/webhook").await.code, 200);
    let name = "auditrelay_client_certificate_not_after_timestamp_seconds";
    let later = open.server.metric(name, "certificate") - expires();
    assert!((later - 2600.0).abs() < 100.0, "{later}");
    assert!(open.keyring.warnings().join("\n").contains(
        "client certificate: the certificate that it shows, or one between that and its CA, expires within 14 days"
    ));
}

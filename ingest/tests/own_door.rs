//! The relay as its own client, over real TLS: it comes in, counts as nobody, and looks at the certificate.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use std::time::Duration;

use auditrelay_config::ClientConfig;
use auditrelay_ingest::{Attempt, OwnDoor};
use bytes::Bytes;
use common::{
    guests::{House, Open, entry},
    pki::server,
    *,
};

const WITHIN: Duration = Duration::from_secs(20);

fn clients(house: &House) -> [ClientConfig; 2] {
    [
        ClientConfig {
            token_file: Some(house.write("tokens", "token-of-one-client-0001")),
            ..entry("token")
        },
        ClientConfig {
            certificate_names: vec!["prod".into()],
            ..entry("certificate")
        },
    ]
}

fn door(open: &Open) -> OwnDoor {
    OwnDoor::new(open.server.address, open.keyring.clone()).unwrap()
}

fn one() -> Bytes {
    list(&[event("own", "")]).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_let_in_for_the_cluster_that_it_names_and_counts_as_no_client() {
    let house = House::new();
    let open = house.open(&clients(&house)).await;
    let first = door(&open);
    first.post("watchdog", one(), WITHIN).await.unwrap();
    let blocks = all_unrouted(&open.server.queue).await;
    assert_eq!(blocks.last().unwrap().cluster, "watchdog");
    for name in ["token", "certificate"] {
        let requests = open.server.metric("auditrelay_client_requests_total", name);
        assert_eq!(requests, 0.0, "{name}");
    }
    // A token is of one door: the one before is worth nothing.
    let second = door(&open);
    second.post("watchdog", one(), WITHIN).await.unwrap();
    let Err(Attempt::Failed(reason)) = first.post("watchdog", one(), WITHIN).await else {
        panic!("it was let in");
    };
    assert!(reason.starts_with("the webhook answered 401: "), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_another_one_or_over_is_a_failure() {
    let (house, other) = (House::new(), House::new());
    let open = house.open(&clients(&house)).await;
    let elsewhere = other.open(&clients(&other)).await;
    let mixed = OwnDoor::new(open.server.address, elsewhere.keyring.clone()).unwrap();
    let failed = mixed.post("watchdog", one(), WITHIN).await.unwrap_err();
    let words = failed.to_string();
    assert!(words.starts_with("another certificate than"), "{words}");

    let mut wish = server("over");
    wish.seconds = -1;
    house.serve(&house.ca.signs(&wish));
    let open = house.open(&clients(&house)).await;
    let failed = door(&open)
        .post("watchdog", one(), WITHIN)
        .await
        .unwrap_err();
    let words = failed.to_string();
    assert!(words.contains("has expired"), "{words}");
    assert_eq!(open.server.queue.ledger().received, 0);
}

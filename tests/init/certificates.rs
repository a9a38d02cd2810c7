//! Whom a client's certificate names: its own cluster, in each of its names.

use std::fs;

use x509_parser::pem::parse_x509_pem;

use crate::{
    connect::{Relay, other_cluster, works},
    init, text,
};

/// The CN of a certificate's subject.
fn common_name(pem: &str) -> String {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("a certificate");
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().expect("a CN").as_str().expect("text");
    assert!(name.len() <= 64, "X.509 has no longer ones: {name}");
    assert_eq!(names.next(), None, "one CN");
    name.to_owned()
}

#[test]
fn the_longest_name_of_a_cluster_fits() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "x".repeat(63);
    let url = format!("https://relay.example/webhook/{name}");
    init(folder.path(), &url, &[]);
    let client = text(folder.path().join("set/apiserver/client.crt"));
    assert_eq!(common_name(&client), name);
}

/// Whoever lists the CN instead of the URI lets in one cluster, and none of the others of the same CA.
#[tokio::test]
async fn a_list_of_common_names_tells_clusters_apart_too() {
    let mut relay = Relay::start(&["--mtls"]);
    let name = common_name(&text(relay.path("set/apiserver/client.crt")));
    let config = relay.path("set/relay/relay.yaml");
    let written = text(&config);
    let changed = written.replace("urn:auditrelay:cluster:prod", &name);
    assert_ne!(changed, written);
    fs::write(&config, changed).expect("written");
    relay.restart();
    works(&relay).await;
    assert_eq!(other_cluster(&relay, &["--mtls"]).await, ["403", "403"]);
}

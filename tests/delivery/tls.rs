//! A server whose certificate nobody vouches for: it is refused, and gets nothing.

use std::{fs, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::{
    support::{PATIENCE, Running, ids, list, metric},
    until,
    wire::{Seen, read_request},
};

/// Signed by itself, for `localhost` and `127.0.0.1`, from 2020 to 2120. Its key protects nothing.
const CERTIFICATE: &str = "\
    MIIBZDCCAQqgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwIBcNMjAwMTAxMDAwMDAw\
    WhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA\
    BIxi4RzTRFc/hSVI6aqQ/sdUFzmG2QMcYp1HzSQDnCc9v3VPQoUgSeDEkoBQjQJF+EnoVsgSeVVdrwS476HQ0qqj\
    SzBJMAwGA1UdEwEB/wQCMAAwGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMB0GA1UdDgQWBBQ7pWXmHDHa+lCn\
    tpIlROgakI6ynzAKBggqhkjOPQQDAgNIADBFAiEA7lCgRmnrAkQEsuaB7Ajv0fE2EHgve4neF6ga2pPex5QCIDyS\
    j2emsb6FGSvbL473AbD8zhIXb/cxEm5qacwy7uoL\
    ";
const KEY: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgaSbjKG7n0xJ7sioM9TyzWcojTBZGJUPl55wdizG7\
    g0ChRANCAASMYuEc00RXP4UlSOmqkP7HVBc5htkDHGKdR80kA5wnPb91T0KFIEngxJKAUI0CRfhJ6FbIEnlVXa8E\
    uO+h0NKq\
    ";

fn certificate() -> CertificateDer<'static> {
    let pem = format!("-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n");
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

fn key() -> PrivateKeyDer<'static> {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n");
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key")
}

/// A TLS server that keeps requests, and what became of each connection's handshake.
async fn server() -> (SocketAddr, Seen, Seen) {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key())
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (requests, handshakes) = (Seen::default(), Seen::default());
    let (into, of) = (requests.clone(), handshakes.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, into, of) = (acceptor.clone(), into.clone(), of.clone());
            tokio::spawn(async move {
                match acceptor.accept(stream).await {
                    Err(error) => of.push(error.to_string().as_bytes()),
                    Ok(mut stream) => {
                        of.push(b"accepted");
                        // A client that leaves within its request is no news.
                        if let Ok(Some(request)) = read_request(&mut stream).await {
                            into.push(&request.whole);
                            let _gone = stream.write_all(b"HTTP/1.1 204 None\r\n\r\n").await;
                        }
                    }
                }
            });
        }
    });
    (address, requests, handshakes)
}

/// Who trusts the certificate is served: the server is as it should be.
async fn asked_by_one_who_trusts_it(address: SocketAddr) {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .expect("it is trusted");
    let request = b"GET /trusted HTTP/1.1\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, requests, handshakes) = server().await;
    asked_by_one_who_trusts_it(address).await;
    assert_eq!(requests.all().len(), 1);
    let config = format!(
        "slack: {{ token: xoxb-never-shown, api_url: 'https://localhost:{}/api/' }}
channels: {{ a: {{ slack_channel: CAAAA, retry_max_seconds: 1 }} }}
default_channel: a
",
        address.port()
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let body = list("alice", "delete", ids("e", 1));
    assert_eq!(relay.post("/webhook", body).await.0, 200);
    until("tries", || handshakes.all().len() >= 4).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !relay.logs().contains("invalid peer certificate") {
        assert!(tokio::time::Instant::now() < deadline, "{}", relay.logs());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let metrics = relay.get("/metrics").await.1;
    let unknown = metric(
        &metrics,
        "auditrelay_posts_total{channel=\"a\",outcome=\"unknown\"}",
    );
    assert_eq!(unknown, 0.0, "nothing was sent, so nothing can be there");
    let logs = relay.logs();
    assert!(
        logs.contains("the destination takes no message for now"),
        "{logs}"
    );
    // Only the one who trusts it has sent anything.
    assert_eq!(requests.all().len(), 1, "{:?}", requests.all());
    assert!(
        handshakes.all()[1..].iter().all(|one| one != "accepted"),
        "{:?}",
        handshakes.all()
    );
}

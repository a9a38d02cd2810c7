//! The real binary behind TLS: who comes in, what changes while it runs, and what `check` says of it.

mod support;

use std::{fs, path::Path, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use support::{PATIENCE, Running, list, metric, run};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

const OLD: &str = "old-token-of-the-test-1";
const NEW: &str = "new-token-of-the-test-2";

const CONFIG: &str = "\
listen: 127.0.0.1:0
tls: {certificate_file: server.crt, key_file: server.key, client_ca_file: ca.crt}
clients:
- {name: prod-apiserver, cluster: prod, certificate_names: [audit-of-prod]}
- {name: dev-apiserver, cluster: dev, token_file: tokens}
- {name: old-sink, username: ops, password_file: passwords}
";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a CA")
}

/// A certificate and its key, PEM.
fn signed(ca: &Authority, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, ca).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

/// A file that nobody else may read; whole or not there.
fn write(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let new = folder.join("new");
    fs::write(&new, text).expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("closed");
    fs::rename(&new, folder.join(name)).expect("renamed");
}

fn serve_certificate(folder: &Path, ca: &Authority, name: &str) {
    let (certificate, key) = signed(ca, name, ExtendedKeyUsagePurpose::ServerAuth);
    write(folder, "server.crt", &certificate);
    write(folder, "server.key", &key);
}

/// A folder with everything that [`CONFIG`] names.
fn folder(ca: &Authority) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "config.yaml", CONFIG);
    write(folder.path(), "ca.crt", &ca.pem());
    write(folder.path(), "tokens", &format!("{OLD}\n"));
    write(folder.path(), "passwords", "a long enough password\n");
    serve_certificate(folder.path(), ca, "first");
    folder
}

fn connector(ca: &Authority, own: Option<&(String, String)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("a CA");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder
                .with_client_auth_cert(vec![chain], key)
                .expect("a pair")
        }
    })
    .into()
}

/// A connection, and what the server's certificate is.
async fn dial(
    relay: &Running,
    connector: &TlsConnector,
) -> (http1::SendRequest<Full<Bytes>>, CertificateDer<'static>) {
    let stream = TcpStream::connect(relay.webhook).await.expect("it listens");
    let name = "localhost".try_into().expect("a name");
    let stream = connector.connect(name, stream).await.expect("a handshake");
    let seen = stream
        .get_ref()
        .1
        .peer_certificates()
        .expect("a certificate")[0]
        .clone();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    (sender, seen.into_owned())
}

async fn post(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    path: &str,
    authorization: Option<&str>,
) -> (u16, serde_json::Value) {
    let body = list("alice", "get", ["an-event".to_owned()]);
    let mut request = Request::post(path).header("host", "localhost");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let asking = async {
        sender.ready().await.expect("open");
        let response = sender.send_request(request).await.expect("an answer");
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body");
        (
            code,
            serde_json::from_slice(&body.to_bytes()).expect("JSON"),
        )
    };
    timeout(PATIENCE, asking).await.expect("in time")
}

async fn ask(relay: &Running, connector: &TlsConnector, path: &str, token: &str) -> u16 {
    let (mut sender, _) = dial(relay, connector).await;
    let bearer = format!("Bearer {token}");
    post(&mut sender, path, Some(&bearer)).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_comes_in_and_files_change_while_connections_stay_open() {
    let ca = authority();
    let folder = folder(&ca);
    let mut relay = Running::start(folder.path(), &[], &["--config", "config.yaml"]);
    let nobody = connector(&ca, None);
    let pair = signed(&ca, "audit-of-prod", ExtendedKeyUsagePurpose::ClientAuth);
    let (mut prod, first) = dial(&relay, &connector(&ca, Some(&pair))).await;
    assert_eq!(post(&mut prod, "/webhook", None).await.0, 200);
    let (code, status) = post(&mut prod, "/webhook/dev", None).await;
    assert_eq!(
        (code, &status["reason"]),
        (403, &"Forbidden".into()),
        "{status}"
    );
    assert_eq!(ask(&relay, &nobody, "/webhook/dev", OLD).await, 200);
    assert_eq!(ask(&relay, &nobody, "/webhook/prod", OLD).await, 403);
    assert_eq!(ask(&relay, &nobody, "/webhook", NEW).await, 401);

    // What cannot be used is told and changes nothing.
    write(folder.path(), "tokens", "# none\n");
    settle("it is told", || {
        relay
            .logs()
            .contains("tokens holds no token; write one a line")
    })
    .await;
    assert_eq!(ask(&relay, &nobody, "/webhook", OLD).await, 200);

    // A new token, a new certificate; the old connection goes on.
    write(folder.path(), "tokens", &format!("{NEW}\n"));
    serve_certificate(folder.path(), &ca, "second");
    settle("they are in use", || {
        let logs = relay.logs();
        let in_use = logs
            .lines()
            .filter(|line| line.contains("changed and are in use"));
        let told: String = in_use.collect();
        // In one line or in two: each is a unit of its own.
        told.contains("tokens\"") && told.contains("server.crt")
    })
    .await;
    assert_eq!(ask(&relay, &nobody, "/webhook", NEW).await, 200);
    assert_eq!(ask(&relay, &nobody, "/webhook", OLD).await, 401);
    let (_, second) = dial(&relay, &nobody).await;
    assert_ne!(first, second);
    assert_eq!(post(&mut prod, "/webhook", None).await.0, 200);

    everything_is_counted_and_little_is_logged(&mut relay).await;
}

async fn everything_is_counted_and_little_is_logged(relay: &mut Running) {
    let (_, metrics) = relay.get("/metrics").await;
    for (series, expected) in [
        (
            r#"auditrelay_client_requests_total{client="prod-apiserver"}"#,
            2.0,
        ),
        (
            r#"auditrelay_client_requests_total{client="dev-apiserver"}"#,
            3.0,
        ),
        (
            r#"auditrelay_client_requests_total{client="old-sink"}"#,
            0.0,
        ),
        (
            r#"auditrelay_ingest_refused_total{reason="wrong_cluster"}"#,
            2.0,
        ),
        (
            r#"auditrelay_ingest_refused_total{reason="unknown_token"}"#,
            2.0,
        ),
        (
            r#"auditrelay_ingest_file_reloads_total{outcome="failure"}"#,
            1.0,
        ),
        ("auditrelay_ingest_files_current", 1.0),
    ] {
        assert_eq!(metric(&metrics, series), expected, "{series}");
    }
    let logs = relay.logs();
    assert_eq!(logs.matches("holds no token").count(), 1, "{logs}");
    // Twice from one address within a minute, and logged once.
    assert_eq!(logs.matches("wrong_cluster").count(), 1, "{logs}");
    for secret in [OLD, NEW, "long enough password"] {
        assert!(!logs.contains(secret), "{logs}");
    }
}

async fn settle(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[test]
fn check_says_who_comes_in_and_what_is_wrong_with_a_file() {
    let ca = authority();
    let folder = folder(&ca);
    let check = || run(folder.path(), &[], &["check", "--config", "config.yaml"]);
    let (code, stdout, stderr) = check();
    assert_eq!(code, 0, "{stdout}{stderr}");
    for line in [
        "webhook on 127.0.0.1:0: https, with a certificate until ",
        "client prod-apiserver: a certificate of audit-of-prod; for cluster prod",
        "client dev-apiserver: a token; for cluster dev",
        "client old-sink: the password of ops; for the cluster that its path names (not dev, prod: another client's own)",
    ] {
        assert!(stdout.contains(line), "{line}\n{stdout}");
    }
    assert!(!stdout.contains("warning"), "{stdout}");

    // Of the clients that have no cluster, each has to name one where the relay's is another client's.
    let own = format!("{CONFIG}cluster: dev\n");
    write(folder.path(), "config.yaml", &own);
    let (code, stdout, _) = check();
    let warning = "warning: client old-sink has no cluster, and dev, which is meant by a path";
    assert!(code == 0 && stdout.contains(warning), "{stdout}");
    assert_eq!(stdout.matches("has no cluster").count(), 1, "{stdout}");
    write(folder.path(), "config.yaml", CONFIG);

    write(folder.path(), "tokens", "hunter2\n");
    let (code, stdout, _) = check();
    let warning =
        "warning: clients[1].token_file: tokens holds a token in line 1 that is short enough";
    assert!(code == 0 && stdout.contains(warning), "{stdout}");

    write(folder.path(), "tokens", "hunter 2\n");
    for command in ["check", "serve"] {
        let (code, stdout, stderr) = run(folder.path(), &[], &[command, "--config", "config.yaml"]);
        assert_eq!((code, stdout.as_str()), (78, ""), "{command}: {stderr}");
        let problem =
            "auditrelay: clients[1].token_file: tokens holds no token in line 1: only visible";
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with(problem), "{stderr}");
        assert!(!stderr.contains("hunter"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_files_alone_needs_none_of_the_doors_files() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "config.yaml", CONFIG);
    write(folder.path(), "audit.log", "");
    let arguments = ["audit.log", "--config", "config.yaml"];
    let mut relay = Running::tail(folder.path(), &arguments);
    let (_, metrics) = relay.get("/metrics").await;
    assert!(!metrics.contains("auditrelay_ingest_files_current"));
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0));
}

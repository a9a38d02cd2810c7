//! A TLS server that notes what it is sent, and kubeconfigs for its clients.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use auditrelay_loadtest::apiserver::{Options, Target};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::support::one_batch;

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub version: Version,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub connection: usize,
    /// The name that the client asked for, and whether it showed a certificate.
    pub sni: Option<String>,
    pub has_certificate: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Answer = dyn Fn(usize, &Seen) -> StatusCode + Send + Sync;

/// A TLS server on a port of its own, and a folder with what its clients need.
pub struct Server {
    folder: TempDir,
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct Signed {
    certificate: String,
    key: String,
}

fn signed(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, sans: &[&str]) -> Signed {
    let sans: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
    let mut params = CertificateParams::new(sans).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    Signed {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

pub fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Server {
    pub async fn start(
        protocols: &[&str],
        answer: impl Fn(usize, &Seen) -> StatusCode + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(protocols, false, answer).await
    }

    /// The same, which may close each connection after its first request (HTTP/2: GOAWAY).
    pub async fn start_with(
        protocols: &[&str],
        closes: bool,
        answer: impl Fn(usize, &Seen) -> StatusCode + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = authority();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let client = signed(&ca, "an API server", &[]);
        put("ca.crt", &ca.pem());
        put("client.crt", &client.certificate);
        put("client.key", &client.key);
        let server = signed(&ca, "sink", &["127.0.0.1", "sink.example"]);
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::default();
        let serving = serve(
            listener,
            config,
            closes,
            Arc::clone(&seen),
            Arc::new(answer),
        );
        tokio::spawn(serving);
        Self { folder, port, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self, name: &str) -> String {
        STANDARD.encode(fs::read(self.path(name)).unwrap())
    }

    /// Writes a kubeconfig with these lines of its cluster and its user.
    pub fn kubeconfig(&self, cluster: &[&str], user: &[&str]) -> PathBuf {
        let path = self.path("kubeconfig.yaml");
        fs::write(
            &path,
            kubeconfig(&format!("https://127.0.0.1:{}", self.port), cluster, user),
        )
        .unwrap();
        path
    }

    pub fn options(&self, events: u32, cluster: &[&str], user: &[&str]) -> Options {
        Options {
            target: Target::from_kubeconfig(&self.kubeconfig(cluster, user)).unwrap(),
            ..one_batch("http://127.0.0.1:1", events)
        }
    }
}

/// Beside what counts there is what does not, as in a file that somebody merged.
pub fn kubeconfig(server: &str, cluster: &[&str], user: &[&str]) -> String {
    let lines = |lines: &[&str]| {
        let line = |line: &&str| format!("    {line}\n");
        lines.iter().map(line).collect::<String>()
    };
    let (cluster, user) = (lines(cluster), lines(user));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: webhook\n\
         clusters:\n- name: elsewhere\n  cluster:\n    server: https://192.0.2.1\n\
         - name: sink\n  cluster:\n    server: {server}/webhook/prod/?cluster=x\n{cluster}\
         users:\n- name: me\n  user:\n    unknown-key: 1\n{user}\
         contexts:\n- name: webhook\n  context: {{cluster: sink, user: me}}\n"
    )
}

pub const CA: &str = "certificate-authority: ca.crt";

async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    closes: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<Answer>,
) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, seen, answer) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&answer));
        tokio::spawn(async move {
            // A client that does not trust it leaves here.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let tls = &stream.get_ref().1;
            let sni = tls.server_name().map(str::to_owned);
            let has_certificate = tls.peer_certificates().is_some();
            let asked = Arc::new(Notify::new());
            let first = Arc::clone(&asked);
            let service = service_fn(move |request: Request<Incoming>| {
                let (seen, answer, sni) = (Arc::clone(&seen), Arc::clone(&answer), sni.clone());
                let first = Arc::clone(&first);
                async move {
                    let (head, body) = request.into_parts();
                    let one = Seen {
                        version: head.version,
                        uri: head.uri.to_string(),
                        headers: head.headers,
                        body: body.collect().await.unwrap().to_bytes(),
                        connection,
                        sni,
                        has_certificate,
                    };
                    let number = {
                        let mut all = seen.lock().unwrap();
                        all.push(one.clone());
                        all.len()
                    };
                    let mut response = Response::new(Full::<Bytes>::default());
                    *response.status_mut() = answer(number, &one);
                    if closes {
                        first.notify_one();
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection(TokioIo::new(stream), service);
            let mut served = std::pin::pin!(served);
            // It ends with the client, at the latest.
            tokio::select! {
                _ended = &mut served => return,
                () = asked.notified() => served.as_mut().graceful_shutdown(),
            }
            let _ended = served.await;
        });
    }
}

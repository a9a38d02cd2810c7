//! An encrypted webhook, and clients for it that speak HTTP/1.1, HTTP/2, or frames by hand.

use std::{fs, io::Write, net::SocketAddr, sync::Arc};

use auditrelay_config::{IngestConfig, TlsConfig};
use auditrelay_ingest::Keyring;
use auditrelay_store::Queue;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
};

use super::{Answer, Server, start_behind, within};

/// A server's certificate for `localhost`, its own CA.
pub struct Certificate {
    _dir: TempDir,
    pub tls: TlsConfig,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str, text: String| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        Self {
            tls: TlsConfig {
                certificate_file: file("server.crt", made.cert.pem()),
                key_file: file("server.key", made.signing_key.serialize_pem()),
                client_ca_file: None,
            },
            der: made.cert.der().clone(),
            _dir: dir,
        }
    }

    /// A client that trusts it and offers these protocols.
    pub fn client(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        connector(roots, protocols)
    }

    pub fn keyring(&self) -> Keyring {
        Keyring::open(&self.tls, &[]).unwrap()
    }
}

pub fn connector(roots: RootCertStore, protocols: &[&str]) -> TlsConnector {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().into())
        .collect();
    Arc::new(config).into()
}

/// An encrypted server over `queue`.
pub async fn start_encrypted<Q: Queue>(
    queue: Q,
    config: &IngestConfig,
    certificate: &Certificate,
) -> Server<Q> {
    start_behind(queue, config, false, certificate.keyring()).await
}

/// A TLS connection to a server.
pub async fn shake_hands(client: &TlsConnector, address: SocketAddr) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    within(client.connect(name, stream)).await.unwrap()
}

/// The same, and what is said at once: the server has it with the end of the handshake, however slow this side is.
pub async fn shake_hands_saying(
    client: &TlsConnector,
    address: SocketAddr,
    said: &[u8],
) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let shaking = client.connect_with(name, stream, |session| {
        session.writer().write_all(said).unwrap();
    });
    within(shaking).await.unwrap()
}

/// An HTTP/2 connection; requests on clones of it go side by side.
#[derive(Clone)]
pub struct Http2 {
    pub sender: http2::SendRequest<Full<Bytes>>,
}

impl Http2 {
    pub async fn connect<Q>(
        server: &Server<Q>,
        certificate: &Certificate,
    ) -> (Self, JoinHandle<hyper::Result<()>>) {
        let stream = shake_hands(&certificate.client(&["h2"]), server.address).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, connection) = within(http2::handshake(TokioExecutor::new(), io))
            .await
            .unwrap();
        (Self { sender }, tokio::spawn(connection))
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(path, &[], body).await.expect("an answer")
    }

    pub async fn send(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<Answer> {
        let mut request = Request::post(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        within(self.sender.ready()).await?;
        let response = within(self.sender.send_request(request)).await?;
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await?.to_bytes();
        Ok(Answer::new(head.status.as_u16(), head.headers, &body))
    }
}

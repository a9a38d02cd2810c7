//! A webhook that knows its clients, and clients that show this and that, over real TLS.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use auditrelay_config::{ClientConfig, TlsConfig};
use auditrelay_ingest::Keyring;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig as TlsClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        version::{TLS12, TLS13},
    },
};

use super::{
    Answer, Server, config, event, list, open,
    pki::{Authority, Pair, server},
    start_behind, within,
};

/// How often a watched keyring reads its files in tests.
pub const OFTEN: Duration = Duration::from_millis(15);

/// The files of one webhook, and who signs what it trusts.
pub struct House {
    pub dir: TempDir,
    pub ca: Authority,
    pub client_ca: Authority,
}

/// The webhook of a house.
pub struct Open {
    pub server: Server,
    pub keyring: Arc<Keyring>,
    watching: Option<JoinHandle<()>>,
    _data: TempDir,
}

/// What a client shows, and how it speaks.
#[derive(Clone, Default)]
pub struct Shows {
    pub pair: Option<Pair>,
    pub authorization: Vec<String>,
    pub http2: bool,
    pub tls12: bool,
}

/// A connection of a client.
pub struct Line {
    speaks: Speaks,
    authorization: Vec<String>,
    /// The certificate that the server showed.
    pub seen: CertificateDer<'static>,
    /// Whether it went on from an earlier connection's session.
    pub is_resumed: bool,
}

enum Speaks {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl House {
    pub fn new() -> Self {
        let house = Self {
            dir: TempDir::new().unwrap(),
            ca: Authority::new("signs servers"),
            client_ca: Authority::new("signs clients"),
        };
        house.serve(&house.ca.signs(&server("first")));
        house.write("client-ca", &house.client_ca.pem());
        house
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, at once, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.at("new"), text).unwrap();
        fs::rename(self.at("new"), self.at(name)).unwrap();
        self.at(name)
    }

    /// Puts a server's certificate and key there.
    pub fn serve(&self, pair: &Pair) {
        self.write("certificate", &pair.certificate);
        self.write("key", &pair.key);
    }

    pub fn tls(&self) -> TlsConfig {
        TlsConfig {
            certificate_file: Some(self.at("certificate")),
            key_file: Some(self.at("key")),
            client_ca_file: Some(self.at("client-ca")),
        }
    }

    pub async fn open(&self, clients: &[ClientConfig]) -> Open {
        let data = TempDir::new().unwrap();
        let keyring = Arc::new(Keyring::open(&self.tls(), clients).unwrap());
        let queue = open(data.path());
        let server = start_behind(queue, &config(), false, Arc::clone(&keyring)).await;
        Open {
            server,
            keyring,
            watching: None,
            _data: data,
        }
    }

    /// Opens it, and reads the files again and again.
    pub async fn open_and_watch(&self, clients: &[ClientConfig]) -> Open {
        let mut open = self.open(clients).await;
        let watching = Arc::clone(&open.keyring).watch(OFTEN);
        open.watching = Some(tokio::spawn(watching));
        open
    }

    /// A connection; fails where the server does not want it.
    pub async fn dial<Q>(&self, server: &Server<Q>, shows: &Shows) -> std::io::Result<Line> {
        self.dial_with(&self.connector(shows), server, shows).await
    }

    /// The same by a client that may have been there before.
    pub async fn dial_with<Q>(
        &self,
        connector: &TlsConnector,
        server: &Server<Q>,
        shows: &Shows,
    ) -> std::io::Result<Line> {
        let stream = shake(connector, server).await?;
        let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let seen = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let io = TokioIo::new(stream);
        let speaks = if shows.http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(std::io::Error::other)?;
            tokio::spawn(connection);
            Speaks::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
            tokio::spawn(connection);
            Speaks::Http1(sender)
        };
        Ok(Line {
            speaks,
            authorization: shows.authorization.clone(),
            seen: seen.into_owned(),
            is_resumed,
        })
    }

    pub async fn shake_hands<Q>(
        &self,
        server: &Server<Q>,
        shows: &Shows,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        shake(&self.connector(shows), server).await
    }

    /// What a client that shows this connects with; used again, it takes its session up again.
    pub fn connector(&self, shows: &Shows) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.pem().as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let versions: &[&SupportedProtocolVersion] =
            if shows.tls12 { &[&TLS12] } else { &[&TLS13] };
        let builder = TlsClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &shows.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![pair.der()];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let protocol: &[u8] = if shows.http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config).into()
    }

    /// One request on a connection of its own.
    pub async fn ask<Q>(&self, server: &Server<Q>, shows: &Shows, path: &str) -> Answer {
        let mut line = self.dial(server, shows).await.expect("let in by TLS");
        line.post(path).await.expect("an answer")
    }
}

async fn shake<Q>(
    connector: &TlsConnector,
    server: &Server<Q>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await?;
    let name = "localhost".try_into().unwrap();
    within(connector.connect(name, stream)).await
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl Pair {
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

impl Shows {
    pub fn nothing() -> Self {
        Self::default()
    }

    pub fn pair(pair: &Pair) -> Self {
        Self {
            pair: Some(pair.clone()),
            ..Self::default()
        }
    }

    pub fn header(value: &str) -> Self {
        Self::default().and(value)
    }

    /// The same, with one more `Authorization` header.
    pub fn and(mut self, value: &str) -> Self {
        self.authorization.push(value.to_owned());
        self
    }

    pub fn over_http2(&self) -> Self {
        Self {
            http2: true,
            ..self.clone()
        }
    }
}

impl Line {
    /// Posts one event.
    pub async fn post(&mut self, path: &str) -> hyper::Result<Answer> {
        let mut request = Request::post(match &self.speaks {
            Speaks::Http1(_) => path.to_owned(),
            Speaks::Http2(_) => format!("https://localhost{path}"),
        });
        if matches!(self.speaks, Speaks::Http1(_)) {
            request = request.header("host", "localhost");
        }
        for value in &self.authorization {
            request = request.header("authorization", value);
        }
        let body = Bytes::from(list(&[event("a", "")]));
        let request = request.body(Full::new(body)).unwrap();
        let response = match &mut self.speaks {
            Speaks::Http1(sender) => {
                within(sender.ready()).await?;
                within(sender.send_request(request)).await?
            }
            Speaks::Http2(sender) => {
                within(sender.ready()).await?;
                within(sender.send_request(request)).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await?.to_bytes();
        Ok(Answer::new(head.status.as_u16(), head.headers, &body))
    }
}

/// A client of this name that is asked for nothing yet.
pub fn entry(name: &str) -> ClientConfig {
    ClientConfig {
        name: name.parse().unwrap(),
        cluster: None,
        certificate_names: Vec::new(),
        token_file: None,
        username: None,
        password_file: None,
    }
}

//! A relay that speaks https, its clients, and what it takes of the machine.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
};

use crate::support::{PATIENCE, Running, list, slack};

/// A running relay behind TLS.
pub(crate) struct Door {
    pub(crate) relay: Running,
    certificate: CertificateDer<'static>,
    _slack: LocalSlack,
    folder: TempDir,
    env: &'static [(&'static str, &'static str)],
}

/// In how long a request is answered is what most of this is about.
const IN_TIME: [(&str, &str); 1] = [("AUDITRELAY__INGEST__ACK_TIMEOUT_MILLISECONDS", "900")];

impl Door {
    /// `ingest` is what its configuration says of that.
    pub(crate) async fn open(ingest: &str) -> Self {
        let slack = slack(Duration::from_millis(100)).await;
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let file = |name: &str, text: String| -> PathBuf {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        file("server.crt", made.cert.pem());
        file("server.key", made.signing_key.serialize_pem());
        let config = format!(
            "slack: {{token: xoxb-test, api_url: '{}'}}
tls: {{certificate_file: server.crt, key_file: server.key}}
channels: {{ops: {{slack_channel: COPS}}}}
{ingest}
",
            slack.api_url()
        );
        file("c.yaml", config);
        let env: &[_] = match ingest {
            "" => &IN_TIME,
            _ => &[],
        };
        Self {
            relay: Running::start(folder.path(), env, &["--config", "c.yaml"]),
            certificate: made.cert.der().clone(),
            _slack: slack,
            folder,
            env,
        }
    }

    /// Once the relay has ended: another, on the same queue.
    pub(crate) fn start_again(&mut self) {
        self.relay = Running::start(self.folder.path(), self.env, &["--config", "c.yaml"]);
    }

    /// A client's side of TLS that offers this protocol.
    pub(crate) fn connector(&self, protocol: &str) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        Arc::new(config).into()
    }

    pub(crate) fn caller(&self, protocol: &str) -> Caller {
        Caller {
            connector: self.connector(protocol),
            webhook: self.relay.webhook,
        }
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.relay.pid()).into()
    }

    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(self.proc("fd")).expect("it runs").count()
    }

    fn kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect(field).parse().expect("a number")
    }

    /// The memory that it has now, and from now on is compared with.
    pub(crate) fn resident_kib(&self) -> u64 {
        // Linux: forgets the peak (proc(5), clear_refs).
        fs::write(self.proc("clear_refs"), "5").expect("our own child");
        self.kib("VmRSS")
    }

    /// The most it has had since then.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.kib("VmHWM")
    }
}

/// Makes connections to a relay.
#[derive(Clone)]
pub(crate) struct Caller {
    connector: TlsConnector,
    pub(crate) webhook: std::net::SocketAddr,
}

impl Caller {
    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.webhook).await?;
        let name = "localhost".try_into().expect("a name");
        self.connector.connect(name, stream).await
    }

    pub(crate) async fn http1(&self) -> std::io::Result<Http1> {
        let io = TokioIo::new(self.connect().await?);
        let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Http1(sender))
    }

    pub(crate) async fn http2(&self) -> std::io::Result<Http2> {
        let io = TokioIo::new(self.connect().await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Http2(sender))
    }
}

pub(crate) struct Http1(http1::SendRequest<Full<Bytes>>);
pub(crate) struct Http2(http2::SendRequest<Full<Bytes>>);

/// The answer to one request on a connection.
macro_rules! answer {
    ($sender:expr, $request:expr) => {
        async {
            $sender.ready().await?;
            let response = $sender.send_request($request).await?;
            let status = response.status();
            response.into_body().collect().await?;
            Ok(status)
        }
    };
}

impl Http1 {
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<StatusCode> {
        within(answer!(self.0, request)).await
    }
}

impl Http2 {
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<StatusCode> {
        within(answer!(self.0, request)).await
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it hung")
}

/// A POST, as each version of HTTP wants it.
pub(crate) fn post(is_http2: bool, encoding: Option<&str>, body: Bytes) -> Request<Full<Bytes>> {
    let uri = if is_http2 {
        "https://localhost/webhook"
    } else {
        "/webhook"
    };
    let mut request = Request::post(uri).header("content-type", "application/json");
    if !is_http2 {
        request = request.header("host", "localhost");
    }
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    request.body(Full::new(body)).expect("a request")
}

/// A list of ten events.
pub(crate) fn small(prefix: &str) -> Bytes {
    let ids = (0..10).map(|number| format!("{prefix}-{number}"));
    list("alice", "get", ids).into()
}

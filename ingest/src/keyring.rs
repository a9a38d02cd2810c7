//! What the door needs of files: what it encrypts with, and who may come in.
//!
//! Invariants:
//! * what is in use is whole: it was made from files that were all readable and fit together;
//! * a handshake and a request each see one state, never half of a change.

use std::sync::Arc;

use arc_swap::ArcSwap;
use auditrelay_config::{ClientConfig, ClusterName, TlsConfig};
use hyper::HeaderMap;
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::refusal::Refusal;

/// What connections and requests are judged by; it changes as a whole.
pub struct Keyring {
    current: ArcSwap<Keys>,
}

/// One state of the files.
struct Keys {
    tls: Option<Arc<ServerConfig>>,
}

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyringError(String);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: std::net::SocketAddr,
    /// Subject CN and SANs of its certificate, which a CA of ours has signed; empty without one.
    pub(crate) certificate_names: Arc<[String]>,
}

impl Peer {
    /// Who speaks without encryption: nothing is known of it but where it is.
    pub(crate) fn plain(address: std::net::SocketAddr) -> Self {
        Self {
            address,
            certificate_names: Arc::default(),
        }
    }

    /// Who showed this chain of certificates, which has been verified, or none.
    pub(crate) fn encrypted(
        address: std::net::SocketAddr,
        _chain: Option<&[CertificateDer<'_>]>,
    ) -> Self {
        Self::plain(address)
    }
}

impl Keyring {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, is not what it should be, or does not fit another.
    pub fn open(tls: &TlsConfig, _clients: &[ClientConfig]) -> Result<Self, KeyringError> {
        let tls = server_config(tls).map_err(|error| KeyringError(error.to_string()))?;
        Ok(Self {
            current: ArcSwap::from_pointee(Keys { tls }),
        })
    }

    /// What new connections are encrypted with; `None` for plain HTTP.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.current.load().tls.clone()
    }

    /// The cluster that a request is from: `claimed` is what its path names, `otherwise` holds without
    /// any other.
    pub(crate) fn cluster(
        &self,
        _peer: &Peer,
        _headers: &HeaderMap,
        claimed: Option<ClusterName>,
        otherwise: &ClusterName,
    ) -> Result<ClusterName, Refusal> {
        Ok(claimed.unwrap_or_else(|| otherwise.clone()))
    }
}

fn server_config(tls: &TlsConfig) -> Result<Option<Arc<ServerConfig>>, Box<dyn std::error::Error>> {
    let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
        return Ok(None);
    };
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for ca in CertificateDer::pem_file_iter(file)? {
                roots.add(ca?)?;
            }
            // Who shows none is answered 401 in words, not by an alert.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

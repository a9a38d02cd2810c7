//! What connections are encrypted with, made from the files of `tls`.
//!
//! Invariants:
//! * a certificate and a key that do not fit each other make nothing;
//! * who shows no certificate gets as far as a request, and is answered in words, not by an alert;
//! * errors are our own words: those of the PEM reader quote the file, which may be a private key.

use std::{path::Path, sync::Arc};

use auditrelay_config::TlsConfig;
use tokio_rustls::rustls::{
    self, CertificateError, RootCertStore, ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{certificate::Facts, files::Reading};

/// The part of a state that is about encryption.
pub(super) struct Encryption {
    pub(super) config: Arc<ServerConfig>,
    /// The server's own certificate.
    pub(super) own: CertificateDer<'static>,
    /// Who signs clients' certificates; `None` where none is asked for.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// What the server's certificate and those above it say.
    pub(super) chain: Vec<Facts>,
    /// What the CAs of clients say.
    pub(super) client_cas: Vec<Facts>,
}

/// Whether a chain that a client showed is as good now as it was at the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A CA of ours has signed it.
    Signed,
    /// Its time, or that of one above it, is over.
    Expired,
    /// No CA of ours has signed it.
    Foreign,
}

/// Makes it; `None` for plain HTTP.
pub(super) fn encryption(tls: &TlsConfig, reading: &Reading) -> Result<Option<Encryption>, String> {
    let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
        return Ok(None);
    };
    let (chain, facts) = certificates("tls.certificate_file", certificate, reading)?;
    let private = private_key(key, reading)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (verifier, client_cas) = match &tls.client_ca_file {
        None => (None, Vec::new()),
        Some(file) => {
            let (verifier, facts) = verifier(file, reading, Arc::clone(&provider))?;
            (Some(verifier), facts)
        }
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
    };
    // There is one at the least.
    let own = chain[0].clone();
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| misfit(&error, certificate, key))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Encryption {
        config: Arc::new(config),
        own,
        verifier,
        chain: facts,
        client_cas,
    }))
}

/// Asks a verifier about a chain again: CAs change, and time passes, while a connection is open.
pub(super) fn verdict(
    verifier: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) -> Verdict {
    let Some((own, above)) = chain.split_first() else {
        return Verdict::Foreign;
    };
    use rustls::Error::InvalidCertificate;
    match verifier.verify_client_cert(own, above, now) {
        Ok(_) => Verdict::Signed,
        Err(InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => Verdict::Expired,
        Err(_) => Verdict::Foreign,
    }
}

fn verifier(
    file: &Path,
    reading: &Reading,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Vec<Facts>), String> {
    const KEY: &str = "tls.client_ca_file";
    let (cas, facts) = certificates(KEY, file, reading)?;
    let mut roots = RootCertStore::empty();
    for (ca, number) in cas.into_iter().zip(1..) {
        roots.add(ca).map_err(|_| {
            let place = format!("certificate {number} in it cannot be used as a CA");
            problem(KEY, file, &place)
        })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| problem(KEY, file, &error.to_string()))?;
    Ok((verifier, facts))
}

/// Every certificate of a file: at least one, and each can be read.
fn certificates(
    key: &str,
    file: &Path,
    reading: &Reading,
) -> Result<(Vec<CertificateDer<'static>>, Vec<Facts>), String> {
    let fault = |what: &str| problem(key, file, what);
    let bytes = reading.bytes(file).map_err(|error| fault(&error))?;
    let found = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| fault(in_words(&error)))?;
    if found.is_empty() {
        return Err(fault("holds no certificate in PEM form"));
    }
    let mut facts = Vec::new();
    for (certificate, number) in found.iter().zip(1..) {
        let read = Facts::of(certificate);
        facts.push(read.ok_or_else(|| fault(&format!("certificate {number} in it is damaged")))?);
    }
    Ok((found, facts))
}

fn private_key(file: &Path, reading: &Reading) -> Result<PrivateKeyDer<'static>, String> {
    let fault = |what: &str| problem("tls.key_file", file, what);
    let bytes = reading.bytes(file).map_err(|error| fault(&error))?;
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => fault("holds no private key in PEM form without a passphrase"),
        error => fault(in_words(&error)),
    })
}

/// Why a certificate and a key make no server.
fn misfit(error: &rustls::Error, certificate: &Path, key: &Path) -> String {
    if matches!(error, rustls::Error::InconsistentKeys(_)) {
        let what = format!(
            "is not the key of the certificate in {}; put the two that belong together there",
            certificate.display()
        );
        return problem("tls.key_file", key, &what);
    }
    if matches!(error, rustls::Error::InvalidCertificate(_)) {
        let what = "begins with a certificate that cannot be a server's";
        return problem("tls.certificate_file", certificate, what);
    }
    problem(
        "tls.key_file",
        key,
        "holds a key of a kind that is not supported; use RSA (2048 to 8192 bits), ECDSA P-256 or P-384, or Ed25519",
    )
}

pub(super) fn problem(key: &str, file: &Path, what: &str) -> String {
    format!("{key}: {} {what}", file.display())
}

fn in_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "ends within a PEM section",
        pem::Error::NoItemsFound => "holds nothing of what belongs there in PEM form",
        _ => "is no PEM: it has a damaged section",
    }
}

//! The relay as its own client: what it shows at its own door, and what it asks of that door's certificate.
//!
//! Invariants:
//! * the token is random, made anew in each process, and nowhere but in memory; it lets in nobody else, as nobody
//!   else is told of it. It is no client of the configuration and counts as none;
//! * the certificate that the door shows has to be the very one of `tls.certificate_file` that is in use, and its
//!   time has to have come and not to be over: API servers would refuse it otherwise. Who signed it is not asked,
//!   as that is known to those alone.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::SecretString;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{Keyring, KeyringError, authorization::Authorization, certificate::Facts, unix_s};

const TOKEN_BYTES: usize = 32;

impl Keyring {
    /// A token that lets this process in, whoever else may come in. The one before is worth nothing any more.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn token_of_itself(&self) -> Result<SecretString, KeyringError> {
        let mut bytes = [0; TOKEN_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| KeyringError("the system gives no random bytes".to_owned()))?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let digest = self.hasher.digest(token.as_bytes());
        self.itself.store(Some(Arc::new(digest)));
        Ok(token.into())
    }

    pub(super) fn is_itself(&self, shown: &Authorization) -> bool {
        let own = self.itself.load();
        match (own.as_deref(), shown) {
            (Some(own), Authorization::Bearer(shown)) => own.is(shown).into(),
            _ => false,
        }
    }

    /// What a connection to the own door is encrypted with; `None` for plain HTTP.
    ///
    /// # Errors
    /// The library's; none is known.
    pub(crate) fn tls_of_itself(&self) -> Result<Option<ClientConfig>, KeyringError> {
        let keys = self.current.load();
        let Some(encryption) = keys.parts.encryption() else {
            return Ok(None);
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pinned = Pinned {
            own: encryption.own.clone(),
            provider: Arc::clone(&provider),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| KeyringError(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned))
            .with_no_client_auth();
        Ok(Some(config))
    }
}

/// Takes one certificate, in its time.
#[derive(Debug)]
struct Pinned {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = |what: &str| rustls::Error::General(what.to_owned());
        if *end_entity != self.own {
            return Err(refused(
                "another certificate than that of tls.certificate_file was shown there",
            ));
        }
        let facts = Facts::of(end_entity);
        let facts = facts.ok_or_else(|| refused("the certificate cannot be read"))?;
        let now = unix_s(now);
        if now > facts.not_after {
            return Err(refused(
                "the certificate of tls.certificate_file has expired, so API servers are refusing it: renew it",
            ));
        }
        if now < facts.not_before {
            return Err(refused(
                "the certificate of tls.certificate_file is not valid yet, so API servers are refusing it: look at \
                 the clock of this machine",
            ));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

//! The first bytes of a connection to a port that is encrypted.
//!
//! Invariants:
//! * a handshake has `handshake_timeout_seconds`, from the moment the connection was taken;
//! * whoever speaks plain HTTP there is told so in plain HTTP, and nothing of it is read as a request;
//! * whoever says nothing and goes (a probe of the port) has done nothing wrong and is not counted.

use std::{io, sync::Arc};

use tokio::{
    net::TcpStream,
    time::{Duration, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, AlertDescription, ServerConfig},
    server::TlsStream,
};

/// How a TLS record of a handshake begins (RFC 8446, section 5.1).
pub(crate) const TLS_FIRST_BYTE: u8 = 0x16;

/// Why no encrypted connection came of it.
pub(crate) enum NoHandshake {
    /// Plain HTTP was spoken. The stream is as it came.
    PlainHttp(TcpStream),
    Timeout,
    /// Somebody broke it off for a reason that is told.
    Failed(&'static str),
    /// The peer went, or the network failed.
    Gone(io::Error),
}

/// Meets a client.
pub(crate) async fn meet(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    handshake_timeout: Duration,
) -> Result<TlsStream<TcpStream>, NoHandshake> {
    timeout(handshake_timeout, shake_hands(stream, tls))
        .await
        .unwrap_or(Err(NoHandshake::Timeout))
}

async fn shake_hands(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
) -> Result<TlsStream<TcpStream>, NoHandshake> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Err(NoHandshake::Gone(io::ErrorKind::UnexpectedEof.into())),
        // A method's name. rustls would answer it with an alert, which no HTTP client understands.
        Ok(_) if first[0].is_ascii_alphabetic() => return Err(NoHandshake::PlainHttp(stream)),
        Ok(_) => {}
        Err(error) => return Err(NoHandshake::Gone(error)),
    }
    TlsAcceptor::from(tls)
        .accept(stream)
        .await
        .map_err(|error| match failure(&error) {
            Some(message) => NoHandshake::Failed(message),
            None => NoHandshake::Gone(error),
        })
}

/// What went wrong in words of ours: rustls's may name what a certificate says.
fn failure(error: &io::Error) -> Option<&'static str> {
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match cause {
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate,
        ) => {
            "the client does not accept tls.certificate_file: is its CA in the kubeconfig's \
             certificate-authority-data, has it expired, does it name the host of the kubeconfig's URL?"
        }
        rustls::Error::AlertReceived(_) => "the client broke off the TLS handshake",
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            "the client's certificate is not valid: it has expired, or tls.client_ca_file has not the CA \
             that signed it"
        }
        rustls::Error::PeerIncompatible(_) => {
            "the client and the relay have no version or cipher of TLS in common; TLS 1.2 and 1.3 are spoken"
        }
        rustls::Error::InvalidMessage(_) => "what was sent is not TLS",
        _ => "the TLS handshake failed",
    })
}

//! What a kubeconfig says about the way to the sink: whom to trust, and what to show.
//!
//! Contract:
//! * without TLS neither a token nor a password is sent;
//! * a token from a file is read again after a minute, and after a 401; while the file cannot be read
//!   the token before it is sent;
//! * what is secret is never shown, not even in `Debug`.
//!
//! Kubernetes: `transport.HTTPWrappersForConfig`, `cachingTokenSource`.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

/// client-go: `NewCachedFileTokenSource`.
const TOKEN_FILE_PERIOD: Duration = Duration::from_secs(60);

/// The way to the sink. The default is that of a plain URL.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// `tls-server-name`, instead of the URL's host.
    pub(super) server_name: Option<String>,
    pub(super) credential: Credential,
}

/// What stands in the `Authorization` header.
#[derive(Default)]
pub(super) enum Credential {
    #[default]
    None,
    /// All of the header: a token of the kubeconfig's own, or user and password.
    Fixed(HeaderValue),
    TokenFile(TokenFile),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed(..)",
            Self::TokenFile(_) => "TokenFile(..)",
        })
    }
}

impl Access {
    /// The `Authorization` header of a request to `url`.
    pub(super) fn authorization(&self, url: &Url) -> Option<HeaderValue> {
        match &self.credential {
            _ if url.scheme() != "https" => None,
            Credential::None => None,
            Credential::Fixed(value) => Some(value.clone()),
            Credential::TokenFile(file) => Some(file.header()),
        }
    }

    /// The sink has answered 401.
    pub(super) fn was_refused(&self) {
        if let Credential::TokenFile(file) = &self.credential {
            file.forget();
        }
    }

    /// The TLS handshake with `host`.
    pub(super) async fn encrypt(
        &self,
        stream: TcpStream,
        host: &str,
        protocols: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let Some(tls) = &self.tls else {
            return Err(io::Error::other("no kubeconfig says whom to trust"));
        };
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let mut tls = ClientConfig::clone(tls);
        tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await
    }
}

/// The header with a bearer token; `None` if no header can hold that.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `tokenFile`.
pub(super) struct TokenFile {
    path: PathBuf,
    last: Mutex<Read>,
}

struct Read {
    header: HeaderValue,
    /// When it has to be read again.
    until: Instant,
}

impl TokenFile {
    /// Reads it for the first time; a file that cannot be read is an error only now.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let last = Mutex::new(Read {
            header: read(&path)?,
            until: Instant::now() + TOKEN_FILE_PERIOD,
        });
        Ok(Self { path, last })
    }

    fn header(&self) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now >= last.until {
            // If it cannot be read the last one is sent, and the next request looks again.
            if let Ok(header) = read(&self.path) {
                last.header = header;
                last.until = now + TOKEN_FILE_PERIOD;
            }
        }
        last.header.clone()
    }

    fn forget(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.until = Instant::now();
    }
}

fn read(path: &PathBuf) -> io::Result<HeaderValue> {
    let text = std::fs::read_to_string(path)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    bearer(token).ok_or_else(|| io::Error::other("it holds what no header can hold"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_file_is_read_again_after_a_minute_and_after_a_401() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "first\n").expect("written");
        let access = Access {
            credential: Credential::TokenFile(TokenFile::open(path.clone()).expect("a token")),
            ..Access::default()
        };
        let url = Url::parse("https://127.0.0.1/").expect("a URL");
        let sent = || access.authorization(&url).expect("a header");
        std::fs::write(&path, "second").expect("written");
        tokio::time::advance(TOKEN_FILE_PERIOD / 2).await;
        assert_eq!(sent(), "Bearer first");
        tokio::time::advance(TOKEN_FILE_PERIOD).await;
        assert_eq!(sent(), "Bearer second");
        std::fs::write(&path, "third").expect("written");
        assert_eq!(sent(), "Bearer second");
        access.was_refused();
        assert_eq!(sent(), "Bearer third");
        std::fs::remove_file(&path).expect("removed");
        access.was_refused();
        assert_eq!(sent(), "Bearer third", "better an old one than none");
        std::fs::write(&path, "fourth").expect("written");
        assert_eq!(sent(), "Bearer fourth", "and it is looked for again");
        let plain = Url::parse("http://127.0.0.1/").expect("a URL");
        assert_eq!(access.authorization(&plain), None);
        assert!(!format!("{access:?}").contains("fourth"));
    }
}

//! Where the batches go: a plain-HTTP URL on loopback.
//!
//! Contract: a [`Target`] that exists names loopback and holds nothing that the API server would not
//! send. What a kubeconfig's URL loses in the API server (query string, trailing slash, repeated
//! slashes) it loses here too, so that a sink sees the path it would see in production.

use std::str::FromStr;

use url::{Host, Url};

/// Kubernetes: the client's timeout, which client-go repeats in the query string.
const QUERY: &str = "timeout=30s";

/// A place on this machine to which an API server may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Url);

/// Why a URL is no [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// It cannot be read as a URL.
    NotAUrl,
    /// Its scheme is not `http`.
    NotHttp,
    /// Its host is neither a loopback address nor `localhost`.
    NotLoopback,
    /// It names a user, whom this client would not send on.
    UserInUrl,
}

impl std::fmt::Display for TargetError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::NotAUrl => "not a URL",
            Self::NotHttp => "not an http:// URL; TLS is not simulated",
            Self::NotLoopback => "neither a loopback address nor localhost",
            Self::UserInUrl => "a user in the URL is not supported",
        })
    }
}

impl std::error::Error for TargetError {}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let mut url = Url::parse(text).map_err(|_| TargetError::NotAUrl)?;
        if url.scheme() != "http" {
            return Err(TargetError::NotHttp);
        }
        if !names_loopback(&url) {
            return Err(TargetError::NotLoopback);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInUrl);
        }
        let parts: Vec<&str> = url
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let path = format!("/{}", parts.join("/"));
        url.set_path(&path);
        url.set_query(Some(QUERY));
        url.set_fragment(None);
        Ok(Self(url))
    }
}

impl Target {
    /// The URL that is posted to, query string included.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// Whether a redirect may be followed there. `localhost` is let through by name: what it resolves to
/// is checked where it is connected to.
pub(super) fn is_reachable(url: &Url) -> bool {
    url.scheme() == "http" && names_loopback(url)
}

fn names_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_loses_what_it_loses_in_the_api_server() {
        for (given, posted) in [
            ("http://127.0.0.1:80", "http://127.0.0.1/?timeout=30s"),
            (
                "http://127.0.0.1:8080/webhook/prod/?cluster=a#b",
                "http://127.0.0.1:8080/webhook/prod?timeout=30s",
            ),
            ("http://[::1]:1//a///b", "http://[::1]:1/a/b?timeout=30s"),
            ("http://localhost:1", "http://localhost:1/?timeout=30s"),
        ] {
            let target: Target = given.parse().expect("a loopback URL");
            assert_eq!(target.url().as_str(), posted);
        }
    }

    #[test]
    fn only_plain_http_on_loopback_is_a_target() {
        for (given, error) in [
            ("webhook", TargetError::NotAUrl),
            ("https://127.0.0.1/", TargetError::NotHttp),
            ("http://192.0.2.1/", TargetError::NotLoopback),
            ("http://0.0.0.0/", TargetError::NotLoopback),
            ("http://[::]/", TargetError::NotLoopback),
            ("http://localhost.example.com/", TargetError::NotLoopback),
            ("http://127.0.0.1.example.com/", TargetError::NotLoopback),
            ("http://me:secret@127.0.0.1/", TargetError::UserInUrl),
        ] {
            assert_eq!(given.parse::<Target>(), Err(error), "{given}");
        }
    }
}

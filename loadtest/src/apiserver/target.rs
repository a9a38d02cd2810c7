//! Where the batches go: a URL on loopback, and what a kubeconfig says about the way there.
//!
//! Contract: a [`Target`] that exists names loopback and holds nothing that the API server would not
//! send. What a kubeconfig's URL loses in the API server (query string, trailing slash, repeated
//! slashes) it loses here too, so that a sink sees the path it would see in production.

use std::str::FromStr;
use std::sync::Arc;

use url::{Host, Url};

use super::access::Access;

/// Kubernetes: the client's timeout, which client-go repeats in the query string.
const QUERY: &str = "timeout=30s";

/// A place on this machine to which an API server may send.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    access: Arc<Access>,
}

/// Why a URL is no [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// It cannot be read as a URL.
    NotAUrl,
    /// Its scheme is not `http`.
    NotHttp,
    /// Its scheme is neither `http` nor `https`.
    NoScheme,
    /// Its host is neither a loopback address nor `localhost`.
    NotLoopback,
    /// It names a user, whom this client would not send on.
    UserInUrl,
}

impl std::fmt::Display for TargetError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::NotAUrl => "not a URL",
            Self::NotHttp => {
                "not an http:// URL; for https:// a kubeconfig has to say whom to trust"
            }
            Self::NoScheme => "neither an https:// nor an http:// URL",
            Self::NotLoopback => "neither a loopback address nor localhost",
            Self::UserInUrl => "a user in the URL is not supported",
        })
    }
}

impl std::error::Error for TargetError {}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let url = posted_to(text)?;
        if url.scheme() != "http" {
            return Err(TargetError::NotHttp);
        }
        Ok(Self::with(url, Access::default()))
    }
}

impl Target {
    /// `url` comes from [`posted_to`].
    pub(super) fn with(url: Url, access: Access) -> Self {
        let access = Arc::new(access);
        Self { url, access }
    }

    /// The URL that is posted to, query string included.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn access(&self) -> &Arc<Access> {
        &self.access
    }
}

/// What is posted to where a kubeconfig names `text`.
pub(super) fn posted_to(text: &str) -> Result<Url, TargetError> {
    let mut url = Url::parse(text).map_err(|_| TargetError::NotAUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(TargetError::NoScheme);
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
    Ok(url)
}

/// Whether a redirect may be followed there. `localhost` is let through by name: what it resolves to
/// is checked where it is connected to. From one scheme to the other would be to forget what the
/// kubeconfig says about the way: the API server does that, this client does not.
pub(super) fn is_reachable(from: &Url, url: &Url) -> bool {
    url.scheme() == from.scheme() && names_loopback(url)
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
            ("file:///webhook", TargetError::NoScheme),
            ("http://192.0.2.1/", TargetError::NotLoopback),
            ("http://0.0.0.0/", TargetError::NotLoopback),
            ("http://[::]/", TargetError::NotLoopback),
            ("http://localhost.example.com/", TargetError::NotLoopback),
            ("http://127.0.0.1.example.com/", TargetError::NotLoopback),
            ("http://me:secret@127.0.0.1/", TargetError::UserInUrl),
        ] {
            assert_eq!(given.parse::<Target>().err(), Some(error), "{given}");
        }
    }
}

//! Addresses of NATS servers and of their monitoring ports.
//!
//! Contract: nothing in one is a secret, so they can be shown; and one that is refused is not shown, as it may hold one.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::text::{self, FromText};

/// The address of a NATS server: scheme, host and port, nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(Url);

impl ServerUrl {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "tls"
    }

    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let address = address.parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl FromText for ServerUrl {
    const EXPECTED: &'static str = "a nats:// or tls:// URL such as nats://nats.example:4222, without user and password, \
                                    which have keys of their own";
    // Elsewhere these URLs hold passwords.
    const SECRET: bool = true;

    fn from_text(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_known = matches!(url.scheme(), "nats" | "tls") && is_bare(&url);
        let ends_there = matches!(url.path(), "" | "/");
        let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let host = url.host_str().unwrap_or_default();
        let is_host = !host.is_empty() && host.bytes().all(of_host);
        (is_known && ends_there && is_host && url.port() != Some(0)).then_some(Self(url))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.0.scheme())?;
        match self.0.port() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The base of a server's monitoring port; its path ends with a slash.
#[derive(Clone, PartialEq, Eq)]
pub struct MonitoringUrl(Url);

impl MonitoringUrl {
    /// The URL.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

impl FromText for MonitoringUrl {
    const EXPECTED: &'static str =
        "an http:// URL such as http://nats-0.example:8222, without user, query or fragment";
    const SECRET: bool = true;

    fn from_text(text: &str) -> Option<Self> {
        let mut url = Url::parse(text).ok()?;
        if url.scheme() != "http" || !url.has_host() || !is_bare(&url) {
            return None;
        }
        if !url.path().ends_with('/') {
            // Without it, joining a page's name would replace the last path segment.
            url.set_path(&format!("{}/", url.path()));
        }
        Some(Self(url))
    }
}

impl fmt::Display for MonitoringUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_bare(url: &Url) -> bool {
    url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::read(deserializer)
            }
        }
    };
}

as_text!(ServerUrl);
as_text!(MonitoringUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_and_nothing_else() {
        let shown = |text: &str| ServerUrl::from_text(text).map(|url| url.to_string());
        for good in [
            "nats://127.0.0.1:4222",
            "tls://nats.example",
            "nats://[::1]:4222",
            "nats://nats_0.nats.svc:4222",
        ] {
            assert_eq!(shown(good).as_deref(), Some(good));
        }
        assert_eq!(shown("nats://a:1/").as_deref(), Some("nats://a:1"));
        for bad in [
            "",
            "127.0.0.1:4222",
            "nats://",
            "nats://:4222",
            "nats://a:0",
            "http://a:4222",
            "ws://a:4222",
            "nats://me:word@a:4222",
            "nats://token@a:4222",
            "nats://a:4222/x",
            "nats://a:4222?x",
            "nats://a b:4222",
            "nats://a%20b:4222",
            "nats://a:1,nats://b:1",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
        let monitoring = |text: &str| MonitoringUrl::from_text(text).map(|url| url.to_string());
        assert_eq!(
            monitoring("http://a:8222").as_deref(),
            Some("http://a:8222/")
        );
        assert_eq!(
            monitoring("http://a:8222/nats").as_deref(),
            Some("http://a:8222/nats/")
        );
        for bad in ["a:8222", "https://a:8222", "http://u@a", "http://a/?b"] {
            assert_eq!(monitoring(bad), None, "{bad}");
        }
    }
}

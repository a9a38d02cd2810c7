//! The proxy that Slack is reached through.
//!
//! Contract: none is used unless it is configured, so that a variable that somebody set for another
//! program cannot carry off what goes to Slack. What passes through a proxy is TLS that ends at Slack.

use std::fmt;

use serde::{Serialize, Serializer};
use url::Url;

use crate::text::FromText;

/// A configured proxy.
#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Whatever `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of the process say.
    Environment,
    /// An HTTP proxy that knows `CONNECT`.
    Url(Url),
}

impl FromText for Proxy {
    const EXPECTED: &'static str = "the URL of an HTTP proxy such as http://proxy.example:3128, or `environment` for \
                                    what HTTPS_PROXY and NO_PROXY say";
    // It may hold a password.
    const SECRET: bool = true;

    fn from_text(text: &str) -> Option<Self> {
        if text == "environment" {
            return Some(Self::Environment);
        }
        let url = Url::parse(text).ok()?;
        let is_bare = url.query().is_none() && url.fragment().is_none() && url.path() == "/";
        (url.scheme() == "http" && url.has_host() && is_bare).then_some(Self::Url(url))
    }
}

impl fmt::Display for Proxy {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::Url(url) => {
                let host = url.host_str().unwrap_or_default();
                let port = url.port_or_known_default().unwrap_or(80);
                write!(f, "http://{host}:{port}")
            }
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_plain_url_or_the_environment() {
        assert_eq!(Proxy::from_text("environment"), Some(Proxy::Environment));
        let shown = |text: &str| Proxy::from_text(text).map(|proxy| proxy.to_string());
        assert_eq!(
            shown("http://me:word@proxy.example:3128").as_deref(),
            Some("http://proxy.example:3128")
        );
        for refused in [
            "",
            "proxy.example:3128",
            "socks5://a:1",
            "http://a/x",
            "http://a/?b",
        ] {
            assert_eq!(shown(refused), None, "{refused}");
        }
    }
}

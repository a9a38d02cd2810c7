//! The values that only an event is matched by: what may be written for each, and what it means.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::event::{Envelope, Text, User};

/// No status code has more digits (RFC 9110).
const CODE_MAX: u16 = 999;
const CODE_MIN: u16 = 100;
/// Of a pattern.
const GLOB_CHARS_MAX: usize = 256;
/// So much of a value is looked at: matching takes up to as many steps as both have characters, multiplied.
const VALUE_CHARS_MAX: usize = 4_096;

/// Text that is no such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Unexpected(&'static str);

/// HTTP status codes from one to another, both included: `403`, `4xx`, `400-499`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    first: u16,
    last: u16,
}

impl Codes {
    /// What is written for it.
    pub const EXPECTED: &'static str = "a status code from 100 to 999 such as 403, a class such as 4xx, or a range such as 400-499";

    /// One code.
    #[must_use]
    pub fn one(code: u64) -> Option<Self> {
        let code = u16::try_from(code).ok()?;
        let is_code = (CODE_MIN..=CODE_MAX).contains(&code);
        is_code.then_some(Self {
            first: code,
            last: code,
        })
    }

    /// Whether a code is one of these.
    #[must_use]
    pub fn contains(self, code: i32) -> bool {
        (i32::from(self.first)..=i32::from(self.last)).contains(&code)
    }
}

impl FromStr for Codes {
    type Err = Unexpected;

    fn from_str(text: &str) -> Result<Self, Unexpected> {
        let code = |text: &str| {
            let is_plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| is_plain).and_then(Self::one)
        };
        let class = |text: &str| {
            let start = code(&format!("{}00", text.strip_suffix("xx")?))?;
            Some(Self {
                last: start.first + 99,
                ..start
            })
        };
        let range = |text: &str| {
            let (first, last) = text.split_once('-')?;
            let (first, last) = (code(first)?.first, code(last)?.last);
            (first <= last).then_some(Self { first, last })
        };
        let codes = code(text).or_else(|| class(text)).or_else(|| range(text));
        codes.ok_or(Unexpected(Self::EXPECTED))
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = *self;
        if first == last {
            write!(out, "{first}")
        } else if first % 100 == 0 && last == first + 99 {
            write!(out, "{}xx", first / 100)
        } else {
            write!(out, "{first}-{last}")
        }
    }
}

/// What the authorizer decided. Kubernetes: annotation `authorization.k8s.io/decision`, which no client and no
/// webhook can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizerDecision {
    /// The request was allowed.
    Allow,
    /// It was not.
    Forbid,
}

impl AuthorizerDecision {
    /// The word as Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Forbid => "forbid",
        }
    }
}

/// As whom a request was made; with nothing set, as anybody else than who made it.
///
/// Kubernetes: written once the API server has allowed it; of a `RequestReceived` it is not known, and of
/// a refused attempt there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impersonation {
    /// As nobody else, and the two below are empty.
    pub nobody: bool,
    /// Names.
    pub users: Vec<String>,
    /// Groups, any of which is enough.
    pub user_groups: Vec<String>,
}

impl Impersonation {
    pub(super) fn matches(&self, user: Option<&User<'_>>) -> bool {
        let Some(user) = user.filter(|_| !self.nobody) else {
            return self.nobody && user.is_none();
        };
        let has = |list: &[String], value: &Text<'_>| list.iter().any(|one| one == value.as_str());
        (self.users.is_empty() || has(&self.users, &user.username))
            && (self.user_groups.is_empty()
                || user
                    .groups
                    .iter()
                    .any(|group| has(&self.user_groups, group)))
    }
}

/// A network or an address of it.
///
/// Kubernetes: `sourceIPs` are what the headers `X-Forwarded-For` and `X-Real-Ip` say, which any client can send, and last the
/// address of the API server's own peer, always. So only that one counts: with the others a client could
/// choose which route takes its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// What is written for it.
    pub const EXPECTED: &'static str =
        "an address such as 10.1.2.3, or a network such as 10.0.0.0/8 or fd00::/8";

    pub(super) fn any_has(networks: &[Self], event: &Envelope<'_>) -> bool {
        let peer = event.source_ips.last();
        let peer = peer.and_then(|text| text.parse::<IpAddr>().ok());
        // An IPv4 address may be written as one of IPv6.
        let peer = peer.map(|address| address.to_canonical());
        peer.is_some_and(|address| networks.iter().any(|network| network.0.contains(&address)))
    }

    /// The network in its usual form, where an address of it was written with a length of prefix.
    #[must_use]
    pub fn truncated(self) -> Option<Self> {
        let usual = self.0.trunc();
        (usual != self.0).then_some(Self(usual))
    }
}

impl FromStr for Network {
    type Err = Unexpected;

    fn from_str(text: &str) -> Result<Self, Unexpected> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network = text.parse().ok();
        // Those of `::ffff:0:0/96` would never match: addresses in it are read as IPv4.
        let is_mapped = |network: &IpNet| matches!(network, IpNet::V6(one) if one.network().to_ipv4_mapped().is_some());
        network
            .filter(|network| !is_mapped(network))
            .map(Self)
            .ok_or(Unexpected(Self::EXPECTED))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(out, "{}", self.0.addr())
        } else {
            write!(out, "{}", self.0)
        }
    }
}

/// A pattern of the whole text: `*` is any text, `?` any character. Letters match as they are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Glob(WildMatch);

impl Eq for Glob {}

impl Glob {
    /// What is written for it.
    pub const EXPECTED: &'static str = "a pattern of at most 256 characters";

    /// Whether a text matches; of a long one the first 4,096 characters have to.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let cut = text.char_indices().nth(VALUE_CHARS_MAX);
        self.0.matches(cut.map_or(text, |(at, _)| &text[..at]))
    }
}

impl FromStr for Glob {
    type Err = Unexpected;

    fn from_str(text: &str) -> Result<Self, Unexpected> {
        match text.chars().nth(GLOB_CHARS_MAX) {
            None => Ok(Self(WildMatch::new(text))),
            Some(_) => Err(Unexpected(Self::EXPECTED)),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

//! The values that only events are matched by, as they are written.
//!
//! Contract: each is read from its text (codes from a number too) and shown as its text.

use std::fmt;
use std::str::FromStr;

use auditrelay_audit::{Codes, Glob, Impersonation, Network};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::{self, FromText};

macro_rules! as_text {
    ($(#[$doc:meta])* $name:ident, $inner:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl FromText for $name {
            const EXPECTED: &'static str = $inner::EXPECTED;

            fn from_text(text: &str) -> Option<Self> {
                $inner::from_str(text).ok().map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }
    };
}

as_text!(
    /// HTTP status codes.
    CodesConfig,
    Codes
);
as_text!(
    /// A network, or an address.
    NetworkConfig,
    Network
);
as_text!(
    /// A pattern.
    GlobConfig,
    Glob
);

impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer)
    }
}

impl<'de> Deserialize<'de> for GlobConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer)
    }
}

impl<'de> Deserialize<'de> for CodesConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CodesVisitor;

        impl Visitor<'_> for CodesVisitor {
            type Value = CodesConfig;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(CodesConfig::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CodesConfig, E> {
                CodesConfig::from_text(text)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: Error>(self, code: u64) -> Result<CodesConfig, E> {
                let codes = Codes::one(code).map(CodesConfig);
                codes.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(code), &self))
            }

            fn visit_i64<E: Error>(self, code: i64) -> Result<CodesConfig, E> {
                let codes = u64::try_from(code).ok().and_then(Codes::one);
                let codes = codes.map(CodesConfig);
                codes.ok_or_else(|| E::invalid_value(Unexpected::Signed(code), &self))
            }
        }

        deserializer.deserialize_any(CodesVisitor)
    }
}

/// As whom a request was made; with nothing set, as anybody else than who made it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImpersonatedConfig {
    /// As nobody else; nothing can stand beside it.
    #[serde(default)]
    pub nobody: bool,
    /// Names of users.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, of which the user is in at least one.
    #[serde(default)]
    pub user_groups: Vec<String>,
}

impl ImpersonatedConfig {
    pub(crate) fn matched(&self) -> Impersonation {
        Impersonation {
            nobody: self.nobody,
            users: self.users.clone(),
            user_groups: self.user_groups.clone(),
        }
    }
}

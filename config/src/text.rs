//! Reading text that must parse: one visitor for names, addresses, URLs, paths and secrets.
//!
//! Contract: only a string is read (a number is refused, not turned into text), and a refusal says
//! what is expected. What a secret held is never part of a refusal.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};
use url::{Host, Url};

/// A value read from text.
pub(crate) trait FromText: Sized {
    /// What such text looks like, to complete "expected …".
    const EXPECTED: &'static str;
    /// Whether the text must stay out of error messages.
    const SECRET: bool = false;

    /// The value, if `text` is one.
    fn from_text(text: &str) -> Option<Self>;
}

/// Reads a `T` where a configuration must hold text.
pub(crate) fn read<'de, T: FromText, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    // Not `deserialize_str`: that refuses a number before the visitor can keep it out of sight.
    deserializer.deserialize_any(Text(PhantomData))
}

/// Reads an optional `T`; `null` is none.
pub(crate) fn read_option<'de, T: FromText, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_option(OptionalText(PhantomData))
}

struct Text<T>(PhantomData<T>);

impl<T: FromText> Text<T> {
    fn refuse<E: Error>(self, found: Unexpected<'_>) -> E {
        if T::SECRET {
            let hidden = Unexpected::Other("a value that is not shown, as it is a secret");
            return E::invalid_value(hidden, &self);
        }
        match found {
            Unexpected::Str(_) => E::invalid_value(found, &self),
            other => E::invalid_type(other, &self),
        }
    }
}

impl<T: FromText> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| self.refuse(Unexpected::Str(text)))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        Err(self.refuse(Unexpected::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Err(self.refuse(Unexpected::Signed(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        Err(self.refuse(Unexpected::Unsigned(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        Err(self.refuse(Unexpected::Float(value)))
    }
}

struct OptionalText<T>(PhantomData<T>);

impl<'de, T: FromText> Visitor<'de> for OptionalText<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        read(deserializer).map(Some)
    }
}

impl FromText for SocketAddr {
    const EXPECTED: &'static str = "an IP address and a port such as 127.0.0.1:8080";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromText for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| Path::new(text).to_owned())
    }
}

/// The base of the Slack Web API: methods are joined to it, so its path ends with a slash.
pub(crate) struct ApiUrl(pub(crate) Url);

impl FromText for ApiUrl {
    const EXPECTED: &'static str =
        "an https:// URL without user, query or fragment (http:// only to a loopback host)";

    fn from_text(text: &str) -> Option<Self> {
        let mut url = Url::parse(text).ok()?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !bare || !is_safe_transport(&url) {
            return None;
        }
        if !url.path().ends_with('/') {
            // Without it, joining a method name would replace the last path segment.
            url.set_path(&format!("{}/", url.path()));
        }
        Some(Self(url))
    }
}

/// Whether what is sent to `url` is encrypted or does not leave this machine.
pub(crate) fn is_safe_transport(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(name))) => name.eq_ignore_ascii_case("localhost"),
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.to_canonical().is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiUrl, FromText};

    #[test]
    fn an_api_url_is_encrypted_or_local_and_ends_with_a_slash() {
        let read = |text: &str| ApiUrl::from_text(text).map(|url| url.0.to_string());
        assert_eq!(
            read("https://slack.com/api/").as_deref(),
            Some("https://slack.com/api/")
        );
        assert_eq!(
            read("https://slack.com/api").as_deref(),
            Some("https://slack.com/api/")
        );
        assert_eq!(
            read("http://127.0.0.1:81").as_deref(),
            Some("http://127.0.0.1:81/")
        );
        assert_eq!(
            read("http://localhost:81/x").as_deref(),
            Some("http://localhost:81/x/")
        );
        assert_eq!(
            read("http://[::1]:81/").as_deref(),
            Some("http://[::1]:81/")
        );
        let refused = [
            "http://slack.com/api/",
            "http://localhost.evil.example/",
            "https://user@slack.com/api/",
            "https://:word@slack.com/api/",
            "https://slack.com/api/?x=1",
            "https://slack.com/api/#x",
            "ftp://slack.com/",
            "slack.com/api/",
            "",
        ];
        for text in refused {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

//! One event's envelope: every field of `audit.k8s.io/v1 Event` that a reader of an alert asks
//! for, borrowed from the event's own text.
//!
//! The plain case is read by a scanner of our own in one pass, about four times as fast; whatever that
//! does not understand is read, or refused, by serde (`scan.rs`).
//!
//! Contract: [`Envelope::parse`] never looks inside `requestObject` and `responseObject`; they stay
//! raw. A missing optional field is empty, never an error; `stage` and `level` must be there, because
//! the API server always writes them (Kubernetes: `staging/src/k8s.io/apiserver/pkg/apis/audit`), but may
//! have names that are not known here.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use serde_json::value::RawValue;

use crate::{list::OldVersion, redact::Members, scan::Scanner};

/// A string of an event, borrowed where it has no escapes. `null` reads as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// Who asked.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct User<'a> {
    /// The user's name; empty before authentication.
    #[serde(borrow, default)]
    pub username: Text<'a>,
    /// The user's groups.
    #[serde(borrow, default, deserialize_with = "null_is_none")]
    pub groups: Vec<Text<'a>>,
}

/// What was asked for; absent for non-resource URLs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef<'a> {
    /// Plural resource name, as in the URL.
    #[serde(borrow, default)]
    pub resource: Text<'a>,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(borrow, default)]
    pub namespace: Text<'a>,
    /// Name; empty for lists and before a created object is named.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// API group; empty for the core group.
    #[serde(borrow, default)]
    pub api_group: Text<'a>,
    /// Subresource such as `exec`, `log` or `token`.
    #[serde(borrow, default)]
    pub subresource: Text<'a>,
}

/// How it ended.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ResponseStatus<'a> {
    /// HTTP status code; 0 where the event has none.
    #[serde(default)]
    pub code: i32,
    /// Machine-readable reason of a failure.
    #[serde(borrow, default)]
    pub reason: Text<'a>,
    /// Human-readable reason of a failure.
    #[serde(borrow, default)]
    pub message: Text<'a>,
}

/// An event without its bodies.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope<'a> {
    /// How much was logged.
    #[serde(deserialize_with = "plain::level")]
    pub level: Level,
    /// When it was logged.
    #[serde(deserialize_with = "plain::stage")]
    pub stage: Stage,
    /// The request's ID. A client may choose it (`Audit-ID` header): never trust it to be unique.
    #[serde(borrow, default, rename = "auditID")]
    pub audit_id: Text<'a>,
    /// The request's URI, query included.
    #[serde(borrow, default, rename = "requestURI")]
    pub request_uri: Text<'a>,
    /// Kubernetes verb, or the lower-case HTTP method for non-resource requests; may be empty.
    #[serde(borrow, default)]
    pub verb: Text<'a>,
    /// The authenticated user.
    #[serde(borrow, default, deserialize_with = "null_is_none")]
    pub user: User<'a>,
    /// The user that the request was made as.
    #[serde(borrow, default)]
    pub impersonated_user: Option<User<'a>>,
    /// Addresses the request came through; all but the last are the client's own claim.
    #[serde(
        borrow,
        default,
        rename = "sourceIPs",
        deserialize_with = "null_is_none"
    )]
    pub source_ips: Vec<Text<'a>>,
    /// The client's claim of what it is.
    #[serde(borrow, default)]
    pub user_agent: Text<'a>,
    /// The object.
    #[serde(borrow, default)]
    pub object_ref: Option<ObjectRef<'a>>,
    /// The outcome.
    #[serde(borrow, default)]
    pub response_status: Option<ResponseStatus<'a>>,
    /// When this stage was reached, RFC 3339 with microseconds.
    #[serde(borrow, default)]
    pub stage_timestamp: Text<'a>,
    /// What authorization and admission noted.
    #[serde(borrow, default, deserialize_with = "null_is_none")]
    pub annotations: Annotations<'a>,
    /// The request's body, unread.
    #[serde(borrow, default, deserialize_with = "unread")]
    pub request_object: Option<&'a str>,
    /// The response's body, unread.
    #[serde(borrow, default, deserialize_with = "unread")]
    pub response_object: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "unread")]
    pub(crate) kind: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "unread")]
    pub(crate) api_version: Option<&'a str>,
    /// Whether it has members that are none of an event's, of which nobody can say what they hold.
    #[serde(skip)]
    pub(crate) has_unknown: bool,
}

/// Go writes a nil slice or map as null.
fn null_is_none<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
/// Members of an event that its envelope has.
pub(crate) const NAMES: [&str; 17] = [
    "level",
    "stage",
    "auditID",
    "requestURI",
    "verb",
    "userAgent",
    "stageTimestamp",
    "user",
    "impersonatedUser",
    "sourceIPs",
    "objectRef",
    "responseStatus",
    "annotations",
    "requestObject",
    "responseObject",
    "kind",
    "apiVersion",
];
/// Members of an event that its envelope leaves out.
pub(crate) const LEFT_OUT: [&str; 2] = ["requestReceivedTimestamp", "authenticationMetadata"];

fn unread<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a str>, D::Error> {
    Ok(Option::<&RawValue>::deserialize(deserializer)?.map(RawValue::get))
}

impl<'a> Envelope<'a> {
    /// Reads an event's envelope.
    ///
    /// # Errors
    /// What is missing or of the wrong type, with its position inside the event.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut scanner = Scanner::new(text);
        if let Some(envelope) = Self::scan(&mut scanner)
            && scanner.is_at_end()
        {
            return Ok(envelope);
        }
        Self::parse_any(text)
    }

    /// [`Envelope::parse`] by serde alone.
    pub(crate) fn parse_any(text: &'a str) -> Result<Self, serde_json::Error> {
        // serde would also read an array, taking its elements for the fields in their order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Error::custom("not an object"));
        }
        let mut envelope: Self = serde_json::from_str(text)?;
        envelope.has_unknown = Members::parse(text)?
            .names()
            .any(|name| !NAMES.contains(&name) && !LEFT_OUT.contains(&name));
        Ok(envelope)
    }

    /// This, unless it is of a version that is not supported. Webhooks leave the version to the list.
    pub(crate) fn supported(self) -> Result<Self, NotAnEvent> {
        let Some(api_version) = self.api_version.filter(|raw| *raw != "\"audit.k8s.io/v1\"") else {
            return Ok(self);
        };
        let api_version = serde_json::from_str::<Text<'_>>(api_version).unwrap_or_default();
        match OldVersion::of(&api_version) {
            Some(version) => Err(NotAnEvent::OldVersion(version)),
            None => Ok(self),
        }
    }

    /// HTTP status code, where the stage has one.
    pub fn code(&self) -> Option<i32> {
        self.response_status
            .as_ref()
            .map(|status| status.code)
            .filter(|code| *code != 0)
    }

    /// What the authorizer decided (`allow` or `forbid`), where it was asked.
    pub fn decision(&self) -> Option<Cow<'_, str>> {
        self.annotation("authorization.k8s.io/decision")
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<Cow<'_, str>> {
        self.annotations.get(key)
    }

    /// The request's path as it was written, without its query.
    pub fn path(&self) -> &str {
        self.request_uri.split('?').next().unwrap_or_default()
    }

    /// The path that the API server served: unescaped, where no object says what was asked for.
    ///
    /// Go: `URL.Path` is unescaped once, a plus stays one, `//` and `;` stay as they are; a broken escape is
    /// refused before anything is logged, so here it leaves the path as it is.
    pub fn served_path(&self) -> Cow<'_, str> {
        let path = self.path();
        if self.object_ref.is_some() || !path.contains('%') {
            return Cow::Borrowed(path);
        }
        let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
        let bytes = path.as_bytes();
        let is_broken = |(at, byte): (usize, &u8)| {
            *byte == b'%' && !(is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)))
        };
        match bytes.iter().enumerate().any(is_broken) {
            true => Cow::Borrowed(path),
            false => percent_decode_str(path).decode_utf8_lossy(),
        }
    }

    /// Whether this is the one stage at which a request is told when nothing else is configured.
    ///
    /// That is its end (`ResponseComplete`, `Panic`). Sessions (exec, attach, port-forward) are told
    /// when they start, as they may last for hours. Another `ResponseStarted` is told when no later
    /// stage can follow: Kubernetes writes 401s and a malformed `?timeout` only so, and before a user
    /// is known.
    pub fn is_told_by_default(&self) -> bool {
        match self.stage {
            Stage::Panic => true,
            Stage::ResponseComplete => !self.is_session(),
            Stage::ResponseStarted => self.is_session() || self.user.username.is_empty(),
            Stage::RequestReceived => false,
            // Whether one follows is not known.
            Stage::Unknown => true,
        }
    }

    fn is_session(&self) -> bool {
        self.object_ref.as_ref().is_some_and(|object| {
            matches!(
                object.subresource.as_str(),
                "exec" | "attach" | "portforward"
            )
        })
    }
}

mod annotations;
mod not_an_event;
mod plain;
mod words;

pub use annotations::Annotations;
pub use not_an_event::NotAnEvent;
pub(crate) use not_an_event::whole_characters;
pub use words::{Level, Severity, Stage};

#[cfg(test)]
mod tests;

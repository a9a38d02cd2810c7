//! Redaction at the door (promise P8): runs before anything is queued, so that no secret reaches
//! disk, logs, metrics or Slack.
//!
//! What never passes:
//! * values in bodies of `secrets`, `tokenreviews` and `serviceaccounts/token`, whatever form the
//!   body has (object, list, table, merge patch, JSON patch); their key names stay;
//! * the same in objects of those kinds that are nested in other bodies;
//! * `last-applied-configuration`, as annotation, patch path or inside a string;
//! * the message of a failed request for such an object when it may quote its body.
//!
//! A body is re-written from what was parsed, never passed through: a duplicate key could hide a
//! value from the parser. A body that cannot be parsed cannot be redacted, and is dropped.
//! Rule for what counts as secret: everything that is not known to be harmless.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::event::{Envelope, ObjectRef, Text};

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

const LAST_APPLIED: &str = "last-applied-configuration";

/// An event that may be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Redacted<'a> {
    /// The event's JSON.
    pub json: Cow<'a, str>,
    /// Whether a body was dropped because it could not be read.
    pub body_unreadable: bool,
}

/// Redacts one event. `body_readable` is false when bytes of it were not UTF-8.
pub fn redact<'a>(text: &'a str, envelope: &Envelope<'_>, body_readable: bool) -> Redacted<'a> {
    let secret = envelope.object_ref.as_ref().is_some_and(is_secret_resource);
    let hide_message = secret && message_may_quote_body(envelope);
    let has_body = envelope.request_object.is_some() || envelope.response_object.is_some();
    if !has_body && !hide_message && body_readable {
        return Redacted {
            json: Cow::Borrowed(text),
            body_unreadable: false,
        };
    }
    let Ok(members) = Members::parse(text) else {
        // The envelope was read from the same text, so this cannot happen; if it does, drop it all.
        return Redacted {
            json: Cow::Borrowed("{}"),
            body_unreadable: true,
        };
    };
    let mut body_unreadable = !body_readable;
    let mut out = Vec::with_capacity(members.0.len());
    for (name, raw) in members.0 {
        let value = match name.as_str() {
            "requestObject" | "responseObject" => match scrubbed(raw, secret, body_readable) {
                Some(body) => Cow::Owned(body),
                None => {
                    body_unreadable = true;
                    continue;
                }
            },
            "responseStatus" if hide_message => Cow::Owned(without_message(raw)),
            _ => Cow::Borrowed(raw.get()),
        };
        out.push((name, value));
    }
    Redacted {
        json: Cow::Owned(to_json(&out)),
        body_unreadable,
    }
}

fn is_secret_resource(object: &ObjectRef<'_>) -> bool {
    // Whatever the API group: a custom resource of that name is not worth the risk.
    matches!(
        (object.resource.as_str(), object.subresource.as_str()),
        ("secrets" | "tokenreviews" | "tokenrequests", _) | ("serviceaccounts", "token")
    )
}

fn is_secret_kind(kind: &str) -> bool {
    ["Secret", "SecretList", "TokenReview", "TokenRequest"]
        .iter()
        .any(|secret| kind.eq_ignore_ascii_case(secret))
}

/// These refusals name the object and the user; others may quote the body (a decoding error does).
fn message_may_quote_body(envelope: &Envelope<'_>) -> bool {
    envelope.response_status.as_ref().is_some_and(|status| {
        !status.message.is_empty() && !matches!(status.code, 401 | 403 | 404 | 405 | 409)
    })
}

fn without_message(raw: &RawValue) -> String {
    let mut status: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    if let Some(message) = status.get_mut("message") {
        *message = REDACTED.into();
    }
    if let Some(object) = status.as_object_mut() {
        object.remove("details");
    }
    status.to_string()
}

fn scrubbed(raw: &RawValue, secret: bool, readable: bool) -> Option<String> {
    if !readable {
        return None;
    }
    // serde_json refuses more than 128 levels, so the recursion below is bounded too.
    let mut body: Value = serde_json::from_str(raw.get()).ok()?;
    if secret {
        mask_object(&mut body)
    } else {
        scrub(&mut body)
    }
    Some(body.to_string())
}

/// Finds what is secret inside a body that as a whole is not.
fn scrub(value: &mut Value) {
    match value {
        Value::Object(map) if holds_secret_kind(map) => mask_object(value),
        Value::Object(map) => {
            let patches_last_applied = ["path", "from"].iter().any(|name| {
                map.get(*name)
                    .and_then(Value::as_str)
                    .is_some_and(|path| path.contains(LAST_APPLIED))
            });
            for (name, inner) in map.iter_mut() {
                if name.contains(LAST_APPLIED) || (patches_last_applied && name == "value") {
                    *inner = REDACTED.into();
                } else if !(patches_last_applied && (name == "path" || name == "from")) {
                    scrub(inner);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(scrub),
        // An object inside a string (a patch as text, an annotation that holds YAML).
        Value::String(text) if text.contains(LAST_APPLIED) => *value = REDACTED.into(),
        _ => {}
    }
}

fn holds_secret_kind(map: &Map<String, Value>) -> bool {
    map.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("kind") && value.as_str().is_some_and(is_secret_kind)
    })
}

/// Masks an object (or list, table, patch) of a secret kind: its shape and key names stay.
fn mask_object(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let is_patch = map.contains_key("op") && map.contains_key("path");
            for (name, inner) in map.iter_mut() {
                match name.as_str() {
                    "kind" | "apiVersion" | "type" if inner.is_string() => {}
                    "op" | "path" if is_patch && inner.is_string() => {}
                    "metadata" => mask_metadata(inner),
                    "items" | "rows" | "object" => mask_object(inner),
                    _ => mask_all(inner),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask_object),
        other => mask_all(other),
    }
}

fn mask_metadata(value: &mut Value) {
    const HARMLESS: [&str; 6] = [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ];
    let Value::Object(map) = value else {
        return mask_all(value);
    };
    for (name, inner) in map.iter_mut() {
        if !(HARMLESS.contains(&name.as_str()) && inner.is_string()) {
            mask_all(inner);
        }
    }
}

fn mask_all(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(mask_all),
        Value::Array(values) => values.iter_mut().for_each(mask_all),
        Value::Null => {}
        _ => *value = REDACTED.into(),
    }
}

/// A JSON object's members, in order, duplicates included, values unread.
pub(crate) struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let members: Vec<_> = self
            .0
            .iter()
            .map(|(name, raw)| (name.clone(), Cow::Borrowed(raw.get())))
            .collect();
        to_json(&members).into_bytes()
    }
}

fn to_json(members: &[(Text<'_>, Cow<'_, str>)]) -> String {
    let mut out = String::from("{");
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;

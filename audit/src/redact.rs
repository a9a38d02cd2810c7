//! Redaction at the door (promise P8): runs before anything is queued, so that no secret reaches
//! disk, logs, metrics or Slack.
//!
//! What never passes:
//! * values in bodies of `secrets`, `tokenreviews` and `serviceaccounts/token`, whatever form the
//!   body has (object, list, table, merge patch, JSON patch); their key names stay, and the number of seconds
//!   that a token is asked to last;
//! * the same in objects of those kinds that are nested in other bodies;
//! * `last-applied-configuration`, as annotation, patch path or inside a string;
//! * the message of a failed request for such an object when it may quote its body, and its details;
//! * annotations of the event that hold a webhook's patch, and for objects of those kinds every
//!   annotation that is not known to be harmless (admission webhooks and policies write what they like).
//!
//! A body is re-written from what was parsed: a duplicate key could hide a value from the parser. A
//! body that cannot be parsed cannot be redacted, and is dropped. Only a body of another kind passes as
//! it is, if its very bytes rule out all of the above, however they are read (`has_nothing_to_hide`).
//! Rule for what counts as secret: everything that is not known to be harmless.

use std::{borrow::Cow, sync::LazyLock};

use aho_corasick::AhoCorasick;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    event::{Envelope, ObjectRef, Text},
    scan::Scanner,
};

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

const LAST_APPLIED: &str = "last-applied-configuration";

/// A parsed body takes up to 16 times its size; Kubernetes' own objects are limited to 3 MiB on the
/// wire, only lists are larger.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Kubernetes: webhook patches are logged under this key from level Request up, values included.
const WEBHOOK_PATCHES: &str = "patch.webhook.admission.k8s.io/";

/// Annotations that hold no part of the object, whatever the object is.
const HARMLESS_ANNOTATIONS: [&str; 7] = [
    "authorization.k8s.io/",
    "authentication.k8s.io/",
    "mutation.webhook.admission.k8s.io/",
    "pod-security.kubernetes.io/",
    "apiserver.latency.k8s.io/",
    "k8s.io/deprecated",
    "k8s.io/removed-release",
];

/// What is stored of the bodies of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bodies {
    /// What is no secret.
    #[default]
    Keep,
    /// Their form and the names of keys; no values.
    Redact,
    /// Nothing.
    Drop,
}

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
    let clean_status = secret && has_failure_text(envelope);
    let hide_message = message_may_quote_body(envelope);
    let clean_annotations = envelope
        .annotations
        .any_raw(|key, value| hides_annotation(secret, key, value));
    let has_body = envelope.request_object.is_some() || envelope.response_object.is_some();
    if !has_body && !clean_status && !clean_annotations && body_readable {
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
                Some(body) => body,
                None => {
                    body_unreadable = true;
                    continue;
                }
            },
            "responseStatus" if clean_status => Cow::Owned(clean_failure(raw, hide_message)),
            "annotations" if clean_annotations => Cow::Owned(masked_annotations(raw, secret)),
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

const SECRET_KINDS: [&str; 4] = ["Secret", "SecretList", "TokenReview", "TokenRequest"];

fn is_secret_kind(kind: &str) -> bool {
    SECRET_KINDS
        .iter()
        .any(|secret| kind.eq_ignore_ascii_case(secret))
}

fn has_failure_text(envelope: &Envelope<'_>) -> bool {
    envelope
        .response_status
        .as_ref()
        .is_some_and(|status| !status.message.is_empty() || status.code >= 400)
}

/// These refusals name the object and the user. Others may quote the body: a decoding error does, and
/// an admission webhook that forbids (403) says what it likes.
fn message_may_quote_body(envelope: &Envelope<'_>) -> bool {
    let Some(status) = &envelope.response_status else {
        return false;
    };
    match status.code {
        401 | 404 | 405 | 409 => false,
        403 => {
            !(status.message.contains(" is forbidden: User ")
                && status.message.contains(" cannot ")
                && !status.message.contains("admission"))
        }
        _ => true,
    }
}

fn clean_failure(raw: &RawValue, hide_message: bool) -> String {
    let mut status: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    if let Some(object) = status.as_object_mut() {
        object.remove("details");
        if let Some(message) = object.get_mut("message").filter(|_| hide_message) {
            *message = REDACTED.into();
        }
    }
    status.to_string()
}

fn hides_annotation(secret: bool, key: &str, value: &str) -> bool {
    key.starts_with(WEBHOOK_PATCHES)
        || value.contains(LAST_APPLIED)
        || (secret
            && !HARMLESS_ANNOTATIONS
                .iter()
                .any(|harmless| key.starts_with(harmless)))
}

fn masked_annotations(raw: &RawValue, secret: bool) -> String {
    let mut annotations: Map<String, Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    for (key, value) in &mut annotations {
        if value
            .as_str()
            .is_none_or(|text| hides_annotation(secret, key, text))
        {
            *value = REDACTED.into();
        }
    }
    Value::Object(annotations).to_string()
}

fn scrubbed(raw: &RawValue, secret: bool, readable: bool) -> Option<Cow<'_, str>> {
    let raw = raw.get();
    if !readable || raw.len() > BODY_BYTES_MAX {
        return None;
    }
    if !secret && has_nothing_to_hide(raw) {
        return Some(Cow::Borrowed(raw));
    }
    // serde_json refuses more than 128 levels, so the recursion below is bounded too.
    let mut body: Value = serde_json::from_str(raw).ok()?;
    if secret {
        mask_object(&mut body)
    } else {
        scrub(&mut body)
    }
    Some(Cow::Owned(body.to_string()))
}

/// Whether no way of reading the body finds anything that [`scrub`] looks for: no string in it is the
/// name of a secret kind, none holds [`LAST_APPLIED`], and there is no `\u` escape to write either in
/// another way. Bodies nested so deep that they would be dropped are left to that.
fn has_nothing_to_hide(raw: &str) -> bool {
    static MARKS: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let kinds = SECRET_KINDS.iter().map(|kind| format!("\"{kind}\""));
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(kinds.chain([LAST_APPLIED.to_owned(), "\\u".to_owned()]))
            .expect("a handful of short words")
    });
    !MARKS.is_match(raw) && Scanner::new(raw).skip().is_some()
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
            let is_request = map.get("kind").is_some_and(|kind| kind == "TokenRequest");
            for (name, inner) in map.iter_mut() {
                match name.as_str() {
                    "kind" | "apiVersion" | "type" if inner.is_string() => {}
                    "op" | "path" if is_patch && inner.is_string() => {}
                    "metadata" => mask_metadata(inner),
                    "spec" if is_request => mask_but_lifetime(inner),
                    "items" | "rows" | "object" => mask_object(inner),
                    _ => mask_all(inner),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask_object),
        other => mask_all(other),
    }
}

/// How long a token is asked to last is what its reader wants to know, and a number tells nothing else.
fn mask_but_lifetime(value: &mut Value) {
    let lifetime = value
        .get("expirationSeconds")
        .filter(|seconds| seconds.is_u64())
        .cloned();
    mask_all(value);
    if let Some(lifetime) = lifetime {
        value["expirationSeconds"] = lifetime;
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

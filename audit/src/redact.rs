//! Redaction at the door (promise P8): runs before anything is queued, so that no secret reaches
//! disk, logs, metrics or Slack.
//!
//! What never passes:
//! * values in bodies of `secrets`, `tokenreviews`, `serviceaccounts/token`, `certificatesigningrequests` and
//!   resources that the configuration names, whatever form the body has (object, list, table, merge patch, JSON
//!   patch); their key names stay, and the little that a reader needs and is no secret (`redact/shape.rs`);
//! * the same in objects of those kinds that are nested in other bodies, also as text;
//! * `last-applied-configuration`, as annotation, patch path or inside a string;
//! * by option, values of environment variables (`redact/scrub.rs`);
//! * the message of a failed request for such an object when it may quote its body, and its details;
//! * annotations of the event that hold a webhook's patch, and for objects of those kinds every
//!   annotation that is not known to be harmless (admission webhooks and policies write what they like);
//! * what looks like a secret in the request's address ([`crate::mask::address`]), there and where it is quoted.
//!
//! A value leaves a mark behind by which equal ones can be told (`redact/mark.rs`); what is already redacted
//! stays as it is. A body is re-written from what was parsed: a duplicate key could hide a value from the
//! parser. A body that cannot be parsed cannot be redacted, and is dropped; so is what stands under a name
//! that is none of an event's. Only a body of another kind passes as it is, if its very bytes rule out all of
//! the above, however they are read. Rule for what counts as secret: everything that is not known to be harmless.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

pub use self::mark::{REDACTED, is_redacted};
pub(crate) use self::members::Members;
use self::{
    members::to_json,
    quotes::Quotes,
    scrub::{Scrubber, has_nothing_to_hide, is_secret_text},
    shape::Shape,
};
use crate::{
    event::{Envelope, LEFT_OUT, NAMES, ObjectRef},
    key::HashKey,
    mask::address::{self, Reader},
    policy::GroupResources,
};

mod mark;
mod members;
mod quotes;
mod scrub;
mod shape;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Takes the secrets out of events.
#[derive(Clone, Debug)]
pub struct Redactor {
    key: HashKey,
    resources: Vec<GroupResources>,
    environment: bool,
}

/// What is to be done with one event.
struct Task<'r> {
    redactor: &'r Redactor,
    bodies: Bodies,
    /// How the bodies are secret as a whole, if they are.
    shape: Option<Shape>,
    /// The message of a failure may quote a body.
    may_quote: bool,
    /// And only parts of it (Kubernetes: errors of decoding).
    quotes_parts: bool,
    clean_status: bool,
    clean_annotations: bool,
    /// The address without its secrets.
    address: Option<String>,
    quotes: Quotes,
}

impl Redactor {
    /// Takes out what always goes; marks are made with this key.
    pub fn new(key: HashKey) -> Self {
        Self {
            key,
            resources: Vec::new(),
            environment: false,
        }
    }

    /// Bodies of these resources lose their values too.
    #[must_use]
    pub fn resources(self, resources: Vec<GroupResources>) -> Self {
        Self { resources, ..self }
    }

    /// Whether values of environment variables go too.
    #[must_use]
    pub fn environment(self, environment: bool) -> Self {
        Self {
            environment,
            ..self
        }
    }

    /// Redacts one event. `body_readable` is false when bytes of it were not UTF-8.
    pub fn redact<'a>(
        &self,
        text: &'a str,
        envelope: &Envelope<'_>,
        body_readable: bool,
        bodies: Bodies,
    ) -> Redacted<'a> {
        let shape = self.shape(envelope, bodies);
        let hidden = address::masked(&envelope.request_uri, reader(envelope));
        let clean_status = shape.is_some() && has_failure_text(envelope);
        let clean_annotations = envelope
            .annotations
            .any_raw(|key, value| hides_annotation(shape.is_some(), key, value));
        let has_body = envelope.request_object.is_some() || envelope.response_object.is_some();
        let is_clean = !clean_status && !clean_annotations && hidden.is_none();
        if is_clean && !has_body && body_readable && !envelope.has_unknown {
            return Redacted {
                json: Cow::Borrowed(text),
                body_unreadable: false,
            };
        }
        let mut quotes = Quotes::default();
        let address = hidden.map(|hidden| {
            quotes.add_words(&hidden.lost);
            hidden.address
        });
        let task = Task {
            redactor: self,
            bodies,
            shape,
            may_quote: has_failure_text(envelope) && message_may_quote_body(envelope),
            quotes_parts: envelope.code() == Some(400),
            clean_status,
            clean_annotations,
            address,
            quotes,
        };
        // The envelope was read from the same text, so this cannot fail; if it does, drop it all.
        task.redacted(text, body_readable).unwrap_or(Redacted {
            json: Cow::Borrowed("{}"),
            body_unreadable: true,
        })
    }

    fn shape(&self, envelope: &Envelope<'_>, bodies: Bodies) -> Option<Shape> {
        let object = envelope.object_ref.as_ref();
        let is_listed =
            |object: &&ObjectRef<'_>| self.resources.iter().any(|one| one.covers(object));
        if bodies != Bodies::Keep || object.filter(is_listed).is_some() {
            return Some(Shape::Opaque);
        }
        object.and_then(Shape::of_resource)
    }
}

impl Task<'_> {
    fn redacted(mut self, text: &str, body_readable: bool) -> Option<Redacted<'static>> {
        let members = Members::parse(text).ok()?.0;
        // Bodies first: what they lose may be quoted by what stands before them.
        let mut lost = Vec::new();
        let mut body_unreadable = !body_readable && self.bodies != Bodies::Drop;
        let mut bodies: Vec<Option<Cow<'_, str>>> = Vec::with_capacity(members.len());
        for (name, raw) in &members {
            let body = is_body(name)
                .then(|| self.body(raw, body_readable, &mut lost))
                .flatten();
            body_unreadable |= is_body(name) && body.is_none() && self.bodies != Bodies::Drop;
            bodies.push(body);
        }
        if self.may_quote && self.quotes_parts && (body_unreadable || !lost.is_empty()) {
            self.clean_status = true;
        }
        self.quotes.add(lost);
        let mut out = Vec::with_capacity(members.len());
        for ((name, raw), body) in members.into_iter().zip(bodies) {
            let value = match name.as_str() {
                _ if is_body(&name) => match body {
                    Some(body) => body,
                    None => continue,
                },
                "requestURI" => match &self.address {
                    Some(address) => Cow::Owned(Value::from(address.as_str()).to_string()),
                    None => Cow::Borrowed(raw.get()),
                },
                "responseStatus" if self.clean_status || !self.quotes.is_empty() => {
                    Cow::Owned(self.status(raw))
                }
                "annotations" if self.clean_annotations || !self.quotes.is_empty() => {
                    Cow::Owned(self.annotations(raw))
                }
                "userAgent" if !self.quotes.is_empty() => {
                    let mut agent: Value = serde_json::from_str(raw.get()).unwrap_or_default();
                    self.quotes.take_out(&mut agent);
                    Cow::Owned(agent.to_string())
                }
                _ => Cow::Borrowed(raw.get()),
            };
            out.push((name, value));
        }
        Some(Redacted {
            json: Cow::Owned(to_json(&out)),
            body_unreadable,
        })
    }

    /// What may stand for a body; `None` where nothing may.
    fn body<'a>(
        &self,
        raw: &'a RawValue,
        readable: bool,
        lost: &mut Vec<String>,
    ) -> Option<Cow<'a, str>> {
        let raw = raw.get();
        if !readable || raw.len() > BODY_BYTES_MAX || self.bodies == Bodies::Drop {
            return None;
        }
        let Redactor {
            key, environment, ..
        } = self.redactor;
        if self.shape.is_none() && self.quotes.is_empty() && has_nothing_to_hide(raw, *environment)
        {
            return Some(Cow::Borrowed(raw));
        }
        // serde_json refuses more than 128 levels, so the recursion below is bounded too.
        let mut body: Value = serde_json::from_str(raw).ok()?;
        let mut scrubber = Scrubber {
            key,
            environment: *environment,
            lost: (self.shape.is_none() && self.may_quote).then(Vec::new),
        };
        match self.shape {
            Some(shape) => scrubber.mask_object(&mut body, shape),
            None => scrubber.scrub(&mut body),
        }
        lost.extend(scrubber.lost.into_iter().flatten());
        self.quotes.take_out(&mut body);
        Some(Cow::Owned(body.to_string()))
    }

    fn status(&self, raw: &RawValue) -> String {
        let mut status: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        if let Some(object) = status.as_object_mut() {
            if self.clean_status {
                object.remove("details");
            }
            let hides = self.clean_status && self.may_quote;
            if let Some(message) = object.get_mut("message").filter(|_| hides) {
                *message = REDACTED.into();
            }
            for name in ["message", "details"] {
                if let Some(told) = object.get_mut(name) {
                    self.quotes.take_out(told);
                }
            }
        }
        status.to_string()
    }

    fn annotations(&self, raw: &RawValue) -> String {
        let mut annotations: Map<String, Value> =
            serde_json::from_str(raw.get()).unwrap_or_default();
        for (key, value) in &mut annotations {
            let is_hidden = value
                .as_str()
                .is_none_or(|text| hides_annotation(self.shape.is_some(), key, text));
            if is_hidden {
                *value = mark::of_value(&self.redactor.key, value);
            } else if !is_harmless_annotation(key) {
                self.quotes.take_out(value);
            }
        }
        Value::Object(annotations).to_string()
    }
}

fn is_body(name: &str) -> bool {
    matches!(name, "requestObject" | "responseObject")
        || !(NAMES.contains(&name) || LEFT_OUT.contains(&name))
}

fn reader(envelope: &Envelope<'_>) -> Reader {
    match &envelope.object_ref {
        Some(object) if object.subresource.as_str() != "proxy" => Reader::Kubernetes,
        _ => Reader::Other,
    }
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

fn hides_annotation(secret: bool, key: &str, value: &str) -> bool {
    !is_harmless_annotation(key)
        && (secret || key.starts_with(WEBHOOK_PATCHES) || is_secret_text(value))
}

fn is_harmless_annotation(key: &str) -> bool {
    HARMLESS_ANNOTATIONS
        .iter()
        .any(|harmless| key.starts_with(harmless))
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;

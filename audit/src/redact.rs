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
//! * the message of a failed request for such an object when it may quote its body, and its details (`redact/refusal.rs`);
//! * what was taken out of a body of any other request, where its failure or an annotation quotes it;
//! * annotations of the event that hold a webhook's patch, and for objects of those kinds every
//!   annotation that is not known to be harmless (admission webhooks and policies write what they like);
//! * what looks like a secret in the request's address ([`crate::mask::address`]), there and where it is quoted.
//!
//! What never goes, however a client words its request: the verb, the user, the object, the outcome, and what the authorizer
//! decided. So what stood in an address is looked for only where Kubernetes quotes addresses, never in
//! bodies at large: a parameter `token=cluster-admin` must not take the role out of a binding.
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
use self::{body::Body, members::to_json, quotes::Quotes, scrub::is_secret_text, shape::Shape};
use crate::{
    event::{Envelope, LEFT_OUT, NAMES, ObjectRef},
    key::HashKey,
    mask::address::{self, Reader},
    policy::GroupResources,
};

mod body;
mod mark;
mod members;
mod quotes;
mod refusal;
mod scrub;
mod shape;

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

/// What is stored of the bodies of an event, from most to least.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
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
    /// The message of a failure may quote parts of a body (Kubernetes: errors of decoding).
    quotes_parts: bool,
    /// A failure, or an annotation, may quote a body.
    may_quote: bool,
    clean_status: bool,
    clean_annotations: bool,
    /// The address without its secrets.
    address: Option<String>,
    /// The object of admission is the address (Kubernetes: CONNECT), so that annotations may quote it.
    is_connect: bool,
    /// What was taken out of the address.
    asked: Quotes,
    /// What was taken out of bodies.
    lost: Quotes,
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
        let mut asked = Quotes::default();
        let address = hidden.map(|hidden| {
            asked.add_words(&hidden.lost);
            hidden.address
        });
        let annotates = || {
            let mut names = envelope.annotations.names();
            names.any(|name| !is_harmless_annotation(name))
        };
        let failed = has_failure_text(envelope);
        let task = Task {
            redactor: self,
            bodies,
            shape,
            quotes_parts: failed && envelope.code() == Some(400),
            may_quote: failed || annotates(),
            clean_status,
            clean_annotations,
            address,
            is_connect: is_connect(envelope),
            asked,
            lost: Quotes::default(),
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
        let mut body_unreadable = !body_readable && self.bodies != Bodies::Drop;
        let mut bodies: Vec<Option<Body<'_>>> = Vec::with_capacity(members.len());
        for (name, raw) in &members {
            let body = if is_body(name) {
                self.body(raw, body_readable)
            } else {
                None
            };
            body_unreadable |= is_body(name) && body.is_none() && self.bodies != Bodies::Drop;
            bodies.push(body);
        }
        self.clean_status |= self.quotes_parts && (body_unreadable || !self.lost.is_empty());
        let quotes = !self.asked.is_empty() || !self.lost.is_empty();
        let mut out = Vec::with_capacity(members.len());
        for ((name, raw), body) in members.into_iter().zip(bodies) {
            let value = match name.as_str() {
                _ if is_body(&name) => {
                    let Some(body) = body else { continue };
                    let Some(body) = self.without_quotes(&name, body) else {
                        body_unreadable = true;
                        continue;
                    };
                    body
                }
                "requestURI" => match &self.address {
                    Some(address) => Cow::Owned(Value::from(address.as_str()).to_string()),
                    None => Cow::Borrowed(raw.get()),
                },
                "responseStatus" if self.clean_status || quotes => Cow::Owned(self.status(raw)),
                "annotations" if self.clean_annotations || quotes => {
                    Cow::Owned(self.annotations(raw))
                }
                "userAgent" if !self.asked.is_empty() => {
                    let mut agent: Value = serde_json::from_str(raw.get()).unwrap_or_default();
                    self.asked.take_out(&mut agent);
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

    fn status(&self, raw: &RawValue) -> String {
        let mut status: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        if let Some(object) = status.as_object_mut() {
            refusal::clean(object, self.clean_status, &[&self.asked, &self.lost]);
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
                self.lost.take_out(value);
                if self.is_connect {
                    self.asked.take_out(value);
                }
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

/// Kubernetes: what admission sees of these requests are their options, which are the query.
fn is_connect(envelope: &Envelope<'_>) -> bool {
    envelope.object_ref.as_ref().is_some_and(|object| {
        let subresource = object.subresource.as_str();
        matches!(subresource, "exec" | "attach" | "portforward" | "proxy")
    })
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

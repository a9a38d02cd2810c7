//! Which objects are secret as a whole, and what of them may be read all the same.
//!
//! Rule: everything goes that is not known to be harmless. Form and names of keys stay.

use serde_json::{Map, Value};

use super::scrub::Scrubber;
use crate::event::ObjectRef;

/// How much is kept of a secret object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// What every object has to say who it is.
    Opaque,
    /// Also how long the token is asked to last.
    TokenRequest,
    /// Also who asks for what, and what was decided.
    SigningRequest,
}

pub(super) const SECRET_KINDS: [(&str, Shape); 6] = [
    ("Secret", Shape::Opaque),
    ("SecretList", Shape::Opaque),
    ("TokenReview", Shape::Opaque),
    ("TokenRequest", Shape::TokenRequest),
    ("CertificateSigningRequest", Shape::SigningRequest),
    ("CertificateSigningRequestList", Shape::SigningRequest),
];

impl Shape {
    /// That of a request's object. Whatever the API group: a custom resource of that name is not worth the
    /// risk.
    pub(super) fn of_resource(object: &ObjectRef<'_>) -> Option<Self> {
        match (object.resource.as_str(), object.subresource.as_str()) {
            ("secrets" | "tokenreviews", _) => Some(Self::Opaque),
            ("tokenrequests", _) | ("serviceaccounts", "token") => Some(Self::TokenRequest),
            ("certificatesigningrequests", _) => Some(Self::SigningRequest),
            _ => None,
        }
    }

    /// That of an object inside another one.
    pub(super) fn of_kind(kind: &str) -> Option<Self> {
        let mut known = SECRET_KINDS.iter();
        known
            .find(|(secret, _)| kind.eq_ignore_ascii_case(secret))
            .map(|(_, shape)| *shape)
    }

    /// That of an object which was found where one of this shape is expected: what claims to be another kind
    /// has none of its rights.
    fn of_member(self, map: &Map<String, Value>) -> Self {
        match map.get("kind") {
            None => self,
            Some(kind) if kind.as_str().and_then(Self::of_kind) == Some(self) => self,
            Some(_) => Self::Opaque,
        }
    }
}

impl Scrubber<'_> {
    /// Takes the values out of an object (or list, table, patch).
    pub(super) fn mask_object(&mut self, value: &mut Value, shape: Shape) {
        match value {
            Value::Object(map) => {
                let is_patch = map.contains_key("op") && map.contains_key("path");
                let own = shape.of_member(map);
                for (name, inner) in map.iter_mut() {
                    match (name.as_str(), own) {
                        ("kind" | "apiVersion" | "type", _) if inner.is_string() => {}
                        ("op" | "path", _) if is_patch && inner.is_string() => {}
                        ("metadata", _) => self.mask_but(inner, is_identity),
                        ("spec", Shape::TokenRequest) => self.mask_but(inner, is_lifetime),
                        ("spec", Shape::SigningRequest) => self.mask_but(inner, is_asked_for),
                        ("status", Shape::SigningRequest) => self.mask_decision(inner),
                        ("items" | "rows" | "object", _) => self.mask_object(inner, shape),
                        _ => self.mask_all(inner),
                    }
                }
            }
            Value::Array(values) => values
                .iter_mut()
                .for_each(|value| self.mask_object(value, shape)),
            other => self.mask_all(other),
        }
    }

    fn mask_decision(&mut self, status: &mut Value) {
        let Value::Object(map) = status else {
            return self.mask_all(status);
        };
        for (name, inner) in map.iter_mut() {
            match inner {
                Value::Array(conditions) if name == "conditions" => conditions
                    .iter_mut()
                    .for_each(|condition| self.mask_but(condition, is_decision)),
                _ => self.mask_all(inner),
            }
        }
    }

    fn mask_but(&mut self, value: &mut Value, is_harmless: fn(&str, &Value) -> bool) {
        let Value::Object(map) = value else {
            return self.mask_all(value);
        };
        for (name, inner) in map.iter_mut() {
            if !is_harmless(name, inner) {
                self.mask_all(inner);
            }
        }
    }

    /// Takes every value out.
    pub(super) fn mask_all(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|inner| self.mask_all(inner)),
            Value::Array(values) => values.iter_mut().for_each(|inner| self.mask_all(inner)),
            _ => self.hide(value),
        }
    }
}

fn is_identity(name: &str, value: &Value) -> bool {
    const NAMES: [&str; 6] = [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ];
    NAMES.contains(&name) && value.is_string()
}

/// What the reader of a token request wants to know; a number tells nothing else.
fn is_lifetime(name: &str, value: &Value) -> bool {
    name == "expirationSeconds" && value.is_u64()
}

/// Kubernetes: `certificates/v1`. Who asks is set by the API server.
fn is_asked_for(name: &str, value: &Value) -> bool {
    match name {
        "signerName" | "username" | "uid" => value.is_string(),
        "usages" | "groups" => is_texts(value),
        _ => is_lifetime(name, value),
    }
}

fn is_texts(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|values| values.iter().all(Value::is_string))
}

/// Not its message, in which whoever decided writes what they like.
fn is_decision(name: &str, value: &Value) -> bool {
    matches!(name, "type" | "status" | "reason") && value.is_string()
}

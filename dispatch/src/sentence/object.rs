//! What an object is called.

use auditrelay_audit::{Envelope, ObjectRef};
use serde::Deserialize;

use super::words;
use crate::{
    blocks::Piece,
    escape::{clean, quoted},
};

const NAME_CHARS_MAX: usize = 120;

/// The kind of object as digests group it, with group and subresource.
pub fn resource(object: &ObjectRef<'_>) -> String {
    let mut text = kind(object);
    if !object.subresource.is_empty() {
        text = format!("{text}/{}", clean(&object.subresource, 40));
    }
    text
}

/// `deployments.apps`.
fn kind(object: &ObjectRef<'_>) -> String {
    let resource = clean(&object.resource, NAME_CHARS_MAX);
    if object.api_group.is_empty() {
        return resource;
    }
    format!("{resource}.{}", clean(&object.api_group, NAME_CHARS_MAX))
}

/// `pods/api-7c9 in shop`, as tables write it.
pub fn object(object: &ObjectRef<'_>) -> String {
    let mut text = kind(object);
    if !object.name.is_empty() {
        text = format!("{text}/{}", clean(&object.name, NAME_CHARS_MAX));
    }
    if !object.subresource.is_empty() {
        text = format!("{text} ({})", clean(&object.subresource, 40));
    }
    match object.namespace.as_str() {
        "" => text,
        _ if object.resource.as_str() == "namespaces" => text,
        namespace => format!("{text} in {}", clean(namespace, NAME_CHARS_MAX)),
    }
}

/// `pod payments/api-7c9`, `pods in payments`, `a pod in payments`, as sentences say it.
pub fn phrase(event: &Envelope<'_>, object: &ObjectRef<'_>, names_subresource: bool) -> Vec<Piece> {
    let known = words::noun(&object.api_group, &object.resource);
    let is_namespace = object.api_group.is_empty() && object.resource.as_str() == "namespaces";
    let namespace = if is_namespace {
        ""
    } else {
        object.namespace.as_str()
    };
    let mut pieces = match name(event, object) {
        Some(name) => {
            let noun = known.map_or_else(|| quoted_kind(object), |(noun, _)| noun.to_owned());
            let name = match namespace {
                "" => name,
                namespace => format!("{}/{name}", quoted(namespace, NAME_CHARS_MAX)),
            };
            vec![Piece::plain(format!("{noun} ")), Piece::bold(name)]
        }
        None => {
            let noun = match known {
                Some((noun, _)) if event.verb.as_str() == "create" => {
                    format!("{} {noun}", article(noun))
                }
                Some(_) => object.resource.as_str().to_owned(),
                None => quoted_kind(object),
            };
            let place = match (namespace, known) {
                ("", Some((_, true))) if event.verb.as_str() != "create" => {
                    " in all namespaces".to_owned()
                }
                ("", _) => String::new(),
                (namespace, _) => format!(" in {}", quoted(namespace, NAME_CHARS_MAX)),
            };
            vec![Piece::bold(noun), Piece::plain(place)]
        }
    };
    if !object.subresource.is_empty() && !names_subresource {
        let subresource = quoted(&object.subresource, 40);
        pieces.push(Piece::plain(format!(" (subresource {subresource})")));
    }
    pieces
}

fn quoted_kind(object: &ObjectRef<'_>) -> String {
    let text = match object.api_group.as_str() {
        "" => object.resource.as_str().to_owned(),
        group => format!("{}.{group}", object.resource.as_str()),
    };
    quoted(&text, NAME_CHARS_MAX)
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// The object's name. One that the API server made up stands in its answer only; where that was not logged
/// it is told as far as the request says it.
fn name(event: &Envelope<'_>, object: &ObjectRef<'_>) -> Option<String> {
    if !object.name.is_empty() {
        return Some(quoted(&object.name, NAME_CHARS_MAX));
    }
    if event.verb.as_str() != "create" || !object.subresource.is_empty() {
        return None;
    }
    let answered = event
        .response_object
        .and_then(metadata)
        .filter(|named| !named.name.is_empty());
    if let Some(named) = answered.filter(|_| !super::has_failed(event)) {
        return Some(quoted(&named.name, NAME_CHARS_MAX));
    }
    let asked = event.request_object.and_then(metadata)?;
    match (asked.name.as_str(), asked.generate_name.as_str()) {
        ("", "") => None,
        ("", start) => Some(format!("{}…", quoted(start, NAME_CHARS_MAX))),
        (name, _) => Some(quoted(name, NAME_CHARS_MAX)),
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    generate_name: String,
}

/// Reads no more of a body than this, however large it is.
fn metadata(body: &str) -> Option<Named> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Named,
    }
    // serde would take the elements of an array for the fields.
    if !body.trim_ascii_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<Object>(body)
        .ok()
        .map(|object| object.metadata)
}

//! The configuration as a JSON Schema (draft 2020-12), for editors.
//!
//! Contract:
//! * it is made of what there is: the keys and kinds of `schema.rs`, and of the reference file the descriptions, units,
//!   defaults and bounds. A unit without a row in [`of_unit`] is an error, so none is passed over;
//! * a document that is loaded is valid. The other way round it is an editor's help: what two keys mean together, and what
//!   a template or a network may look like, only loading judges.

use std::collections::BTreeMap;

use auditrelay_audit::{AuthorizerDecision, Level, Risk, Severity, Stage, redact::Bodies};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::REFERENCE;
use crate::channel::DigestDetails;
use crate::route::{RateBy, RouteLevel};
use crate::schema::{Field, Kind, ROOT};

/// The first characters and the others of names.
const WIDE_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";
const CHANNEL_NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
/// What the reference file says where a key has no default.
const REQUIRED: &str = "none, it is required";

/// What the reference file says of a key.
#[derive(Debug, Default, Clone)]
struct Knob {
    description: String,
    unit: String,
    default: String,
    bounds: Option<(u64, u64)>,
}

/// The schema of a configuration file.
///
/// # Errors
/// A key of the code that the reference file does not describe, or a unit that is not known here; a test holds that there
/// is none.
pub fn json_schema() -> Result<Value, String> {
    let knobs = knobs();
    let mut schema = object(ROOT, "", &knobs)?;
    let top = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "auditrelay",
        "description": "The configuration of auditrelay. `auditrelay check` judges it as a whole.",
    });
    if let (Value::Object(schema), Value::Object(top)) = (&mut schema, top) {
        schema.extend(top);
    }
    Ok(schema)
}

/// A map with these keys and no others.
fn object(
    fields: &'static [Field],
    path: &str,
    knobs: &BTreeMap<String, Knob>,
) -> Result<Value, String> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in fields {
        let path = join(path, field.key);
        let Some(knob) = knobs.get(&path) else {
            return Err(format!("the reference file does not describe {path}"));
        };
        let mut property = property(field.kind, &path, knob, knobs)?;
        let described = match knob.unit.as_str() {
            "" => knob.description.clone(),
            unit => format!("{} Unit: {unit}.", knob.description),
        };
        if knob.default == REQUIRED {
            required.push(field.key);
        } else {
            property = or_null(property);
            if let Some(default) = default(knob, field.kind) {
                property["default"] = default;
            }
        }
        property["description"] = described.trim().into();
        properties.insert(field.key.to_owned(), property);
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = required.into();
    }
    Ok(object)
}

fn property(
    kind: Kind,
    path: &str,
    knob: &Knob,
    knobs: &BTreeMap<String, Knob>,
) -> Result<Value, String> {
    let of_unit = || of_unit(&knob.unit).ok_or_else(|| format!("{path}: unit {:?}", knob.unit));
    Ok(match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer => {
            let (min, max) = knob.bounds.ok_or_else(|| format!("{path} has no bounds"))?;
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        Kind::Text => of_unit()?,
        Kind::List => json!({"type": "array", "items": of_unit()?}),
        Kind::Texts => {
            let one = of_unit()?;
            json!({"anyOf": [one, {"type": "array", "items": one}]})
        }
        Kind::TextMap => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Kind::Free => json!({"type": ["object", "string"]}),
        Kind::Map(fields) => object(fields, path, knobs)?,
        Kind::Maps(fields) => {
            json!({"type": "array", "items": object(fields, &join(path, "[]"), knobs)?})
        }
        Kind::Channels(fields) => json!({
            "type": "object",
            "propertyNames": {"pattern": CHANNEL_NAME},
            // The reference file describes the keys of a channel at the one called default.
            "additionalProperties": or_null(object(fields, &join(path, "default"), knobs)?),
        }),
    })
}

/// Text, or an item of a list, of this unit.
fn of_unit(unit: &str) -> Option<Value> {
    let pattern = |pattern: &str| json!({"type": "string", "pattern": pattern});
    Some(match unit {
        "1 to 63 characters A-Z a-z 0-9 . _ -"
        | "name of a cluster, or a list"
        | "name of a route"
        | "list of names of clusters" => pattern(WIDE_NAME),
        "name of a channel" | "name of a channel, or a list" => pattern(CHANNEL_NAME),
        "Slack channel id or name" => pattern("^[^\\s,]{1,80}$"),
        "IP address and port" => pattern("^(\\[[0-9A-Fa-f:.%]+\\]|[0-9.]+):[0-9]{1,5}$"),
        "URL" => pattern("^\\s*[Hh][Tt][Tt][Pp][Ss]?:"),
        "1 to 63 characters A-Z a-z 0-9 _ -" => pattern("^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"),
        "list of nats:// or tls:// URLs" => pattern("^\\s*([Nn][Aa][Tt][Ss]|[Tt][Ll][Ss])://"),
        "list of http:// URLs" => pattern("^\\s*[Hh][Tt][Tt][Pp]:"),
        "path" | "Slack token" | "URL or environment" | "one line of text" => {
            json!({"type": "string", "minLength": 1})
        }
        "text without a colon" => pattern("^[^:]*$"),
        "critical, warning or info" => closed(&Severity::ALL),
        "None" => closed(&[RouteLevel::None]),
        "keep, redact or drop" => closed(&[Bodies::Keep, Bodies::Redact, Bodies::Drop]),
        "allow or forbid" => closed(&[AuthorizerDecision::Allow, AuthorizerDecision::Forbid]),
        "command, thread or file" => closed(&[
            DigestDetails::Command,
            DigestDetails::Thread,
            DigestDetails::File,
        ]),
        "list of stages" => closed(&Stage::ALL),
        "list of levels" => closed(&[
            Level::None,
            Level::Metadata,
            Level::Request,
            Level::RequestResponse,
        ]),
        "list of risks" => closed(&[
            Risk::ClusterAdmin,
            Risk::Wildcard,
            Risk::Escalation,
            Risk::Privileged,
            Risk::HostPath,
            Risk::HostNamespaces,
        ]),
        "list of user, sourceIP, namespace, resource, verb" => closed(&[
            RateBy::User,
            RateBy::SourceIP,
            RateBy::Namespace,
            RateBy::Resource,
            RateBy::Verb,
        ]),
        "list of codes" => json!({"type": ["integer", "string"], "minimum": 100, "maximum": 999}),
        "text"
        | "list of text"
        | "list of networks"
        | "list of patterns"
        | "template"
        | "API group"
        | "a key that `auditrelay quarantine keygen` printed"
        | "filter of lines" => json!({"type": "string"}),
        _ => return None,
    })
}

/// One of these, as they are written.
fn closed(values: &[impl Serialize]) -> Value {
    json!({"enum": values})
}

/// `null` says nothing: the default stays.
fn or_null(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(kinds)) => kinds.push("null".into()),
        Some(Value::String(kind)) => {
            let kind = std::mem::take(kind);
            schema["type"] = json!([kind, "null"]);
        }
        _ => {
            for list in ["enum", "anyOf"] {
                if let Some(Value::Array(values)) = schema.get_mut(list) {
                    values.push(match list {
                        "enum" => Value::Null,
                        _ => json!({"type": "null"}),
                    });
                }
            }
        }
    }
    schema
}

/// The default as JSON; none where it is null, or depends on others.
fn default(knob: &Knob, kind: Kind) -> Option<Value> {
    match (knob.default.as_str(), kind) {
        ("" | "null", _) => None,
        ("\"\"", _) => Some("".into()),
        (text, Kind::Bool | Kind::Integer | Kind::List | Kind::Maps(_) | Kind::TextMap) => {
            serde_json::from_str(text).ok()
        }
        ("[]", Kind::Texts) => Some(json!([])),
        (text, Kind::Text) => Some(text.into()),
        _ => None,
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// What the reference file says of each key, by path; items of lists are `[]`. What is described first counts.
fn knobs() -> BTreeMap<String, Knob> {
    let mut knobs = BTreeMap::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in REFERENCE.lines() {
        let mut content = line.trim_start();
        let mut indent = line.len() - content.len();
        if let Some(rest) = content.strip_prefix("- ") {
            parents.retain(|(at, _)| *at < indent);
            parents.push((indent, "[]".to_owned()));
            indent += 2;
            content = rest;
            comment.clear();
        }
        if let Some(said) = content.strip_prefix('#') {
            comment.push(said.trim());
        } else if let Some((key, _)) = content.split_once(':') {
            parents.retain(|(at, _)| *at < indent);
            parents.push((indent, key.to_owned()));
            let path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
            knobs
                .entry(path.join("."))
                .or_insert_with(|| knob(&comment));
            comment.clear();
        } else {
            comment.clear();
        }
    }
    knobs
}

/// `Unit: … Default: … Bounds: …` is the last line of a comment, where there is one.
fn knob(comment: &[&str]) -> Knob {
    let Some((last, above)) = comment.split_last() else {
        return Knob::default();
    };
    let Some((unit, rest)) = last
        .strip_prefix("Unit: ")
        .and_then(|said| said.split_once(". Default: "))
    else {
        return Knob {
            description: comment.join(" "),
            ..Knob::default()
        };
    };
    let rest = rest
        .trim_end_matches(" Sample value.")
        .trim_end_matches('.');
    let (default, bounds) = match rest.split_once(". Bounds: ") {
        Some((default, bounds)) => (default, bounds.split_once("..")),
        None => (rest, None),
    };
    let number = |text: &str| text.parse().ok();
    Knob {
        description: above.join(" "),
        unit: unit.to_owned(),
        default: default.to_owned(),
        bounds: bounds.and_then(|(min, max)| Some((number(min)?, number(max)?))),
    }
}

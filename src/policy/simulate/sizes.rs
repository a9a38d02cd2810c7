//! How long an event would be at a lower level: what the API server would have written in its place.
//!
//! Contract: exact for events as the API server writes them (JSON without spaces). The members that a level leaves
//! out are taken off with their names, and the level's own name is as long as it is. `managedFields` are taken off
//! where the API server does: from an object, the items of a list and the rows of a table, and not from a patch.
//! A level can only go down: what a log does not hold is not made up.

use std::cell::OnceCell;

use auditrelay_audit::{Envelope, Level};
use serde::Deserialize;
use serde_json::value::RawValue;

/// An event, and how long it is in the log.
pub(super) struct Measured<'a> {
    pub(super) envelope: &'a Envelope<'a>,
    /// With its newline.
    pub(super) bytes: u64,
    /// `managedFields` of the request's body and of the response's, in bytes; looked for when asked.
    managed: OnceCell<(u64, u64)>,
}

impl<'a> Measured<'a> {
    /// An event that takes so many bytes without its newline.
    pub(super) fn new(envelope: &'a Envelope<'a>, bytes: usize) -> Self {
        Self {
            envelope,
            bytes: bytes as u64 + 1,
            managed: OnceCell::new(),
        }
    }

    /// The level that is left when a policy asks for this one.
    pub(super) fn level(&self, wanted: Level) -> Level {
        wanted.min(self.envelope.level)
    }

    /// How long it is then, with its newline; `None` writes nothing.
    pub(super) fn bytes_at(&self, wanted: Level, omits_managed_fields: bool) -> u64 {
        let level = self.level(wanted);
        if level == Level::None {
            return 0;
        }
        let held = self.envelope.level;
        let mut bytes = self.bytes;
        if level < held {
            bytes = (bytes + name_bytes(level)).saturating_sub(name_bytes(held));
        }
        let (request, response) = (self.envelope.request_object, self.envelope.response_object);
        if level < Level::RequestResponse {
            bytes = bytes.saturating_sub(member_bytes("responseObject", response));
        }
        if level < Level::Request {
            bytes = bytes.saturating_sub(member_bytes("requestObject", request));
        }
        if omits_managed_fields && level >= Level::Request {
            let (of_request, of_response) = self.managed();
            bytes = bytes.saturating_sub(of_request);
            if level >= Level::RequestResponse {
                bytes = bytes.saturating_sub(of_response);
            }
        }
        bytes
    }

    fn managed(&self) -> (u64, u64) {
        *self.managed.get_or_init(|| {
            let envelope = self.envelope;
            // A patch is written as it came.
            let is_patch = envelope.verb.as_str() == "patch";
            let request = envelope.request_object.filter(|_| !is_patch);
            let response = envelope.response_object;
            let of = |body: Option<&str>| body.map_or(0, managed_fields_bytes);
            (of(request), of(response))
        })
    }
}

fn name_bytes(level: Level) -> u64 {
    level.as_str().len() as u64
}

/// `,"name":value`.
fn member_bytes(name: &str, value: Option<&str>) -> u64 {
    value.map_or(0, |value| {
        (name.len() + value.len() + r#","":"#.len()) as u64
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    managed_fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    object: Option<Object<'a>>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow, default)]
    items: Vec<Object<'a>>,
    #[serde(borrow, default)]
    rows: Vec<Row<'a>>,
}

/// What of a body is `managedFields`. A body that is no Kubernetes object has none.
fn managed_fields_bytes(body: &str) -> u64 {
    if !body.contains("\"managedFields\"") {
        return 0;
    }
    let Ok(body) = serde_json::from_str::<Body<'_>>(body) else {
        return 0;
    };
    let of = |metadata: Option<Metadata<'_>>| {
        let fields = metadata.and_then(|metadata| metadata.managed_fields);
        member_bytes("managedFields", fields.map(RawValue::get))
    };
    let of_items = body.items.into_iter().map(|item| of(item.metadata));
    let rows = body.rows.into_iter().filter_map(|row| row.object);
    let of_rows = rows.map(|object| of(object.metadata));
    of(body.metadata) + of_items.chain(of_rows).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANAGED: &str = r#","managedFields":[{"manager":"kubectl","fieldsV1":{"f:data":{}}}]"#;

    fn event(level: &str, verb: &str, bodies: &str) -> String {
        format!(
            r#"{{"kind":"Event","level":"{level}","stage":"ResponseComplete","verb":"{verb}","user":{{}}{bodies},"stageTimestamp":"t"}}"#
        )
    }

    fn bytes_at(text: &str, wanted: Level, omits_managed_fields: bool) -> u64 {
        let envelope = Envelope::parse(text).expect("readable");
        Measured::new(&envelope, text.len()).bytes_at(wanted, omits_managed_fields)
    }

    #[test]
    fn an_event_is_as_long_as_the_api_server_would_have_written_it() {
        let request = r#","requestObject":{"kind":"Pod"}"#;
        let response = r#","responseObject":{"kind":"Pod","status":{}}"#;
        let full = event("RequestResponse", "create", &format!("{request}{response}"));
        for (wanted, expected) in [
            (Level::RequestResponse, full.clone()),
            (Level::Request, event("Request", "create", request)),
            (Level::Metadata, event("Metadata", "create", "")),
        ] {
            let expected = expected.len() as u64 + 1;
            assert_eq!(bytes_at(&full, wanted, false), expected, "{wanted:?}");
        }
        assert_eq!(bytes_at(&full, Level::None, false), 0);
        // What the log does not hold is not made up.
        let short = event("Metadata", "create", "");
        let bytes = short.len() as u64 + 1;
        assert_eq!(bytes_at(&short, Level::RequestResponse, true), bytes);
    }

    #[test]
    fn managed_fields_are_taken_off_where_the_api_server_does() {
        let object = |fields: &str| format!(r#"{{"metadata":{{"name":"p"{fields}}}}}"#);
        for (verb, taken, body) in [
            ("create", 1, object(MANAGED)),
            ("patch", 0, object(MANAGED)),
            ("create", 0, object("")),
            ("create", 0, format!(r#"{{"spec":{{"a":1{MANAGED}}}}}"#)),
            (
                "create",
                2,
                format!(r#"{{"items":[{0},{{}},{0}]}}"#, object(MANAGED)),
            ),
            (
                "create",
                1,
                format!(r#"{{"rows":[{{"object":{}}}]}}"#, object(MANAGED)),
            ),
            ("create", 0, format!("[{}]", object(MANAGED))),
            (
                "create",
                0,
                r#"{"metadata":7,"x":"\"managedFields\""}"#.to_owned(),
            ),
        ] {
            let text = event("Request", verb, &format!(r#","requestObject":{body}"#));
            let without = event(
                "Request",
                verb,
                &format!(
                    r#","requestObject":{}"#,
                    match taken {
                        0 => body.clone(),
                        _ => body.replace(MANAGED, ""),
                    }
                ),
            );
            let found = bytes_at(&text, Level::Request, true);
            assert_eq!(found, without.len() as u64 + 1, "{verb} {body}");
            assert_eq!(
                bytes_at(&text, Level::Request, false),
                text.len() as u64 + 1
            );
            // Of a response they go only where there is one.
            let response = event(
                "RequestResponse",
                verb,
                &format!(r#","responseObject":{body}"#),
            );
            let bytes = event("Request", verb, "").len() as u64 + 1;
            assert_eq!(bytes_at(&response, Level::Request, true), bytes);
        }
    }
}

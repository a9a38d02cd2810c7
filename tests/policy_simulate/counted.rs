//! Numbers counted again, by taking members off the log's JSON.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{LOG, json, lines, written};

type Event = BTreeMap<String, Box<RawValue>>;

/// How long an event is without these members, at this level, with its newline.
fn bytes_without(line: &str, members: &[&str], level: &str) -> u64 {
    let mut event: Event = serde_json::from_str(line).expect("an event");
    event.retain(|name, _| !members.contains(&name.as_str()));
    let level = RawValue::from_string(format!("\"{level}\"")).expect("JSON");
    event.insert("level".to_owned(), level);
    serde_json::to_string(&event).expect("JSON").len() as u64 + 1
}

fn level(line: &str) -> String {
    let event: Event = serde_json::from_str(line).expect("an event");
    serde_json::from_str(event["level"].get()).expect("a string")
}

/// Every event of a real log at each level: as long as its JSON is without what the level leaves out.
#[test]
fn a_lower_level_is_as_long_as_what_is_left_of_the_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = lines();
    let all: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
    for (wanted, members) in [
        ("Metadata", &["requestObject", "responseObject"][..]),
        ("Request", &["responseObject"]),
        ("RequestResponse", &[]),
    ] {
        let policy =
            format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{{level: {wanted}}}]\n");
        let policy = written(folder.path(), "policy.yaml", &policy);
        let report = json(&[&policy, "--log", LOG]);
        let expected: u64 = lines
            .iter()
            .map(|line| {
                let held = level(line);
                match (held.as_str(), wanted) {
                    ("RequestResponse", "Request")
                    | ("RequestResponse" | "Request", "Metadata") => {
                        bytes_without(line, members, wanted)
                    }
                    _ => line.len() as u64 + 1,
                }
            })
            .sum();
        assert_eq!(report["after"]["bytes"], expected, "{wanted}");
        assert_eq!(report["after"]["events"], lines.len(), "{wanted}");
        assert_eq!(report["before"]["bytes"], all);
        assert_eq!(report["log"]["bytes"], all);
    }
}

/// What `managedFields` take, found by walking through all of each body.
#[test]
fn managed_fields_are_counted_as_they_stand_in_the_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = |omits: bool| {
        format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitManagedFields: {omits}\nrules: [{{level: RequestResponse}}]\n"
        )
    };
    let with = written(folder.path(), "with.yaml", &policy(false));
    let without = written(folder.path(), "without.yaml", &policy(true));
    let report = json(&[&without, "--log", LOG, "--against", &with]);
    let bytes = |side: &str| report[side]["bytes"].as_u64().expect("a number");
    let mut expected = 0;
    for line in lines() {
        let event: Event = serde_json::from_str(&line).expect("an event");
        for body in ["requestObject", "responseObject"] {
            let is_patch = body == "requestObject" && event["verb"].get() == r#""patch""#;
            if let (false, Some(body)) = (is_patch, event.get(body)) {
                expected += fields(body);
            }
        }
    }
    assert!(expected > 10_000, "the log holds some");
    assert_eq!(bytes("before") - bytes("after"), expected);
}

fn fields(body: &RawValue) -> u64 {
    let of = |object: &RawValue| {
        let metadata = member(object, "metadata");
        let fields = metadata.and_then(|metadata| member(&metadata, "managedFields"));
        fields.map_or(0, |fields| {
            (fields.get().len() + r#","managedFields":"#.len()) as u64
        })
    };
    let list = |name: &str| -> Vec<Box<RawValue>> {
        let list = member(body, name);
        list.and_then(|list| serde_json::from_str(list.get()).ok())
            .unwrap_or_default()
    };
    let items: u64 = list("items").iter().map(|item| of(item)).sum();
    let objects = list("rows")
        .into_iter()
        .filter_map(|row| member(&row, "object"));
    of(body) + items + objects.map(|object| of(&object)).sum::<u64>()
}

/// What stands under a name, if this is an object.
fn member(object: &RawValue, name: &str) -> Option<Box<RawValue>> {
    let mut members: Event = serde_json::from_str(object.get()).ok()?;
    members.remove(name)
}

//! The reference file against the code: every key, every default, every bound.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use auditrelay_config::{Loaded, REFERENCE};
use common::Case;
use serde_json::Value;

/// Lists of maps, whose keys are described within.
const LISTS_OF_MAPS: [&str; 6] = [
    "channels.default.fields",
    "inputs.log_file",
    "redaction.resources",
    "routes.[].links",
    "routes.[].resources",
    "tests.[].expect",
];

/// A key of the reference file as its comment describes it.
#[derive(Debug, Default)]
struct Knob {
    default: String,
    bounds: Option<(u64, u64)>,
    is_sample: bool,
}

/// The keys with a `Unit: …` line, by path; items of lists are `[]`.
fn knobs() -> BTreeMap<String, Knob> {
    let mut knobs = BTreeMap::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut described: Option<Knob> = None;
    for line in REFERENCE.lines() {
        let content = line.trim_start();
        let mut indent = line.len() - content.len();
        let content = match content.strip_prefix("- ") {
            Some(rest) => {
                while parents.last().is_some_and(|(at, _)| *at >= indent) {
                    parents.pop();
                }
                parents.push((indent, "[]".to_owned()));
                indent += 2;
                rest
            }
            None => content,
        };
        if let Some(comment) = content.strip_prefix("# Unit: ") {
            described = Some(describe(comment));
        } else if let Some((key, _)) = content
            .split_once(':')
            .filter(|_| !content.starts_with('#'))
        {
            while parents.last().is_some_and(|(at, _)| *at >= indent) {
                parents.pop();
            }
            parents.push((indent, key.to_owned()));
            if let Some(knob) = described.take() {
                let path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
                assert!(
                    knobs.insert(path.join("."), knob).is_none(),
                    "{path:?} is described twice"
                );
            }
        }
    }
    knobs
}

fn describe(comment: &str) -> Knob {
    let (unit, rest) = comment.split_once(". Default: ").expect(comment);
    assert!(!unit.is_empty(), "{comment}");
    let is_sample = rest.ends_with(" Sample value.");
    let rest = rest.trim_end_matches(" Sample value.");
    let (default, bounds) = match rest.split_once(". Bounds: ") {
        Some((default, bounds)) => {
            let (min, max) = bounds
                .trim_end_matches('.')
                .split_once("..")
                .expect(comment);
            (
                default,
                Some((min.parse().expect(comment), max.parse().expect(comment))),
            )
        }
        None => (rest.strip_suffix('.').expect(comment), None),
    };
    Knob {
        default: default.to_owned(),
        bounds,
        is_sample,
    }
}

fn reference() -> Loaded {
    Case::file(REFERENCE).loaded()
}

/// The paths of all keys of a serialized configuration; items of lists are `[]`.
fn leaves(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let join = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .for_each(|(key, value)| leaves(value, &join(key), found)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter()
                .for_each(|value| leaves(value, &join("[]"), found));
        }
        leaf => {
            found.entry(path.to_owned()).or_insert_with(|| leaf.clone());
        }
    }
}

fn serialized(loaded: &Loaded) -> Value {
    serde_json::to_value(&loaded.config).expect("a configuration can be shown")
}

/// What the code has for each key that is not set: one channel with no knob set, one route, and one with the maps
/// that are none where they are left out.
fn defaults() -> BTreeMap<String, Value> {
    let loaded = Case::file(
        "channels: {default: {preview: true, fields: [{title: a, text: b}]}}
clients: [{name: a, token_file: b}]
inputs: {log_file: [{path: a}]}
queue: {jetstream: {servers: [nats://a], accept_replicated_without_fsync: true}}
redaction: {resources: [{}]}
routes:
- {name: a, channel: default, resources: [{}], links: [{text: a, url: https://b}]}
- {name: b, channel: default, rate: {moreThan: 1, withinSeconds: 1}, impersonated: {}}
tests: [{name: a, event: {}, expect: [{channel: default}]}]",
    )
    .loaded();
    let mut found = BTreeMap::new();
    leaves(&serialized(&loaded), "", &mut found);
    found
}

#[test]
fn every_key_is_described_and_no_other() {
    let described: BTreeSet<String> = knobs().into_keys().collect();
    let mut in_code: BTreeSet<String> = defaults().into_keys().collect();
    // A list of maps is described beside the keys of its maps.
    in_code.extend(LISTS_OF_MAPS.map(str::to_owned));
    // And a map that is none where it is left out; other such maps are left out in one of two routes.
    in_code.insert("queue.jetstream".to_owned());
    assert_eq!(described, in_code);
}

#[test]
fn every_default_described_is_that_of_the_code() {
    let defaults = defaults();
    // What the smallest configuration has to set itself.
    let needed = [
        "channels.default.preview",
        "channels.default.fields.[].title",
        "channels.default.fields.[].text",
        "clients.[].name",
        "clients.[].token_file",
        "inputs.log_file.[].path",
        "queue.jetstream",
        "queue.jetstream.accept_replicated_without_fsync",
        "queue.jetstream.servers",
        "routes.[].name",
        "routes.[].channel",
        "routes.[].links.[].text",
        "routes.[].links.[].url",
        "routes.[].rate.moreThan",
        "routes.[].rate.withinSeconds",
        "tests.[].event",
        "tests.[].expect.[].channel",
        "tests.[].name",
    ];
    for (path, knob) in knobs() {
        if needed.contains(&path.as_str()) || LISTS_OF_MAPS.contains(&path.as_str()) {
            continue;
        }
        let shown = match &defaults[&path] {
            Value::String(text) if text.is_empty() => "\"\"".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(knob.default, shown, "{path}");
    }
    let knobs = knobs();
    assert_eq!(knobs["channels.default.preview"].default, "false");
    for list in LISTS_OF_MAPS {
        // A test has to say who is to hear of its event.
        let expected = match list {
            "tests.[].expect" => "none, it is required",
            _ => "[]",
        };
        assert_eq!(knobs[list].default, expected);
    }
    let without =
        Case::file("channels: {default: {preview: true}, b: {slack_channel: C1}}").loaded();
    assert!(!without.config.channels[&"b".parse().unwrap()].preview);
}

#[test]
fn every_value_is_the_default_unless_marked_as_a_sample() {
    let mut values = BTreeMap::new();
    leaves(&serialized(&reference()), "", &mut values);
    let defaults = defaults();
    let samples: Vec<String> = knobs()
        .into_iter()
        .filter(|(path, knob)| {
            // The smallest configuration has to set these.
            let is_set = [
                "channels.default.preview",
                "clients.[].token_file",
                "queue.jetstream.accept_replicated_without_fsync",
            ];
            let is_checked =
                !LISTS_OF_MAPS.contains(&path.as_str()) && !is_set.contains(&path.as_str());
            if is_checked && !knob.is_sample {
                assert_eq!(values[path], defaults[path], "{path}");
            }
            knob.is_sample
        })
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        samples,
        [
            "channels.default.fields",
            "channels.default.fields.[].text",
            "channels.default.fields.[].title",
            "channels.default.slack_channel",
            "clients.[].certificate_names",
            "clients.[].cluster",
            "clients.[].name",
            "inputs.log_file",
            "inputs.log_file.[].cluster",
            "inputs.log_file.[].path",
            "queue.jetstream",
            "queue.jetstream.monitoring",
            "queue.jetstream.servers",
            "redaction.resources",
            "redaction.resources.[].group",
            "redaction.resources.[].resources",
            "routes.[].bodies",
            "routes.[].channel",
            "routes.[].command",
            "routes.[].impersonated",
            "routes.[].links",
            "routes.[].links.[].text",
            "routes.[].links.[].url",
            "routes.[].name",
            "routes.[].rate",
            "routes.[].rate.by",
            "routes.[].rate.moreThan",
            "routes.[].rate.withinSeconds",
            "routes.[].resources",
            "routes.[].resources.[].resources",
            "routes.[].severity",
            "routes.[].stages",
            "routes.[].verbs",
            "slack.token",
            "tests.[].event",
            "tests.[].expect",
            "tests.[].expect.[].channel",
            "tests.[].expect.[].route",
            "tests.[].expect.[].severity",
            "tests.[].name",
            "tls.certificate_file",
            "tls.client_ca_file",
            "tls.key_file",
        ]
    );
    assert_eq!(values["channels.default.preview"], Value::Bool(false));
}

#[test]
fn it_loads_without_a_note() {
    let loaded = reference();
    assert_eq!(loaded.notes, Vec::<String>::new());
    assert_eq!(serialized(&loaded)["slack"]["token"], "[secret]");
    assert_eq!(loaded.config.routes.len(), 3);
}

/// A file that sets the number at `path`, and what else that value needs.
fn file_with(path: &str, value: &str) -> String {
    let (section, key) = path.rsplit_once('.').expect(path);
    match (section, key) {
        ("channels.default", _) => {
            format!("channels: {{default: {{preview: true, {key}: {value}}}}}")
        }
        ("ingest", "body_bytes_max") => {
            format!("ingest: {{body_bytes_max: {value}, bytes_in_flight_max: 68719476736}}")
        }
        ("ingest", "bytes_in_flight_max") => {
            format!("ingest: {{bytes_in_flight_max: {value}, body_bytes_max: 1024}}")
        }
        ("queue", "bytes_max") => format!("queue: {{bytes_max: {value}}}"),
        ("queue.jetstream", _) => {
            let monitoring: Vec<String> = (1..=5).map(|port| format!("http://a:{port}")).collect();
            format!(
                "queue: {{jetstream: {{servers: [nats://a], monitoring: {monitoring:?}, {key}: {value}}}}}\n\
                 ingest: {{body_bytes_max: 1024, ack_timeout_milliseconds: 29000}}"
            )
        }
        ("queue", _) => format!("queue: {{{key}: {value}, bytes_max: 17592186044416}}"),
        ("routes.[].rate", _) => {
            let other = if key == "moreThan" {
                "withinSeconds"
            } else {
                "moreThan"
            };
            format!("routes: [{{name: a, channel: default, rate: {{{key}: {value}, {other}: 1}}}}]")
        }
        ("tests.[]", _) => format!("tests: [{{name: a, event: {{}}, expect: [], {key}: {value}}}]"),
        _ => format!("{section}: {{{key}: {value}}}"),
    }
}

#[test]
fn every_bound_described_is_that_of_the_code() {
    let mut bounded = 0;
    for (path, knob) in knobs() {
        let Some((min, max)) = knob.bounds else {
            continue;
        };
        bounded += 1;
        for allowed in [min, max] {
            let loaded = Case::file(file_with(&path, &allowed.to_string())).loaded();
            let mut values = BTreeMap::new();
            leaves(&serialized(&loaded), "", &mut values);
            assert_eq!(values[&path], Value::from(allowed), "{path}");
        }
        for refused in [i128::from(min) - 1, i128::from(max) + 1] {
            assert_eq!(
                Case::file(file_with(&path, &refused.to_string())).line(),
                format!(
                    "a.yaml: {}: found integer `{refused}`, expected an integer from {min} to {max}",
                    path.replace(".[]", "[0]")
                )
            );
        }
    }
    let numbers = defaults().into_values().filter(Value::is_number).count();
    assert_eq!(bounded, numbers, "every number has bounds");
}

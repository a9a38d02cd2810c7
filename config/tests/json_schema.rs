//! The JSON Schema of the configuration: made of the code and the reference file, and in agreement with loading.

mod common;

use std::path::{Path, PathBuf};

use auditrelay_config::{REFERENCE, json_schema};
use common::{Case, line, schema};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_file_in_the_repository_is_what_is_made() {
    let path = repository().join("config/auditrelay.schema.json");
    let made =
        serde_json::to_string_pretty(&json_schema().expect("a schema")).expect("JSON") + "\n";
    if std::env::var_os("AUDITRELAY_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &made).expect("written");
    }
    let file = std::fs::read_to_string(&path).expect("the file is there");
    assert!(
        file == made,
        "config/auditrelay.schema.json is of another version; write it with AUDITRELAY_WRITE_SCHEMA=1 and this test"
    );
}

#[test]
fn it_is_a_schema_that_describes_each_key() {
    let made = json_schema().expect("a schema");
    let draft = boon::Draft::from_url("https://json-schema.org/draft/2020-12/schema");
    assert_eq!(
        made["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(draft.is_some());
    let window = &made["properties"]["dedup"]["properties"]["window_seconds"];
    assert_eq!(window["default"], 900);
    assert_eq!(
        (&window["minimum"], &window["maximum"]),
        (&300.into(), &604_800.into())
    );
    assert_eq!(
        window["description"],
        "How long an event is remembered. The API server's own retries end by 245 s. Unit: seconds."
    );
    let mut bare = Vec::new();
    undescribed(&made, "", &mut bare);
    assert_eq!(bare, Vec::<String>::new());
}

/// Keys that an editor says nothing of.
fn undescribed(schema: &Value, path: &str, bare: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (key, property) in properties {
            let path = format!("{path}.{key}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                bare.push(path.clone());
            }
            undescribed(property, &path, bare);
        }
    }
    undescribed_within(&schema["items"], path, bare);
    undescribed_within(&schema["additionalProperties"], path, bare);
}

fn undescribed_within(schema: &Value, path: &str, bare: &mut Vec<String>) {
    if schema.is_object() {
        undescribed(schema, path, bare);
    }
}

/// What loading accepts, an editor does not mark. (Every document that a test of this package loads is held against
/// the schema too, see `common`.)
#[test]
fn what_is_loaded_is_valid() {
    for text in [
        REFERENCE,
        "",
        "# nothing\n",
        "listen: null\ningest: null\nchannels: null\n",
        "listen: '[::1]:8080'\ndefault_channel: a\nchannels: {a: {preview: true}, b: {slack_channel: журнал}}\n",
        "slack: {api_url: 'HTTPS://slack.com/api', proxy: environment}\n",
        "routes: [{name: a, channel: default, codes: [403, 4xx, '400-499'], cluster: [a, b], severity: warning}]\n",
        "routes: [{name: a, level: None, users: [x], risks: []}]\n",
        "routes: [{name: a, channel: [default], risks: [host-path], dryRun: true, bodies: drop, annotations: {a: b*}}]\n",
        "tests: [{name: a, event: '{}', expect: []}]\n",
        "log: {filter: debug}\nmetrics: {clusters: [a.b, C-1]}\n",
    ] {
        Case::file(text).loaded();
    }
}

/// What loading refuses by itself, without a look at other keys, an editor marks.
#[test]
fn what_is_no_key_of_the_wrong_type_or_out_of_bounds_is_marked() {
    for text in [
        "lisen: 127.0.0.1:8080\n",
        "listen: 8080\n",
        "listen: everywhere\n",
        "allow_plain_http: 'yes'\n",
        "dedup: {window_seconds: 299}\n",
        "dedup: {window_seconds: 604801}\n",
        "dedup: {window_seconds: '900'}\n",
        "dedup: {window: 900}\n",
        "dedup: [900]\n",
        "ingest: {connections_max: 0}\n",
        "cluster: 'a b'\n",
        "channels: {Ops: {preview: true}}\n",
        "channels: {ops: {preview: 1}}\n",
        "channels: {ops: {slack_channel: 'a b'}}\n",
        "channels: {ops: {preview: true, digest_details: mail}}\n",
        "channels: {ops: {preview: true, fields: [{title: a}]}}\n",
        "routes: {name: a}\n",
        "routes: [{channel: default}]\n",
        "routes: [{name: a, channel: default, severity: fatal}]\n",
        "routes: [{name: a, channel: default, stages: [Complete]}]\n",
        "routes: [{name: a, channel: default, levels: [Info]}]\n",
        "routes: [{name: a, channel: default, risks: [root]}]\n",
        "routes: [{name: a, channel: default, decision: deny}]\n",
        "routes: [{name: a, channel: default, bodies: hide}]\n",
        "routes: [{name: a, channel: default, codes: [20]}]\n",
        "routes: [{name: a, channel: default, users: alice}]\n",
        "routes: [{name: a, channel: default, rate: {moreThan: 1, withinSeconds: 1, by: [cluster]}}]\n",
        "routes: [{name: a, channel: default, rate: {moreThan: 1}}]\n",
        "routes: [{name: a, channel: default, level: Metadata}]\n",
        "routes: [{name: a, channel: Default}]\n",
        "tests: [{name: a, event: 1, expect: []}]\n",
        "tests: [{name: a, event: {}}]\n",
        "clients: [{cluster: prod}]\n",
        "watchdog: {interval_seconds: 1}\n",
    ] {
        line(text);
        assert!(
            schema::faults(text).is_some(),
            "an editor is silent at {text}"
        );
    }
}

/// The examples of the documentation, as far as they are of this file.
#[test]
fn examples_of_the_documentation_are_valid() {
    let mut pages = vec![repository().join("README.md")];
    let docs = std::fs::read_dir(repository().join("docs")).expect("docs");
    pages.extend(docs.map(|entry| entry.expect("an entry").path()));
    pages.sort();
    let root = json_schema().expect("a schema");
    let keys = root["properties"].as_object().expect("keys");
    let mut found = 0;
    for page in pages
        .iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "md"))
    {
        let text = std::fs::read_to_string(page).expect("text");
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let Ok(value) = schema::yaml(block) else {
                continue;
            };
            let is_ours = value
                .as_object()
                .is_some_and(|map| !map.is_empty() && map.keys().all(|key| keys.contains_key(key)));
            if is_ours {
                found += 1;
                let faults = schema::faults(block);
                assert_eq!(faults, None, "{}:\n{block}", page.display());
            }
        }
    }
    assert!(found >= 8, "only {found} examples were found");
}

//! The committed dashboards, and their panels and queries.

use std::{fs, path::Path};

use serde_json::Value;

pub(crate) const NAMES: [&str; 3] = ["overview", "delivery", "queue"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn text(name: &str) -> String {
    let file = root().join(format!("dashboards/{name}.json"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn board(name: &str) -> Value {
    serde_json::from_str(&text(name)).expect("JSON")
}

/// A panel that shows something; headings of rows are none.
pub(crate) struct Panel {
    /// Where it stands, for people.
    pub(crate) place: String,
    pub(crate) board: &'static str,
    pub(crate) json: Value,
}

impl Panel {
    pub(crate) fn string(&self, pointer: &str) -> &str {
        self.json
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{}: no {pointer}", self.place))
    }

    pub(crate) fn list(&self, pointer: &str) -> Vec<Value> {
        let list = self.json.pointer(pointer).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    }

    /// Its queries: the letter and the expression.
    pub(crate) fn queries(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let targets = self.list("/targets");
        targets
            .iter()
            .map(|target| (text(&target["refId"]), text(&target["expr"])))
            .collect()
    }
}

pub(crate) fn panels() -> Vec<Panel> {
    let mut found = Vec::new();
    for name in NAMES {
        let board = board(name);
        for json in board["panels"].as_array().expect("panels") {
            if json["type"] != "row" {
                found.push(Panel {
                    place: format!("{name}.json, {}", json["title"]),
                    board: name,
                    json: json.clone(),
                });
            }
        }
    }
    assert!(found.len() > 40, "only {} panels were read", found.len());
    found
}

pub(crate) fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

//! A document against the JSON Schema, as an editor does it.

use std::sync::LazyLock;

use boon::{Compiler, SchemaIndex, Schemas};
use config::{FileFormat, Source, ValueKind};
use serde_json::Value;

static SCHEMA: LazyLock<(Schemas, SchemaIndex)> = LazyLock::new(|| {
    let mut compiler = Compiler::new();
    let schema = auditrelay_config::json_schema().expect("a schema");
    compiler
        .add_resource("auditrelay.json", schema)
        .expect("a resource");
    let mut schemas = Schemas::new();
    let index = compiler
        .compile("auditrelay.json", &mut schemas)
        .expect("it is a schema");
    (schemas, index)
});

/// What is wrong with a document by the schema.
pub fn faults(text: &str) -> Option<String> {
    let value = yaml(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let (schemas, index) = &*SCHEMA;
    let outcome = schemas.validate(&value, *index);
    outcome.err().map(|error| format!("{error:#}"))
}

/// YAML as JSON; nothing but comments is an empty map.
pub fn yaml(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = config::File::from_str(text, FileFormat::Yaml).collect();
    let table = match table.map_err(|error| error.to_string()) {
        Err(error) if error.contains("unit value") => {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        table => table?,
    };
    let entries = table
        .into_iter()
        .map(|(key, value)| (key, json(value.kind)));
    Ok(Value::Object(entries.collect()))
}

fn json(kind: ValueKind) -> Value {
    match kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(value) => value.into(),
        ValueKind::I64(value) => value.into(),
        ValueKind::U64(value) => value.into(),
        ValueKind::I128(value) => (value as f64).into(),
        ValueKind::U128(value) => (value as f64).into(),
        ValueKind::Float(value) => value.into(),
        ValueKind::String(text) => text.into(),
        ValueKind::Table(table) => table
            .into_iter()
            .map(|(key, value)| (key, json(value.kind)))
            .collect(),
        ValueKind::Array(list) => list.into_iter().map(|item| json(item.kind)).collect(),
    }
}

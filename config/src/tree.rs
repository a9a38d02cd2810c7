//! Untyped settings: one tree per source, and all of them merged.
//!
//! Contract:
//! * A tree is adopted key by key along the schema before it is merged: an unknown key, and a map or
//!   list where there should be none, is refused whether or not a stronger source hides it.
//! * Maps merge, everything else replaces. `null` says nothing: the weaker value or default stays.
//! * Every value remembers the source it came from.
//! * Values keep their type: it is `serde_json` that reads the merged tree, as the `config` crate
//!   would read `yes` as 1 and `1` as true.

use std::str::FromStr;

use config::{Config as Merger, Map, Source, Value, ValueKind};

use crate::error::ConfigError;
use crate::names::ChannelName;
use crate::schema::{self, Field, Kind};

/// Deepest nesting read: far above what the schema has, far below what exhausts the stack.
const DEPTH_MAX: usize = 16;
/// The same within an event of a test.
const FREE_DEPTH_MAX: usize = 64;

/// What one source sets. The keys of the map are path expressions of the `config` crate: a key of
/// the schema, or `routes[N]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer(Map<String, Value>);

impl Layer {
    /// `table` as a whole configuration, from `origin`.
    pub(crate) fn adopt(table: Map<String, Value>, origin: &str) -> Result<Self, ConfigError> {
        let source = Adoption {
            origin: origin.to_owned(),
        };
        source.map(table, schema::ROOT, "").map(Self)
    }

    /// `value` at `top` (a key of the schema, or `routes[N]`), which takes `kind`.
    pub(crate) fn single(
        top: String,
        kind: Kind,
        value: Value,
        origin: &str,
    ) -> Result<Self, ConfigError> {
        let source = Adoption {
            origin: origin.to_owned(),
        };
        let mut map = Map::new();
        if value.kind != ValueKind::Nil {
            let value = source.value(value, kind, &top)?;
            map.insert(top, value);
        }
        Ok(Self(map))
    }

    /// How many routes it lists, if it lists routes.
    pub(crate) fn routes_count(&self) -> Option<usize> {
        match &self.0.get("routes")?.kind {
            ValueKind::Array(routes) => Some(routes.len()),
            _ => None,
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Takes over the values of one source.
struct Adoption {
    origin: String,
}

impl Adoption {
    fn refuse<T>(&self, path: &str, problem: &str) -> Result<T, ConfigError> {
        Err(ConfigError::new(&self.origin, path, problem))
    }

    fn map(
        &self,
        table: Map<String, Value>,
        fields: &'static [Field],
        path: &str,
    ) -> Result<Map<String, Value>, ConfigError> {
        let mut adopted = Map::new();
        for (key, value) in sorted(table) {
            let inner = join(path, &key);
            let Some(field) = schema::find(fields, &key) else {
                let hint = schema::hint(fields, &key);
                let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
                return self.refuse(&inner, &format!("there is no such key{hint}"));
            };
            if value.kind != ValueKind::Nil {
                adopted.insert(key, self.value(value, field.kind, &inner)?);
            }
        }
        Ok(adopted)
    }

    fn value(&self, value: Value, kind: Kind, path: &str) -> Result<Value, ConfigError> {
        match (kind, value.kind) {
            (Kind::Map(fields), ValueKind::Table(table)) => {
                Ok(self.own(self.map(table, fields, path)?))
            }
            (Kind::Channels(fields), ValueKind::Table(table)) => self
                .channels(table, fields, path)
                .map(|channels| self.own(channels)),
            (Kind::Maps(fields), ValueKind::Array(list)) => {
                let mut adopted = Vec::with_capacity(list.len());
                for (index, item) in list.into_iter().enumerate() {
                    adopted.push(self.value(
                        item,
                        Kind::Map(fields),
                        &format!("{path}[{index}]"),
                    )?);
                }
                Ok(self.own(adopted))
            }
            (Kind::Map(_) | Kind::Channels(_), found) => {
                self.refuse(path, &format!("found {}, expected a map", describe(&found)))
            }
            (Kind::Maps(_), found) => self.refuse(
                path,
                &format!("found {}, expected a list of maps", describe(&found)),
            ),
            (Kind::List, found @ ValueKind::Array(_)) => self.plain(found, path, Some(DEPTH_MAX)),
            (Kind::List, found) => self.refuse(
                path,
                &format!("found {}, expected a list", describe(&found)),
            ),
            (Kind::Free, found) => self.plain(found, path, Some(FREE_DEPTH_MAX)),
            (Kind::TextMap, found @ ValueKind::Table(_)) => {
                self.plain(found, path, Some(DEPTH_MAX))
            }
            (Kind::TextMap, found) => self.refuse(
                path,
                &format!("found {}, expected a map of text", describe(&found)),
            ),
            (Kind::Bool | Kind::Integer | Kind::Text | Kind::Texts, found) => {
                self.plain(found, path, Some(DEPTH_MAX))
            }
        }
    }

    fn channels(
        &self,
        table: Map<String, Value>,
        fields: &'static [Field],
        path: &str,
    ) -> Result<Map<String, Value>, ConfigError> {
        let mut adopted = Map::new();
        for (name, value) in sorted(table) {
            let inner = join(path, &name);
            if let Err(invalid) = ChannelName::from_str(&name) {
                return self.refuse(&inner, &invalid.to_string());
            }
            // `name:` with nothing after it is a channel whose destination was forgotten.
            let value = match value.kind {
                ValueKind::Nil => self.own(Map::<String, Value>::new()),
                _ => self.value(value, Kind::Map(fields), &inner)?,
            };
            adopted.insert(name, value);
        }
        Ok(adopted)
    }

    /// A value whose type is checked when it is read, of at most so many levels; `None` is one too many.
    fn plain(
        &self,
        kind: ValueKind,
        path: &str,
        levels: Option<usize>,
    ) -> Result<Value, ConfigError> {
        let Some(levels) = levels else {
            return self.refuse(path, "is nested too deep");
        };
        let inside = levels.checked_sub(1);
        match kind {
            ValueKind::Float(number) if !number.is_finite() => {
                self.refuse(path, &format!("found {number}, which is no number to set"))
            }
            ValueKind::Array(list) => {
                let mut adopted = Vec::with_capacity(list.len());
                for (index, item) in list.into_iter().enumerate() {
                    adopted.push(self.plain(item.kind, &format!("{path}[{index}]"), inside)?);
                }
                Ok(self.own(adopted))
            }
            ValueKind::Table(table) => {
                let mut adopted = Map::new();
                for (key, item) in sorted(table) {
                    let inner = join(path, &key);
                    adopted.insert(key, self.plain(item.kind, &inner, inside)?);
                }
                Ok(self.own(adopted))
            }
            scalar => Ok(self.own(scalar)),
        }
    }

    fn own(&self, kind: impl Into<ValueKind>) -> Value {
        Value::new(Some(&self.origin), kind)
    }
}

/// All sources merged.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Value,
    /// What to name as the source of what no source set.
    fallback_origin: String,
}

impl Tree {
    /// Merges `layers`, the weakest first.
    pub(crate) fn merge(layers: &[Layer], fallback_origin: &str) -> Result<Self, ConfigError> {
        let mut builder = Merger::builder();
        for layer in layers {
            builder = builder.add_source(layer.clone());
        }
        let merged = builder
            .build()
            .map_err(|error| ConfigError::new(fallback_origin, "", &error.to_string()))?;
        Ok(Self {
            root: merged.cache,
            fallback_origin: fallback_origin.to_owned(),
        })
    }

    /// Whether a source sets `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// Whether a source sets something within the map at `path`.
    pub(crate) fn has_entries(&self, path: &str) -> bool {
        let kind = self.get(path).map(|value| &value.kind);
        matches!(kind, Some(ValueKind::Table(table)) if !table.is_empty())
    }

    /// The source of the value at `path`, or of what is nearest to it.
    pub(crate) fn origin(&self, path: &str) -> &str {
        let mut steps: Vec<&str> = steps(path).collect();
        while !steps.is_empty() {
            let found = descend(&self.root, steps.iter().copied()).and_then(first_origin);
            if let Some(origin) = found {
                return origin;
            }
            steps.pop();
        }
        &self.fallback_origin
    }

    /// An error about the value at `path`.
    pub(crate) fn refusal(&self, path: &str, problem: &str) -> ConfigError {
        ConfigError::new(self.origin(path), path, problem)
    }

    /// The tree as JSON, for a reader that coerces nothing.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        to_json(&self.root)
    }

    fn get(&self, path: &str) -> Option<&Value> {
        descend(&self.root, steps(path))
    }
}

/// The steps of a path: `routes[1].name` is `routes`, `1`, `name`.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[', ']']).filter(|step| !step.is_empty())
}

fn descend<'a, 'b>(root: &'a Value, steps: impl Iterator<Item = &'b str>) -> Option<&'a Value> {
    let mut value = root;
    for step in steps {
        value = match &value.kind {
            ValueKind::Table(table) => table.get(step)?,
            ValueKind::Array(list) => list.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// The source of `value`, or (merged maps have none) of the first value in it.
fn first_origin(value: &Value) -> Option<&str> {
    if let Some(origin) = value.origin() {
        return Some(origin);
    }
    match &value.kind {
        ValueKind::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            entries
                .into_iter()
                .find_map(|(_, value)| first_origin(value))
        }
        ValueKind::Array(list) => list.iter().find_map(first_origin),
        _ => None,
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(value) => (*value).into(),
        ValueKind::I64(value) => (*value).into(),
        ValueKind::U64(value) => (*value).into(),
        // Beyond every bound there is; no source makes them today.
        ValueKind::I128(value) => (*value as f64).into(),
        ValueKind::U128(value) => (*value as f64).into(),
        ValueKind::Float(value) => (*value).into(),
        ValueKind::String(value) => value.as_str().into(),
        ValueKind::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect(),
        ValueKind::Array(list) => list.iter().map(to_json).collect(),
    }
}

/// The entries in the order of their keys, so that of several errors always the same one is told.
fn sorted(table: Map<String, Value>) -> Vec<(String, Value)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    entries
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn describe(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Nil => "null".to_owned(),
        ValueKind::Boolean(value) => format!("boolean `{value}`"),
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            format!("integer `{kind}`")
        }
        ValueKind::Float(value) => format!("floating point `{value}`"),
        ValueKind::String(text) => format!("string {text:?}"),
        ValueKind::Table(_) => "a map".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
    }
}

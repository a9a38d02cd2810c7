//! The environment: `AUDITRELAY__…` settings, and the variables of an older tool.
//!
//! Contract: a variable that starts with `AUDITRELAY__` (in any case) is a setting or an error. Two
//! underscores separate levels; case does not matter. Its text is typed by what the key takes: JSON
//! for lists and maps, the text itself for text. An empty variable counts as unset.

use std::collections::BTreeMap;

use config::{Map, Value, ValueKind};

use crate::error::ConfigError;
use crate::json;
use crate::schema::{self, Field, Kind};
use crate::tree::Layer;

/// What the names of settings start with, in lower case.
const PREFIX: &str = "auditrelay__";

/// The variables that mean something to the relay.
#[derive(Default)]
pub(crate) struct Environment {
    /// `AUDITRELAY__…` by name in lower case: the name as given, and the value.
    settings: BTreeMap<String, (String, String)>,
    pub(crate) slack_token: Option<String>,
    pub(crate) slack_api_url: Option<String>,
    pub(crate) channel_id: Option<String>,
}

/// How an error names a variable.
pub(crate) fn origin(name: &str) -> String {
    format!("environment variable {name}")
}

impl Environment {
    /// Takes what is of use from all variables.
    pub(crate) fn gather(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut environment = Self::default();
        for (name, value) in variables {
            if value.is_empty() {
                continue;
            }
            match name.as_str() {
                "SLACK_TOKEN" => environment.slack_token = Some(value),
                "SLACK_API_URL" => environment.slack_api_url = Some(value),
                "CHANNEL_ID" => environment.channel_id = Some(value),
                _ => environment.take_setting(name, value)?,
            }
        }
        Ok(environment)
    }

    fn take_setting(&mut self, name: String, value: String) -> Result<(), ConfigError> {
        let folded = name.to_ascii_lowercase();
        if !folded.starts_with(PREFIX) {
            return Ok(());
        }
        if let Some((other, _)) = self.settings.insert(folded, (name.clone(), value)) {
            let (first, second) = if other < name {
                (other, name)
            } else {
                (name, other)
            };
            return Err(ConfigError::new(
                &origin(&first),
                "",
                &format!("{second} is set too"),
            ));
        }
        Ok(())
    }

    /// One layer a setting. Whole maps and lists come before what is within them, so the more
    /// specific setting is the stronger one. `routes_count` is that of the file: a route may be
    /// changed or added after the last, but no gap left, however large the number.
    pub(crate) fn layers(&self, routes_count: usize) -> Result<Vec<Layer>, ConfigError> {
        let mut settings = Vec::with_capacity(self.settings.len());
        for (folded, (name, text)) in &self.settings {
            let path = folded.strip_prefix(PREFIX).unwrap_or(folded);
            let Some(target) = Target::find(path) else {
                return Err(unknown(name, path));
            };
            settings.push((target, name, text));
        }
        settings.sort_by_key(|(target, name, _)| (target.route, target.keys.len(), *name));
        let mut routes = routes_count;
        let mut layers = Vec::with_capacity(settings.len());
        for (target, name, text) in &settings {
            let layer = target.layer(name, text)?;
            match target.route {
                Some(index) if index > routes => {
                    let problem = format!("there are {routes} routes, so the next one is {routes}");
                    return Err(ConfigError::new(&origin(name), &target.path(), &problem));
                }
                Some(index) => routes = routes.max(index + 1),
                None => routes = layer.routes_count().unwrap_or(routes),
            }
            layers.push(layer);
        }
        Ok(layers)
    }
}

fn unknown(name: &str, path: &str) -> ConfigError {
    let (place, fields, segment) = nearest(path);
    let place = place.replace("__", ".");
    let hint = schema::hint(fields, segment).map_or_else(String::new, |hint| format!(": {hint}"));
    let at = if place.is_empty() {
        String::new()
    } else {
        format!(" in `{place}`")
    };
    let problem = format!("there is no such key `{segment}`{at}{hint}");
    ConfigError::new(&origin(name), "", &problem)
}

/// Where the path leaves the schema: the place reached, its keys, and the segment that is none.
fn nearest(path: &str) -> (&str, &'static [Field], &str) {
    let Some((top, rest)) = path.split_once("__") else {
        return ("", schema::ROOT, path);
    };
    match schema::find(schema::ROOT, top).map(|field| field.kind) {
        Some(Kind::Map(fields)) => match rest.split_once("__") {
            Some((step, inner)) => match schema::find(fields, step).map(|field| field.kind) {
                Some(Kind::Map(deeper)) => {
                    let place = path.get(..top.len() + 2 + step.len());
                    (place.unwrap_or(top), deeper, inner)
                }
                _ => (top, fields, rest),
            },
            None => (top, fields, rest),
        },
        Some(Kind::Channels(fields)) => (
            top,
            fields,
            rest.rsplit_once("__").map_or(rest, |(_, knob)| knob),
        ),
        Some(Kind::Maps(fields)) => match rest.split_once("__") {
            Some((index, key)) if route_index(index).is_some() => (top, fields, key),
            Some((index, _)) => (top, fields, index),
            None => (top, fields, rest),
        },
        _ => ("", schema::ROOT, path),
    }
}

/// The key a variable sets.
struct Target {
    /// The keys from the root, without the place in `routes`.
    keys: Vec<String>,
    /// The place in `routes`.
    route: Option<usize>,
    kind: Kind,
}

impl Target {
    /// The key for a path in lower case, its levels separated by two underscores.
    fn find(path: &str) -> Option<Self> {
        let Some((top, rest)) = path.split_once("__") else {
            let field = schema::find(schema::ROOT, path)?;
            return Some(Self::new(vec![field.key.to_owned()], field.kind));
        };
        let top = schema::find(schema::ROOT, top)?;
        let keys = vec![top.key.to_owned()];
        match top.kind {
            Kind::Map(fields) => Self::within(fields, rest, keys),
            Kind::Channels(fields) => {
                // The name may hold two underscores itself, so the knob is what is after the last.
                let knob = rest
                    .rsplit_once("__")
                    .and_then(|(name, knob)| Some((name, schema::find(fields, knob)?)));
                Some(match knob {
                    Some((name, field)) => Self::new(with(with(keys, name), field.key), field.kind),
                    None if rest.contains("__") => return None,
                    None => Self::new(with(keys, rest), Kind::Map(fields)),
                })
            }
            Kind::Maps(fields) => {
                let (index, key) = match rest.split_once("__") {
                    Some((index, key)) => (index, Some(schema::find_folded(fields, key)?)),
                    None => (rest, None),
                };
                let route = route_index(index)?;
                let target = match key {
                    Some(field) => Self::new(with(keys, field.key), field.kind),
                    None => Self::new(keys, Kind::Map(fields)),
                };
                Some(Self {
                    route: Some(route),
                    ..target
                })
            }
            Kind::Bool
            | Kind::Integer
            | Kind::Text
            | Kind::Free
            | Kind::List
            | Kind::Texts
            | Kind::TextMap => None,
        }
    }

    /// The key within a map, or within a map of that.
    fn within(fields: &'static [Field], path: &str, keys: Vec<String>) -> Option<Self> {
        if let Some(field) = schema::find(fields, path) {
            return Some(Self::new(with(keys, field.key), field.kind));
        }
        let (step, rest) = path.split_once("__")?;
        let field = schema::find(fields, step)?;
        match field.kind {
            Kind::Map(inner) => Self::within(inner, rest, with(keys, field.key)),
            _ => None,
        }
    }

    fn new(keys: Vec<String>, kind: Kind) -> Self {
        Self {
            keys,
            route: None,
            kind,
        }
    }

    /// The layer that sets this key to `text`.
    fn layer(&self, name: &str, text: &str) -> Result<Layer, ConfigError> {
        let path = self.path();
        let value = typed(text, self.kind)
            .map_err(|problem| ConfigError::new(&origin(name), &path, &problem))?;
        if value.kind == ValueKind::Nil {
            return Ok(Layer::default());
        }
        let (top, inner) = self
            .keys
            .split_first()
            .map_or(("", &[][..]), |(top, inner)| (top.as_str(), inner));
        let value = inner.iter().rev().fold(value, |value, key| {
            Value::new(None, Map::from_iter([(key.clone(), value)]))
        });
        let top_kind = schema::find(schema::ROOT, top).map_or(self.kind, |field| field.kind);
        match (self.route, top_kind) {
            (Some(index), Kind::Maps(fields)) => Layer::single(
                format!("{top}[{index}]"),
                Kind::Map(fields),
                value,
                &origin(name),
            ),
            _ => Layer::single(top.to_owned(), top_kind, value, &origin(name)),
        }
    }

    fn path(&self) -> String {
        let mut keys = self.keys.clone();
        if let (Some(index), Some(top)) = (self.route, keys.first_mut()) {
            *top = format!("{top}[{index}]");
        }
        keys.join(".")
    }
}

/// A place in `routes`, in digits only (`parse` alone takes `+1`).
fn route_index(text: &str) -> Option<usize> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn with(mut keys: Vec<String>, key: &str) -> Vec<String> {
    keys.push(key.to_owned());
    keys
}

/// `text` as what the key takes.
fn typed(text: &str, kind: Kind) -> Result<Value, String> {
    let value = match kind {
        Kind::Text => ValueKind::from(text),
        Kind::Bool => match text {
            "true" => true.into(),
            "false" => false.into(),
            _ => return Err(format!("found {text:?}, expected true or false")),
        },
        Kind::Integer => integer(text)?,
        // A name cannot begin like a list.
        // An event as text is JSON itself.
        Kind::Free => ValueKind::from(text),
        Kind::Texts if !text.trim_start().starts_with('[') => ValueKind::from(text),
        Kind::List
        | Kind::Texts
        | Kind::TextMap
        | Kind::Map(_)
        | Kind::Channels(_)
        | Kind::Maps(_) => return json::parse(text),
    };
    Ok(Value::new(None, value))
}

/// A number as it is written in YAML. One too long for any bound is left to the check of bounds.
fn integer(text: &str) -> Result<ValueKind, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("found {text:?}, expected an integer"));
    }
    let too_long = || {
        text.parse::<f64>()
            .map(ValueKind::from)
            .map_err(|error| error.to_string())
    };
    text.parse::<i64>()
        .map(ValueKind::from)
        .or_else(|_| too_long())
}

//! JSON text of environment variables, as untyped settings.
//!
//! Contract: a key that occurs twice in a map is refused, as it is in the YAML file, instead of the
//! last one winning.

use std::fmt;

use config::{Map, Value, ValueKind};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The settings in `text`, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str::<Setting>(text)
        .map(|setting| setting.0)
        .map_err(|error| format!("not valid JSON: {error}"))
}

struct Setting(Value);

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(AnyJson)
            .map(|kind| Self(Value::new(None, kind)))
    }
}

struct AnyJson;

impl<'de> Visitor<'de> for AnyJson {
    type Value = ValueKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<ValueKind, E> {
        Ok(ValueKind::Nil)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<ValueKind, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ValueKind, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ValueKind, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ValueKind, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<ValueKind, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ValueKind, A::Error> {
        let mut items: Vec<Value> = Vec::new();
        while let Some(Setting(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(ValueKind::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ValueKind, A::Error> {
        let mut table = Map::new();
        while let Some((key, Setting(value))) = map.next_entry::<String, Setting>()? {
            if table.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key `{key}`")));
            }
            table.insert(key, value);
        }
        Ok(ValueKind::Table(table))
    }
}

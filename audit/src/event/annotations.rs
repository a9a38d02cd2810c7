//! What authorization and admission noted of a request.
//!
//! Nearly every event has an annotation with escaped quotes (`RBAC: allowed by \\"…\\"`), and nearly
//! nobody asks for it, so a value is decoded when it is asked for.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::Text;
use crate::scan::{Quoted, unescaped};

/// Annotations in the order of the text. A name may stand there twice: each is seen by who looks
/// through all of them, the last one counts for who asks by name.
#[derive(Clone, Debug, Default)]
pub struct Annotations<'a>(Vec<(Text<'a>, Value<'a>)>);

#[derive(Clone)]
enum Value<'a> {
    Decoded(Text<'a>),
    /// With simple escapes.
    Escaped(&'a str),
}

impl Value<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Decoded(text) => Cow::Borrowed(text.as_str()),
            Self::Escaped(raw) => Cow::Owned(unescaped(raw)),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(out)
    }
}

impl<'a> Annotations<'a> {
    pub(super) fn push(&mut self, name: &'a str, value: Quoted<'a>) -> Option<()> {
        let value = match value.raw() {
            Some((raw, true)) => Value::Escaped(raw),
            Some((raw, false)) => Value::Decoded(Text(raw.into())),
            None => Value::Decoded(Text(value.text()?)),
        };
        self.0.push((Text(name.into()), value));
        Some(())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.0.iter().rfind(|(key, _)| key.as_str() == name)?;
        Some(value.text())
    }

    /// All of them, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.text()))
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether any annotation is such. A value is shown as it may stand in the text, with a backslash
    /// before quotes and other signs, never before or in place of a letter, digit or hyphen.
    pub(crate) fn any_raw(&self, mut is_such: impl FnMut(&str, &str) -> bool) -> bool {
        self.0.iter().any(|(name, value)| match value {
            Value::Decoded(text) => is_such(name, text),
            Value::Escaped(raw) => is_such(name, raw),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnnotationsVisitor;
        impl<'de> Visitor<'de> for AnnotationsVisitor {
            type Value = Annotations<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut annotations = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    annotations.push((name, Value::Decoded(value)));
                }
                Ok(Annotations(annotations))
            }
        }
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

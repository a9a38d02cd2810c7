//! Tests of routes: an event, and who is to hear of it. `auditrelay check` runs them; the relay itself does not.
//!
//! Contract: an event is kept as JSON text exactly as it was written, whether as a map or as text, and is not looked
//! into here. How many tests there are and how long their events are is bounded.

use std::fmt;
use std::path::PathBuf;

use auditrelay_audit::Severity;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded::Bounded;
use crate::names::{ChannelName, ClusterName, RouteName};
use crate::text;

/// Tests that a configuration may hold.
pub(crate) const TESTS_MAX: usize = 1_000;
/// The longest event of a test, in bytes of JSON.
const EVENT_BYTES_MAX: usize = 256 << 10;

/// An event, and who is to hear of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTest {
    /// What it is called, unique among tests.
    pub name: RouteName,
    /// The event.
    #[serde(default)]
    pub event: Option<SampleEvent>,
    /// The file of the event, in place of `event`.
    #[serde(default, deserialize_with = "text::read_option")]
    pub event_file: Option<PathBuf>,
    /// The cluster that it is of; else the configuration's.
    #[serde(default)]
    pub cluster: Option<ClusterName>,
    /// So often it happens; the last time counts.
    #[serde(default = "once")]
    pub repeat: Bounded<1, 1_000_000>,
    /// Whether its audit ID and stage were another event's before.
    #[serde(default, rename = "auditIDReused")]
    pub audit_id_reused: bool,
    /// Who is to hear of it; nobody if it is empty.
    #[serde(default)]
    pub expect: Vec<Expected>,
}

/// A channel that is to hear of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The channel.
    pub channel: ChannelName,
    /// How urgent it is there; any if it is left out.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// The route that sends it there; any if it is left out.
    #[serde(default)]
    pub route: Option<RouteName>,
}

fn once() -> Bounded<1, 1_000_000> {
    const { Bounded::preset(1) }
}

/// The JSON text of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SampleEvent(String);

impl SampleEvent {
    /// As JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SampleEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event as a map, or as JSON text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
                let mut event = serde_json::Map::new();
                while let Some((key, value)) = map.next_entry::<String, serde_json::Value>()? {
                    event.insert(key, value);
                }
                Ok(serde_json::Value::from(event).to_string())
            }
        }

        let text = deserializer.deserialize_any(Either)?;
        if text.len() > EVENT_BYTES_MAX {
            return Err(D::Error::custom(format!(
                "found an event of {} bytes, expected at most {EVENT_BYTES_MAX}; event_file takes longer ones",
                text.len()
            )));
        }
        Ok(Self(text))
    }
}

/// What is wrong with a test by itself: the key within it, and the problem.
pub(crate) fn fault(test: &RouteTest) -> Option<(&'static str, String)> {
    match (&test.event, &test.event_file) {
        (Some(_), Some(_)) => {
            let problem = "event is set too, expected only one of the two";
            Some(("event_file", problem.to_owned()))
        }
        (None, None) => {
            let problem = "is missing, expected an event, or event_file for the file of one";
            Some(("event", problem.to_owned()))
        }
        _ => None,
    }
}

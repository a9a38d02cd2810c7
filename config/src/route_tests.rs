//! Tests of routes: an event, and who is to hear of it. `auditrelay check` runs them; the relay itself does not.
//!
//! Contract: an event is kept as JSON text exactly as it was written, whether as a map or as text, and is not looked
//! into here, but for this: one that is a map has only members, a level and a stage that events have. How many tests there are and how long their events are is bounded.

use std::fmt;
use std::path::PathBuf;

use auditrelay_audit::{Level, Severity, Stage};
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
    /// Who is to hear of it; nobody if it is empty. It has to be said: else a test of which it was forgotten would
    /// hold for every event that nobody hears of.
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

/// The JSON text of an event; one that was written as a map has nothing misspelt in it.
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
                judge(&event).map_err(A::Error::custom)?;
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

/// Members that an event may have, and of each the members within it that are known; none where anything may be.
///
/// Kubernetes: `audit.k8s.io/v1 Event`, and what it is made of.
const MEMBERS: [(&str, &[&str]); 20] = [
    ("kind", &[]),
    ("apiVersion", &[]),
    ("metadata", &[]),
    ("level", &[]),
    ("auditID", &[]),
    ("stage", &[]),
    ("requestURI", &[]),
    ("verb", &[]),
    ("user", &USER),
    ("impersonatedUser", &USER),
    ("authenticationMetadata", &[]),
    ("sourceIPs", &[]),
    ("userAgent", &[]),
    (
        "objectRef",
        &[
            "resource",
            "namespace",
            "name",
            "uid",
            "apiGroup",
            "apiVersion",
            "resourceVersion",
            "subresource",
        ],
    ),
    (
        "responseStatus",
        &[
            "kind",
            "apiVersion",
            "metadata",
            "status",
            "message",
            "reason",
            "details",
            "code",
        ],
    ),
    ("requestObject", &[]),
    ("responseObject", &[]),
    ("requestReceivedTimestamp", &[]),
    ("stageTimestamp", &[]),
    ("annotations", &[]),
];
const USER: [&str; 4] = ["username", "uid", "groups", "extra"];
const LEVELS: [Level; 4] = [
    Level::None,
    Level::Metadata,
    Level::Request,
    Level::RequestResponse,
];

/// Refuses what no event has. A relay passes it over, so a test of a misspelt event would hold for the wrong reason.
fn judge(event: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
    let unknown = |place: &str, name: &str, known: &[&str]| {
        let place = if place.is_empty() { "event" } else { place };
        format!(
            "found {name} in {place}, which no event has; expected one of {}",
            known.join(", ")
        )
    };
    for (name, value) in event {
        let Some((_, within)) = MEMBERS.iter().find(|(known, _)| known == name) else {
            let known = MEMBERS.map(|(known, _)| known);
            return Err(unknown("", name, &known));
        };
        let mut inner = value.as_object().into_iter().flatten();
        if !within.is_empty()
            && let Some((inner, _)) = inner.find(|(inner, _)| !within.contains(&inner.as_str()))
        {
            return Err(unknown(name, inner, within));
        }
    }
    let levels = LEVELS.map(Level::as_str);
    let stages = Stage::ALL.map(Stage::as_str);
    for (name, known) in [("level", levels), ("stage", stages)] {
        match event.get(name) {
            Some(serde_json::Value::String(value)) if !known.contains(&value.as_str()) => {
                return Err(format!(
                    "found {value} as its {name}, expected {}; case counts",
                    known.join(", ")
                ));
            }
            _ => {}
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &str) -> Result<RouteTest, String> {
        let test = format!("{{\"name\": \"t\", \"expect\": [], \"event\": {event}}}");
        serde_json::from_str(&test).map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_that_is_a_map_has_nothing_misspelt_in_it() {
        for (event, problem) in [
            (
                r#"{"level": "metadata", "stage": "Panic"}"#,
                "found metadata as its level, expected None, Metadata",
            ),
            (
                r#"{"level": "Metadata", "stage": "Complete"}"#,
                "found Complete as its stage, expected RequestReceived",
            ),
            (r#"{"level": "Unknown"}"#, "found Unknown as its level"),
            (
                r#"{"Verb": "get"}"#,
                "found Verb in event, which no event has; expected one of kind, ",
            ),
            (
                r#"{"user": {"name": "a"}}"#,
                "found name in user, which no event has; expected one of username, ",
            ),
            (
                r#"{"objectRef": {"resources": "a"}}"#,
                "found resources in objectRef",
            ),
            (
                r#"{"impersonatedUser": {"userGroups": []}}"#,
                "found userGroups in impersonatedUser",
            ),
            (
                r#"{"responseStatus": {"Code": 1}}"#,
                "found Code in responseStatus",
            ),
        ] {
            let found = read(event).expect_err(event);
            assert!(found.starts_with(problem), "{event}: {found}");
        }
        for event in [
            r#"{"level": "None", "stage": "Panic", "annotations": {"x": "y"}, "requestObject": {"x": 1}, "user": null}"#,
            r#"{"user": {"username": "a", "uid": "", "groups": [], "extra": {"x": []}}, "responseStatus": {"code": 200}}"#,
            // A line of a log is as it was written, by whatever version of Kubernetes.
            r#""{\"level\":\"New\",\"new\":1}""#,
        ] {
            assert!(read(event).is_ok(), "{event}");
        }
    }

    #[test]
    fn who_is_to_hear_of_it_has_to_be_said() {
        let found = serde_json::from_str::<RouteTest>(r#"{"name": "t", "event": "x"}"#);
        let found = found.expect_err("expect is missing").to_string();
        assert!(found.contains("missing field `expect`"), "{found}");
    }
}

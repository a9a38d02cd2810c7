//! The tests of routes that a configuration holds, run.
//!
//! Contract: a test holds exactly where each channel that it expects hears of its event as it says, and no other
//! channel does. An event that cannot be read is a test that fails, with the reason.

use std::{fs::File, io::Read, path::Path};

use auditrelay_audit::{Envelope, Event};
use auditrelay_config::{Config, Expected, RouteTest};
use auditrelay_dispatch::Routes;
use serde::Serialize;

use super::{
    explanation::{End, Explanation, Told},
    trial::Trial,
};
use crate::{log_input::events_in, output::line};

/// The longest file of an event, in bytes.
const EVENT_FILE_BYTES_MAX: u64 = 32 << 20;

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) holds: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// What the routes make of the event, where it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) explanation: Option<Explanation>,
}

/// Runs all of them.
pub(crate) fn run_tests(config: &Config) -> Vec<Outcome> {
    let routes = Routes::new(config);
    config
        .tests
        .iter()
        .map(|test| one(config, &routes, test))
        .collect()
}

fn one(config: &Config, routes: &Routes, test: &RouteTest) -> Outcome {
    let outcome = |problem: Option<String>, explanation| Outcome {
        name: test.name.to_string(),
        holds: problem.is_none(),
        problem,
        explanation,
    };
    let read = match (&test.event, &test.event_file) {
        (Some(event), _) => Ok(event.as_str().as_bytes().to_vec()),
        (None, Some(file)) => read(file),
        (None, None) => Err("it has no event".to_owned()),
    };
    let text = match read {
        Ok(text) => text,
        Err(problem) => return outcome(Some(problem), None),
    };
    let mut tried = None;
    let (events, unreadable) = events_in(&text, |_, envelope| {
        tried = Some(try_out(config, routes, test, envelope));
    });
    match tried {
        Some(tried) if (events, unreadable) == (1, 0) => {
            let explanation = tried.as_ref().map(|(_, explanation)| explanation.clone());
            outcome(tried.map(|(problem, _)| problem), explanation)
        }
        _ => outcome(Some(none_or_many(&text, events)), None),
    }
}

/// Why the test does not hold, and what the routes make of its event; none if it does.
fn try_out(
    config: &Config,
    routes: &Routes,
    test: &RouteTest,
    envelope: &Envelope<'_>,
) -> Option<(String, Explanation)> {
    let event = Event {
        cluster: test.cluster.as_ref().unwrap_or(&config.cluster).as_str(),
        envelope,
    };
    let matched = routes.matched(&event);
    let mut trial = Trial::default();
    let mut end = End::Filtered(None);
    for _ in 0..test.repeat.get() {
        end = End::of(&trial.fate(routes, &event, &matched, test.audit_id_reused, 0));
    }
    let found = match &end {
        End::Told(told) => told.as_slice(),
        End::Filtered(_) => &[],
    };
    let is_met = |expected: &Expected| found.iter().any(|told| meets(told, expected));
    let is_expected = |told: &Told| {
        let mut channels = test.expect.iter().map(|expected| &expected.channel);
        channels.any(|channel| channel.as_str() == told.channel)
    };
    if test.expect.iter().all(is_met) && found.iter().all(is_expected) {
        return None;
    }
    let problem = format!("expected {}; found: {}", words(&test.expect), end.words());
    Some((problem, Explanation::of(config, routes, &event)))
}

fn meets(told: &Told, expected: &Expected) -> bool {
    let severity = expected.severity.map(|severity| severity.as_str());
    let route = expected.route.as_ref().map(|route| route.as_str());
    told.channel == expected.channel.as_str()
        && severity.is_none_or(|severity| severity == told.severity)
        && route.is_none_or(|route| route == told.route)
}

/// `security (critical, by route secrets) and ops`.
fn words(expected: &[Expected]) -> String {
    let one = |expected: &Expected| {
        let severity = expected.severity.map(|one| one.as_str().to_owned());
        let route = expected.route.as_ref().map(|one| format!("by route {one}"));
        let more: Vec<String> = severity.into_iter().chain(route).collect();
        match more.as_slice() {
            [] => expected.channel.to_string(),
            more => format!("{} ({})", expected.channel, more.join(", ")),
        }
    };
    let all: Vec<String> = expected.iter().map(one).collect();
    match all.as_slice() {
        [] => "nobody to hear of it".to_owned(),
        all => all.join(" and "),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let shown = line(&file.display().to_string(), 300);
    let mut text = Vec::new();
    let limit = EVENT_FILE_BYTES_MAX + 1;
    File::open(file)
        .and_then(|file| file.take(limit).read_to_end(&mut text))
        .map_err(|error| format!("its event_file {shown} cannot be read: {error}"))?;
    match text.len() as u64 > EVENT_FILE_BYTES_MAX {
        true => Err(format!(
            "its event_file {shown} is longer than {EVENT_FILE_BYTES_MAX} bytes"
        )),
        false => Ok(text),
    }
}

fn none_or_many(text: &[u8], events: u64) -> String {
    if events > 1 {
        return format!("it holds {events} events, expected one");
    }
    let text = String::from_utf8_lossy(text);
    let why = match Envelope::parse(text.trim()) {
        Err(error) => line(&error.to_string(), 200),
        Ok(_) => "not an event of audit.k8s.io/v1".to_owned(),
    };
    format!(
        "its event cannot be read: {why} (level and stage are needed; a request also has verb and user)"
    )
}

#[cfg(test)]
#[path = "tests_run_tests.rs"]
mod tests;

//! Why an event does not match what a route or a mute asks for, in words.
//!
//! Contract: there is a reason if and only if [`Matcher::matches`] says no, and it is of a key that the event
//! does not meet, whatever the others say. It names values of the event: whoever shows it makes them harmless first.

use crate::{
    matcher::{Event, Matcher},
    policy::{Mismatch, Request},
};

impl Matcher {
    /// Why the event does not match; `None` if it does.
    pub fn mismatch(&self, event: &Event<'_>) -> Option<Mismatch> {
        let envelope = event.envelope;
        let of_rule = || self.rule.mismatch(&Request::of(envelope));
        let of_stage = || {
            let stages: Vec<&str> = self.stages.iter().map(|one| one.as_str()).collect();
            missing("stages", envelope.stage.as_str(), &stages)
        };
        let of_level = || {
            let levels: Vec<&str> = self.levels.iter().map(|one| one.as_str()).collect();
            missing("levels", envelope.level.as_str(), &levels)
        };
        let of_cluster = || {
            let clusters: Vec<&str> = self.clusters.iter().map(String::as_str).collect();
            missing("cluster", event.cluster, &clusters)
        };
        of_rule()
            .or_else(of_stage)
            .or_else(of_level)
            .or_else(of_cluster)
    }
}

/// A value that is none of those asked for, where any are.
fn missing(field: &'static str, value: &str, asked: &[&str]) -> Option<Mismatch> {
    if asked.is_empty() || asked.contains(&value) {
        return None;
    }
    let why = match asked {
        [one] => format!("{value} is not {one}"),
        several => format!("{value} is not one of {}", several.join(", ")),
    };
    Some(Mismatch { field, why })
}

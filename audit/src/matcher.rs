//! Which events a route or a mute is about: the match half of a policy rule, and what only an event has.
//!
//! The fields that are set are ANDed, the values within one ORed; an empty field does not restrict.

use crate::{
    event::{Envelope, Level, Stage},
    policy::{Match, Request},
};

/// An event, and where it happened.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The event.
    pub envelope: &'a Envelope<'a>,
}

/// What an event must be to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// What a policy's rule asks for, of the object as the event calls it.
    pub rule: Match,
    /// Clusters.
    pub clusters: Vec<String>,
    /// Stages.
    pub stages: Vec<Stage>,
    /// Levels.
    pub levels: Vec<Level>,
}

impl Matcher {
    /// Whether the event matches.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        let envelope = event.envelope;
        (self.stages.is_empty() || self.stages.contains(&envelope.stage))
            && (self.levels.is_empty() || self.levels.contains(&envelope.level))
            && (self.clusters.is_empty() || self.clusters.iter().any(|one| one == event.cluster))
            && self.rule.matches(&Request::of(envelope))
    }
}

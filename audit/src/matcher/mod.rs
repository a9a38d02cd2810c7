//! Which events a route or a mute is about: the match half of a policy rule, and what only an event has.
//!
//! The fields that are set are ANDed, the values within one ORed (annotations: each has to match); an empty
//! field does not restrict.
//!
//! Invariants:
//! * what an event does not have matches nothing but an empty field;
//! * what a request's client can choose freely decides no more than it has to: of `sourceIPs` only the last
//!   counts ([`Network`]), a `dryRun` counts where the API server heeds it (`dry_run.rs`), and a body that cannot
//!   be read has every risk ([`Risk`]);
//! * cheap questions come first, the body last: it is read only if everything else matches.

mod dry_run;
mod risk;
mod values;
mod why;

use crate::{
    event::{Envelope, Level, Stage},
    policy::{Match, Request},
};

pub use risk::Risk;
pub use values::{AuthorizerDecision, Codes, Glob, Impersonation, Network};

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
    /// HTTP status codes.
    pub codes: Vec<Codes>,
    /// What the authorizer decided.
    pub decision: Option<AuthorizerDecision>,
    /// As whom the request was made.
    pub impersonated: Option<Impersonation>,
    /// Networks of the API server's own peer.
    pub source_ips: Vec<Network>,
    /// What the client calls itself.
    pub user_agents: Vec<Glob>,
    /// Annotations by key, each of which has to be there.
    pub annotations: Vec<(String, Glob)>,
    /// Whether nothing was to be changed.
    pub dry_run: Option<bool>,
    /// What the request's body would grant or run.
    pub risks: Vec<Risk>,
}

impl Matcher {
    /// Whether the event matches.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        let envelope = event.envelope;
        (self.stages.is_empty() || self.stages.contains(&envelope.stage))
            && (self.levels.is_empty() || self.levels.contains(&envelope.level))
            && (self.clusters.is_empty() || self.clusters.iter().any(|one| one == event.cluster))
            && (self.codes.is_empty() || self.matches_code(envelope))
            && self.rule.matches(&Request::of(envelope))
            && self.matches_who(envelope)
            && self.matches_how(envelope)
            && (self.risks.is_empty() || risk::has_any(&self.risks, envelope))
    }

    fn matches_code(&self, event: &Envelope<'_>) -> bool {
        event
            .code()
            .is_some_and(|code| self.codes.iter().any(|codes| codes.contains(code)))
    }

    fn matches_who(&self, event: &Envelope<'_>) -> bool {
        self.impersonated
            .as_ref()
            .is_none_or(|wanted| wanted.matches(event.impersonated_user.as_ref()))
            && (self.source_ips.is_empty() || Network::any_has(&self.source_ips, event))
    }

    fn matches_how(&self, event: &Envelope<'_>) -> bool {
        let annotation = |key: &str, pattern: &Glob| {
            let value = event.annotation(key);
            value.is_some_and(|value| pattern.matches(&value))
        };
        self.decision
            .is_none_or(|wanted| event.decision().as_deref() == Some(wanted.as_str()))
            && self
                .dry_run
                .is_none_or(|wanted| dry_run::is_dry(event) == wanted)
            && (self.user_agents.is_empty()
                || self
                    .user_agents
                    .iter()
                    .any(|pattern| pattern.matches(&event.user_agent)))
            && self
                .annotations
                .iter()
                .all(|(key, pattern)| annotation(key, pattern))
    }
}

#[cfg(test)]
mod tests;

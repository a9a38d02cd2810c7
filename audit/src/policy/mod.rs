//! An `audit.k8s.io/v1` `Policy`: which request is logged how, as kube-apiserver decides it.
//!
//! Kubernetes: `apiserver/pkg/audit/policy`. The first rule that matches decides; none means level `None`. The
//! stages that are omitted are those of the policy and of the rule together; a rule's `omitManagedFields`
//! overrides the policy's.

mod cover;
mod load;
mod mismatch;
mod request;
mod rule;

pub use load::{Lines, Loaded, POLICY_BYTES_MAX, Place, Problem, load};
pub use mismatch::Mismatch;
pub use request::Request;
pub use rule::{GroupResources, Match};

use crate::event::{Level, Stage};

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its rules, in order. A policy that the API server loads has at least one.
    pub rules: Vec<Rule>,
    /// Stages that no rule logs.
    pub omit_stages: Vec<Stage>,
    /// Whether `managedFields` are left out of bodies, where a rule does not say.
    pub omit_managed_fields: bool,
}

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How much is logged.
    pub level: Level,
    /// Of which requests.
    pub matched: Match,
    /// Stages that this rule does not log, beside those of the policy.
    pub omit_stages: Vec<Stage>,
    /// Whether `managedFields` are left out of bodies; `None` leaves it to the policy.
    pub omit_managed_fields: Option<bool>,
}

/// What a policy makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rule that decided, counted from 0.
    pub rule: Option<usize>,
    /// How much is logged.
    pub level: Level,
    /// Stages that are not, each once, in the order of a request's life.
    pub omit_stages: Vec<Stage>,
    /// Whether `managedFields` are left out of bodies.
    pub omit_managed_fields: bool,
}

impl Policy {
    /// The first rule that matches, counted from 0.
    pub fn rule_for(&self, request: &Request<'_>) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.matched.matches(request))
    }

    /// What is logged of the request.
    pub fn evaluate(&self, request: &Request<'_>) -> Decision {
        let number = self.rule_for(request);
        let rule = number.and_then(|number| self.rules.get(number));
        let omits = |stage: &Stage| {
            self.omit_stages.contains(stage)
                || rule.is_some_and(|rule| rule.omit_stages.contains(stage))
        };
        Decision {
            rule: number,
            level: rule.map_or(Level::None, |rule| rule.level),
            omit_stages: Stage::ALL.into_iter().filter(omits).collect(),
            omit_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

#[cfg(test)]
mod cover_tests;
#[cfg(test)]
mod naive_tests;
#[cfg(test)]
mod tests;

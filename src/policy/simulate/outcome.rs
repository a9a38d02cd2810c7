//! What a policy makes of an event of a log.
//!
//! Contract: decided by [`Policy::evaluate`] of the request as the API server saw it, and by nothing else. A log
//! cannot show what its own policy left out: a level is never raised, a stage never added.

use auditrelay_audit::{
    Level,
    policy::{Decision, Policy, Request},
};
use serde::Serialize;

use super::sizes::Measured;

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    /// Written as it is.
    Kept,
    /// Written with less in it.
    Shortened,
    /// Its stage is not written.
    StageOmitted,
    /// A rule of level None.
    LevelNone,
    /// No rule matches.
    NoRule,
}

impl Fate {
    pub(super) const ALL: [Self; 5] = [
        Self::Kept,
        Self::Shortened,
        Self::StageOmitted,
        Self::LevelNone,
        Self::NoRule,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept as it is",
            Self::Shortened => "kept with less in it",
            Self::StageOmitted => "dropped: omitStages",
            Self::LevelNone => "dropped: level None",
            Self::NoRule => "dropped: no rule matches",
        }
    }
}

/// The whole of it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) fate: Fate,
    /// The level that it is written at; None where it is not.
    pub(super) level: Level,
    /// How long it is then; none where it is not written.
    pub(super) bytes: Option<u64>,
    pub(super) decision: Decision,
}

impl Outcome {
    /// Whether another policy has the same of the event, by whichever rule.
    pub(super) fn is_as_much_as(&self, other: &Self) -> bool {
        let said = |decision: &Decision| {
            (
                decision.level,
                decision.omit_stages.clone(),
                decision.omit_managed_fields,
            )
        };
        said(&self.decision) == said(&other.decision)
    }

    /// By a policy.
    pub(super) fn of(policy: &Policy, event: &Measured<'_>) -> Self {
        let decision = policy.evaluate(&Request::at_the_api_server(event.envelope));
        let dropped = match decision.level {
            Level::None if decision.rule.is_none() => Some(Fate::NoRule),
            Level::None => Some(Fate::LevelNone),
            _ if decision.omit_stages.contains(&event.envelope.stage) => Some(Fate::StageOmitted),
            _ => None,
        };
        if let Some(fate) = dropped {
            return Self {
                fate,
                level: Level::None,
                bytes: None,
                decision,
            };
        }
        let bytes = event.bytes_at(decision.level, decision.omit_managed_fields);
        Self {
            fate: match bytes < event.bytes {
                true => Fate::Shortened,
                false => Fate::Kept,
            },
            level: event.level(decision.level),
            bytes: Some(bytes),
            decision,
        }
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::{
        Envelope, Stage,
        policy::{Match, Rule},
    };

    use super::*;

    fn rule(level: Level, verb: &str) -> Rule {
        Rule {
            level,
            matched: Match {
                verbs: vec![verb.to_owned()],
                ..Match::default()
            },
            omit_stages: vec![Stage::RequestReceived],
            omit_managed_fields: None,
        }
    }

    #[test]
    fn each_event_has_the_fate_that_its_rule_says() {
        let policy = Policy {
            rules: vec![
                rule(Level::None, "watch"),
                rule(Level::Metadata, "get"),
                rule(Level::RequestResponse, "create"),
            ],
            ..Policy::default()
        };
        for (verb, stage, fate, level, rule) in [
            (
                "watch",
                "ResponseComplete",
                Fate::LevelNone,
                "None",
                Some(0),
            ),
            (
                "get",
                "ResponseComplete",
                Fate::Shortened,
                "Metadata",
                Some(1),
            ),
            (
                "get",
                "RequestReceived",
                Fate::StageOmitted,
                "None",
                Some(1),
            ),
            // More is wanted than the log holds.
            ("create", "Panic", Fate::Kept, "Request", Some(2)),
            ("list", "Panic", Fate::NoRule, "None", None),
        ] {
            let text = format!(
                r#"{{"level":"Request","stage":"{stage}","verb":"{verb}","user":{{}},"requestObject":{{}}}}"#
            );
            let envelope = Envelope::parse(&text).expect("readable");
            let outcome = Outcome::of(&policy, &Measured::new(&envelope, text.len()));
            assert_eq!(outcome.fate, fate, "{verb} {stage}");
            assert_eq!(outcome.level.as_str(), level, "{verb} {stage}");
            assert_eq!(outcome.decision.rule, rule, "{verb} {stage}");
            let is_written = matches!(fate, Fate::Kept | Fate::Shortened);
            assert_eq!(outcome.bytes.is_some(), is_written);
        }
    }
}

//! What a simulation found, in the form that scripts read (docs/policy-simulate.md).
//!
//! Contract: a member of the JSON is never renamed and never changes its meaning; new ones may come.

use auditrelay_audit::{Level, policy::Policy};
use serde::Serialize;

use super::{
    kinds::Kind,
    outcome::Fate,
    reasons::{reason, subject, target},
    suggest::{Suggested, Withheld},
    tally::{OfKind, OfRule, Tally},
    tops::{Change, Counts, Largest},
};
use crate::log_input::Totals;

/// Ways in which a kind of requests is lost that are told.
const WAYS_TOLD: usize = 5;
/// A shorter log says nothing of a day.
const SPAN_SECONDS_MIN: f64 = 60.0;
const DAY_SECONDS: f64 = 86_400.0;

/// The whole of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) policy: String,
    /// What it is compared with; null is the log itself.
    pub(super) against: Option<String>,
    pub(super) log: Log,
    #[serde(flatten)]
    pub(super) effect: Effect,
    pub(super) fates: Vec<OfFate>,
    pub(super) levels: Vec<OfLevel>,
    pub(super) rules: Vec<RuleTold>,
    pub(super) unmet: Vec<Unmet>,
    pub(super) users: Largest,
    pub(super) requests: Largest,
    pub(super) namespaces: Largest,
    pub(super) user_agents: Largest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) suggestion: Option<Suggestion>,
}

/// What was read.
#[derive(Debug, Serialize)]
pub(super) struct Log {
    pub(super) files: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// Lines, or items of lists, that are no event.
    pub(super) unreadable: u64,
    pub(super) first_unreadable: Vec<Place>,
    /// Files of folders that hold no event.
    pub(super) passed_over: Vec<String>,
    /// When its first and its last event happened.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Place {
    file: String,
    line: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} line {}", self.file, self.line)
    }
}

impl Log {
    fn of(totals: &Totals, tally: &Tally<'_>) -> Self {
        let ends = tally.span.ends();
        let place = |(file, line): &(String, u64)| Place {
            file: file.clone(),
            line: *line,
        };
        Self {
            files: totals.files,
            events: tally.log.events,
            bytes: tally.log.bytes,
            unreadable: totals.unreadable,
            first_unreadable: totals.places.iter().map(place).collect(),
            passed_over: totals.passed_over.clone(),
            from: ends.map(|(first, _)| first.to_string()),
            to: ends.map(|(_, last)| last.to_string()),
            seconds: tally.span.seconds(),
        }
    }
}

/// What one policy changes.
#[derive(Debug, Serialize)]
pub(super) struct Effect {
    pub(super) before: Side,
    pub(super) after: Side,
    /// Of what must not be lost, by kind.
    pub(super) losses: Vec<Loss>,
    /// Events of the stage `RequestReceived` that are still written.
    pub(super) request_received: Counts,
}

#[derive(Debug, Serialize)]
pub(super) struct Side {
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Extrapolated from the log's time; null if that is below a minute.
    pub(super) events_per_day: Option<u64>,
    pub(super) bytes_per_day: Option<u64>,
}

/// What becomes of one kind of requests.
#[derive(Debug, Serialize)]
pub(super) struct Loss {
    pub(super) kind: Kind,
    pub(super) before: u64,
    pub(super) lost: u64,
    pub(super) lowered: u64,
    pub(super) ways: Vec<Way>,
    /// Further ways; at least, if there are very many.
    pub(super) other_ways: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Way {
    pub(super) what: String,
    pub(super) events: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct OfFate {
    pub(super) fate: Fate,
    #[serde(flatten)]
    pub(super) in_log: Counts,
}

#[derive(Debug, Serialize)]
pub(super) struct OfLevel {
    pub(super) level: Level,
    #[serde(flatten)]
    pub(super) change: Change,
}

/// What a rule decides about.
#[derive(Debug, Serialize)]
pub(super) struct RuleTold {
    /// From 0; null stands for what no rule matches.
    pub(super) rule: Option<usize>,
    pub(super) line: Option<usize>,
    pub(super) level: Level,
    pub(super) in_log: Counts,
    pub(super) written: Counts,
}

/// What a policy asks for and a log does not hold.
#[derive(Debug, Serialize)]
pub(super) struct Unmet {
    pub(super) wanted: Level,
    pub(super) held: Level,
    pub(super) events: u64,
}

/// Rules that would cut noise, and what they did to the log when it was read again.
#[derive(Debug, Serialize)]
pub(super) struct Suggestion {
    /// Where it was written; null is standard output.
    pub(super) file: Option<String>,
    pub(super) rules: Vec<SuggestedTold>,
    pub(super) withheld: Vec<WithheldTold>,
    /// Events of which too many different ones were seen to be suggested about.
    pub(super) beyond: u64,
    /// Whether both readings of the log found the same.
    pub(super) same_log: bool,
    #[serde(flatten)]
    pub(super) effect: Effect,
    /// The whole policy, as YAML.
    pub(super) policy: String,
}

#[derive(Debug, Serialize)]
pub(super) struct SuggestedTold {
    pub(super) rule: usize,
    pub(super) level: Level,
    pub(super) reason: String,
    /// What is written today and would not be.
    pub(super) events: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct WithheldTold {
    pub(super) what: String,
    pub(super) because: Kind,
    pub(super) because_events: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Effect {
    pub(super) fn of(tally: &Tally<'_>) -> Self {
        let seconds = tally.span.seconds();
        let losses = Kind::ALL.into_iter().filter_map(|kind| {
            let of_kind = tally.kinds.get(&kind)?;
            Some(loss(kind, of_kind))
        });
        Self {
            before: side(tally.total.before, seconds),
            after: side(tally.total.after, seconds),
            losses: losses.collect(),
            request_received: tally.received,
        }
    }

    /// What is lost of kinds that must not be, the loud ones.
    pub(super) fn loud(&self) -> impl Iterator<Item = &Loss> {
        self.losses
            .iter()
            .filter(|loss| loss.lost > 0 && loss.kind.is_loud())
    }
}

fn side(counts: Counts, seconds: Option<f64>) -> Side {
    let days = seconds.filter(|seconds| *seconds >= SPAN_SECONDS_MIN);
    // A float holds what a log of any size comes to, well enough for what is an estimate.
    let per_day = |number: u64| days.map(|span| (number as f64 * DAY_SECONDS / span) as u64);
    Side {
        counts,
        events_per_day: per_day(counts.events),
        bytes_per_day: per_day(counts.bytes),
    }
}

fn loss(kind: Kind, of_kind: &OfKind) -> Loss {
    let ways = of_kind.ways.most(WAYS_TOLD);
    Loss {
        kind,
        before: of_kind.before,
        lost: of_kind.lost,
        lowered: of_kind.lowered,
        other_ways: ways.others,
        ways: ways
            .largest
            .into_iter()
            .map(|way| Way {
                what: way.name,
                events: way.change.before.events,
            })
            .collect(),
    }
}

/// What is said of a policy besides its numbers.
pub(super) struct Names<'a> {
    pub(super) policy: String,
    pub(super) against: Option<String>,
    /// The line of each rule.
    pub(super) lines: &'a dyn Fn(usize) -> usize,
    pub(super) top: usize,
}

impl Report {
    pub(super) fn of(
        names: Names<'_>,
        policy: &Policy,
        totals: &Totals,
        tally: &Tally<'_>,
    ) -> Self {
        let told = |rule: Option<usize>, level: Level, of: &OfRule| RuleTold {
            rule,
            line: rule.map(|rule| (names.lines)(rule)),
            level,
            in_log: of.matched,
            written: of.written,
        };
        let rules = policy.rules.iter().zip(&tally.rules).enumerate();
        let mut rules: Vec<_> = rules
            .map(|(number, (rule, of))| told(Some(number), rule.level, of))
            .collect();
        if tally.no_rule.matched.events > 0 {
            rules.push(told(None, Level::None, &tally.no_rule));
        }
        let fates = Fate::ALL.into_iter().map(|fate| OfFate {
            fate,
            in_log: tally.fates.get(&fate).copied().unwrap_or_default(),
        });
        let levels = tally.levels.iter().map(|(level, change)| OfLevel {
            level: *level,
            change: *change,
        });
        let unmet = tally.unmet.iter().map(|(levels, events)| Unmet {
            wanted: levels.0,
            held: levels.1,
            events: *events,
        });
        Self {
            log: Log::of(totals, tally),
            effect: Effect::of(tally),
            fates: fates.collect(),
            levels: levels.rev().collect(),
            rules,
            unmet: unmet.collect(),
            users: tally.users.largest(names.top),
            requests: tally.requests.largest(names.top),
            namespaces: tally.namespaces.largest(names.top),
            user_agents: tally.agents.largest(names.top),
            suggestion: None,
            policy: names.policy,
            against: names.against,
        }
    }
}

impl SuggestedTold {
    pub(super) fn of(number: usize, suggested: &Suggested) -> Self {
        Self {
            rule: number,
            level: suggested.rule.level,
            reason: reason(suggested),
            events: suggested.events,
            bytes: suggested.bytes,
        }
    }
}

impl WithheldTold {
    pub(super) fn of(withheld: &Withheld) -> Self {
        Self {
            what: format!(
                "{} {} {}",
                subject(&withheld.subject),
                withheld.verb,
                target(&withheld.target)
            ),
            because: withheld.because.0,
            because_events: withheld.because.1,
            events: withheld.events,
            bytes: withheld.bytes,
        }
    }
}

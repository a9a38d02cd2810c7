//! Why the channels that hear of an event do: each route in order, and what becomes of the event.
//!
//! Contract: a route is said to match exactly where [`Routes::matched`] has it. Text of events is made harmless
//! before it is put in here.

use auditrelay_audit::{Envelope, Event};
use auditrelay_config::{Config, RateBy, RateConfig, RouteConfig};
use auditrelay_dispatch::{
    routes::{Fate, Matched, Routes},
    sentence,
};
use serde::Serialize;

use super::trial::Assumed;
use crate::output::{line, table};

const WHY_CHARS_MAX: usize = 300;

/// An event, and what the routes make of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Explanation {
    event: Shown,
    /// Each route, in order.
    routes: Vec<Asked>,
    /// What becomes of the event if it comes alone.
    alone: End,
    /// What becomes of it where all that routes ask for beside the event is so; none if none of them asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    if_so: Option<End>,
}

/// An event in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Shown {
    summary: String,
    cluster: String,
    stage: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: String,
}

/// A route that was asked, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Asked {
    route: String,
    result: Said,
    /// The first key that the event does not meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'static str>,
    why: String,
}

/// What a route says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    Matches,
    /// It matches if something is so that the event does not say.
    MayMatch,
    DoesNotMatch,
    NotAsked,
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// Who hears of it.
    Told(Vec<Told>),
    /// Nobody does; the route that says so, if one does.
    Filtered(Option<String>),
}

/// A channel that hears of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    pub(super) channel: String,
    pub(super) severity: &'static str,
    /// Empty where there are no routes.
    pub(super) route: String,
}

impl End {
    pub(super) fn of(fate: &Fate<'_>) -> Self {
        match fate {
            Fate::Filtered(route) => Self::Filtered(route.map(str::to_owned)),
            Fate::Told(targets) => {
                let told = targets.iter().map(|target| Told {
                    channel: target.channel.to_owned(),
                    severity: target.severity.as_str(),
                    route: target.route.to_owned(),
                });
                Self::Told(told.collect())
            }
        }
    }

    /// `security (critical, by route secrets)`; in words where nobody hears of it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Filtered(Some(route)) => {
                format!("no channel hears of it: filtered by route {route}")
            }
            Self::Filtered(None) => "no channel hears of it: no route takes it".to_owned(),
            Self::Told(told) => {
                let told: Vec<String> = told.iter().map(Told::words).collect();
                format!("told in {}", told.join(", "))
            }
        }
    }
}

impl Told {
    pub(super) fn words(&self) -> String {
        let Self {
            channel,
            severity,
            route,
        } = self;
        match route.as_str() {
            "" => format!("{channel} ({severity}, the default channel)"),
            route => format!("{channel} ({severity}, by route {route})"),
        }
    }
}

impl Explanation {
    pub(crate) fn of(config: &Config, routes: &Routes, event: &Event<'_>) -> Self {
        let matched = routes.matched(event);
        let numbers: Vec<usize> = match &matched {
            Matched::Default => Vec::new(),
            Matched::Routes(numbers) => numbers.iter().copied().collect(),
        };
        let mut asked = Vec::with_capacity(config.routes.len());
        let mut decided: Option<&RouteConfig> = None;
        for (number, route) in config.routes.iter().enumerate() {
            let is_matched = numbers.contains(&number);
            asked.push(match decided {
                Some(by) => Asked {
                    route: route.name.to_string(),
                    result: Said::NotAsked,
                    key: None,
                    why: format!("{} decided", by.name),
                },
                None if is_matched => matching(route),
                None => not_matching(route, event),
            });
            if is_matched && !is_open(route) {
                decided = Some(route);
            }
        }
        let alone = End::of(&routes.fate(&matched, &mut Assumed(false)));
        let asks_more = numbers
            .iter()
            .filter_map(|number| config.routes.get(*number))
            .any(|route| route.rate.is_some() || route.audit_id_reused);
        let if_so = asks_more.then(|| End::of(&routes.fate(&matched, &mut Assumed(true))));
        Self {
            event: shown(event),
            routes: asked,
            alone,
            if_so,
        }
    }

    /// Who did what to which object.
    pub(crate) fn summary(&self) -> &str {
        &self.event.summary
    }

    /// Whether a channel hears of it if it comes alone.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.alone, End::Told(_))
    }

    /// What becomes of it if it comes alone, in words.
    pub(crate) fn end(&self) -> String {
        self.alone.words()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let Shown {
            summary,
            cluster,
            stage,
            level,
            audit_id,
        } = &self.event;
        let mut text = format!("{summary}\n  {stage} at level {level}, cluster {cluster}");
        if !audit_id.is_empty() {
            text.push_str(&format!(", audit ID {audit_id}"));
        }
        text.push('\n');
        let row = |(number, asked): (usize, &Asked)| {
            let result = match asked.result {
                Said::Matches => "matches",
                Said::MayMatch => "may match",
                Said::DoesNotMatch => "no",
                Said::NotAsked => "not asked",
            };
            let why = match asked.key {
                Some(key) => format!("{key}: {}", asked.why),
                None => asked.why.clone(),
            };
            vec![
                (number + 1).to_string(),
                asked.route.clone(),
                result.to_owned(),
                why,
            ]
        };
        if self.routes.is_empty() {
            text.push_str(
                "  there are no routes: each request is told once, in the default channel\n",
            );
        } else {
            let rows: Vec<Vec<String>> = self.routes.iter().enumerate().map(row).collect();
            for line in table(&[">#", "route", "matches?", "why"], &rows).lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
        match &self.if_so {
            None => text.push_str(&format!("  → {}\n", self.alone.words())),
            Some(if_so) => text.push_str(&format!(
                "  → alone: {}\n  → where what is asked for beside it is so: {}\n",
                self.alone.words(),
                if_so.words()
            )),
        }
        text
    }
}

fn is_open(route: &RouteConfig) -> bool {
    route.continues || route.rate.is_some() || route.audit_id_reused
}

fn matching(route: &RouteConfig) -> Asked {
    let mut why: Vec<String> = Vec::new();
    if let Some(rate) = &route.rate {
        why.push(from(rate));
    }
    if route.audit_id_reused {
        why.push("if its audit ID and stage were another event's before".to_owned());
    }
    let may = !why.is_empty();
    why.push(match (route.channel.is_empty(), route.continues, may) {
        (true, _, false) => "decides: level None, for no channel".to_owned(),
        (true, _, true) => "level None, for no channel".to_owned(),
        (false, true, _) => "the routes behind it are asked too (continue)".to_owned(),
        (false, false, true) => "until then the routes behind it are asked".to_owned(),
        (false, false, false) => "decides".to_owned(),
    });
    Asked {
        route: route.name.to_string(),
        result: if may { Said::MayMatch } else { Said::Matches },
        key: None,
        why: why.join("; "),
    }
}

/// `from the 21st within 60 s on by the same user`.
fn from(rate: &RateConfig) -> String {
    let number = rate.more_than.get() + 1;
    let by: Vec<&str> = rate
        .by
        .iter()
        .map(|by| match by {
            RateBy::User => "user",
            RateBy::SourceIP => "source address",
            RateBy::Namespace => "namespace",
            RateBy::Resource => "resource",
            RateBy::Verb => "verb",
        })
        .collect();
    let by = match by.as_slice() {
        [] => String::new(),
        some => format!(" of the same {}", some.join(" and ")),
    };
    let seconds = rate.within_seconds;
    format!("from the {} within {seconds} s on{by}", ordinal(number))
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn not_matching(route: &RouteConfig, event: &Event<'_>) -> Asked {
    let matcher = route.matcher();
    let (key, why) = match matcher.mismatch(event) {
        Some(mismatch) => (mismatch.field, line(&mismatch.why, WHY_CHARS_MAX)),
        // All that it asks for is so, and it is not the stage at which it takes a request.
        None => ("stages", stage_by_default(event.envelope)),
    };
    Asked {
        route: route.name.to_string(),
        result: Said::DoesNotMatch,
        key: Some(key),
        why,
    }
}

fn stage_by_default(envelope: &Envelope<'_>) -> String {
    let stage = envelope.stage.as_str();
    format!(
        "this is {stage}; without stages a route takes a request once, at its end (exec, attach and port-forward \
         at their start)"
    )
}

fn shown(event: &Event<'_>) -> Shown {
    let envelope = event.envelope;
    let what = match &envelope.object_ref {
        Some(object) => sentence::object(object),
        None => line(envelope.path(), 200),
    };
    let code = match envelope.code() {
        Some(code) => format!(" → {code}"),
        None => String::new(),
    };
    Shown {
        summary: format!(
            "{} {} {what}{code}",
            sentence::who(envelope),
            line(&envelope.verb, 60)
        ),
        cluster: line(event.cluster, 63),
        stage: envelope.stage.as_str(),
        level: envelope.level.as_str(),
        audit_id: line(&envelope.audit_id, 64),
    }
}

#[cfg(test)]
#[path = "explanation_tests.rs"]
mod tests;

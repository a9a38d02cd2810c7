//! The numbers of a simulation, gathered event by event.
//!
//! Contract: what stands under `before` is the log itself, or what another policy makes of it; under `after` what
//! the policy in question makes of it. Every event is in each of the sums once.

use std::collections::BTreeMap;

use auditrelay_audit::{Envelope, Level, ObjectRef, Stage, list::Item, policy::Policy};
use jiff::Timestamp;

use super::{
    kinds::{Kind, Kinds, is_end},
    outcome::{Fate, Outcome},
    sizes::Measured,
    tops::{Change, Counts, Names},
};

/// Ways in which something is lost that are held, of each kind.
const WAYS_MAX: usize = 1_000;

/// What a rule decides about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OfRule {
    /// In the log.
    pub(super) matched: Counts,
    /// Of that, what is written.
    pub(super) written: Counts,
}

/// What becomes of one kind of requests, counted by the events that say how they ended.
#[derive(Debug)]
pub(super) struct OfKind {
    /// Written before.
    pub(super) before: u64,
    /// Not written any more.
    pub(super) lost: u64,
    /// Still written, at a lower level.
    pub(super) lowered: u64,
    /// Who did what, and which rule loses it.
    pub(super) ways: Names,
}

impl Default for OfKind {
    fn default() -> Self {
        Self {
            before: 0,
            lost: 0,
            lowered: 0,
            ways: Names::holding(WAYS_MAX),
        }
    }
}

/// From the first event to the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    first: Option<(String, Timestamp)>,
    last: Option<(String, Timestamp)>,
}

impl Span {
    fn add(&mut self, time: &str) {
        // Times of one form are in the order of their text; so only what may be a new end is read as a time.
        let is_before = self
            .first
            .as_ref()
            .is_none_or(|(first, _)| time < first.as_str());
        let is_behind = self
            .last
            .as_ref()
            .is_none_or(|(last, _)| time > last.as_str());
        if (is_before || is_behind)
            && let Ok(read) = time.parse()
        {
            let end = Some((time.to_owned(), read));
            if is_before {
                self.first.clone_from(&end);
            }
            if is_behind {
                self.last = end;
            }
        }
    }

    pub(super) fn ends(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.first.as_ref()?.1, self.last.as_ref()?.1))
    }

    pub(super) fn seconds(&self) -> Option<f64> {
        let (first, last) = self.ends()?;
        Some(last.duration_since(first).as_secs_f64())
    }
}

/// All numbers of one simulation.
pub(super) struct Tally<'p> {
    before_policy: Option<&'p Policy>,
    after_policy: &'p Policy,
    pub(super) log: Counts,
    pub(super) total: Change,
    pub(super) span: Span,
    pub(super) rules: Vec<OfRule>,
    pub(super) no_rule: OfRule,
    pub(super) fates: BTreeMap<Fate, Counts>,
    /// Of the stage `RequestReceived`, what is written.
    pub(super) received: Counts,
    pub(super) levels: BTreeMap<Level, Change>,
    /// What is wanted, what the log holds, and how many events.
    pub(super) unmet: BTreeMap<(Level, Level), u64>,
    pub(super) kinds: BTreeMap<Kind, OfKind>,
    pub(super) users: Names,
    pub(super) requests: Names,
    pub(super) namespaces: Names,
    pub(super) agents: Names,
    name: String,
}

impl<'p> Tally<'p> {
    /// Of a log, or of what one policy leaves of it, and what another one does.
    pub(super) fn new(before: Option<&'p Policy>, after: &'p Policy) -> Self {
        Self {
            before_policy: before,
            after_policy: after,
            log: Counts::default(),
            total: Change::default(),
            span: Span::default(),
            rules: vec![OfRule::default(); after.rules.len()],
            no_rule: OfRule::default(),
            fates: BTreeMap::new(),
            received: Counts::default(),
            levels: BTreeMap::new(),
            unmet: BTreeMap::new(),
            kinds: BTreeMap::new(),
            users: Names::default(),
            requests: Names::default(),
            namespaces: Names::default(),
            agents: Names::default(),
            name: String::new(),
        }
    }

    /// Adds an event; returns what the policy makes of it.
    pub(super) fn add(&mut self, item: &Item<'_>, envelope: &Envelope<'_>) -> Outcome {
        let event = Measured::new(envelope, item.wire.len());
        let after = Outcome::of(self.after_policy, &event);
        let (level_before, before) = match self.before_policy {
            None => (envelope.level, Some(event.bytes)),
            Some(policy) => {
                let outcome = Outcome::of(policy, &event);
                (outcome.level, outcome.bytes)
            }
        };
        self.log.add(event.bytes);
        self.span.add(&envelope.stage_timestamp);
        self.total.add(before, after.bytes);
        let rule = match after.decision.rule {
            Some(number) => self.rules.get_mut(number),
            None => None,
        };
        let rule = rule.unwrap_or(&mut self.no_rule);
        rule.matched.add(event.bytes);
        if let Some(bytes) = after.bytes {
            rule.written.add(bytes);
            if envelope.stage == Stage::RequestReceived {
                self.received.add(bytes);
            }
            if after.decision.level > envelope.level {
                let unmet = (after.decision.level, envelope.level);
                *self.unmet.entry(unmet).or_default() += 1;
            }
        }
        self.fates.entry(after.fate).or_default().add(event.bytes);
        if before.is_some() {
            let level = self.levels.entry(level_before).or_default();
            level.add(before, None);
        }
        if after.bytes.is_some() {
            let level = self.levels.entry(after.level).or_default();
            level.add(None, after.bytes);
        }
        self.add_names(envelope, before, after.bytes);
        if before.is_some() && is_end(envelope) {
            self.add_kinds(envelope, level_before, before, &after);
        }
        after
    }

    fn add_names(&mut self, envelope: &Envelope<'_>, before: Option<u64>, after: Option<u64>) {
        let user = envelope.user.username.as_str();
        self.users.add(user, before, after);
        self.agents.add(&envelope.user_agent, before, after);
        let object = envelope.object_ref.as_ref();
        let namespace = object.map(|object| object.namespace.as_str());
        self.namespaces.add(
            match namespace {
                None => "(no resource)",
                Some("") => "(cluster-scoped)",
                Some(namespace) => namespace,
            },
            before,
            after,
        );
        self.name.clear();
        name_request(&mut self.name, envelope);
        self.requests.add(&self.name, before, after);
    }

    fn add_kinds(
        &mut self,
        envelope: &Envelope<'_>,
        level_before: Level,
        before: Option<u64>,
        after: &Outcome,
    ) {
        for kind in Kinds::of(envelope).iter() {
            let of_kind = self.kinds.entry(kind).or_default();
            of_kind.before += 1;
            if after.bytes.is_none() {
                of_kind.lost += 1;
                let rule = match (after.fate, after.decision.rule) {
                    (Fate::StageOmitted, Some(rule)) => format!("omitStages, rules[{rule}]"),
                    (_, Some(rule)) => format!("rules[{rule}]"),
                    (_, None) => "no rule matches".to_owned(),
                };
                self.name.clear();
                self.name.push_str(named(&envelope.user.username));
                self.name.push(' ');
                name_request(&mut self.name, envelope);
                self.name.push_str(&format!(" ({rule})"));
                of_kind.ways.add(&self.name, before, None);
            } else if after.level < level_before {
                of_kind.lowered += 1;
            }
        }
    }
}

fn named(user: &str) -> &str {
    match user.is_empty() {
        true => "(nobody)",
        false => user,
    }
}

/// `get deployments.apps/scale`, `get /healthz`.
fn name_request(name: &mut String, envelope: &Envelope<'_>) {
    name.push_str(match envelope.verb.as_str() {
        "" => "(no verb)",
        verb => verb,
    });
    name.push(' ');
    match &envelope.object_ref {
        Some(object) => name_object(name, object),
        None => name.push_str(envelope.path()),
    }
}

fn name_object(name: &mut String, object: &ObjectRef<'_>) {
    name.push_str(&object.resource);
    if !object.api_group.is_empty() {
        name.push('.');
        name.push_str(&object.api_group);
    }
    if !object.subresource.is_empty() {
        name.push('/');
        name.push_str(&object.subresource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_is_from_the_first_to_the_last_whatever_comes_between() {
        let mut span = Span::default();
        assert!(span.seconds().is_none());
        for time in [
            "2026-11-21T08:00:10.000000Z",
            "2026-11-21T08:00:00.500000Z",
            "nonsense",
            "",
            "2026-11-21T08:01:00.500000Z",
            "2026-11-21T08:00:30.000000Z",
        ] {
            span.add(time);
        }
        assert_eq!(span.seconds(), Some(60.0));
    }
}

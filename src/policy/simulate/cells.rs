//! What a suggestion is made of: who does what to what, and what each of these costs.
//!
//! A *cell* is everything that one line of a rule can pick out: a subject (a user, the group of all nodes, or
//! anyone), a verb, and a target (a resource or the pattern of a path).
//!
//! Contract, on which the safety of a suggestion rests:
//! * a rule that is made of cells matches no precious event outside of these. Each event counts in the cell of its one
//!   subject; where a rule for another subject would match it as well, it is guarded there too;
//! * a cell is held from its first event on or never: what is held has seen everything that there was of it;
//! * a name that a policy would read as a pattern is in no cell.

use std::collections::{BTreeMap, HashMap};

use auditrelay_audit::{Envelope, Level, ObjectRef, Stage};

use super::{
    kinds::{Kind, Kinds, health_check, is_end, is_read, is_system, pattern_of},
    outcome::Outcome,
    sizes::Measured,
};

/// So many cells are held.
const CELLS_MAX: usize = 50_000;
const NAME_BYTES_MAX: usize = 256;
pub(super) const NODES: &str = "system:nodes";
/// What clients read to learn what there is, and metrics.
const DISCOVERY: [&str; 4] = ["/api*", "/openapi*", "/version*", "/metrics*"];

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// Whoever asks.
    Anyone,
    /// All nodes.
    Nodes,
    /// One user.
    User(String),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The group, and the resource as a rule writes it.
    Resource(String, String),
    /// The pattern of a path.
    Path(&'static str),
}

/// A subject, a verb, a target, and what there was of it.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) subject: Subject,
    pub(super) verb: String,
    pub(super) target: Target,
    /// Events of the log.
    pub(super) events: u64,
    /// Of these, by who is no part of the cluster.
    pub(super) by_people: u64,
    /// Of these, ended with another code than one of success.
    pub(super) failed: u64,
    /// What must be left alone, by kind.
    pub(super) precious: BTreeMap<Kind, u64>,
    /// Events and bytes that are written today and would not be.
    pub(super) dropped: (u64, i64),
    /// The same, if the end of each request stayed, without bodies. An event of level Request that has no body is a
    /// byte longer then: the level's name is.
    pub(super) shortened: (u64, i64),
    /// The lowest level that the policy has for any of it.
    pub(super) lowest: Level,
    /// What the policy omits of it; none if not always the same.
    pub(super) omits: Option<Vec<Stage>>,
}

impl Cell {
    pub(super) fn is_precious(&self) -> bool {
        !self.precious.is_empty()
    }

    pub(super) fn is_read(&self) -> bool {
        is_read(&self.verb)
    }
}

/// All cells of a log.
#[derive(Debug)]
pub(super) struct Cells {
    cells_max: usize,
    held: HashMap<String, Cell>,
    /// Events of cells for which there was no room.
    pub(super) beyond: u64,
    key: String,
}

impl Default for Cells {
    fn default() -> Self {
        Self::holding(CELLS_MAX)
    }
}

impl Cells {
    pub(super) fn holding(cells_max: usize) -> Self {
        Self {
            cells_max,
            held: HashMap::new(),
            beyond: 0,
            key: String::new(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.held.values()
    }

    /// Adds an event, of which the policy makes `outcome`.
    pub(super) fn add(&mut self, event: &Measured<'_>, outcome: &Outcome) {
        let envelope = event.envelope;
        let Some(target) = target(envelope) else {
            return;
        };
        let kinds = Kinds::of(envelope);
        let user = || Subject::User(envelope.user.username.as_str().to_owned());
        let is_node = envelope
            .user
            .groups
            .iter()
            .any(|group| group.as_str() == NODES);
        let subject = match target {
            Target::Path(path) if health_check(path).is_some() => Subject::Anyone,
            _ if is_node => Subject::Nodes,
            _ => user(),
        };
        // A rule for the user matches this as well.
        let guards_user =
            subject == Subject::Nodes && (kinds.is_precious() || !is_system(envelope));
        if guards_user
            && is_rule_name(&envelope.user.username)
            && let Some(cell) = self.cell(user(), envelope, &target)
        {
            cell.guard(envelope, kinds);
        }
        if let Subject::User(name) = &subject
            && !is_rule_name(name)
        {
            return;
        }
        let Some(cell) = self.cell(subject, envelope, &target) else {
            self.beyond += 1;
            return;
        };
        cell.guard(envelope, kinds);
        cell.count(event, outcome);
    }

    fn cell(
        &mut self,
        subject: Subject,
        envelope: &Envelope<'_>,
        target: &Target,
    ) -> Option<&mut Cell> {
        let verb = envelope.verb.as_str();
        let (kind, name) = match &subject {
            Subject::Anyone => ('a', ""),
            Subject::Nodes => ('n', ""),
            Subject::User(name) => ('u', name.as_str()),
        };
        self.key.clear();
        let (group, what) = match target {
            Target::Resource(group, resource) => (group.as_str(), resource.as_str()),
            Target::Path(pattern) => ("", *pattern),
        };
        // Only the name may hold anything, and it comes last.
        for part in [verb, group, what] {
            self.key.push_str(part);
            self.key.push(' ');
        }
        self.key.push(kind);
        self.key.push_str(name);
        if !self.held.contains_key(&self.key) {
            if self.held.len() >= self.cells_max {
                return None;
            }
            let cell = Cell {
                subject,
                verb: verb.to_owned(),
                target: target.clone(),
                events: 0,
                by_people: 0,
                failed: 0,
                precious: BTreeMap::new(),
                dropped: (0, 0),
                shortened: (0, 0),
                lowest: Level::Unknown,
                omits: None,
            };
            self.held.insert(self.key.clone(), cell);
        }
        self.held.get_mut(&self.key)
    }
}

impl Cell {
    fn guard(&mut self, envelope: &Envelope<'_>, kinds: Kinds) {
        self.by_people += u64::from(!is_system(envelope));
        for kind in kinds.iter().filter(|kind| *kind != Kind::Heartbeat) {
            *self.precious.entry(kind).or_default() += 1;
        }
    }

    fn count(&mut self, event: &Measured<'_>, outcome: &Outcome) {
        let envelope = event.envelope;
        let decision = &outcome.decision;
        self.omits = match self.events {
            0 => Some(decision.omit_stages.clone()),
            _ => self
                .omits
                .take()
                .filter(|omits| *omits == decision.omit_stages),
        };
        self.events += 1;
        let has_failed = envelope.code().is_some_and(|code| code >= 400);
        self.failed += u64::from(has_failed && is_end(envelope));
        self.lowest = self.lowest.min(decision.level);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let Some(bytes) = outcome.bytes.map(signed) else {
            return;
        };
        self.dropped.0 += 1;
        self.dropped.1 += bytes;
        if envelope.stage == Stage::RequestReceived {
            self.shortened.0 += 1;
            self.shortened.1 += bytes;
        } else {
            self.shortened.1 += bytes - signed(event.bytes_at(Level::Metadata, false));
        }
    }
}

/// What a rule would have to name, if a suggestion may be about it.
fn target(envelope: &Envelope<'_>) -> Option<Target> {
    let verb = envelope.verb.as_str();
    let Some(object) = &envelope.object_ref else {
        let is_plain = matches!(verb, "get" | "head");
        let path = envelope.path();
        let pattern = health_check(path).or_else(|| pattern_of(path, &DISCOVERY));
        return pattern.filter(|_| is_plain).map(Target::Path);
    };
    // What else is written is in no suggestion. Of these a person's writes are kept apart by their kind.
    let may_be_heartbeat = matches!(verb, "create" | "update" | "patch")
        && matches!(
            object.resource.as_str(),
            "leases" | "events" | "endpoints" | "endpointslices"
        );
    if !matches!(verb, "get" | "list" | "watch") && !may_be_heartbeat {
        return None;
    }
    let ObjectRef {
        api_group,
        resource,
        subresource,
        ..
    } = object;
    let is_plain = is_name(resource)
        && (subresource.is_empty() || is_name(subresource))
        && (api_group.is_empty() || is_name(api_group));
    is_plain.then(|| {
        let mut name = resource.as_str().to_owned();
        if !subresource.is_empty() {
            name.push('/');
            name.push_str(subresource);
        }
        Target::Resource(api_group.as_str().to_owned(), name)
    })
}

/// Whether a rule is made for a user of this name.
fn is_rule_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX
}

/// Whether a policy reads this as itself: nothing of it is a pattern. A client may ask for resources of any name.
fn is_name(text: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_plain)
}

//! Rules that would cut the most noise of a log with the least loss.
//!
//! Contract: no suggested rule matches an event of the log that is precious ([`Kinds::is_precious`]): a write that
//! is no heartbeat of the cluster itself, a denied request, a secret, a session in a pod, an impersonated request,
//! RBAC, somebody without a name, a panic. What people read is at most shortened: its end stays on record, without
//! bodies. Only what no person does is dropped, and only of things that it was seen to read, or to write as a
//! heartbeat; and health checks, whoever asks.
//!
//! A policy cannot match by how a request ended. So where one denied request is among many that were not, nothing
//! is suggested, and that is told.
//!
//! [`Kinds::is_precious`]: super::kinds::Kinds::is_precious

use std::collections::{BTreeMap, BTreeSet};

use auditrelay_audit::{
    Level, Stage,
    policy::{GroupResources, Match, Rule},
};

use super::{
    cells::{Cell, Cells, NODES, Subject, Target},
    kinds::Kind,
};

/// What is withheld is told of so many.
const WITHHELD_MAX: usize = 5;
/// A target that saves less than this share of the log is not worth a word in a rule.
const TARGET_PER_SHARE_MIN: u64 = 10_000;

/// How a rule would save.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Nothing is written.
    Drop,
    /// The end of each request is, without bodies.
    Shorten,
}

/// A rule, and what it is for.
#[derive(Clone, Debug)]
pub(super) struct Suggested {
    pub(super) rule: Rule,
    pub(super) action: Action,
    pub(super) subject: Subject,
    /// How many targets it names.
    pub(super) targets: usize,
    pub(super) is_heartbeat: bool,
    /// Requests among what it matches that failed otherwise than by being denied.
    pub(super) failed: u64,
    /// Events that are written today and would not be.
    pub(super) events: u64,
    /// Bytes that are written today and would not be.
    pub(super) bytes: u64,
}

/// What would save and is not suggested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    pub(super) subject: Subject,
    pub(super) verb: String,
    pub(super) target: Target,
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// Because of these events in it.
    pub(super) because: (Kind, u64),
}

/// How much may be suggested.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// So many rules.
    pub(super) rules_max: usize,
    /// What a rule saves at least, in bytes.
    pub(super) rule_bytes_min: u64,
    /// What the policy writes of the log today, in bytes.
    pub(super) total_bytes: u64,
}

/// Rules, what saves most first, and the largest of what is withheld.
pub(super) fn suggest(cells: &Cells, bounds: Bounds) -> (Vec<Suggested>, Vec<Withheld>) {
    let mut families: BTreeMap<_, Vec<&Cell>> = BTreeMap::new();
    for cell in cells.iter() {
        let is_path = matches!(cell.target, Target::Path(_));
        let family = (&cell.subject, cell.is_read(), is_path);
        families.entry(family).or_default().push(cell);
    }
    let mut rules = Vec::new();
    for family in families.values() {
        for action in [Action::Drop, Action::Shorten] {
            rules.extend(rules_of(family, action, cells.beyond == 0, bounds));
        }
    }
    rules.retain(|rule| rule.bytes > 0 && rule.bytes >= bounds.rule_bytes_min);
    rules.sort_by(|one, other| {
        let order = other.bytes.cmp(&one.bytes);
        order.then_with(|| one.subject.cmp(&other.subject))
    });
    rules.truncate(bounds.rules_max);
    (rules, withheld(cells))
}

/// Whether this may be done to all events of a cell.
fn allows(cell: &Cell, action: Action) -> bool {
    if cell.is_precious() {
        return false;
    }
    match action {
        Action::Drop => cell.by_people == 0 || cell.subject == Subject::Anyone,
        // What the policy drops or already shortens must not come back by a rule that stands before its own.
        Action::Shorten => {
            cell.by_people == cell.events
                && cell.by_people > 0
                && matches!(cell.subject, Subject::User(_))
                && matches!(cell.target, Target::Resource(..))
                && cell.is_read()
                && cell.lowest > Level::Metadata
                && cell.omits.is_some()
        }
    }
}

fn saving(cell: &Cell, action: Action) -> (u64, i64) {
    match action {
        Action::Drop => cell.dropped,
        Action::Shorten => cell.shortened,
    }
}

/// What is saved in all; nothing, where it would be less than that.
fn bytes<'c>(cells: impl Iterator<Item = &'c &'c Cell>, action: Action) -> u64 {
    let saved: i64 = cells.map(|cell| saving(cell, action).1).sum();
    u64::try_from(saved).unwrap_or_default()
}

type Verbs<'c> = BTreeSet<&'c str>;
/// Stages that the policy omits.
type Omits = Option<Vec<Stage>>;

/// Rules of cells that share a subject, and are all of resources or all of paths.
fn rules_of(
    family: &[&Cell],
    action: Action,
    all_are_held: bool,
    bounds: Bounds,
) -> Vec<Suggested> {
    // By target, all of its cells.
    let mut targets: BTreeMap<&Target, Vec<&Cell>> = BTreeMap::new();
    for cell in family {
        targets.entry(&cell.target).or_default().push(cell);
    }
    targets.retain(|_, cells| {
        let allowed = cells.iter().filter(|cell| allows(cell, action));
        let bytes = bytes(allowed, action);
        bytes > 0 && bytes.saturating_mul(TARGET_PER_SHARE_MIN) >= bounds.total_bytes
    });
    // What one subject reads is one rule for all targets of which no read is precious: by a verb that was not seen
    // with one of them, there is nothing in the log.
    let mut as_one: BTreeMap<Omits, Vec<&Cell>> = BTreeMap::new();
    let mut exact: BTreeMap<(Omits, Verbs<'_>), Vec<&Cell>> = BTreeMap::new();
    for cells in targets.values() {
        let mut by_omits: BTreeMap<Omits, Vec<&Cell>> = BTreeMap::new();
        for cell in cells.iter().filter(|cell| allows(cell, action)) {
            let omits = match action {
                Action::Drop => None,
                Action::Shorten => cell.omits.clone(),
            };
            by_omits.entry(omits).or_default().push(cell);
        }
        let is_whole = all_are_held
            && by_omits.len() == 1
            && cells
                .iter()
                .all(|cell| cell.is_read() && allows(cell, action));
        for (omits, cells) in by_omits {
            if is_whole {
                as_one.entry(omits).or_default().extend(cells);
            } else {
                let verbs: Verbs<'_> = cells.iter().map(|cell| cell.verb.as_str()).collect();
                exact.entry((omits, verbs)).or_default().extend(cells);
            }
        }
    }
    let exact = exact.into_iter().map(|((omits, _), cells)| (omits, cells));
    as_one
        .into_iter()
        .chain(exact)
        .map(|(omits, cells)| rule(&cells, action, omits))
        .collect()
}

/// The rule of some cells: each of their verbs with each of their targets.
fn rule(cells: &[&Cell], action: Action, omits: Omits) -> Suggested {
    let subject = cells
        .first()
        .map_or(Subject::Anyone, |cell| cell.subject.clone());
    let mut matched = Match::default();
    match &subject {
        Subject::Anyone => {}
        Subject::Nodes => matched.user_groups = vec![NODES.to_owned()],
        Subject::User(name) => matched.users = vec![name.clone()],
    }
    let verbs: Verbs<'_> = cells.iter().map(|cell| cell.verb.as_str()).collect();
    matched.verbs = verbs.into_iter().map(str::to_owned).collect();
    let targets: BTreeSet<&Target> = cells.iter().map(|cell| &cell.target).collect();
    for target in &targets {
        match target {
            Target::Path(pattern) => matched.non_resource_urls.push((*pattern).to_owned()),
            Target::Resource(group, resource) => match matched.resources.last_mut() {
                Some(last) if last.group == *group => last.resources.push(resource.clone()),
                _ => matched.resources.push(GroupResources {
                    group: group.clone(),
                    resources: vec![resource.clone()],
                    resource_names: Vec::new(),
                }),
            },
        }
    }
    Suggested {
        rule: Rule {
            level: match action {
                Action::Drop => Level::None,
                Action::Shorten => Level::Metadata,
            },
            matched,
            omit_stages: match action {
                Action::Drop => Vec::new(),
                Action::Shorten => {
                    let mut omits = omits.unwrap_or_default();
                    omits.push(Stage::RequestReceived);
                    omits.sort_unstable();
                    omits.dedup();
                    omits
                }
            },
            omit_managed_fields: None,
        },
        action,
        targets: targets.len(),
        is_heartbeat: cells.iter().any(|cell| !cell.is_read()) && subject != Subject::Anyone,
        failed: cells.iter().map(|cell| cell.failed).sum(),
        events: cells.iter().map(|cell| saving(cell, action).0).sum(),
        bytes: bytes(cells.iter(), action),
        subject,
    }
}

/// What would be suggested but for a few events in it.
fn withheld(cells: &Cells) -> Vec<Withheld> {
    const SPOILERS: [Kind; 3] = [Kind::Denied, Kind::Impersonated, Kind::Panic];
    let mut withheld: Vec<Withheld> = cells
        .iter()
        .filter(|cell| cell.precious.keys().all(|kind| SPOILERS.contains(kind)))
        .filter_map(|cell| {
            let because = cell.precious.iter().max_by_key(|(_, count)| **count)?;
            let is_system = cell.by_people == 0 || cell.subject == Subject::Anyone;
            let action = match is_system {
                true => Action::Drop,
                false => Action::Shorten,
            };
            let may_be = action == Action::Drop
                || (matches!(cell.target, Target::Resource(..)) && cell.lowest > Level::Metadata);
            let (events, _) = saving(cell, action);
            may_be.then(|| Withheld {
                subject: cell.subject.clone(),
                verb: cell.verb.clone(),
                target: cell.target.clone(),
                events,
                bytes: bytes([&cell].into_iter(), action),
                because: (*because.0, *because.1),
            })
        })
        .filter(|one| one.bytes > 0)
        .collect();
    withheld.sort_by(|one, other| {
        let order = other.bytes.cmp(&one.bytes);
        order.then_with(|| {
            (&one.subject, &one.verb, &one.target).cmp(&(
                &other.subject,
                &other.verb,
                &other.target,
            ))
        })
    });
    withheld.truncate(WITHHELD_MAX);
    withheld
}

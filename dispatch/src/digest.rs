//! Many events as counts: grouped by severity, who, verb, resource, namespace and result.
//!
//! Invariant: the counts of all groups add up to the number of events; nothing is left out of a
//! digest, only its detail (promise P5).

use std::collections::BTreeMap;

use auditrelay_audit::{Envelope, Severity};
use auditrelay_store::EventDelivery;

use crate::{escape::clean, sentence};

const EXAMPLES_MAX: usize = 3;

/// What events of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// Severity.
    pub severity: Severity,
    /// Cluster.
    pub cluster: String,
    /// User, with whom it impersonates.
    pub who: String,
    /// Verb.
    pub verb: String,
    /// Resource with group and subresource, or path.
    pub what: String,
    /// Namespace; empty where there is none.
    pub namespace: String,
    /// Status code; 0 where there is none.
    pub code: i32,
}

/// Events that differ only in name and time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub events: u64,
    /// Earliest stage time, RFC 3339.
    pub first: String,
    /// Latest stage time, RFC 3339.
    pub last: String,
    /// A few of the names.
    pub names: Vec<String>,
    /// How many had a body that could not be read.
    pub bodies_unreadable: u64,
    /// How many changed nothing because they were asked not to.
    pub dry_runs: u64,
    /// How many shared their audit ID and stage with another event.
    pub audit_ids_reused: u64,
    /// How many may have been told before.
    pub possibly_repeated: u64,
    /// How many were told before, and are told again because somebody asked for it.
    pub replayed: u64,
}

/// Groups events: most severe first, then the largest.
pub fn group<'a>(
    events: impl IntoIterator<Item = (Severity, &'a EventDelivery)>,
) -> Vec<(GroupKey, Group)> {
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for (severity, event) in events {
        let Described {
            key,
            name,
            time,
            dry_run,
        } = describe(severity, event);
        let group = groups.entry(key).or_default();
        group.events += 1;
        group.bodies_unreadable += u64::from(event.marks.body_unreadable);
        group.dry_runs += u64::from(dry_run);
        group.audit_ids_reused += u64::from(event.marks.audit_id_reused);
        group.possibly_repeated += u64::from(event.marks.possibly_repeated);
        group.replayed += u64::from(event.marks.replayed);
        if group.first.is_empty() || time < group.first {
            group.first.clone_from(&time);
        }
        if time > group.last {
            group.last = time;
        }
        if !name.is_empty() && group.names.len() < EXAMPLES_MAX && !group.names.contains(&name) {
            group.names.push(name);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(key, group)| (key.severity, std::cmp::Reverse(group.events)));
    groups
}

struct Described {
    key: GroupKey,
    name: String,
    time: String,
    dry_run: bool,
}

fn describe(severity: Severity, event: &EventDelivery) -> Described {
    let cluster = clean(&event.cluster, 63);
    let Ok(envelope) = Envelope::parse(&event.json) else {
        let (who, verb) = ("unknown".to_owned(), "unreadable".to_owned());
        let (what, namespace) = ("event".to_owned(), String::new());
        let key = GroupKey {
            severity,
            cluster,
            who,
            verb,
            what,
            namespace,
            code: 0,
        };
        return Described {
            key,
            name: String::new(),
            time: String::new(),
            dry_run: false,
        };
    };
    let (what, namespace, name) = match &envelope.object_ref {
        Some(object) => (
            sentence::resource(object),
            clean(&object.namespace, 63),
            clean(&object.name, 63),
        ),
        None => (clean(envelope.path(), 63), String::new(), String::new()),
    };
    let key = GroupKey {
        severity,
        cluster,
        who: sentence::who(&envelope),
        verb: clean(&envelope.verb, 20),
        what,
        namespace,
        code: envelope.code().unwrap_or(0),
    };
    let time = envelope.stage_timestamp.as_str().chars().take(40).collect();
    Described {
        key,
        name,
        time,
        dry_run: sentence::is_dry_run(&envelope),
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_store::Marks;

    use super::*;

    fn event(user: &str, name: &str, time: &str) -> EventDelivery {
        EventDelivery {
            cluster: "prod".into(),
            route: String::new(),
            json: format!(
                r#"{{"level":"Metadata","stage":"ResponseComplete","verb":"get","user":{{"username":"{user}"}},"objectRef":{{"resource":"pods","namespace":"x","name":"{name}"}},"stageTimestamp":"2026-11-21T03:15:{time}Z"}}"#
            ),
            marks: Marks::default(),
            meant_for: None,
        }
    }

    #[test]
    fn groups_count_every_event_and_keep_first_and_last() {
        let events = [
            (Severity::Info, event("a", "1", "09")),
            (Severity::Info, event("b", "1", "05")),
            (Severity::Info, event("b", "2", "01")),
            (Severity::Info, event("b", "3", "07")),
            (Severity::Info, event("b", "4", "03")),
            (Severity::Critical, event("c", "1", "02")),
        ];
        let groups = group(events.iter().map(|(severity, event)| (*severity, event)));
        let counts: Vec<_> = groups
            .iter()
            .map(|(key, group)| (key.who.as_str(), group.events))
            .collect();
        assert_eq!(counts, [("c", 1), ("b", 4), ("a", 1)]);
        let b = &groups[1].1;
        assert_eq!(
            (b.first.as_str(), b.last.as_str()),
            ("2026-11-21T03:15:01Z", "2026-11-21T03:15:07Z")
        );
        assert_eq!(b.names, ["1", "2", "3"]);
    }
}

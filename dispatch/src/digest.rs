//! Many events as counts: grouped by severity, cluster, who, verb, resource, namespace and result.
//!
//! Invariants:
//! * the counts of all groups add up to the number of events; nothing is left out of a digest, only its detail
//!   (promise P5);
//! * no body is read and no sentence is made: words are found for the groups that are shown, and events are
//!   compared by the text that they came with.

use std::collections::HashMap;

use auditrelay_audit::{Envelope, ObjectRef, Severity, Text, User};
use auditrelay_store::EventDelivery;

use crate::{
    blocks::{DateStyle, Piece},
    escape::{clean, quoted},
    sentence::{self, Lead},
};

const EXAMPLES_MAX: usize = 3;
const NAME_CHARS_MAX: usize = 63;
/// Of what a hostile event says; names are shorter.
const KEY_BYTES_MAX: usize = 512;

/// What events of one group have in common, as they say it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey<'a> {
    severity: Severity,
    cluster: &'a str,
    who: Who<'a>,
    verb: Text<'a>,
    what: What<'a>,
    code: i32,
    lead: Lead,
    /// The channel that was to get it, of copies for a fallback.
    meant_for: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Who<'a> {
    One(Text<'a>),
    /// A user as another one; few enough to be put into words.
    As(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum What<'a> {
    Object {
        group: Text<'a>,
        resource: Text<'a>,
        subresource: Text<'a>,
        namespace: Text<'a>,
    },
    Path(String),
    Unreadable,
}

/// Events that differ only in name and time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group<'a> {
    /// How many.
    pub events: u64,
    /// Earliest stage time, RFC 3339.
    pub first: Text<'a>,
    /// Latest stage time, RFC 3339.
    pub last: Text<'a>,
    /// A few of the names, as events say them.
    pub names: Vec<Text<'a>>,
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
) -> Vec<(GroupKey<'a>, Group<'a>)> {
    let mut groups: HashMap<GroupKey<'a>, Group<'a>> = HashMap::new();
    for (severity, event) in events {
        let envelope = Envelope::parse(&event.json).ok();
        let dry_run = envelope.as_ref().is_some_and(sentence::is_dry_run);
        let lead = envelope.as_ref().map_or(Lead::Did, sentence::lead);
        let code = envelope
            .as_ref()
            .and_then(Envelope::code)
            .unwrap_or_default();
        let (who, verb, what, name, time) = parts(envelope);
        let cluster = event.cluster.as_str();
        let key = GroupKey {
            severity,
            cluster,
            who,
            verb,
            what,
            code,
            lead,
            meant_for: event.meant_for.as_deref(),
        };
        let group = groups.entry(key).or_default();
        group.events += 1;
        group.bodies_unreadable += u64::from(event.marks.body_unreadable);
        group.dry_runs += u64::from(dry_run);
        group.audit_ids_reused += u64::from(event.marks.audit_id_reused);
        group.possibly_repeated += u64::from(event.marks.possibly_repeated);
        group.replayed += u64::from(event.marks.replayed);
        if time > group.last {
            group.last.clone_from(&time);
        }
        if group.first.is_empty() || time < group.first {
            group.first = time;
        }
        if !name.is_empty() && group.names.len() < EXAMPLES_MAX && !group.names.contains(&name) {
            group.names.push(name);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|(key, group), (other_key, other)| {
        let order = key
            .severity
            .cmp(&other_key.severity)
            .then(other.events.cmp(&group.events));
        order.then_with(|| key.cmp(other_key))
    });
    groups
}

type Parts<'a> = (Who<'a>, Text<'a>, What<'a>, Text<'a>, Text<'a>);

fn parts(envelope: Option<Envelope<'_>>) -> Parts<'_> {
    let Some(envelope) = envelope else {
        let nobody = Who::One(Text::default());
        return (
            nobody,
            Text::default(),
            What::Unreadable,
            Text::default(),
            Text::default(),
        );
    };
    let who = if envelope.impersonated_user.is_some() {
        Who::As(sentence::who(&envelope))
    } else {
        let User { username, .. } = envelope.user;
        Who::One(username)
    };
    let (what, name) = match envelope.object_ref {
        Some(object) => {
            let ObjectRef {
                api_group: group,
                resource,
                subresource,
                namespace,
                name,
            } = object;
            (
                What::Object {
                    group,
                    resource,
                    subresource,
                    namespace,
                },
                name,
            )
        }
        None => (What::Path(path(&envelope.request_uri)), Text::default()),
    };
    (who, envelope.verb, what, name, envelope.stage_timestamp)
}

fn path(uri: &str) -> String {
    let path = uri.split('?').next().unwrap_or_default();
    path.chars().take(KEY_BYTES_MAX).collect()
}

/// A group as a line: `🔴 12 × alice read secrets in shop — 200 (a, b, c, …) · 03:01:25 to 03:01:30`.
pub fn row(key: &GroupKey<'_>, group: &Group<'_>, names_cluster: bool) -> Vec<Piece> {
    let mut pieces = vec![
        Piece::plain(format!("{} ", sentence::emoji(key.severity))),
        Piece::bold(format!("{} × ", group.events)),
    ];
    let who = match &key.who {
        Who::One(name) if name.is_empty() => "somebody unauthenticated".to_owned(),
        Who::One(name) => quoted(name, NAME_CHARS_MAX),
        Who::As(who) => clean(who, 2 * NAME_CHARS_MAX),
    };
    let mut tail = String::new();
    match &key.what {
        What::Unreadable => pieces.push(Piece::bold("events that can no longer be read")),
        What::Path(path) => {
            let (did, _) = sentence::did(key.lead, &key.verb, None);
            let path = quoted(path, NAME_CHARS_MAX);
            pieces.extend([
                Piece::bold(who),
                Piece::plain(format!(" {did} ")),
                Piece::bold(path),
            ]);
        }
        What::Object {
            group,
            resource,
            subresource,
            namespace,
        } => {
            let object = ObjectRef {
                api_group: group.clone(),
                resource: resource.clone(),
                subresource: subresource.clone(),
                ..ObjectRef::default()
            };
            let (did, object) = sentence::did(key.lead, &key.verb, Some(&object));
            pieces.extend([
                Piece::bold(who),
                Piece::plain(format!(" {did} ")),
                Piece::bold(object),
            ]);
            if !namespace.is_empty() {
                tail = format!(" in {}", quoted(namespace, NAME_CHARS_MAX));
            }
        }
    }
    if key.code != 0 {
        tail.push_str(&format!(" — {}", key.code));
    }
    tail.push_str(&names(group));
    if names_cluster {
        tail.push_str(&format!(" · {}", clean(key.cluster, NAME_CHARS_MAX)));
    }
    pieces.push(Piece::plain(tail));
    pieces.extend(when(group));
    if let Some(channel) = key.meant_for {
        pieces.push(Piece::bold(format!(" [{}]", sentence::meant_for(channel))));
    }
    pieces.push(Piece::bold(marks(group)));
    pieces.retain(|piece| !piece.text.is_empty());
    pieces
}

fn names(group: &Group<'_>) -> String {
    if group.names.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = group
        .names
        .iter()
        .map(|name| quoted(name, NAME_CHARS_MAX))
        .collect();
    let more = if group.events > shown.len() as u64 {
        ", …"
    } else {
        ""
    };
    format!(" ({}{more})", shown.join(", "))
}

fn when(group: &Group<'_>) -> Vec<Piece> {
    if group.last.is_empty() {
        return Vec::new();
    }
    let mut pieces = vec![
        Piece::plain(" · "),
        Piece::date(&group.first, DateStyle::DayAndTime),
    ];
    // To the second, as it is shown.
    if group.first.get(..19) != group.last.get(..19) {
        let same_day = group.first.get(..10) == group.last.get(..10);
        let style = if same_day {
            DateStyle::Time
        } else {
            DateStyle::DayAndTime
        };
        pieces.extend([Piece::plain(" to "), Piece::date(&group.last, style)]);
    }
    pieces
}

fn marks(group: &Group<'_>) -> String {
    [
        (group.dry_runs, "DRY RUN"),
        (group.bodies_unreadable, "body unreadable"),
        (
            group.audit_ids_reused,
            "audit ID seen before with other content",
        ),
        (group.possibly_repeated, "possibly repeated"),
        (group.replayed, "replayed"),
    ]
    .into_iter()
    .filter(|(events, _)| *events > 0)
    .map(|(events, mark)| format!(" [{events} {mark}]"))
    .collect()
}

#[cfg(test)]
mod tests {
    use auditrelay_store::Marks;

    use super::*;
    use crate::blocks;

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
        let rows: Vec<_> = groups
            .iter()
            .map(|(key, group)| blocks::text(&row(key, group, false)))
            .collect();
        assert_eq!(
            rows,
            [
                "🔴 1 × c read pods in x (1) · 2026-11-21 03:15:02 UTC",
                "🔵 4 × b read pods in x (1, 2, 3, …) · 2026-11-21 03:15:01 UTC to 03:15:07 UTC",
                "🔵 1 × a read pods in x (1) · 2026-11-21 03:15:09 UTC",
            ]
        );
    }
}

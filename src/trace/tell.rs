//! From what was gathered to what is told: what became of each event, and why.
//!
//! Contract: what is said to be so was read, or follows from what was read and from the ledger. What was only counted
//! is said to be only counted, with what it can have been.

use auditrelay_audit::{Envelope, Event};
use auditrelay_config::Config;
use auditrelay_dispatch::Routes;
use auditrelay_store::{Ledger, Mute, Noted, ToldKept, Whereabouts};
use serde_json::Value;

use super::{
    found::{Again, Delivered, Received, State, Today, Traced},
    gather::{Content, Placed},
    means::Means,
};
use crate::{output::line, quarantine::hex, routes::Explanation};

pub(super) const REASON_CHARS_MAX: usize = 300;

/// What events are judged by.
pub(crate) struct Judge<'a> {
    pub(crate) means: &'a Means,
    pub(crate) config: &'a Config,
    pub(crate) routes: &'a Routes,
    pub(crate) mutes: &'a [Mute],
    pub(crate) ledger: &'a Ledger,
    /// What is kept of what messages told.
    pub(crate) kept: ToldKept,
    /// When it was begun to look.
    pub(crate) begun_unix_ms: i64,
}

impl Judge<'_> {
    /// Tells of one of the contents of a stage.
    pub(crate) fn tell(&self, content: &Content, of: &[&Content]) -> Traced {
        // A text and a key that are not put together may be the same event's.
        let texts = of.iter().filter(|one| one.json.is_some()).count();
        let keys = of.iter().filter(|one| !one.fingerprints.is_empty()).count();
        let envelope = content.json.as_deref().map(Envelope::parse);
        let envelope = envelope.and_then(Result::ok);
        let event = envelope.as_ref().map(|envelope| Event {
            cluster: &content.cluster,
            envelope,
        });
        let explanation = event.map(|event| Explanation::of(self.config, self.routes, &event));
        let deliveries = self.deliveries(&content.deliveries);
        let held_back = event.map(|event| self.held_back(content, &event));
        let (held_back, is_muted) = held_back.unwrap_or_default();
        let others = of.len().saturating_sub(1);
        let (fate, why) = self.fate(content, explanation.as_ref(), is_muted, others);
        let marked = |one: &Placed| one.queued.event.marks.audit_id_reused;
        Traced {
            cluster: line(&content.cluster, 63),
            stage: content.stage.as_str().to_owned(),
            summary: explanation.as_ref().map(|one| one.summary().to_owned()),
            level: envelope.as_ref().map(|one| one.level.as_str().to_owned()),
            happened_unix_ms: envelope.as_ref().and_then(|one| {
                let time: jiff::Timestamp = one.stage_timestamp.parse().ok()?;
                Some(time.as_millisecond())
            }),
            contents: content.fingerprints.iter().map(|one| hex(one)).collect(),
            received: received(content),
            again: self.again(content),
            fate,
            why,
            audit_id_reused: texts.max(keys) > 1 || content.deliveries.iter().any(marked),
            deliveries,
            held_back,
            today: explanation.map(|one| Today {
                end: one.end(),
                explained: serde_json::to_value(&one).unwrap_or(Value::Null),
            }),
        }
    }

    fn again(&self, content: &Content) -> Again {
        let noted = self.means.running.as_ref().and_then(|running| {
            let keys = content.seen.iter().map(|seen| seen.key);
            let keys = keys.chain(content.arrivals.iter().map(|one| one.key));
            let noted = keys.filter_map(|key| running.duplicates.of(&key));
            noted.max_by_key(|noted| noted.times)
        });
        // What came first is none; several contents that look the same are as many firsts.
        let original = content.seen.map(|seen| seen.block);
        let is_first = |block| original.is_some_and(|original| block <= original);
        let is_gone = original.is_some() && !content.arrivals.iter().any(|one| is_first(one.block));
        let firsts = content.fingerprints.len().max(1) - usize::from(is_gone);
        let kept: Vec<i64> = content
            .arrivals
            .iter()
            .skip(firsts)
            .map(|one| one.received_unix_ms)
            .collect();
        let times = kept.len() as u64;
        match noted.filter(|noted| noted.times >= times) {
            Some(noted) => Again {
                times: Some(noted.times),
                first_unix_ms: Some(noted.first_unix_ms),
                last_unix_ms: Some(noted.last_unix_ms),
            },
            None => Again {
                // A relay that runs notes what is sent again; what it was sent before it ran nobody noted.
                times: (times > 0 || self.has_been_noted(content)).then_some(times),
                first_unix_ms: kept.first().copied(),
                last_unix_ms: kept.last().copied(),
            },
        }
    }

    fn has_been_noted(&self, content: &Content) -> bool {
        let since = self.means.running.as_ref().map(|one| one.since_unix_ms);
        let routed = content.seen.map(|seen| seen.seen_unix_ms);
        since
            .zip(routed)
            .is_some_and(|(since, routed)| routed >= since)
    }

    fn deliveries(&self, placed: &[Placed]) -> Vec<Delivered> {
        let mut messages: Vec<u64> = placed
            .iter()
            .filter_map(|one| message(one.place.as_ref()))
            .collect();
        let is_somewhere = placed.iter().any(|one| one.place.is_some());
        let mut told = Vec::new();
        // The newest record first: what moved stands behind what it was.
        for (number, one) in placed.iter().enumerate().rev() {
            let settled_by = one.notes.last().map_or(0, |note| note.message);
            let is_moved = one.place.is_none()
                && (messages.contains(&settled_by)
                    || (settled_by == 0 && is_same_further_on(one, &placed[number + 1..]))
                    || (settled_by == 0 && is_somewhere && same_place(one, placed)));
            if is_moved {
                continue;
            }
            if settled_by > 0 {
                messages.push(settled_by);
            }
            let event = &one.queued.event;
            told.push(Delivered {
                channel: one.queued.channel.clone(),
                severity: one.queued.severity,
                route: event.route.clone(),
                replayed: event.marks.replayed,
                meant_for: event.meant_for.clone(),
                state: self.state(one),
            });
        }
        told.reverse();
        told
    }

    fn state(&self, placed: &Placed) -> State {
        let lane = || self.means.lane(self.config, &placed.queued.channel);
        let Some(place) = placed.place.clone() else {
            return gone(placed);
        };
        match place {
            Whereabouts::Waiting {
                before,
                leased: None,
            } => State::Waiting {
                before,
                lane: lane(),
            },
            Whereabouts::Waiting {
                leased: Some((message, since_unix_ms)),
                ..
            } => State::BeingPosted {
                message,
                since_unix_ms,
                lane: lane(),
            },
            Whereabouts::Told {
                message,
                told_unix_ms,
                posted,
                events,
            } => {
                let (slack_channel, ts) = posted.map(|one| (one.place, one.ts)).unzip();
                State::Posted {
                    message,
                    at_unix_ms: told_unix_ms,
                    events,
                    slack_channel,
                    ts,
                    permalink: None,
                    no_permalink: None,
                }
            }
            Whereabouts::Dead { message, burial } => State::Dead {
                message,
                reason: line(&burial.reason, REASON_CHARS_MAX),
                attempts: burial.attempts,
                at_unix_ms: burial.last_unix_ms,
            },
        }
    }
}

fn message(place: Option<&Whereabouts>) -> Option<u64> {
    match place? {
        Whereabouts::Waiting { leased, .. } => leased.map(|(message, _)| message),
        Whereabouts::Told { message, .. } | Whereabouts::Dead { message, .. } => Some(*message),
    }
}

/// Whether another delivery of the same event to the same channel is somewhere: the record was moved.
fn same_place(one: &Placed, placed: &[Placed]) -> bool {
    let mut others = placed.iter().filter(|other| other.place.is_some());
    others.any(|other| is_same(one, other))
}

/// Whether the log has the same delivery further on: it may have been moved there, and that one tells what became of it.
fn is_same_further_on(one: &Placed, later: &[Placed]) -> bool {
    later.iter().any(|other| is_same(one, other))
}

fn is_same(one: &Placed, other: &Placed) -> bool {
    let what = |placed: &Placed| (placed.queued.channel.clone(), placed.queued.is_copy);
    what(one) == what(other) && one.queued.event == other.queued.event
}

/// What the log notes of a delivery that is nowhere any more.
fn gone(placed: &Placed) -> State {
    let Some(last) = placed.notes.last() else {
        return State::NotKept;
    };
    let buried = placed.notes.iter().find_map(|note| match &note.noted {
        Noted::Dead(burial) if note.message == last.message => Some(burial),
        _ => None,
    });
    match (&last.noted, buried) {
        (Noted::Gone, Some(burial)) => State::GivenUp {
            message: last.message,
            reason: line(&burial.reason, REASON_CHARS_MAX),
        },
        (Noted::Gone, None) if last.message > 0 => State::PostedBefore {
            message: last.message,
        },
        (Noted::Gone, None) => State::Dropped,
        (Noted::Dead(_) | Noted::Waits, _) => State::NotKept,
    }
}

fn received(content: &Content) -> Option<Received> {
    let first = content.arrivals.first();
    let block = content
        .seen
        .map(|seen| seen.block)
        .or(first.map(|one| one.block))?;
    let own = content.arrivals.iter().find(|one| one.block == block);
    Some(Received {
        block,
        received_unix_ms: own.map(|one| one.received_unix_ms),
        routed_unix_ms: content.seen.map(|seen| seen.seen_unix_ms),
    })
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::Severity;
    use auditrelay_store::{Burial, EventDelivery, Marks, Note, Queued};

    use super::*;

    /// A delivery of which these notes were found: stamps, messages and what became of it.
    fn noted(notes: &[(u64, u64, Noted)]) -> Placed {
        let note = |(stamp, message, noted): &(u64, u64, Noted)| Note {
            record: 12,
            number: 0,
            stamp: *stamp,
            message: *message,
            noted: noted.clone(),
        };
        Placed {
            queued: Queued {
                record: 12,
                number: 0,
                channel: "ops".into(),
                severity: Severity::Info,
                is_copy: false,
                event: EventDelivery {
                    cluster: "prod".into(),
                    route: String::new(),
                    json: "{}".into(),
                    marks: Marks::default(),
                    meant_for: None,
                },
            },
            place: None,
            notes: notes.iter().map(note).collect(),
        }
    }

    #[test]
    fn what_was_moved_before_it_went_is_told_by_where_it_was_moved_to() {
        let left = noted(&[(40, 0, Noted::Gone)]);
        let mut moved = noted(&[(42, 25, Noted::Gone)]);
        moved.queued.record = 41;
        assert!(is_same_further_on(&left, std::slice::from_ref(&moved)));
        moved.queued.channel = "sec".into();
        assert!(!is_same_further_on(&left, &[moved]));
        assert!(!is_same_further_on(&left, &[]));
    }

    #[test]
    fn what_is_nowhere_any_more_is_what_its_last_note_says() {
        let dead = Noted::Dead(Burial {
            reason: "invalid_blocks".into(),
            attempts: 1,
            first_unix_ms: 1,
            last_unix_ms: 2,
        });
        let given_up = State::GivenUp {
            message: 20,
            reason: "invalid_blocks".into(),
        };
        for (notes, state) in [
            (vec![], State::NotKept),
            (
                vec![(40, 20, Noted::Gone)],
                State::PostedBefore { message: 20 },
            ),
            (vec![(40, 0, Noted::Gone)], State::Dropped),
            (
                vec![(40, 20, dead.clone()), (41, 20, Noted::Gone)],
                given_up,
            ),
            // It was raised, and told by another message.
            (
                vec![
                    (40, 20, dead),
                    (41, 20, Noted::Waits),
                    (42, 25, Noted::Gone),
                ],
                State::PostedBefore { message: 25 },
            ),
            (vec![(40, 0, Noted::Waits)], State::NotKept),
        ] {
            assert_eq!(gone(&noted(&notes)), state, "{notes:?}");
        }
    }
}

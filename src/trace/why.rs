//! Why no channel heard of an event, or not all that were to: by its text, by the mutes, by what the ledger counts.
//!
//! Contract: where several things can have happened, all of them are named and none is picked. Today's routes may be
//! others than those of then, so they explain what the counts leave, and never decide alone.

use auditrelay_audit::Event;
use auditrelay_config::MatchConfig;
use auditrelay_dispatch::{
    rates::Rate,
    routes::{Conditions, Fate as RoutesFate, Target},
};
use auditrelay_store::{Hint, Mute, SeenKey, ToldKept};

use super::{
    found::{Fate, HeldBack},
    gather::{Content, Placed},
    tell::{Judge, REASON_CHARS_MAX},
};
use crate::{output::line, routes::Explanation};

/// Of an event that comes alone.
struct Alone;

impl Conditions for Alone {
    fn is_reused(&self) -> bool {
        false
    }

    fn is_too_many(&mut self, _: &Rate) -> bool {
        false
    }
}

impl Judge<'_> {
    /// What mutes kept from channels that today's routes have it for, and whether that is all of them.
    pub(super) fn held_back(&self, content: &Content, event: &Event<'_>) -> (Vec<HeldBack>, bool) {
        let Some(at_unix_ms) = content.seen.map(|seen| seen.seen_unix_ms).or_else(|| {
            let first = content.arrivals.first().filter(|one| !one.waits)?;
            Some(first.received_unix_ms)
        }) else {
            return (Vec::new(), false);
        };
        let fate = self.routes.fate(&self.routes.matched(event), &mut Alone);
        let RoutesFate::Told(targets) = fate else {
            return (Vec::new(), false);
        };
        let is_told = |target: &&Target<'_>| {
            let mut own = content.deliveries.iter();
            own.any(|one| !one.queued.is_copy && one.queued.channel == target.channel)
        };
        let missing = targets.iter().filter(|target| !is_told(target));
        let held = missing.filter_map(|target| {
            let mute = held_by(self.mutes, event, target, at_unix_ms)?;
            Some(HeldBack {
                channel: target.channel.to_owned(),
                mute: mute.id,
                author: line(&mute.asked.author, 128),
                reason: line(&mute.asked.reason, REASON_CHARS_MAX),
            })
        });
        let held: Vec<HeldBack> = held.collect();
        let is_all = held.len() == targets.len();
        (held, is_all)
    }

    pub(super) fn fate(
        &self,
        content: &Content,
        explanation: Option<&Explanation>,
        is_muted: bool,
        others: usize,
    ) -> (Fate, String) {
        if content.deliveries.iter().any(was_routed) {
            return (Fate::Routed, String::new());
        }
        let waits = content.arrivals.iter().all(|one| one.waits);
        if content.seen.is_none() && waits && !content.arrivals.is_empty() {
            let why = match self.means.running {
                Some(_) => "acknowledged and safe on disk; the router takes it in its turn",
                None => "acknowledged and safe on disk; it is routed when the relay runs again",
            };
            return (Fate::WaitsToBeRouted, why.to_owned());
        }
        let just_routed = |seen: SeenKey| seen.seen_unix_ms >= self.begun_unix_ms;
        if content.seen.is_some_and(just_routed) {
            let why = "the router took it while it was looked for; ask again";
            return (Fate::WaitsToBeRouted, why.to_owned());
        }
        if let Some(unwanted) = unwanted_when_routed(content) {
            let by = match self.filtered_at_the_door(unwanted) {
                Some(route) => format!("route {route} keeps it from everybody"),
                None => "no route took it".to_owned(),
            };
            let why = format!(
                "no channel wanted it when it was received: {by}; so its text was not kept (queue.retain_hours \
                 keeps it)"
            );
            return (Fate::Filtered, why);
        }
        if others > 0 && explanation.is_none() {
            let why = "only its key is kept, and not which of the texts of this stage is its own, if one is";
            return (Fate::NotKept, why.to_owned());
        }
        match (self.could_be(content).as_slice(), explanation) {
            // Today's routes only say how, and only if they say the same.
            ([Could::Filtered], Some(today)) if !today.is_told() => (Fate::Filtered, today.end()),
            ([Could::Muted], Some(_)) if is_muted => (Fate::Muted, String::new()),
            ([one], _) => one.alone(),
            (could, _) => (Fate::NotKept, not_kept(could)),
        }
    }

    fn filtered_at_the_door(&self, (table, hint): (u64, Option<Hint>)) -> Option<String> {
        let hint = hint.filter(|_| table == self.routes.id())?;
        let matched = self.routes.hinted(hint)?;
        match self.routes.fate(&matched, &mut Alone) {
            RoutesFate::Filtered(by) => by.map(str::to_owned),
            RoutesFate::Told(_) => None,
        }
    }

    /// What can have become of an event that neither waits nor was told nor is dead, by what the ledger counts.
    fn could_be(&self, content: &Content) -> Vec<Could> {
        let counts = &self.ledger.counts;
        let channels = self.ledger.channels.values();
        let dropped = channels.clone().any(|one| one.dropped.total() > 0);
        let delivered = channels.map(|one| one.delivered).sum();
        let could = [
            (Could::Filtered, counts.filtered > 0),
            (Could::Muted, counts.muted > 0),
            (Could::Dropped, dropped),
            (
                Could::Told,
                !would_be_kept(content.seen, delivered, self.kept),
            ),
        ];
        let could = could.into_iter().filter(|(_, could)| *could);
        could.map(|(could, _)| could).collect()
    }
}

/// What can have become of an event of which that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Could {
    Filtered,
    Muted,
    Dropped,
    Told,
}

impl Could {
    /// If it cannot have been anything else.
    fn alone(self) -> (Fate, String) {
        let (fate, why) = match self {
            Self::Filtered => (
                Fate::Filtered,
                "no channel wanted it: it neither waits nor was told nor is dead, and nothing that was received here \
                 was ever muted or dropped",
            ),
            Self::Muted => (
                Fate::Muted,
                "a mute held it back (auditrelay mute list): it neither waits nor was told nor is dead, and nothing \
                 that was received here was ever filtered or dropped",
            ),
            Self::Dropped => (
                Fate::NotKept,
                "it was dropped, by command or for want of room",
            ),
            Self::Told => (
                Fate::NotKept,
                "a message told it, and what that stood for is not kept any more (queue.digest_detail_hours, \
                 queue.digest_detail_bytes_max)",
            ),
        };
        (fate, why.to_owned())
    }

    /// As one of several.
    fn words(self) -> &'static str {
        match self {
            Self::Filtered => "filtered, as no channel wanted it",
            Self::Muted => "muted",
            Self::Dropped => "dropped by command or for want of room",
            Self::Told => {
                "told by a message of which it is not kept any more what it stood for (queue.digest_detail_hours, \
                 queue.digest_detail_bytes_max)"
            }
        }
    }
}

fn not_kept(could: &[Could]) -> String {
    let could: Vec<&str> = could.iter().map(|one| one.words()).collect();
    let could = match could.split_last() {
        None => return "no count says what became of it".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    };
    format!(
        "it neither waits nor is it known as told or dead: it was {could}; the relay counts that and keeps no \
         record of it (queue.retain_hours keeps what was received)"
    )
}

/// Whether a delivery says that the router had this channel, or the one that it stands in for, hear of the event. A
/// replay goes by the routes of its own day.
fn was_routed(placed: &Placed) -> bool {
    let (queued, event) = (&placed.queued, &placed.queued.event);
    !queued.is_copy || (event.meant_for.is_some() && !event.marks.replayed)
}

/// What the door said of it, if that is what was routed: another time it was a duplicate, whatever it would have been.
fn unwanted_when_routed(content: &Content) -> Option<(u64, Option<Hint>)> {
    let routed = content.seen?.block;
    let mut arrivals = content.arrivals.iter();
    arrivals.find(|one| one.block == routed)?.unwanted
}

/// Whether it would still be known of an event if a message had told it.
///
/// It would be if all that was ever told is kept, or if something is that goes before it and that was told before the
/// event was routed. The age alone says nothing: what was told goes early for want of room, which a storm can cause.
fn would_be_kept(seen: Option<SeenKey>, delivered: u64, kept: ToldKept) -> bool {
    let is_older = seen.zip(kept.oldest).is_some_and(|(seen, oldest)| {
        let (message, told_unix_ms) = oldest;
        // One counter numbers blocks and messages.
        message < seen.block && told_unix_ms < seen.seen_unix_ms
    });
    delivered == kept.events || is_older
}

/// The mute that held a delivery back that was decided at this time, if each route that asks for it was muted.
fn held_by<'m>(
    mutes: &'m [Mute],
    event: &Event<'_>,
    target: &Target<'_>,
    at_unix_ms: i64,
) -> Option<&'m Mute> {
    let names = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    let by = |route: &str| {
        mutes.iter().find(|mute| {
            let end = mute
                .ended
                .as_ref()
                .map_or(mute.asked.until_unix_ms, |end| end.at_unix_ms);
            (mute.asked.begun_unix_ms..=end).contains(&at_unix_ms)
                && names(&mute.asked.channels, target.channel)
                && names(&mute.asked.routes, route)
                && MatchConfig::parse(&mute.asked.matches, "the store")
                    .is_ok_and(|matches| matches.matcher().matches(event))
        })
    };
    let held = by(target.route)?;
    target
        .also
        .iter()
        .all(|route| by(route).is_some())
        .then_some(held)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use auditrelay_audit::{Envelope, EventKey, Severity};
    use auditrelay_store::{MuteEnd, NewMute};

    use super::*;

    fn mute(id: u64, channels: &[&str], routes: &[&str]) -> Mute {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Mute {
            id,
            asked: NewMute {
                author: "bob".into(),
                reason: "deploy".into(),
                matches: "verbs: [get]".into(),
                words: "get".into(),
                channels: names(channels),
                routes: names(routes),
                begun_unix_ms: 100,
                until_unix_ms: 200,
            },
            ended: None,
            held: BTreeMap::new(),
        }
    }

    #[test]
    fn it_would_be_kept_only_if_nothing_went_or_something_before_it_is_still_there() {
        let seen = Some(SeenKey {
            block: 50,
            seen_unix_ms: 1_000,
            key: EventKey {
                identity: 1,
                fingerprint: [1; 16],
            },
        });
        let kept = |oldest, events| ToldKept { oldest, events };
        for (seen, delivered, told, would) in [
            // All that was ever told is there.
            (seen, 0, kept(None, 0), true),
            (seen, 9, kept(Some((60, 2_000)), 9), true),
            (None, 9, kept(Some((60, 2_000)), 9), true),
            // Some of it went: before the event came, or meanwhile.
            (seen, 9, kept(Some((49, 999)), 1), true),
            (seen, 9, kept(None, 0), false),
            (seen, 9, kept(Some((51, 2_000)), 1), false),
            // An earlier message that was told late.
            (seen, 9, kept(Some((49, 1_000)), 1), false),
            (seen, 9, kept(Some((50, 999)), 1), false),
            // When it was routed is not known.
            (None, 9, kept(Some((49, 999)), 1), false),
        ] {
            assert_eq!(would_be_kept(seen, delivered, told), would, "{told:?}");
        }
    }

    #[test]
    fn a_mute_holds_what_was_decided_while_it_was_there_if_every_route_is_muted() {
        let json = |verb: &str| {
            format!(r#"{{"level":"Metadata","auditID":"a","stage":"Panic","verb":"{verb}"}}"#)
        };
        let (get, delete) = (json("get"), json("delete"));
        let target = |also: &[&'static str]| Target {
            channel: "ops",
            severity: Severity::Info,
            route: "reads",
            also: also.iter().copied().collect(),
        };
        let held = |mutes: &[Mute], json: &str, also: &[&'static str], at| {
            let envelope = Envelope::parse(json).expect("readable");
            let event = Event {
                cluster: "prod",
                envelope: &envelope,
            };
            held_by(mutes, &event, &target(also), at).map(|mute| mute.id)
        };
        let all = [mute(1, &[], &[])];
        for (at, by) in [(99, None), (100, Some(1)), (200, Some(1)), (201, None)] {
            assert_eq!(held(&all, &get, &[], at), by, "{at}");
        }
        assert_eq!(held(&all, &delete, &[], 150), None);
        let mut ended = mute(1, &[], &[]);
        ended.ended = Some(MuteEnd {
            at_unix_ms: 120,
            by: None,
            reason: String::new(),
        });
        assert_eq!(held(&[ended], &get, &[], 150), None);
        assert_eq!(held(&[mute(1, &["sec"], &[])], &get, &[], 150), None);
        let one = [mute(1, &[], &["reads"])];
        assert_eq!(held(&one, &get, &[], 150), Some(1));
        assert_eq!(held(&one, &get, &["other"], 150), None);
        let both = [mute(1, &[], &["reads"]), mute(2, &["ops"], &["other"])];
        assert_eq!(held(&both, &get, &["other"], 150), Some(1));
    }
}

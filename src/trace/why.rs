//! Why no channel heard of an event, or not all that were to: by its text, by the mutes, by what the ledger counts.
//!
//! Contract: where several things can have happened, all of them are named and none is picked.

use auditrelay_audit::Event;
use auditrelay_config::MatchConfig;
use auditrelay_dispatch::{
    rates::Rate,
    routes::{Conditions, Fate as RoutesFate, Target},
};
use auditrelay_store::{Hint, Mute};

use super::{
    found::{Fate, HeldBack},
    gather::Content,
    tell::{Judge, REASON_CHARS_MAX},
};
use crate::{output::line, routes::Explanation};

const HOUR_MS: i64 = 3_600_000;

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
        let originals = content.deliveries.iter().filter(|one| !one.queued.is_copy);
        if originals.count() > 0 {
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
        if let Some(unwanted) = content.arrivals.iter().find_map(|one| one.unwanted) {
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
        if let Some(explanation) = explanation {
            return match explanation.is_told() {
                false => (Fate::Filtered, explanation.end()),
                true if is_muted => (Fate::Muted, String::new()),
                true => (Fate::NotKept, self.not_kept(content, true)),
            };
        }
        if others > 0 {
            let why = "only its key is kept, and not which of the texts of this stage is its own, if one is";
            return (Fate::NotKept, why.to_owned());
        }
        let could = self.could_be(content);
        match could.as_slice() {
            [(fate, why)] => (*fate, (*why).to_owned()),
            _ => (Fate::NotKept, self.not_kept(content, false)),
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
    fn could_be(&self, content: &Content) -> Vec<(Fate, &'static str)> {
        let counts = &self.ledger.counts;
        let mut channels = self.ledger.channels.values();
        let dropped = channels.clone().any(|one| one.dropped.total() > 0);
        let told = channels.any(|one| one.delivered > 0) && !self.details_reach(content);
        let mut could = Vec::new();
        if counts.filtered > 0 {
            let why = "no channel wanted it: it neither waits nor was told nor is dead, and nothing that was \
                       received here was ever muted or dropped";
            could.push((Fate::Filtered, why));
        }
        if counts.muted > 0 {
            let why = "a mute held it back (auditrelay mute list): it neither waits nor was told nor is dead, and \
                       nothing that was received here was ever filtered or dropped";
            could.push((Fate::Muted, why));
        }
        if dropped {
            could.push((
                Fate::NotKept,
                "it was dropped, by command or for want of room",
            ));
        }
        if told {
            could.push((
                Fate::NotKept,
                "a message told it, and what that stood for is not kept any more",
            ));
        }
        could
    }

    /// Whether what told it would still be known.
    fn details_reach(&self, content: &Content) -> bool {
        let hours = i64::try_from(self.config.queue.digest_detail_hours.get()).unwrap_or(i64::MAX);
        let since = content.seen.map(|seen| seen.seen_unix_ms);
        let since = since.or_else(|| content.arrivals.first().map(|one| one.received_unix_ms));
        self.config.queue.digest_detail_bytes_max.get() > 0
            && since.is_some_and(|since| self.now_unix_ms - since < hours.saturating_mul(HOUR_MS))
    }

    fn not_kept(&self, content: &Content, is_wanted_today: bool) -> String {
        let counts = &self.ledger.counts;
        let mut could = Vec::new();
        if counts.filtered > 0 {
            could.push(match is_wanted_today {
                true => "filtered (the routes may have been others)",
                false => "filtered, as no channel wanted it",
            });
        }
        if counts.muted > 0 {
            could.push("muted");
        }
        let mut channels = self.ledger.channels.values();
        if channels.clone().any(|one| one.dropped.total() > 0) {
            could.push("dropped by command or for want of room");
        }
        if channels.any(|one| one.delivered > 0) && !self.details_reach(content) {
            could.push("told longer ago than queue.digest_detail_hours");
        }
        let could = match could.split_last() {
            None => return "what became of it is not kept".to_owned(),
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        };
        format!(
            "it neither waits nor is it known as told or dead: it was {could}; the relay counts that and keeps no \
             record of it (queue.retain_hours keeps what was received)"
        )
    }
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

    use auditrelay_audit::{Envelope, Severity};
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

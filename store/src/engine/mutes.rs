//! Mutes: a row for each, and a row for each channel that it held something back from.
//!
//! Invariants:
//! * what others are told is durable;
//! * a mute's end, its exact counts and the notices that tell them are one commit;
//! * what was routed while a mute ended is counted under it all the same, and told in another notice.

use std::collections::BTreeMap;

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize};

use super::{
    db::Db,
    job::{Answer, NewMuteJob},
    keys,
    mute_words::{count, named, told_at_the_end, were},
    owner::Owner,
    records::small,
    recover::Unsound,
    shared::{Shared, locked},
    stage::Round,
};
use crate::{
    DeliveriesEncoder, MUTES_ENDED_MAX, MUTES_MAX, Mute, MuteEnd, MutedCount, NewMute, Notice,
    codec::{self, Class},
    frame::{self, Kind},
};

/// By ID.
pub(super) type Mutes = BTreeMap<u64, Mute>;

/// Without its counts, which change with each commit.
#[derive(Serialize, Deserialize)]
struct MuteRow {
    id: u64,
    asked: NewMute,
    ended: Option<MuteEnd>,
}

/// With the keys' parts, so that it can be read without its key.
#[derive(Serialize, Deserialize)]
struct HeldRow {
    mute: u64,
    channel: String,
    events: u64,
}

/// All that an index knows.
pub(super) fn all(db: &Db) -> Result<Mutes, Unsound> {
    let mut mutes = Mutes::new();
    for row in db.scan_prefix(keys::MUTES) {
        let MuteRow { id, asked, ended } = small(&row?.1)?;
        let mute = Mute {
            id,
            asked,
            ended,
            held: BTreeMap::new(),
        };
        mutes.insert(id, mute);
    }
    for row in db.scan_prefix(keys::MUTED) {
        let HeldRow {
            mute,
            channel,
            events,
        } = small(&row?.1)?;
        // Both change in one commit, so a count without its mute is nobody's.
        if let Some(mute) = mutes.get_mut(&mute) {
            mute.held.insert(channel, events);
        }
    }
    Ok(mutes)
}

/// Tells everybody, when the queue opens.
pub(super) fn tell(mutes: &Mutes, shared: &Shared) {
    *locked(&shared.mutes) = mutes.clone();
}

impl Owner {
    /// Begins one, unless too many are active; in these channels it is told.
    pub(super) fn add_mute(&mut self, job: NewMuteJob, round: &mut Round) -> Answer {
        self.now_unix_ms = self.now_unix_ms.max(job.mute.begun_unix_ms);
        let active = self.mutes.values().filter(|mute| mute.is_active());
        if active.count() >= MUTES_MAX {
            return Answer::Mute(None);
        }
        let id = self.mutes.last_key_value().map_or(1, |(last, _)| last + 1);
        let mute = Mute {
            id,
            asked: job.mute,
            ended: None,
            held: BTreeMap::new(),
        };
        for channel in &job.tell {
            let text = format!("mute {id} begins: {}", job.announcement);
            self.say(channel, text, round);
        }
        self.put_mute(&mute, round);
        self.mutes.insert(id, mute.clone());
        round.mutes_changed = true;
        Answer::Mute(Some(Box::new(mute)))
    }

    /// Ends one that is active. Channels that it held something back from are told how much, and these
    /// are told of all.
    pub(super) fn end_mute(
        &mut self,
        id: u64,
        end: MuteEnd,
        tell: &[String],
        round: &mut Round,
    ) -> Answer {
        self.now_unix_ms = self.now_unix_ms.max(end.at_unix_ms);
        let Some(mute) = self.mutes.get_mut(&id).filter(|mute| mute.is_active()) else {
            return Answer::Mute(None);
        };
        mute.ended = Some(end.bounded());
        let mute = mute.clone();
        let mut told: Vec<&String> = mute.held.keys().collect();
        told.extend(tell.iter().filter(|name| !mute.held.contains_key(*name)));
        for channel in told {
            let text = told_at_the_end(&mute, channel, tell.contains(channel));
            self.say(channel, text, round);
        }
        self.put_mute(&mute, round);
        self.forget_mutes(round);
        round.mutes_changed = true;
        Answer::Mute(Some(Box::new(mute)))
    }

    /// Counts what was held back, for its channel and under its mute.
    pub(super) fn hold_back(&mut self, muted: &[MutedCount], round: &mut Round) {
        for MutedCount {
            mute: id,
            channel,
            events,
        } in muted
        {
            let row = self.channels.entry(channel.clone()).or_default();
            row.muted += events;
            round.touched.insert(channel.clone());
            let Some(mute) = self.mutes.get_mut(id) else {
                // It ended so long ago that it is forgotten; the channel's own count has it.
                let text = format!("{} held back by mute {id}, which is over", were(*events));
                self.say(channel, text, round);
                continue;
            };
            let held = mute.held.entry(channel.clone()).or_default();
            *held += events;
            let row = HeldRow {
                mute: *id,
                channel: channel.clone(),
                events: *held,
            };
            let stored = frame::single(Kind::MuteHeld, *id, &codec::plain(&row));
            round.batch.insert(keys::muted(*id, channel), stored);
            round.mutes_touched.insert(*id);
            if !mute.is_active() {
                let who = named(mute);
                let text = format!("{who} held back {} more while it ended", count(*events));
                self.say(channel, text, round);
            }
        }
    }

    /// Takes one in from another queue, as it was.
    pub(super) fn restore_mute(&mut self, mute: Mute, round: &mut Round) {
        self.put_mute(&mute, round);
        for (channel, events) in &mute.held {
            let row = HeldRow {
                mute: mute.id,
                channel: channel.clone(),
                events: *events,
            };
            let stored = frame::single(Kind::MuteHeld, mute.id, &codec::plain(&row));
            round.batch.insert(keys::muted(mute.id, channel), stored);
        }
        self.mutes.insert(mute.id, mute);
        round.mutes_changed = true;
    }

    fn put_mute(&mut self, mute: &Mute, round: &mut Round) {
        let row = MuteRow {
            id: mute.id,
            asked: mute.asked.clone(),
            ended: mute.ended.clone(),
        };
        let stored = frame::single(Kind::Mute, mute.id, &codec::plain(&row));
        round.batch.insert(keys::mute(mute.id), stored);
        round.mutes_touched.insert(mute.id);
    }

    /// Of those that ended only so many are kept; the newest ID stays, so that none is used twice.
    fn forget_mutes(&mut self, round: &mut Round) {
        let ended = self.mutes.values().filter(|mute| !mute.is_active());
        let ended: Vec<u64> = ended.map(|mute| mute.id).collect();
        let last = self.mutes.last_key_value().map(|(last, _)| *last);
        let many = ended.len().saturating_sub(MUTES_ENDED_MAX);
        for id in ended.into_iter().take(many).filter(|id| Some(*id) != last) {
            let Some(mute) = self.mutes.remove(&id) else {
                continue;
            };
            round.batch.remove(keys::mute(id));
            for channel in mute.held.keys() {
                round.batch.remove(keys::muted(id, channel));
            }
            round.mutes_touched.insert(id);
        }
    }

    /// What is committed of mutes is told, and whoever evaluates them wakes up.
    pub(super) fn publish_mutes(&self, round: &mut Round) {
        if round.mutes_touched.is_empty() {
            return;
        }
        let mut told = locked(&self.shared.mutes);
        for id in std::mem::take(&mut round.mutes_touched) {
            match self.mutes.get(&id) {
                Some(mute) => drop(told.insert(id, mute.clone())),
                None => drop(told.remove(&id)),
            }
        }
        drop(told);
        if round.mutes_changed {
            self.shared
                .mutes_changes
                .send_modify(|changes| *changes += 1);
        }
    }

    /// A notice to a channel, made at the latest time that anybody mentioned.
    fn say(&mut self, channel: &str, text: String, round: &mut Round) {
        let mut notices = DeliveriesEncoder::default();
        notices.push_notice(Notice {
            text,
            events: 0,
            cluster: String::new(),
        });
        if let Some(packed) = notices.finish().notices {
            let (class, since) = (Class::Notices, self.now_unix_ms);
            self.deliver(channel, Severity::Warning, class, &packed, since, round);
        }
    }
}

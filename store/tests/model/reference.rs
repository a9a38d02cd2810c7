//! The model: a queue as it is thought of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use auditrelay_audit::Severity;
use auditrelay_store::{ChannelCounts, Counts, Ledger, OtherCounts, RateCount};

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    pub text: String,
    pub is_copy: bool,
    pub meant_for: Option<String>,
}

impl Waits {
    pub fn new(text: String, is_copy: bool) -> Self {
        Self {
            text,
            is_copy,
            meant_for: None,
        }
    }
}

/// Members of a message, most severe first.
pub type Members = Vec<(Severity, Waits)>;

#[derive(Debug, Default)]
pub struct Channel {
    /// By severity, oldest first; what is leased is at the front.
    pub waiting: BTreeMap<Severity, VecDeque<Waits>>,
    pub lease: Option<(u64, Members)>,
    /// Of the lease.
    pub sealed_unix_ms: i64,
    /// By message: the destination's name of it, and how many parts are posted.
    pub threads: BTreeMap<u64, (String, u32)>,
    pub counts: ChannelCounts,
    pub copies: OtherCounts,
}

#[derive(Debug, Default)]
pub struct Model {
    pub unrouted: VecDeque<Vec<String>>,
    pub channels: BTreeMap<String, Channel>,
    /// By ID: the channel, and what it stands for.
    pub dead: BTreeMap<u64, (String, Members)>,
    pub told: BTreeMap<u64, (String, Members)>,
    pub counts: Counts,
    pub filtered_by: BTreeMap<String, u64>,
    pub rates: Vec<RateCount>,
    /// Keys of how many events are remembered.
    pub keys: usize,
    /// What was copied to a fallback: the channel, and the event.
    pub copied: BTreeSet<(String, String)>,
}

/// Where a member goes in the counters of its channel.
#[derive(Debug, Clone, Copy)]
pub enum To {
    Waiting,
    Delivered,
    Dead,
    DroppedByQuota,
    DroppedByCommand,
}

impl Channel {
    pub fn count(&mut self, is_copy: bool, to: To) -> &mut u64 {
        match (is_copy, to) {
            (false, To::Waiting) => &mut self.counts.waiting,
            (false, To::Delivered) => &mut self.counts.delivered,
            (false, To::Dead) => &mut self.counts.dead,
            (false, To::DroppedByQuota) => &mut self.counts.dropped.quota,
            (false, To::DroppedByCommand) => &mut self.counts.dropped.command,
            (true, To::Waiting) => &mut self.copies.waiting,
            (true, To::Delivered) => &mut self.copies.delivered,
            (true, To::Dead) => &mut self.copies.dead,
            (true, To::DroppedByQuota | To::DroppedByCommand) => &mut self.copies.dropped,
        }
    }

    pub fn recount(&mut self, members: &Members, from: To, to: To) {
        for (_, member) in members {
            *self.count(member.is_copy, from) -= 1;
            *self.count(member.is_copy, to) += 1;
        }
    }

    /// What a lease of so many would hold.
    pub fn next(&self, max: usize) -> Members {
        let all = self.waiting.iter();
        let all = all.flat_map(|(severity, some)| some.iter().map(|one| (*severity, one.clone())));
        all.take(max).collect()
    }

    /// Takes out what a lease shows to be dropped: all before its members in their severities, all that is
    /// more severe than its last, and everything if there is none.
    pub fn skip_dropped(&mut self, is_some: bool, members: &Members) {
        let mut dropped = Members::new();
        let last = members.last().map(|(severity, _)| *severity);
        for (severity, queue) in &mut self.waiting {
            let mut kept = VecDeque::new();
            let own = members.iter().filter(|(one, _)| one == severity);
            for (_, member) in own {
                while let Some(front) = queue.pop_front()
                    && front != *member
                {
                    dropped.push((*severity, front));
                }
                kept.push_back(member.clone());
            }
            let is_all = !is_some || last.is_some_and(|last| *severity < last);
            let rest = queue.drain(..);
            match is_all {
                true => dropped.extend(rest.map(|one| (*severity, one))),
                false => kept.extend(rest),
            }
            *queue = kept;
        }
        self.recount(&dropped, To::Waiting, To::DroppedByQuota);
    }

    fn wait(&mut self, severity: Severity, member: Waits) {
        self.waiting.entry(severity).or_default().push_back(member);
    }
}

impl Model {
    pub fn channel(&mut self, name: &str) -> &mut Channel {
        self.channels.entry(name.to_owned()).or_default()
    }

    pub fn deliver(&mut self, channel: &str, severity: Severity, member: Waits) {
        let channel = self.channel(channel);
        *channel.count(member.is_copy, To::Waiting) += 1;
        match member.is_copy {
            true => channel.copies.queued += 1,
            false => channel.counts.routed += 1,
        }
        channel.wait(severity, member);
    }

    /// Copies what is critical, waits and was not copied; says how many.
    pub fn fall_back(&mut self, from: &str, to: &str) -> u64 {
        let waiting = self.channels.get(from).map(|channel| &channel.waiting);
        let critical = waiting.and_then(|waiting| waiting.get(&Severity::Critical));
        let all: Vec<Waits> = critical.into_iter().flatten().cloned().collect();
        let mut events = 0;
        for one in all {
            let is_new = one.meant_for.is_none()
                && from != to
                && self.copied.insert((from.to_owned(), one.text.clone()));
            if is_new {
                events += 1;
                let copy = Waits {
                    meant_for: Some(from.to_owned()),
                    ..Waits::new(one.text, true)
                };
                self.deliver(to, Severity::Critical, copy);
            }
        }
        events
    }

    /// Ends the lease that is held.
    pub fn settle(&mut self, name: &str, to: To) {
        let channel = self.channel(name);
        let (id, members) = channel.lease.take().expect("a lease is held");
        for (severity, member) in &members {
            let front = channel
                .waiting
                .get_mut(severity)
                .and_then(VecDeque::pop_front);
            assert_eq!(
                front.as_ref(),
                Some(member),
                "what is leased is at the front"
            );
        }
        channel.recount(&members, To::Waiting, to);
        let ended = (name.to_owned(), members);
        match to {
            To::Dead => self.dead.insert(id, ended),
            _ => self.told.insert(id, ended),
        };
    }

    pub fn redrive(&mut self, id: u64) {
        let (name, members) = self.dead.remove(&id).expect("it is dead");
        let channel = self.channel(&name);
        channel.recount(&members, To::Dead, To::Waiting);
        for (severity, member) in members {
            channel.wait(severity, member);
        }
    }

    pub fn drop_dead(&mut self, id: u64, to: To) {
        let (name, members) = self.dead.remove(&id).expect("it is dead");
        self.channel(&name).recount(&members, To::Dead, to);
    }

    pub fn ledger(&self) -> Ledger {
        let waiting = self.unrouted.iter().map(|block| block.len() as u64).sum();
        let mut ledger = Ledger {
            received: self.counts.total() + waiting,
            counts: self.counts,
            waiting,
            filtered_by: self.filtered_by.clone(),
            ..Ledger::default()
        };
        for (name, channel) in &self.channels {
            ledger.channels.insert(name.clone(), channel.counts);
            ledger.copies.insert(name.clone(), channel.copies);
            ledger.notices.insert(name.clone(), OtherCounts::default());
        }
        ledger
    }
}

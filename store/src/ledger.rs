//! Where every event is (promise P4).
//!
//! Identities, which hold after every commit:
//! `received = duplicates + filtered + muted + quarantined + routed + waiting`, and per channel
//! `routed = delivered + waiting + dead + dropped`. What a damaged store held is `lost` until it is
//! salvaged, and stands beside the identities: it was received by another ledger. `waiting` is counted up and down by itself, never
//! derived from the others, so that the identities can fail. No more is filtered by routes with a name than is
//! filtered at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The fates of events, each counted under one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Seen before within the dedup window.
    pub duplicates: u64,
    /// No route wanted them.
    pub filtered: u64,
    /// Every delivery was muted.
    pub muted: u64,
    /// Had no readable envelope.
    pub quarantined: u64,
    /// Went to at least one channel.
    pub routed: u64,
}

impl Counts {
    /// How many events these are.
    pub fn total(&self) -> u64 {
        self.duplicates + self.filtered + self.muted + self.quarantined + self.routed
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.duplicates += other.duplicates;
        self.filtered += other.filtered;
        self.muted += other.muted;
        self.quarantined += other.quarantined;
        self.routed += other.routed;
    }
}

/// Deliveries of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCounts {
    /// Deliveries routed to it.
    pub routed: u64,
    /// Accepted by the destination.
    pub delivered: u64,
    /// Not yet.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Given up on purpose.
    pub dropped: Dropped,
}

/// Deliveries that were given up, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The channel's backlog, or the dead letters, were over their quota.
    pub quota: u64,
    /// A command said so.
    pub command: u64,
}

impl Dropped {
    /// For all reasons.
    pub fn total(&self) -> u64 {
        self.quota + self.command
    }

    /// Reasons and counts, for metrics and tables.
    pub fn by_reason(&self) -> [(&'static str, u64); 2] {
        [("quota", self.quota), ("command", self.command)]
    }
}

impl ChannelCounts {
    /// Whether the channel's identity holds.
    pub fn is_balanced(&self) -> bool {
        self.routed == self.delivered + self.waiting + self.dead + self.dropped.total()
    }
}

/// Deliveries that are no routed events: the relay's own notices, and copies that a replay or a fallback
/// made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherCounts {
    /// Queued.
    pub queued: u64,
    /// Delivered.
    pub delivered: u64,
    /// Not yet.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Given up on purpose.
    pub dropped: u64,
}

impl OtherCounts {
    /// Whether they add up.
    pub fn is_balanced(&self) -> bool {
        self.queued == self.delivered + self.waiting + self.dead + self.dropped
    }
}

/// Everything that was received, and where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Events acknowledged.
    pub received: u64,
    /// Their fates.
    #[serde(flatten)]
    pub counts: Counts,
    /// Acknowledged and not yet routed.
    pub waiting: u64,
    /// Per channel.
    pub channels: BTreeMap<String, ChannelCounts>,
    /// The relay's own messages per channel.
    pub notices: BTreeMap<String, OtherCounts>,
    /// Copies per channel: events that were replayed, or that were meant for another channel.
    pub copies: BTreeMap<String, OtherCounts>,
    /// What waited in stores that were damaged and moved aside, as far as it is known, and was not
    /// salvaged.
    pub lost: u64,
    /// Which routes took how many of the filtered events. The rest matched no route, or one that has not taken
    /// any for so long that it is forgotten.
    #[serde(default)]
    pub filtered_by: BTreeMap<String, u64>,
    /// Deliveries per channel that were muted. They stand beside the channel's identity: what is muted is not
    /// routed to it.
    #[serde(default)]
    pub muted_deliveries: BTreeMap<String, u64>,
}

impl Ledger {
    /// Whether every identity holds.
    pub fn is_balanced(&self) -> bool {
        self.received == self.counts.total() + self.waiting
            && self.channels.values().all(ChannelCounts::is_balanced)
            && self.notices.values().all(OtherCounts::is_balanced)
            && self.copies.values().all(OtherCounts::is_balanced)
            && self.filtered_by.values().sum::<u64>() <= self.counts.filtered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_nowhere_unbalances() {
        let mut ledger = Ledger {
            received: 3,
            waiting: 1,
            ..Ledger::default()
        };
        ledger.counts.duplicates = 2;
        assert!(ledger.is_balanced());
        ledger.waiting = 0;
        assert!(!ledger.is_balanced());
        ledger.waiting = 1;
        let lost = ChannelCounts {
            routed: 2,
            delivered: 1,
            ..ChannelCounts::default()
        };
        ledger.channels.insert("a".into(), lost);
        assert!(!ledger.is_balanced());
    }
}

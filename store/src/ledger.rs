//! Where every event is (promise P4).
//!
//! Identities, which hold after every commit:
//! `received = duplicates + filtered + muted + quarantined + routed + waiting`, and per channel
//! `routed = delivered + waiting + dead + dropped`. `waiting` is counted up and down by itself, never
//! derived from the others, so that the identities can fail.

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
    pub dropped: u64,
}

impl ChannelCounts {
    /// Whether the channel's identity holds.
    pub fn is_balanced(&self) -> bool {
        self.routed == self.delivered + self.waiting + self.dead + self.dropped
    }
}

/// The relay's own messages, which are no events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeCounts {
    /// Queued.
    pub queued: u64,
    /// Delivered.
    pub delivered: u64,
    /// Could never be delivered.
    pub dead: u64,
}

impl NoticeCounts {
    /// How many still wait.
    pub fn waiting(&self) -> u64 {
        self.queued.saturating_sub(self.delivered + self.dead)
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
    pub notices: BTreeMap<String, NoticeCounts>,
}

impl Ledger {
    /// Whether every identity holds.
    pub fn is_balanced(&self) -> bool {
        self.received == self.counts.total() + self.waiting
            && self.channels.values().all(ChannelCounts::is_balanced)
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

//! What became of some blocks: all that the router commits at once.

use auditrelay_audit::{EventKey, Severity};
use serde::{Deserialize, Serialize};

use crate::{Counts, QuarantineRecord, codec::EncodedDeliveries};

/// What became of some blocks, committed at once.
#[derive(Debug, Clone, Default)]
pub struct Routed {
    /// The oldest unrouted blocks, in order.
    pub blocks: Vec<RoutedBlock>,
    /// What goes where.
    pub deliveries: Vec<DeliveryBlock>,
    /// Which routes took how many of the events that are counted as filtered.
    pub filtered_by: Vec<FilteredCount>,
    /// Deliveries that were not made, as they were muted.
    pub muted: Vec<MutedCount>,
    /// What the rates of routes counted.
    pub rates: RatesCounted,
}

/// What became of one block.
#[derive(Debug, Clone, Default)]
pub struct RoutedBlock {
    /// The block.
    pub seq: u64,
    /// When its keys were noted, Unix time in milliseconds.
    pub seen_unix_ms: i64,
    /// Keys that were not in the dedup window.
    pub new_keys: Vec<EventKey>,
    /// The fate of each of its events.
    pub counts: Counts,
    /// What could not be read.
    pub quarantine: Vec<QuarantineRecord>,
}

/// Deliveries of one severity to one channel, oldest first.
#[derive(Debug, Clone)]
pub struct DeliveryBlock {
    /// The channel's name in the configuration.
    pub channel: String,
    /// Their severity.
    pub severity: Severity,
    /// The deliveries.
    pub deliveries: EncodedDeliveries,
}

/// Events that a route keeps from everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilteredCount {
    /// The route's name, as the configuration bounds it.
    pub route: String,
    /// How many.
    pub events: u64,
}

impl FilteredCount {
    /// Of so many routes it is known how many events they took. With one more, the route that took none for the
    /// longest time is forgotten; its events stay counted as filtered.
    pub const ROUTES_MAX: usize = 1_000;
}

/// Deliveries to one channel that one mute held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutedCount {
    /// Names the mute.
    pub mute: u64,
    /// The channel that does not hear of them.
    pub channel: String,
    /// How many.
    pub events: u64,
}

/// What rates counted since the last commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RatesCounted {
    /// They add up with those of earlier commits.
    pub counts: Vec<RateCount>,
    /// These are all that count from now on: those of earlier commits are forgotten.
    pub is_all: bool,
}

/// Events that a rate counted together. What the key and the slot mean is the router's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateCount {
    /// Whose they are, and of which route.
    pub key: u64,
    /// When they happened.
    pub slot: i64,
    /// How many.
    pub events: u32,
}

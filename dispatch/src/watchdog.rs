//! The watchdog's own event: what it looks like, how it is known, what is said of it, and what metrics hear of it.
//!
//! Invariants:
//! * nobody else can make one: its audit ID holds a keyed hash of itself and of the event's time, with the key
//!   that the dedup window has. What only looks like one is an event like any other;
//! * metrics count one as delivered only where this process sent it, and once: an event of the process before, a
//!   repetition and a copy are no sign of life of this one;
//! * its cluster is nobody's, so that a cluster that falls silent is not talked over.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use auditrelay_audit::{Envelope, HashKey, Stage};
use auditrelay_config::WATCHDOG;
use auditrelay_store::EventDelivery;
use jiff::Timestamp;
use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};
use serde_json::json;
use tokio::time::Instant;

use crate::{change::duration, escape::clean, metrics::add, sentence};

/// The user of its events.
pub const USER: &str = "system:auditrelay:watchdog";
/// The cluster of its events.
pub const CLUSTER: &str = "auditrelay-watchdog";
const RESOURCE: &str = "watchdogs";
const GROUP: &str = "auditrelay.io";
/// Events that are on their way; more than this are on their way to nowhere.
const UNDERWAY_MAX: usize = 64;

/// One event of the watchdog's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its audit ID.
    pub audit_id: String,
    /// An `EventList` with it.
    pub list: String,
}

impl Heartbeat {
    /// One of this moment. `cluster` is the relay's own, which people know it by; `random` tells it from others.
    pub fn new(key: &HashKey, now: Timestamp, random: u64, cluster: &str) -> Self {
        let time = format!("{now:.6}");
        let audit_id = Own::new(key).audit_id(random, &time);
        let list = json!({
            "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {},
            "items": [{
                "level": "Metadata",
                "auditID": audit_id,
                "stage": "ResponseComplete",
                "requestURI": format!("/apis/{GROUP}/v1/{RESOURCE}/{cluster}"),
                "verb": "create",
                "user": {"username": USER},
                "userAgent": concat!("auditrelay/", env!("CARGO_PKG_VERSION")),
                "objectRef": {
                    "resource": RESOURCE, "name": cluster, "apiGroup": GROUP, "apiVersion": "v1",
                },
                "responseStatus": {"metadata": {}, "code": 201},
                "requestReceivedTimestamp": time,
                "stageTimestamp": time,
            }],
        });
        Self {
            list: list.to_string(),
            audit_id,
        }
    }
}

/// Tells the watchdog's own events from all others.
#[derive(Debug, Clone)]
pub(crate) struct Own(HashKey);

impl Own {
    pub(crate) fn new(key: &HashKey) -> Self {
        Self(key.clone())
    }

    /// Differs for every other key.
    pub(crate) fn id(&self) -> u128 {
        self.0.message([b"the watchdog's key".as_slice()])
    }

    /// Whether the event is one.
    pub(crate) fn made(&self, event: &Envelope<'_>) -> bool {
        if !looks_own(event) {
            return false;
        }
        let digits: String = event.audit_id.chars().filter(|one| *one != '-').collect();
        let random = digits.get(..16).map(|half| u64::from_str_radix(half, 16));
        let Some(Ok(random)) = random else {
            return false;
        };
        self.audit_id(random, &event.stage_timestamp) == event.audit_id.as_str()
    }

    /// As long as a UUID, and written like one.
    fn audit_id(&self, random: u64, time: &str) -> String {
        let parts: [&[u8]; 3] = [
            b"a watchdog's event",
            &random.to_be_bytes(),
            time.as_bytes(),
        ];
        let digits = format!("{random:016x}{:016x}", self.0.message(parts) as u64);
        let (a, b, c, d, e) = (
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..],
        );
        format!("{a}-{b}-{c}-{d}-{e}")
    }
}

fn looks_own(event: &Envelope<'_>) -> bool {
    event.user.username.as_str() == USER
        && event.stage == Stage::ResponseComplete
        && event.object_ref.as_ref().is_some_and(|object| {
            object.resource.as_str() == RESOURCE && object.api_group.as_str() == GROUP
        })
}

/// What is said of one that its own route sent; `None` of any other event.
pub(crate) fn sentence(
    event: &EventDelivery,
    envelope: &Envelope<'_>,
    now_unix_ms: i64,
) -> Option<String> {
    if event.route != WATCHDOG || !looks_own(envelope) {
        return None;
    }
    let time: Timestamp = envelope.stage_timestamp.parse().ok()?;
    let milliseconds = now_unix_ms.saturating_sub(time.as_millisecond()).max(0);
    let took = match milliseconds {
        0..60_000 => format!("{}.{} s", milliseconds / 1_000, milliseconds / 100 % 10),
        late => duration(late / 1_000),
    };
    let of = envelope.object_ref.as_ref().map(|object| &*object.name);
    let of = clean(of.unwrap_or_default(), 63);
    let at = sentence::time(&envelope.stage_timestamp);
    Some(format!(
        "auditrelay of {of} is alive: its own event of {at} came through webhook, queue and routes in {took}"
    ))
}

/// What became of the watchdog's events; clones share it.
#[derive(Clone)]
pub struct Heartbeats {
    /// Events that were sent, by outcome (`accepted`, `failed`).
    sent: IntCounterVec,
    interval: IntGauge,
    last_delivered: IntGauge,
    round_trip: Gauge,
    underway: Arc<Mutex<VecDeque<(String, Instant)>>>,
}

impl Heartbeats {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let sent = Opts::new(
            "auditrelay_watchdog_sent_total",
            "The watchdog's events that were posted to the relay's own webhook, by outcome.",
        );
        let sent = add(registry, IntCounterVec::new(sent, &["outcome"])?)?;
        for outcome in ["accepted", "failed"] {
            sent.with_label_values(&[outcome]);
        }
        let interval = IntGauge::new(
            "auditrelay_watchdog_interval_seconds",
            "How often the watchdog sends an event; 0 if there is none.",
        )?;
        let last = IntGauge::new(
            "auditrelay_watchdog_last_delivered_timestamp_seconds",
            "When an event of the watchdog's was last delivered; 0 before the first.",
        )?;
        let round_trip = Gauge::new(
            "auditrelay_watchdog_round_trip_seconds",
            "How long the watchdog's event that was delivered last was on its way.",
        )?;
        Ok(Self {
            sent,
            interval: add(registry, interval)?,
            last_delivered: add(registry, last)?,
            round_trip: add(registry, round_trip)?,
            underway: Arc::default(),
        })
    }

    /// How often events are sent, in seconds; 0 for never.
    pub fn every(&self, seconds: u64) {
        self.interval
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// One is about to be sent.
    pub fn begins(&self, audit_id: &str) {
        let mut underway = self.underway();
        if underway.len() >= UNDERWAY_MAX {
            underway.pop_front();
        }
        underway.push_back((audit_id.to_owned(), Instant::now()));
    }

    /// It was accepted, or not.
    pub fn sent(&self, is_accepted: bool) {
        let outcome = if is_accepted { "accepted" } else { "failed" };
        self.sent.with_label_values(&[outcome]).inc();
    }

    /// A channel was told of one.
    pub(crate) fn delivered(&self, audit_id: &str, now_unix_ms: i64) {
        let mut underway = self.underway();
        let Some(at) = underway.iter().position(|(id, _)| id == audit_id) else {
            return;
        };
        if let Some((_, begun)) = underway.remove(at) {
            self.round_trip.set(begun.elapsed().as_secs_f64());
            self.last_delivered.set(now_unix_ms / 1_000);
        }
    }

    fn underway(&self) -> MutexGuard<'_, VecDeque<(String, Instant)>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;

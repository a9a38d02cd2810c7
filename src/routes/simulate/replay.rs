//! A log, event by event: which are duplicates, what the routes make of the others, and when each would arrive.
//!
//! Contract: events arrive as an API server posts them: a batch closes after so long or with so many events, whichever
//! is first. Of an event that no channel hears of only a count is kept.

use std::{cell::RefCell, collections::BTreeMap};

use auditrelay_audit::{Envelope, Event, HashKey, list::Item};
use auditrelay_config::Config;
use auditrelay_dispatch::{
    Routes,
    dedup::{Seen, Sighting},
    routes::Fate,
};
use jiff::Timestamp;

use super::{super::args::SimulateArgs, lanes::Delivery};
use crate::{
    Failure,
    log_input::{self, Totals},
    output::count,
    progress::Progress,
    routes::trial::Trial,
};

/// The API server's default (--audit-webhook-batch-max-size).
const BATCH_EVENTS_MAX: usize = 400;
/// Deliveries that are kept; 24 bytes each.
const DELIVERIES_MAX: usize = 20_000_000;

/// What a log came to.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) totals: Totals,
    /// In the order of arrival.
    pub(super) deliveries: Vec<Delivery>,
    pub(super) duplicates: u64,
    pub(super) reused: u64,
    /// By the route that says so; by nothing where none took it.
    pub(super) filtered: BTreeMap<Option<String>, u64>,
    /// Events that somebody hears of.
    pub(super) told: u64,
    /// Deliveries by route.
    pub(super) by_route: BTreeMap<String, u64>,
    /// First and last event, Unix time in milliseconds.
    pub(super) span_ms: Option<(i64, i64)>,
}

struct Reading<'a> {
    routes: &'a Routes,
    channels: Vec<&'a str>,
    cluster: &'a str,
    key: HashKey,
    seen: Seen,
    trial: Trial,
    wait_ms: i64,
    /// When the open batch began, how many events it has, and the first of its deliveries.
    batch: Option<(i64, usize, usize)>,
    batches: u64,
    clock_ms: i64,
    found: Replayed,
}

pub(super) fn replay(args: &SimulateArgs, config: &Config) -> Result<Replayed, Failure> {
    let routes = Routes::new(config);
    let reading = RefCell::new(Reading {
        routes: &routes,
        channels: config.channels.keys().map(AsRef::as_ref).collect(),
        cluster: args.cluster.as_ref().unwrap_or(&config.cluster).as_str(),
        // It tells events of this log apart and nothing else.
        key: HashKey::new([0; 32]),
        seen: Seen::new(config.dedup.window(), config.dedup.entries_max.as_usize()),
        trial: Trial::default(),
        wait_ms: i64::try_from(args.batch_wait * 1_000).unwrap_or(i64::MAX),
        batch: None,
        batches: 0,
        clock_ms: 0,
        found: Replayed::default(),
    });
    let progress = Progress::new("reading");
    let totals = log_input::read(&args.logs, &progress, |item, envelope| {
        reading.borrow_mut().event(item, envelope)
    });
    progress.end();
    let totals = totals?;
    let mut reading = reading.into_inner();
    reading.close();
    let mut found = reading.found;
    found.totals = totals;
    found.deliveries.sort_by_key(|one| one.arrives_ms);
    Ok(found)
}

impl Reading<'_> {
    fn event(&mut self, item: &Item<'_>, envelope: &Envelope<'_>) -> Result<(), Failure> {
        let time = envelope.stage_timestamp.parse::<Timestamp>();
        // Without a time it happened when the one before it did.
        let at_ms = time.map_or(self.clock_ms, |time| time.as_millisecond());
        self.clock_ms = at_ms;
        let (first, last) = self.found.span_ms.unwrap_or((at_ms, at_ms));
        self.found.span_ms = Some((first.min(at_ms), last.max(at_ms)));
        self.put_in_batch(at_ms);
        let key = self.key.event(self.cluster, item, envelope);
        let sighting = self.seen.note(&key, self.batches, at_ms);
        if sighting == Sighting::Duplicate {
            self.found.duplicates += 1;
            return Ok(());
        }
        let is_reused = sighting == Sighting::ReusedId;
        self.found.reused += u64::from(is_reused);
        let event = Event {
            cluster: self.cluster,
            envelope,
        };
        let matched = self.routes.matched(&event);
        match self
            .trial
            .fate(self.routes, &event, &matched, is_reused, at_ms)
        {
            Fate::Filtered(route) => {
                let route = route.map(str::to_owned);
                *self.found.filtered.entry(route).or_default() += 1;
            }
            Fate::Told(targets) => {
                self.found.told += 1;
                for target in &targets {
                    let mut channels = self.channels.iter();
                    let lane = channels.position(|one| *one == target.channel).unwrap_or(0);
                    self.found.deliveries.push(Delivery {
                        at_ms,
                        arrives_ms: i64::MAX,
                        bytes: u32::try_from(item.text.len()).unwrap_or(u32::MAX),
                        lane: lane as u16,
                        severity: target.severity as u8,
                    });
                    *self
                        .found
                        .by_route
                        .entry(target.route.to_owned())
                        .or_default() += 1;
                }
            }
        }
        if self.found.deliveries.len() > DELIVERIES_MAX {
            return Err(Failure::Usage(format!(
                "the log has more than {} for channels; give it fewer files at a time",
                count(DELIVERIES_MAX as u64, "event")
            )));
        }
        Ok(())
    }

    /// Puts an event into the open batch, or opens one.
    fn put_in_batch(&mut self, at_ms: i64) {
        let fits = self.batch.is_some_and(|(opened, events, _)| {
            events < BATCH_EVENTS_MAX && (opened..=opened + self.wait_ms).contains(&at_ms)
        });
        if !fits {
            self.close();
            self.seen.expire(at_ms);
            self.batches += 1;
            self.batch = Some((at_ms, 0, self.found.deliveries.len()));
        }
        if let Some((opened, events, first)) = &mut self.batch {
            *events += 1;
            if *events == BATCH_EVENTS_MAX {
                // It is full, and goes at once.
                let (opened, first) = (*opened, *first);
                self.arrives(first, at_ms.max(opened));
            }
        }
    }

    /// The open batch goes when it has waited long enough, or went when it was full.
    fn close(&mut self) {
        if let Some((opened, events, first)) = self.batch.take() {
            let full_at = (events == BATCH_EVENTS_MAX).then_some(self.clock_ms);
            self.arrives(first, full_at.unwrap_or(opened + self.wait_ms));
        }
    }

    /// What has no time of arrival yet, from this delivery on.
    fn arrives(&mut self, first: usize, at_ms: i64) {
        for delivery in &mut self.found.deliveries[first..] {
            if delivery.arrives_ms == i64::MAX {
                delivery.arrives_ms = at_ms.max(delivery.at_ms);
            }
        }
    }
}

//! What is counted while the API servers run; shared by all of them.
//!
//! Contract: every event, batch, try and request is counted once, by the part that saw its end; the
//! [`Report`] is taken when all have ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::buffer::Made;
use super::report::{Latency, Report};
use super::retry::Outcome;

/// Latencies are kept to a thousandth of their value, in microseconds.
const SIGNIFICANT_DIGITS: u8 = 3;
/// An hour; longer ones are recorded as this. Five tries at the defaults are over in 250 seconds.
const LATENCY_MAX_MICROSECONDS: u64 = 3_600_000_000;

/// The counters.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    making: Duration,
    made: u64,
    dropped: u64,
    accepted: u64,
    accepted_without_body: u64,
    lost: u64,
    batches: u64,
    batches_accepted: u64,
    batches_lost: u64,
    in_flight_max: u64,
    tries: u64,
    requests: u64,
    connections: u64,
    multiplexed: bool,
    answers: BTreeMap<String, u64>,
    acks: Histogram<u64>,
    refusals: Histogram<u64>,
    acceptances: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_max(LATENCY_MAX_MICROSECONDS, SIGNIFICANT_DIGITS)
                .expect("both are within what a histogram allows")
        };
        Self(Mutex::new(Counts {
            making: Duration::ZERO,
            made: 0,
            dropped: 0,
            accepted: 0,
            accepted_without_body: 0,
            lost: 0,
            batches: 0,
            batches_accepted: 0,
            batches_lost: 0,
            in_flight_max: 0,
            tries: 0,
            requests: 0,
            connections: 0,
            multiplexed: false,
            answers: BTreeMap::new(),
            acks: histogram(),
            refusals: histogram(),
            acceptances: histogram(),
        }))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each method leaves the counts whole, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One API server has made its events.
    pub(super) fn made(&self, made: Made) {
        let mut counts = self.counts();
        counts.made += made.events;
        counts.dropped += made.dropped;
        counts.making = counts.making.max(made.elapsed);
    }

    pub(super) fn connected(&self) {
        self.counts().connections += 1;
    }

    /// Requests share a connection: what was written last on it may be another's.
    pub(super) fn multiplexed(&self) {
        self.counts().multiplexed = true;
    }

    pub(super) fn batch_begins(&self) {
        let mut counts = self.counts();
        counts.batches += 1;
        let in_flight = counts.batches - counts.batches_accepted - counts.batches_lost;
        counts.in_flight_max = counts.in_flight_max.max(in_flight);
    }

    pub(super) fn try_begins(&self) {
        self.counts().tries += 1;
    }

    /// A request had an answer; `is_ack` if this answer accepts the events that the request carried.
    pub(super) fn answered(&self, code: &str, is_ack: bool, latency: Duration) {
        let mut counts = self.counts();
        counts.count_answer(code);
        if is_ack {
            record(&mut counts.acks, latency);
        } else {
            record(&mut counts.refusals, latency);
        }
    }

    /// A request had no answer, or none that can be read.
    pub(super) fn failed(&self, failure: &str) {
        self.counts().count_answer(failure);
    }

    pub(super) fn batch_ends(&self, events: u64, outcome: Outcome, elapsed: Duration) {
        let mut counts = self.counts();
        match outcome {
            Outcome::Accepted { with_body } => {
                counts.batches_accepted += 1;
                counts.accepted += events;
                if !with_body {
                    counts.accepted_without_body += events;
                }
                record(&mut counts.acceptances, elapsed);
            }
            Outcome::Lost => {
                counts.batches_lost += 1;
                counts.lost += events;
            }
        }
    }

    pub(super) fn report(&self, api_servers: u32, elapsed: Duration) -> Report {
        let counts = self.counts();
        Report {
            api_servers,
            making_seconds: counts.making.as_secs_f64(),
            total_seconds: elapsed.as_secs_f64(),
            events_made: counts.made,
            events_accepted: counts.accepted,
            events_accepted_without_body: counts.accepted_without_body,
            events_lost: counts.lost,
            events_dropped: counts.dropped,
            batches_sent: counts.batches,
            batches_accepted: counts.batches_accepted,
            batches_lost: counts.batches_lost,
            batches_in_flight_max: counts.in_flight_max,
            tries: counts.tries,
            requests: counts.requests,
            connections: counts.connections,
            answers: counts.answers.clone(),
            latencies_begin: if counts.multiplexed {
                "the request begun (HTTP/2)".to_owned()
            } else {
                "the last byte of the request written".to_owned()
            },
            ack_ms: Latency::of(&counts.acks),
            refusal_ms: Latency::of(&counts.refusals),
            acceptance_ms: Latency::of(&counts.acceptances),
        }
    }
}

impl Counts {
    fn count_answer(&mut self, answer: &str) {
        self.requests += 1;
        *self.answers.entry(answer.to_owned()).or_default() += 1;
    }
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}

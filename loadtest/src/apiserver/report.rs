//! What a run came to, for people ([`Display`](fmt::Display)) and as JSON.
//!
//! Contract: `events_made = events_accepted + events_lost + events_dropped`,
//! `batches_sent = batches_accepted + batches_lost`, and the `answers` sum up to `requests`.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The end of a run of [`super::run`]; all API servers together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How many API servers were simulated.
    pub api_servers: u32,
    /// For how long events were made.
    pub making_seconds: f64,
    /// Until the last batch was accepted or lost.
    pub total_seconds: f64,
    /// Events made, whatever became of them.
    pub events_made: u64,
    /// Events that the API server takes for stored.
    pub events_accepted: u64,
    /// Those among the accepted that the sink never had: the accepting answer was to a GET, after a
    /// redirect. A silent loss.
    pub events_accepted_without_body: u64,
    /// Events of batches that no try brought through.
    pub events_lost: u64,
    /// Events that found the buffer full and were never sent.
    pub events_dropped: u64,
    /// Batches sent at least once.
    pub batches_sent: u64,
    /// Batches with an accepting answer.
    pub batches_accepted: u64,
    /// Batches given up.
    pub batches_lost: u64,
    /// The most batches that were under way at the same time, pauses between tries included.
    pub batches_in_flight_max: u64,
    /// Tries, up to five a batch.
    pub tries: u64,
    /// HTTP requests: tries, their inner retries and redirects.
    pub requests: u64,
    /// TCP connections opened.
    pub connections: u64,
    /// Requests by what came of them: a status code, or why there was none.
    pub answers: BTreeMap<String, u64>,
    /// From when `ack_ms` and `refusal_ms` are measured.
    pub latencies_begin: String,
    /// Until the head of the answer that accepts a batch; `None` if there was no such answer.
    pub ack_ms: Option<Latency>,
    /// Until the head of any other answer.
    pub refusal_ms: Option<Latency>,
    /// From the beginning of a batch's first try until it was accepted, retries and pauses included.
    pub acceptance_ms: Option<Latency>,
}

/// A distribution, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// Nine of ten are not above it.
    pub p90: f64,
    /// 99 of 100 are not above it.
    pub p99: f64,
    /// 999 of 1,000 are not above it.
    pub p99_9: f64,
    /// None is above it.
    pub max: f64,
}

impl Latency {
    /// Of microseconds; `None` of nothing.
    pub(super) fn of(microseconds: &Histogram<u64>) -> Option<Self> {
        let quantile = |quantile| microseconds.value_at_quantile(quantile) as f64 / 1_000.0;
        (!microseconds.is_empty()).then(|| Self {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: microseconds.max() as f64 / 1_000.0,
        })
    }
}

impl Report {
    /// Whether every event that was made has reached the sink.
    pub fn is_complete(&self) -> bool {
        self.events_lost == 0 && self.events_dropped == 0 && self.events_accepted_without_body == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("API servers", u64::from(self.api_servers)),
            ("events made", self.events_made),
            ("  accepted", self.events_accepted),
            (
                "    by an answer to a GET",
                self.events_accepted_without_body,
            ),
            ("  lost after the last try", self.events_lost),
            ("  dropped before sending", self.events_dropped),
            ("batches sent", self.batches_sent),
            ("  lost", self.batches_lost),
            ("  most in flight", self.batches_in_flight_max),
            ("tries", self.tries),
            ("connections", self.connections),
            ("requests", self.requests),
        ];
        let (making, total) = (self.making_seconds, self.total_seconds);
        writeln!(out, "{:<28}{making:>12.1}", "seconds of making events")?;
        writeln!(out, "{:<28}{total:>12.1}", "seconds in all")?;
        for (name, count) in counts {
            writeln!(out, "{name:<28}{count:>12}")?;
        }
        for (answer, count) in &self.answers {
            writeln!(out, "{:<28}{count:>12}", format!("  {answer}"))?;
        }
        writeln!(out)?;
        self.write_latencies(out)
    }
}

impl Report {
    fn write_latencies(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<16}", "milliseconds")?;
        for column in ["p50", "p90", "p99", "p99.9", "max"] {
            write!(out, "{column:>11}")?;
        }
        writeln!(out)?;
        let rows = [
            ("ack", self.ack_ms),
            ("other answers", self.refusal_ms),
            ("until accepted", self.acceptance_ms),
        ];
        for (name, latency) in rows {
            write!(out, "{name:<16}")?;
            match latency {
                None => write!(out, "{:>11}", "none")?,
                Some(Latency {
                    p50,
                    p90,
                    p99,
                    p99_9,
                    max,
                }) => {
                    for value in [p50, p90, p99, p99_9, max] {
                        write!(out, "{value:>11.1}")?;
                    }
                }
            }
            writeln!(out)?;
        }
        let begin = &self.latencies_begin;
        writeln!(out, "ack, other answers: from {begin} to the answer's head")?;
        writeln!(out, "until accepted: from the first try, retries included")
    }
}

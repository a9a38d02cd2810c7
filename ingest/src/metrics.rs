//! What the operator sees of receiving. Labels come from closed sets only, and every series exists
//! from the start, so that a rate over the first failure is not lost.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

use auditrelay_config::Config;

use crate::{clusters::ClusterMetrics, prepare::Stored, refusal::Reason};

/// The metrics of one listener; clones count into the same series.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    refused: IntCounterVec,
    events: IntCounterVec,
    pub(crate) request_duration_seconds: Histogram,
    pub(crate) commit_duration_seconds: Histogram,
    pub(crate) received_bytes: IntCounter,
    stored_bytes: IntCounter,
    pub(crate) clusters: ClusterMetrics,
    pub(crate) bytes_in_flight: IntGauge,
    pub(crate) connections: IntGauge,
}

/// From what a healthy disk takes to what makes an API server give up, in seconds.
const BUCKETS_SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry holds metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "auditrelay_ingest_requests_total",
                    "Requests answered, by status code.",
                ),
                &["code"],
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "auditrelay_ingest_refused_total",
                    "Requests and connections refused, by reason.",
                ),
                &["reason"],
            )?,
            events: IntCounterVec::new(
                Opts::new(
                    "auditrelay_ingest_events_total",
                    "Items of lists made durable, by whether they could be read as events.",
                ),
                &["outcome"],
            )?,
            request_duration_seconds: histogram(
                "auditrelay_ingest_request_duration_seconds",
                "From the first byte of a request to its answer.",
            )?,
            commit_duration_seconds: histogram(
                "auditrelay_ingest_commit_duration_seconds",
                "Making one batch durable.",
            )?,
            received_bytes: IntCounter::new(
                "auditrelay_ingest_received_bytes_total",
                "Bytes of request bodies read.",
            )?,
            stored_bytes: IntCounter::new(
                "auditrelay_ingest_stored_bytes_total",
                "Bytes of batches made durable, compressed as they are stored.",
            )?,
            clusters: ClusterMetrics::new(registry)?,
            bytes_in_flight: IntGauge::new(
                "auditrelay_ingest_bytes_in_flight",
                "Bytes of request bodies that memory is reserved for.",
            )?,
            connections: IntGauge::new("auditrelay_ingest_connections", "Connections open.")?,
        };
        metrics.create_series();
        metrics.register(registry)?;
        Ok(metrics)
    }

    fn create_series(&self) {
        self.requests.with_label_values(&["200"]);
        for reason in Reason::ALL {
            self.refused.with_label_values(&[reason.label()]);
            self.requests.with_label_values(&[reason.status().as_str()]);
        }
        for outcome in ["stored", "unreadable"] {
            self.events.with_label_values(&[outcome]);
        }
    }

    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let collectors: [Box<dyn Collector>; 9] = [
            Box::new(self.requests.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.events.clone()),
            Box::new(self.request_duration_seconds.clone()),
            Box::new(self.commit_duration_seconds.clone()),
            Box::new(self.received_bytes.clone()),
            Box::new(self.stored_bytes.clone()),
            Box::new(self.bytes_in_flight.clone()),
            Box::new(self.connections.clone()),
        ];
        collectors
            .into_iter()
            .try_for_each(|collector| registry.register(collector))
    }

    pub(crate) fn answered(&self, code: hyper::StatusCode) {
        self.requests.with_label_values(&[code.as_str()]).inc();
    }

    pub(crate) fn refused(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.label()]).inc();
    }

    /// From now on clusters that this configuration names have series of their own; all others share one.
    pub fn tell_apart(&self, config: &Config) {
        self.clusters.tell_apart(config);
    }

    /// A batch of a cluster is durable, which takes so many bytes.
    pub(crate) fn stored(&self, cluster: &str, stored: &Stored, bytes: usize) {
        self.stored_bytes.inc_by(bytes as u64);
        if stored.events > 0 {
            self.clusters.heard_of(cluster);
        }
        for (outcome, items) in [("stored", stored.events), ("unreadable", stored.unreadable)] {
            self.events.with_label_values(&[outcome]).inc_by(items);
        }
    }
}

fn histogram(name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS_SECONDS.to_vec()))
}

/// Counts one more in a gauge for as long as it lives.
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

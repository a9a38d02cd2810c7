//! The ledger as metrics, and what the process says of itself.
//!
//! The counters live in the store, so that they survive a restart; they are copied here at each scrape.

use std::{sync::Mutex, time::SystemTime};

use auditrelay_store::Ledger;
use prometheus::{Encoder, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// The relay's registry and what is filled at scrape time.
pub(crate) struct LedgerMetrics {
    registry: Registry,
    events: IntCounterVec,
    waiting: IntGauge,
    channel_events: IntCounterVec,
    channel_waiting: IntGaugeVec,
    notices: IntCounterVec,
    pub(crate) store_moved_aside: IntGauge,
    // Two scrapes at once would copy the counters twice.
    scrape: Mutex<()>,
}

impl LedgerMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let build = gauges("auditrelay_build_info", "Always 1.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let started = gauges(
            "auditrelay_start_time_seconds",
            "When the process started, Unix time.",
            &[],
        )?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        started
            .with_label_values(&[] as &[&str])
            .set(i64::try_from(now.as_secs()).unwrap_or(0));
        let moved = "1 if the store was damaged at this start and was moved aside.";
        let store_moved_aside = gauges("auditrelay_store_moved_aside", moved, &[])?;
        let waiting = "Events acknowledged and not yet routed.";
        let waiting = gauges("auditrelay_ledger_waiting_events", waiting, &[])?;
        Ok(Self {
            registry: registry.clone(),
            events: counters(
                "auditrelay_ledger_events_total",
                "Events by fate; received is the sum of the others and of those waiting.",
                &["fate"],
            )?,
            waiting: waiting.with_label_values(&[] as &[&str]),
            channel_events: counters(
                "auditrelay_channel_events_total",
                "Deliveries of a channel by fate.",
                &["channel", "fate"],
            )?,
            channel_waiting: gauges(
                "auditrelay_channel_waiting_events",
                "Deliveries that wait in a channel.",
                &["channel"],
            )?,
            notices: counters(
                "auditrelay_notices_total",
                "The relay's own notices, which are no events, by fate.",
                &["channel", "fate"],
            )?,
            store_moved_aside: store_moved_aside.with_label_values(&[] as &[&str]),
            scrape: Mutex::new(()),
        })
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn text(&self, ledger: &Ledger) -> Result<Vec<u8>, prometheus::Error> {
        let _one_at_a_time = self
            .scrape
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.copy(ledger);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn copy(&self, ledger: &Ledger) {
        let set = |vec: &IntCounterVec, labels: &[&str], value: u64| {
            let counter = vec.with_label_values(labels);
            counter.reset();
            counter.inc_by(value);
        };
        let counts = &ledger.counts;
        for (fate, value) in [
            ("received", ledger.received),
            ("duplicates", counts.duplicates),
            ("filtered", counts.filtered),
            ("muted", counts.muted),
            ("quarantined", counts.quarantined),
            ("routed", counts.routed),
        ] {
            set(&self.events, &[fate], value);
        }
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.waiting.set(gauge(ledger.waiting));
        for (name, channel) in &ledger.channels {
            for (fate, value) in [
                ("routed", channel.routed),
                ("delivered", channel.delivered),
                ("dead", channel.dead),
                ("dropped", channel.dropped.total()),
            ] {
                set(&self.channel_events, &[name, fate], value);
            }
            self.channel_waiting
                .with_label_values(&[name])
                .set(gauge(channel.waiting));
        }
        for (name, notices) in &ledger.notices {
            for (fate, value) in [
                ("queued", notices.queued),
                ("delivered", notices.delivered),
                ("dead", notices.dead),
            ] {
                set(&self.notices, &[name, fate], value);
            }
        }
    }
}

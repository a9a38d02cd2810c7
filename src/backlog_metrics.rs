//! What waits for each channel and severity, and for how long, as metrics: filled from the queue at each scrape.

use auditrelay_store::Backlog;
use prometheus::{GaugeVec, IntGaugeVec};

use crate::{
    metrics::{Register, gauge_value},
    when::UnixMs,
};

const LABELS: &[&str] = &["channel", "severity"];

/// Gauges of what waits. A channel that is known keeps its series, so nothing has to be taken away.
pub(crate) struct BacklogMetrics {
    events: IntGaugeVec,
    bytes: IntGaugeVec,
    oldest_age: GaugeVec,
}

impl BacklogMetrics {
    pub(crate) fn new(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            events: register.gauges(
                "auditrelay_backlog_events",
                "Deliveries that wait for a channel: events, notices and copies.",
                LABELS,
            )?,
            bytes: register.gauges("auditrelay_backlog_bytes", "The same, as stored.", LABELS)?,
            oldest_age: register.float_gauges(
                "auditrelay_backlog_oldest_age_seconds",
                "How long ago what is told next was received; 0 when nothing waits.",
                LABELS,
            )?,
        })
    }

    pub(crate) fn copy(&self, backlogs: &[Backlog], now: UnixMs) {
        for backlog in backlogs {
            let labels = [backlog.channel.as_str(), backlog.severity.as_str()];
            let events = self.events.with_label_values(&labels);
            events.set(gauge_value(backlog.events));
            let bytes = self.bytes.with_label_values(&labels);
            bytes.set(gauge_value(backlog.bytes));
            // A clock that was set back makes nothing wait less than not at all.
            let age_ms = backlog
                .oldest_unix_ms
                .map_or(0, |oldest| (now - oldest).max(0));
            let age = self.oldest_age.with_label_values(&labels);
            age.set(age_ms as f64 / 1_000.0);
        }
    }
}

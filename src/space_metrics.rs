//! Who has how much of the disk, as metrics: filled from the queue at each scrape.

use auditrelay_store::Space;
use prometheus::{IntGauge, IntGaugeVec};

use crate::metrics::{Register, gauge_value};

/// Gauges of the queue's space.
pub(crate) struct SpaceMetrics {
    used: IntGauge,
    used_max: IntGauge,
    refusing: IntGauge,
    /// Without labels; empty while the file system does not say.
    disk_free: IntGaugeVec,
    disk_free_min: IntGauge,
    channel_waiting: IntGaugeVec,
    channel_max: IntGauge,
    dead: IntGauge,
    quarantine: IntGauge,
    detail: IntGauge,
    retained: IntGauge,
}

impl SpaceMetrics {
    pub(crate) fn new(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            used: register.gauge(
                "auditrelay_queue_bytes",
                "Everything that the queue keeps on disk.",
            )?,
            used_max: register.gauge(
                "auditrelay_queue_bytes_max",
                "What the queue may keep on disk, queue.bytes_max.",
            )?,
            refusing: register.gauge(
                "auditrelay_queue_refusing",
                "1 while new batches are refused for want of space.",
            )?,
            disk_free: register.gauges(
                "auditrelay_disk_free_bytes",
                "Free space on the file system of the data directory.",
                &[],
            )?,
            disk_free_min: register.gauge(
                "auditrelay_disk_free_bytes_min",
                "What the file system keeps free, queue.disk_free_bytes_min.",
            )?,
            channel_waiting: register.gauges(
                "auditrelay_channel_waiting_bytes",
                "What waits for a channel, as stored.",
                &["channel"],
            )?,
            channel_max: register.gauge(
                "auditrelay_channel_bytes_max",
                "What may wait for each channel, queue.channel_bytes_max.",
            )?,
            dead: register.gauge("auditrelay_dead_bytes", "Dead letters, as stored.")?,
            quarantine: register.gauge(
                "auditrelay_quarantine_bytes",
                "Items that could not be read, as stored.",
            )?,
            detail: register.gauge(
                "auditrelay_detail_bytes",
                "What delivered messages stood for, as stored.",
            )?,
            retained: register.gauge(
                "auditrelay_retained_bytes",
                "Routed events that are kept for a replay, as stored.",
            )?,
        })
    }

    /// Copies what holds now. A channel that is known and has nothing waiting has 0 bytes.
    pub(crate) fn copy<'a>(&self, space: &Space, channels: impl Iterator<Item = &'a String>) {
        for (gauge, bytes) in [
            (&self.used, space.used_bytes),
            (&self.used_max, space.bytes_max),
            (&self.disk_free_min, space.disk_free_bytes_min),
            (&self.channel_max, space.channel_bytes_max),
            (&self.dead, space.dead_bytes),
            (&self.quarantine, space.quarantine_bytes),
            (&self.detail, space.detail_bytes),
            (&self.retained, space.retained_bytes),
        ] {
            gauge.set(gauge_value(bytes));
        }
        self.refusing.set(i64::from(space.refusing.is_some()));
        self.disk_free.reset();
        if let Some(bytes) = space.disk_free_bytes {
            let disk_free = self.disk_free.with_label_values(&[] as &[&str]);
            disk_free.set(gauge_value(bytes));
        }
        self.channel_waiting.reset();
        let known = channels.map(|name| (name, &0));
        for (name, bytes) in known.chain(&space.waiting_bytes) {
            let waiting = self.channel_waiting.with_label_values(&[name]);
            waiting.set(gauge_value(*bytes));
        }
    }
}

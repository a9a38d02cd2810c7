//! Whether this replica leads, whether the queue can be reached, and what its inbox holds, as metrics.
//!
//! Contract: the sum of `auditrelay_leader` over all replicas of one queue is 1, but for moments at a change. A relay whose queue is on its own
//! disk is the only one, and leads from its start.

use auditrelay_store::jetstream::InboxHolds;
use prometheus::{GaugeVec, IntCounter, IntGauge, IntGaugeVec, Registry};

use crate::{
    metrics::{Register, gauge_value},
    when::now_unix_ms,
};

#[derive(Clone)]
pub(crate) struct LeaderMetrics {
    leader: IntGauge,
    since: IntGauge,
    changes: IntCounter,
    reachable: IntGauge,
    pub(crate) inbox: InboxMetrics,
}

impl LeaderMetrics {
    /// Registers them, of a replica that does not lead yet; `queue` is the name that those which are one share.
    ///
    /// # Errors
    /// A name is taken.
    pub(crate) fn new(registry: &Registry, queue: &str) -> Result<Self, prometheus::Error> {
        let register = Register(registry);
        let leader = register.gauges(
            "auditrelay_leader",
            "1 while this replica leads: it routes, posts and answers commands.",
            &["queue"],
        )?;
        let changes = IntCounter::new(
            "auditrelay_leader_changes_total",
            "How often this replica began to lead.",
        )?;
        registry.register(Box::new(changes.clone()))?;
        Ok(Self {
            leader: leader.with_label_values(&[queue]),
            since: register.gauge(
                "auditrelay_leader_since_timestamp_seconds",
                "When this replica began to lead; 0 while it does not.",
            )?,
            changes,
            reachable: register.gauge(
                "auditrelay_queue_reachable",
                "1 while the queue can be reached: that on a disk always.",
            )?,
            inbox: InboxMetrics::new(&register, queue)?,
        })
    }

    /// This replica leads from now on.
    pub(crate) fn begins(&self) {
        // Whoever sees that it leads sees since when.
        self.since.set(now_unix_ms() / 1_000);
        self.changes.inc();
        self.leader.set(1);
    }

    /// It leads no more.
    pub(crate) fn ends(&self) {
        self.leader.set(0);
        self.since.set(0);
    }

    /// Whether the queue can be reached.
    pub(crate) fn reaches(&self, is_reachable: bool) {
        self.reachable.set(i64::from(is_reachable));
    }
}

/// Gauges of the inbox; without a series where there is none, and while it is not known what it holds.
#[derive(Clone)]
pub(crate) struct InboxMetrics {
    queue: String,
    bytes: IntGaugeVec,
    bytes_max: IntGaugeVec,
    messages: IntGaugeVec,
    oldest_age: GaugeVec,
}

impl InboxMetrics {
    fn new(register: &Register<'_>, queue: &str) -> Result<Self, prometheus::Error> {
        let labels = &["queue"];
        Ok(Self {
            queue: queue.to_owned(),
            bytes: register.gauges(
                "auditrelay_inbox_bytes",
                "Batches that relays acknowledged and the one that leads has not taken over.",
                labels,
            )?,
            bytes_max: register.gauges(
                "auditrelay_inbox_bytes_max",
                "What the inbox takes at most.",
                labels,
            )?,
            messages: register.gauges(
                "auditrelay_inbox_messages",
                "Messages in the inbox.",
                labels,
            )?,
            oldest_age: register.float_gauges(
                "auditrelay_inbox_oldest_age_seconds",
                "How long the oldest message has been in the inbox; 0 when it is empty.",
                labels,
            )?,
        })
    }

    /// Copies what was last said.
    pub(crate) fn copy(&self, holds: Option<InboxHolds>) {
        let queue = &[self.queue.as_str()];
        let Some(holds) = holds else {
            for gauges in [&self.bytes, &self.bytes_max, &self.messages] {
                gauges.reset();
            }
            self.oldest_age.reset();
            return;
        };
        for (gauges, value) in [
            (&self.bytes, holds.bytes),
            (&self.bytes_max, holds.bytes_max),
            (&self.messages, holds.messages),
        ] {
            gauges.with_label_values(queue).set(gauge_value(value));
        }
        let oldest_age = self.oldest_age.with_label_values(queue);
        oldest_age.set(holds.oldest_age.as_secs_f64());
    }
}

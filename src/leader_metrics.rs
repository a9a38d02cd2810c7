//! Whether this replica leads, and whether the queue can be reached, as metrics.
//!
//! Contract: the sum of `auditrelay_leader` over all replicas is 1, but for moments at a change. A relay whose queue is on its own
//! disk is the only one, and leads from its start.

use prometheus::{IntCounter, IntGauge, Registry};

use crate::metrics::Register;

#[derive(Clone)]
pub(crate) struct LeaderMetrics {
    leader: IntGauge,
    changes: IntCounter,
    reachable: IntGauge,
}

impl LeaderMetrics {
    /// Registers them, of a replica that does not lead yet.
    ///
    /// # Errors
    /// A name is taken.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let register = Register(registry);
        let changes = IntCounter::new(
            "auditrelay_leader_changes_total",
            "How often this replica began to lead.",
        )?;
        registry.register(Box::new(changes.clone()))?;
        Ok(Self {
            leader: register.gauge(
                "auditrelay_leader",
                "1 while this replica leads: it routes, posts and answers commands.",
            )?,
            changes,
            reachable: register.gauge(
                "auditrelay_queue_reachable",
                "1 while the queue can be reached: that on a disk always.",
            )?,
        })
    }

    /// This replica leads from now on.
    pub(crate) fn begins(&self) {
        self.leader.set(1);
        self.changes.inc();
    }

    /// It leads no more.
    pub(crate) fn ends(&self) {
        self.leader.set(0);
    }

    /// Whether the queue can be reached.
    pub(crate) fn reaches(&self, is_reachable: bool) {
        self.reachable.set(i64::from(is_reachable));
    }
}

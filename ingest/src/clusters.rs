//! What metrics tell of each cluster: when it was heard of last, and whether requests of it vanish.

use std::time::SystemTime;

use auditrelay_config::{ClusterLabels, Config};
use prometheus::{IntGaugeVec, Opts, Registry};

use crate::gaps::Gaps;

/// Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct ClusterMetrics {
    labels: ClusterLabels,
    last_event: IntGaugeVec,
    pub(crate) gaps: Gaps,
}

impl ClusterMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = ClusterLabels::default();
        let last_event = Opts::new(
            "auditrelay_cluster_last_event_timestamp_seconds",
            "When an event of the cluster was made durable last, Unix time; 0 before the first.",
        );
        let metrics = Self {
            gaps: Gaps::new(labels.clone())?,
            last_event: IntGaugeVec::new(last_event, &["cluster"])?,
            labels,
        };
        registry.register(Box::new(metrics.last_event.clone()))?;
        registry.register(Box::new(metrics.gaps.clone()))?;
        metrics.show(&[]);
        Ok(metrics)
    }

    /// From now on clusters that this configuration names have series of their own.
    pub(crate) fn tell_apart(&self, config: &Config) {
        if config.queue.jetstream.is_some() {
            self.gaps.sees_a_part();
        }
        let gone = self.labels.replace(config);
        self.show(&gone);
    }

    fn show(&self, gone: &[String]) {
        for label in gone {
            // One that was never there needs no removal.
            let _ = self.last_event.remove_label_values(&[label]);
        }
        for label in self.labels.all() {
            self.last_event.with_label_values(&[&label]);
        }
        self.gaps.show(gone);
    }

    /// Events of a cluster are durable.
    pub(crate) fn heard_of(&self, cluster: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs() as i64);
        let last_event = self
            .last_event
            .with_label_values(&[self.labels.of(cluster)]);
        last_event.set(seconds);
    }
}

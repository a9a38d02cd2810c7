//! How many events of each cluster are new, and how many were received before: only the router knows.

use auditrelay_config::{ClusterLabels, Config};
use auditrelay_store::RoutedBlock;
use prometheus::{IntCounterVec, Opts, Registry};

/// Clones share the counts.
#[derive(Clone)]
pub struct ClusterCounts {
    labels: ClusterLabels,
    events: IntCounterVec,
}

const OUTCOMES: [&str; 2] = ["new", "duplicate"];

impl ClusterCounts {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let events = Opts::new(
            "auditrelay_cluster_events_total",
            "Items of lists of a cluster, by whether they were received before.",
        );
        let counts = Self {
            labels: ClusterLabels::default(),
            events: IntCounterVec::new(events, &["cluster", "outcome"])?,
        };
        registry.register(Box::new(counts.events.clone()))?;
        counts.show();
        Ok(counts)
    }

    /// From now on clusters that this configuration names have series of their own.
    pub fn tell_apart(&self, config: &Config) {
        for label in self.labels.replace(config) {
            for outcome in OUTCOMES {
                // One that was never there needs no removal.
                let _ = self.events.remove_label_values(&[&label, outcome]);
            }
        }
        self.show();
    }

    fn show(&self) {
        for label in self.labels.all() {
            for outcome in OUTCOMES {
                self.events.with_label_values(&[&label, outcome]);
            }
        }
    }

    /// Counts a block of so many items.
    pub(crate) fn count(&self, cluster: &str, items: usize, routed: &RoutedBlock) {
        let label = self.labels.of(cluster);
        let duplicates = routed.counts.duplicates;
        let new = (items as u64).saturating_sub(duplicates);
        for (outcome, events) in OUTCOMES.into_iter().zip([new, duplicates]) {
            self.events
                .with_label_values(&[label, outcome])
                .inc_by(events);
        }
    }
}

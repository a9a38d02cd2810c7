//! The clusters that metrics tell apart.
//!
//! Contract: a label is a name that the configuration holds, or [`ClusterLabels::OTHER`]. Whoever posts may name any
//! cluster in the path, so what a request says is no label.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use crate::Config;

/// Names that are labels; clones share them.
#[derive(Debug, Clone, Default)]
pub struct ClusterLabels(Arc<RwLock<Names>>);

#[derive(Debug, Default)]
struct Names {
    names: BTreeSet<String>,
    changes: u64,
}

impl ClusterLabels {
    /// What all others are called.
    pub const OTHER: &'static str = "other";

    /// Those of a configuration: the relay's own, those of clients and of log files, and `metrics.clusters`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let labels = Self::default();
        labels.replace(config);
        labels
    }

    /// From now on those of this configuration count; says which went.
    pub fn replace(&self, config: &Config) -> Vec<String> {
        let clients = config.clients.iter();
        let clients = clients.filter_map(|client| client.cluster.as_ref());
        let files = config.inputs.log_file.iter();
        let files = files.filter_map(|file| file.cluster.as_ref());
        let own = std::iter::once(&config.cluster);
        let all = own
            .chain(clients)
            .chain(files)
            .chain(&config.metrics.clusters);
        self.set(all.map(ToString::to_string))
    }

    /// The same of these names.
    pub fn set(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let names: BTreeSet<String> = names.into_iter().collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.names == names {
            return Vec::new();
        }
        let gone = known.names.difference(&names).cloned().collect();
        known.names = names;
        known.changes += 1;
        gone
    }

    /// The label of a cluster.
    #[must_use]
    pub fn of<'a>(&self, cluster: &'a str) -> &'a str {
        if self.known().names.contains(cluster) {
            cluster
        } else {
            Self::OTHER
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let mut all = self.known().names.clone();
        all.insert(Self::OTHER.to_owned());
        all.into_iter().collect()
    }

    /// How often they changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.known().changes
    }

    fn known(&self) -> RwLockReadGuard<'_, Names> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_configuration_is_its_own_label_and_any_other_is_none() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let labels = ClusterLabels::default();
        assert_eq!(labels.set(names(&["home", "prod-eu"])), [""; 0]);
        assert_eq!(labels.all(), ["home", "other", "prod-eu"]);
        assert_eq!(labels.of("prod-eu"), "prod-eu");
        assert_eq!(labels.of("home"), "home");
        for any in ["prod", "prod-eu-1", "", "other"] {
            assert_eq!(labels.of(any), "other", "{any}");
        }
        let shared = labels.clone();
        let dev = names(&["home", "dev"]);
        assert_eq!(labels.set(dev.clone()), ["prod-eu"]);
        assert_eq!(labels.set(dev), [""; 0]);
        assert_eq!((shared.of("prod-eu"), shared.of("dev")), ("other", "dev"));
        assert_eq!(shared.changes(), 2);
    }
}

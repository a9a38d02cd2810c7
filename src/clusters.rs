//! Which clusters metrics tell apart, as the configuration in use has it.

use std::sync::Arc;

use auditrelay_config::Config;
use tokio::sync::watch;

/// Both halves that count by cluster.
#[derive(Clone)]
pub(crate) struct Clusters {
    pub(crate) ingest: auditrelay_ingest::Metrics,
    pub(crate) dispatch: auditrelay_dispatch::Metrics,
}

impl Clusters {
    pub(crate) fn tell_apart(&self, config: &Config) {
        self.ingest.tell_apart(config);
        self.dispatch.clusters.tell_apart(config);
    }

    /// Those of each configuration that comes into use.
    pub(crate) async fn follow(self, mut changes: watch::Receiver<Arc<Config>>) {
        while changes.changed().await.is_ok() {
            let config = Arc::clone(&changes.borrow_and_update());
            self.tell_apart(&config);
        }
    }
}

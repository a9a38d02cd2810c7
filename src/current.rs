//! The configuration that counts now: what a reload replaces, and whoever asks later than at the start looks at.
//!
//! A part of the relay that follows its own keys takes [`Current::changes`] and compares what it needs of each
//! configuration with what it has: a reload tells everybody, whatever changed. What counts only after a restart is as
//! it was at the start in every one of them.

use std::sync::Arc;

use auditrelay_config::Config;
use tokio::sync::watch;

/// The configuration in use; clones see the same one.
#[derive(Clone)]
pub(crate) struct Current(Arc<watch::Sender<Arc<Config>>>);

impl Current {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self(Arc::new(watch::Sender::new(config)))
    }

    pub(crate) fn load(&self) -> Arc<Config> {
        Arc::clone(&self.0.borrow())
    }

    /// Every configuration that is in use from now on; the last one, where several came meanwhile.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Config>> {
        self.0.subscribe()
    }

    /// Replaces it, and tells everybody.
    pub(crate) fn replace(&self, config: Arc<Config>) {
        self.0.send_replace(config);
    }
}

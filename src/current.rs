//! The configuration that counts now: what a reload replaces, and whoever asks later than at the start looks at.

use std::sync::Arc;

use arc_swap::ArcSwap;
use auditrelay_config::Config;

/// The configuration in use; clones see the same one.
#[derive(Clone)]
pub(crate) struct Current(Arc<ArcSwap<Config>>);

impl Current {
    pub(crate) fn new(config: Config) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    pub(crate) fn load(&self) -> Arc<Config> {
        self.0.load_full()
    }
}

//! What never reaches the disk, beside what never does anyway.

use serde::{Deserialize, Serialize};

use crate::route::RouteResources;

/// What is taken out of events before they are stored, beside what always is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedactionConfig {
    /// Resources whose bodies lose their values, as those of secrets do.
    pub resources: Vec<RouteResources>,
    /// Whether values of environment variables in pods and their templates are taken out.
    pub environment: bool,
}

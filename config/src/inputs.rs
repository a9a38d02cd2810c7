//! Events from elsewhere than the webhook.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::names::ClusterName;
use crate::text;

/// Every input beside the webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputsConfig {
    /// Files that the API server's log backend writes.
    pub log_file: Vec<LogFileConfig>,
}

/// Files of one cluster, which are followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFileConfig {
    /// A path; `*`, `?` and `[…]` stand for what is in file names.
    #[serde(deserialize_with = "text::read")]
    pub path: PathBuf,
    /// The cluster that writes them; the relay's own if it is left out.
    #[serde(default)]
    pub cluster: Option<ClusterName>,
}

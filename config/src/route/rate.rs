//! Rates: a route for what happens too often.

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;

/// Only events beyond so many within a time, by the same who or what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateConfig {
    /// So many events are passed over; those beyond it match.
    pub more_than: Bounded<1, 1_000_000>,
    /// The time that they are counted in.
    pub within_seconds: Bounded<1, 86_400>,
    /// What events are counted together by; the cluster always. None: all that match.
    #[serde(default)]
    pub by: Vec<RateBy>,
}

/// What events are counted together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RateBy {
    /// Who asked.
    User,
    /// The address of the API server's own peer (the last of `sourceIPs`, which no client can choose).
    SourceIP,
    /// The namespace.
    Namespace,
    /// API group, resource and subresource.
    Resource,
    /// The verb.
    Verb,
}

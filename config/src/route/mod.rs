//! Routes: which events go to which channel.
//!
//! Contract: the match fields are those of a rule of a Kubernetes audit policy, under the same names
//! and with the same validation (`fault.rs`), so that a rule can be copied from one, and more that only an event
//! has (`values.rs`). A field left out matches everything.

pub(crate) mod fault;
#[macro_use]
mod matching;
mod one_or_more;
pub(crate) mod open;
mod rate;
mod values;

use auditrelay_audit::policy::GroupResources;
use auditrelay_audit::{Severity, redact::Bodies};
use serde::{Deserialize, Deserializer, Serialize};

use crate::names::{ChannelName, RouteName};
use crate::text::{self, FromText};

pub use matching::MatchConfig;
pub use one_or_more::OneOrMore;
pub use rate::{RateBy, RateConfig};
pub use values::{CodesConfig, GlobConfig, ImpersonatedConfig, NetworkConfig};

with_match! {
    /// Events that match go to `channel`, or nowhere.
    pub struct RouteConfig {
        /// The route's name, unique among routes.
        pub name: RouteName,
        /// Where matching events go: one or more; none exactly where `level` says so.
        #[serde(default)]
        pub channel: OneOrMore<ChannelName>,
        /// `None`: matching events go to no channel.
        #[serde(default)]
        pub level: Option<RouteLevel>,
        /// How matching events are marked.
        #[serde(default)]
        pub severity: Severity,
        /// Whether the routes behind this one are asked too.
        #[serde(default, rename = "continue")]
        pub continues: bool,
        /// Only events that are too many.
        #[serde(default)]
        pub rate: Option<RateConfig>,
        /// Only events whose audit ID and stage another event had before.
        #[serde(default, rename = "auditIDReused")]
        pub audit_id_reused: bool,
        /// What is stored of matching events' bodies.
        #[serde(default)]
        pub bodies: Bodies,
        /// A template in place of the sentence that an event is told in.
        #[serde(default)]
        pub template: Option<String>,
        /// Links to show with an event that is told in a sentence.
        #[serde(default)]
        pub links: Vec<LinkConfig>,
        /// A template of a command line to show with it.
        #[serde(default)]
        pub command: Option<String>,
    }
}

/// What a route may say as its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RouteLevel {
    /// Matching events go to no channel.
    None,
}

impl FromText for RouteLevel {
    const EXPECTED: &'static str =
        "None, which means no channel (to take events of some audit levels only use levels)";

    fn from_text(text: &str) -> Option<Self> {
        (text == "None").then_some(Self::None)
    }
}

impl<'de> Deserialize<'de> for RouteLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer)
    }
}

/// A link, such as to a runbook or a dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// What it is called.
    pub text: String,
    /// A template of its URL.
    pub url: String,
}

/// Resources of one API group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteResources {
    /// The API group; the empty string is the core group, `*` any.
    #[serde(default)]
    pub group: String,
    /// Resources such as `pods`, `pods/log`, `pods/*` and `*/scale`; none means all.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Names of objects; needs `resources`.
    #[serde(default)]
    pub resource_names: Vec<String>,
}

impl RouteResources {
    /// What an event's object must be to match.
    #[must_use]
    pub fn matched(&self) -> GroupResources {
        GroupResources {
            group: self.group.clone(),
            resources: self.resources.clone(),
            resource_names: self.resource_names.clone(),
        }
    }
}

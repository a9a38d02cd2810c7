//! Routes: which events go to which channel.
//!
//! Contract: the match fields are those of a rule of a Kubernetes audit policy, under the same names
//! and with the same validation ([`fault`]), so that a rule can be copied from one. A field left out
//! matches everything.

#[macro_use]
mod matching;
mod one_or_more;
mod rate;

use auditrelay_audit::policy::GroupResources;
use auditrelay_audit::{Severity, redact::Bodies};
use serde::{Deserialize, Serialize};

use crate::names::{ChannelName, RouteName};

pub use matching::MatchConfig;
pub use one_or_more::OneOrMore;
pub use rate::{RateBy, RateConfig};

/// Longest DNS subdomain, in characters (RFC 1123), which an API group is.
const GROUP_CHARACTERS_MAX: usize = 253;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteLevel {
    /// Matching events go to no channel.
    None,
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

/// What is wrong with a route as a rule: the key within the route, and the problem.
///
/// These are the checks of `ValidatePolicy` in `k8s.io/apiserver/pkg/apis/audit/validation`.
pub(crate) fn fault(route: &RouteConfig) -> Option<(String, String)> {
    let urls = route
        .non_resource_urls
        .iter()
        .enumerate()
        .find_map(|(index, url)| {
            url_fault(url).map(|problem| (format!("nonResourceURLs[{index}]"), problem))
        });
    let resources = || resources_fault(&route.resources);
    urls.or_else(resources)
        .or_else(|| both_kinds_fault(route))
        .or_else(|| destination_fault(route))
}

fn destination_fault(route: &RouteConfig) -> Option<(String, String)> {
    let problem = match (route.level, route.channel.is_empty()) {
        (None, true) => {
            "is missing, expected a channel, or level: None beside the name for none at all"
        }
        (Some(RouteLevel::None), false) => {
            "expected none beside level: None, which is for no channel at all"
        }
        _ => return None,
    };
    Some(("channel".to_owned(), problem.to_owned()))
}

fn url_fault(url: &str) -> Option<String> {
    if url == "*" {
        return None;
    }
    if !url.starts_with('/') {
        return Some(format!(
            "found {url:?}, expected a path that starts with / (or * alone)"
        ));
    }
    let star = url.find('*')?;
    (star + 1 < url.len()).then(|| format!("found {url:?}, expected * as the last character only"))
}

/// What is wrong with a list called `resources`.
pub(crate) fn resources_fault(list: &[RouteResources]) -> Option<(String, String)> {
    list.iter().enumerate().find_map(|(index, resources)| {
        group_fault(resources).map(|(key, problem)| (format!("resources[{index}].{key}"), problem))
    })
}

fn group_fault(resources: &RouteResources) -> Option<(&'static str, String)> {
    // Kubernetes has no `*` here; the matcher gives it the meaning it has in RBAC.
    if !matches!(resources.group.as_str(), "" | "*") && !is_dns_subdomain(&resources.group) {
        let problem = format!(
            "found {:?}, expected an API group in lower case such as apps, without its version \
             (\"\" is the core group, * is any)",
            resources.group
        );
        return Some(("group", problem));
    }
    (!resources.resource_names.is_empty() && resources.resources.is_empty()).then(|| {
        (
            "resourceNames",
            "expected at least one entry in resources beside it".to_owned(),
        )
    })
}

fn both_kinds_fault(route: &RouteConfig) -> Option<(String, String)> {
    let of_resources = !route.resources.is_empty() || !route.namespaces.is_empty();
    (of_resources && !route.non_resource_urls.is_empty()).then(|| {
        let problem = "a route cannot have both nonResourceURLs and resources or namespaces";
        ("nonResourceURLs".to_owned(), problem.to_owned())
    })
}

fn is_dns_subdomain(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= GROUP_CHARACTERS_MAX && text.split('.').all(is_label)
}

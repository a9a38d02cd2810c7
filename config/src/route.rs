//! Routes: which events go to which channel.
//!
//! Contract: the match fields are those of a rule of a Kubernetes audit policy, under the same names
//! and with the same validation ([`fault`]), so that a rule can be copied from one. A field left out
//! matches everything.

use auditrelay_audit::policy::{GroupResources, Matcher};
use auditrelay_audit::{Level, Severity, Stage, redact::Bodies};
use serde::{Deserialize, Serialize};

use crate::names::{ChannelName, RouteName};

/// Longest DNS subdomain, in characters (RFC 1123), which an API group is.
const GROUP_CHARACTERS_MAX: usize = 253;

/// Events that match go to `channel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteConfig {
    /// The route's name, unique among routes.
    pub name: RouteName,
    /// Where matching events go.
    pub channel: ChannelName,
    /// How matching events are marked.
    #[serde(default)]
    pub severity: Severity,
    /// Names of users.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, of which the user is in at least one.
    #[serde(default)]
    pub user_groups: Vec<String>,
    /// Verbs such as `get` and `create`.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Resources by API group.
    #[serde(default)]
    pub resources: Vec<RouteResources>,
    /// Namespaces; the empty string is that of resources without one.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Paths of requests that are not about resources; a `*` at the end matches any rest.
    #[serde(default, rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
    /// Stages of a request.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// Audit levels.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// What is stored of matching events' bodies.
    #[serde(default)]
    pub bodies: Bodies,
    /// Links to show with an event that is told in a sentence.
    #[serde(default)]
    pub links: Vec<LinkConfig>,
    /// A template of a command line to show with it.
    #[serde(default)]
    pub command: Option<String>,
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

impl RouteConfig {
    /// What an event must be to match.
    #[must_use]
    pub fn matcher(&self) -> Matcher {
        Matcher {
            users: self.users.clone(),
            user_groups: self.user_groups.clone(),
            verbs: self.verbs.clone(),
            resources: self.resources.iter().map(RouteResources::matched).collect(),
            namespaces: self.namespaces.clone(),
            non_resource_urls: self.non_resource_urls.clone(),
            stages: self.stages.clone(),
            levels: self.levels.clone(),
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
    urls.or_else(resources).or_else(|| both_kinds_fault(route))
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

//! What is wrong with a match, or with a route as a whole, though each value may stand where it does.

use super::{ImpersonatedConfig, NetworkConfig, RouteConfig, RouteLevel, RouteResources};

/// Longest DNS subdomain, in characters (RFC 1123), which an API group is.
const GROUP_CHARACTERS_MAX: usize = 253;

/// The keys that faults of a match are about.
pub(crate) struct Keys<'a> {
    pub(crate) resources: &'a [RouteResources],
    pub(crate) namespaces: &'a [String],
    pub(crate) non_resource_urls: &'a [String],
    pub(crate) source_ips: &'a [NetworkConfig],
    pub(crate) impersonated: Option<&'a ImpersonatedConfig>,
}

/// What is wrong with a match: the key within it, and the problem.
///
/// These are the checks of `ValidatePolicy` in `k8s.io/apiserver/pkg/apis/audit/validation`, and one of networks.
pub(crate) fn of_match(keys: &Keys<'_>) -> Option<(String, String)> {
    let urls = keys
        .non_resource_urls
        .iter()
        .enumerate()
        .find_map(|(index, url)| {
            url_fault(url).map(|problem| (format!("nonResourceURLs[{index}]"), problem))
        });
    urls.or_else(|| of_resources(keys.resources))
        .or_else(|| both_kinds_fault(keys))
        .or_else(|| network_fault(keys.source_ips))
        .or_else(|| keys.impersonated.and_then(nobody_fault))
}

fn nobody_fault(impersonated: &ImpersonatedConfig) -> Option<(String, String)> {
    let names_some = !impersonated.users.is_empty() || !impersonated.user_groups.is_empty();
    (impersonated.nobody && names_some).then(|| {
        let problem =
            "cannot stand beside users or userGroups: nobody is none of them; leave out one or the other";
        ("impersonated.nobody".to_owned(), problem.to_owned())
    })
}

/// What is wrong with a route.
pub(crate) fn of_route(route: &RouteConfig) -> Option<(String, String)> {
    of_match(&route.rule_keys())
        .or_else(|| destination_fault(route))
        .or_else(|| level_none_fault(route))
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

/// What a route that silences cannot have: what is of no use to it, and what would let somebody hide.
fn level_none_fault(route: &RouteConfig) -> Option<(String, String)> {
    route.level?;
    let nothing_is_told = "is of no use beside level: None, where nothing is told";
    let refused = [
        (
            "continue",
            route.continues,
            "is of no use beside level: None: what such a route takes is filtered, whatever the routes behind it say",
        ),
        (
            "rate",
            route.rate.is_some(),
            "cannot stand beside level: None: whoever makes enough noise would be silenced from then on (what \
             is too much for a channel becomes a digest by itself)",
        ),
        (
            "auditIDReused",
            route.audit_id_reused,
            "cannot stand beside level: None: whoever uses an audit ID again could hide with it",
        ),
        (
            "risks",
            !route.risks.is_empty(),
            "cannot stand beside level: None: a body that cannot be read counts as every risk, so whoever sends \
             one could hide",
        ),
        ("template", route.template.is_some(), nothing_is_told),
        ("links", !route.links.is_empty(), nothing_is_told),
        ("command", route.command.is_some(), nothing_is_told),
    ];
    let found = refused.into_iter().find(|(_, is_set, _)| *is_set);
    found.map(|(key, _, problem)| (key.to_owned(), problem.to_owned()))
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
pub(crate) fn of_resources(list: &[RouteResources]) -> Option<(String, String)> {
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

fn both_kinds_fault(route: &Keys<'_>) -> Option<(String, String)> {
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

fn network_fault(networks: &[NetworkConfig]) -> Option<(String, String)> {
    networks.iter().enumerate().find_map(|(index, network)| {
        let usual = network.0.truncated()?;
        let problem = format!(
            "found {:?}, an address with the length of a network's prefix, expected the network, {usual}, or the \
             address alone",
            network.0.to_string()
        );
        Some((format!("sourceIPs[{index}]"), problem))
    })
}

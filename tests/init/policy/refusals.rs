//! What an API server says of a policy before it starts. A policy that it refuses is an API server that does not run.

use super::{POLICY, Policy, policy};
use crate::yaml;

const STAGES: [&str; 4] = [
    "RequestReceived",
    "ResponseStarted",
    "ResponseComplete",
    "Panic",
];
const LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];

/// What no version of Kubernetes that knows `audit.k8s.io/v1` minds in the name of a group: the core group, or a
/// DNS subdomain. Patterns are of v1.36; every API server before refuses them, and does not start.
fn is_group(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        label.bytes().all(|byte| is_plain(byte) || byte == b'-')
            && label.bytes().next().is_some_and(is_plain)
            && label.bytes().next_back().is_some_and(is_plain)
    };
    name.is_empty() || (name.len() <= 253 && name.split('.').all(is_label))
}

/// What an API server says of a policy before it starts, field by field; nothing if it takes it.
fn refusals(policy: &Policy) -> Vec<String> {
    let mut all = Vec::new();
    let mut unless = |is_fine: bool, field: String| {
        if !is_fine {
            all.push(field);
        }
    };
    let are_stages = |stages: &[String]| stages.iter().all(|one| STAGES.contains(&&**one));
    unless(
        (&*policy.api_version, &*policy.kind) == ("audit.k8s.io/v1", "Policy"),
        "apiVersion and kind".into(),
    );
    unless(are_stages(&policy.omit_stages), "omitStages".into());
    unless(!policy.rules.is_empty(), "rules".into());
    for (place, rule) in policy.rules.iter().enumerate() {
        let field = |name: &str| format!("rules[{place}].{name}");
        unless(LEVELS.contains(&&*rule.level), field("level"));
        unless(are_stages(&rule.omit_stages), field("omitStages"));
        for entry in &rule.resources {
            unless(is_group(&entry.group), field("resources.group"));
            let is_bare = entry.resources.is_empty() && !entry.resource_names.is_empty();
            unless(!is_bare, field("resources.resourceNames"));
        }
        let urls = &rule.non_resource_urls;
        for url in urls.iter().filter(|url| *url != "*") {
            let is_prefix = url.strip_suffix('*').unwrap_or(url);
            let is_fine = url.starts_with('/') && !is_prefix.contains('*');
            unless(is_fine, field("nonResourceURLs"));
        }
        let is_of_urls = rule.resources.is_empty() && rule.namespaces.is_empty();
        unless(
            urls.is_empty() || is_of_urls,
            field("resources and nonResourceURLs"),
        );
    }
    all
}

/// The checks can fail: each of these is what an API server refuses to start with.
#[test]
fn what_an_api_server_refuses_is_noticed() {
    assert!(refusals(&policy()).is_empty(), "{:?}", refusals(&policy()));
    for (old, new, field) in [
        ("group: apps", "group: \"*\"", "resources.group"),
        ("group: apps", "group: apps/v1", "resources.group"),
        ("group: apps", "group: Apps", "resources.group"),
        ("group: apps", "group: -apps", "resources.group"),
        (
            "resources: [leases]",
            "resourceNames: [leases]",
            "resourceNames",
        ),
        ("[/healthz*, ", "[healthz, ", "nonResourceURLs"),
        ("[/healthz*, ", "[/*/healthz, ", "nonResourceURLs"),
        (
            "nonResourceURLs: [/healthz*",
            "namespaces: [kube-system]\n    nonResourceURLs: [/healthz*",
            "nonResourceURLs",
        ),
        ("level: Request\n", "level: request\n", "level"),
        ("[RequestReceived]", "[Received]", "omitStages"),
        ("audit.k8s.io/v1", "audit.k8s.io/v1beta1", "apiVersion"),
    ] {
        let broken = POLICY.replacen(old, new, 1);
        assert_ne!(broken, POLICY, "{old}");
        let refused = refusals(&yaml(&broken));
        assert!(
            !refused.is_empty() && refused.iter().all(|one| one.contains(field)),
            "{new}: {refused:?}"
        );
    }
}

//! Values that match nothing, or not what they look like.

use auditrelay_audit::policy::Rule;

use super::{Report, Weight};
use crate::output::line;

const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];
/// What Kubernetes calls a request that is not about a resource, or about one in a way of its own.
const OTHER_VERBS: [&str; 16] = [
    "post",
    "put",
    "head",
    "options",
    "connect",
    "trace",
    "",
    "proxy",
    "bind",
    "escalate",
    "impersonate",
    "use",
    "approve",
    "sign",
    "attest",
    "redirect",
];
/// Resources that are looked for in the wrong group most often, with their group.
const GROUPS: [(&str, &str); 27] = [
    ("pods", ""),
    ("secrets", ""),
    ("configmaps", ""),
    ("services", ""),
    ("serviceaccounts", ""),
    ("namespaces", ""),
    ("nodes", ""),
    ("persistentvolumes", ""),
    ("persistentvolumeclaims", ""),
    ("endpoints", ""),
    ("deployments", "apps"),
    ("daemonsets", "apps"),
    ("statefulsets", "apps"),
    ("replicasets", "apps"),
    ("jobs", "batch"),
    ("cronjobs", "batch"),
    ("leases", "coordination.k8s.io"),
    ("roles", "rbac.authorization.k8s.io"),
    ("rolebindings", "rbac.authorization.k8s.io"),
    ("clusterroles", "rbac.authorization.k8s.io"),
    ("clusterrolebindings", "rbac.authorization.k8s.io"),
    ("networkpolicies", "networking.k8s.io"),
    ("tokenreviews", "authentication.k8s.io"),
    ("subjectaccessreviews", "authorization.k8s.io"),
    ("customresourcedefinitions", "apiextensions.k8s.io"),
    ("certificatesigningrequests", "certificates.k8s.io"),
    ("storageclasses", "storage.k8s.io"),
];
/// Groups where clusters once had, or have, resources of these names, too.
const OTHER_GROUPS: [&str; 3] = ["extensions", "metrics.k8s.io", "project.openshift.io"];
const VALUE_CHARS_MAX: usize = 80;

pub(super) fn look(report: &mut Report<'_>) {
    let policy = &report.loaded.policy;
    for (number, rule) in policy.rules.iter().enumerate() {
        let path = format!("rules[{number}]");
        stars(report, rule, &path);
        verbs(report, rule, &path);
        names(report, rule, &path);
        resources(report, rule, &path);
    }
}

/// A star is a pattern in resources and paths only.
fn stars(report: &mut Report<'_>, rule: &Rule, path: &str) {
    let matched = &rule.matched;
    for (field, values) in [
        ("users", &matched.users),
        ("userGroups", &matched.user_groups),
        ("verbs", &matched.verbs),
        ("namespaces", &matched.namespaces),
    ] {
        for (number, value) in values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.contains('*'))
        {
            let what = format!(
                "{} is a name like any other here, no pattern, and {}",
                line(value, VALUE_CHARS_MAX),
                match field {
                    "users" => "hardly any user has it",
                    "userGroups" => "hardly any group has it",
                    _ => "nothing has it",
                }
            );
            let advice = match value.as_str() {
                "*" => format!("take {field} out, which is all of them"),
                _ => "write the names out; groups such as system:serviceaccounts:NAMESPACE stand for many users".to_owned(),
            };
            // Whoever signs users in may give them such names; verbs and namespaces cannot have them.
            let is_certain = matches!(field, "verbs" | "namespaces") && values.len() == 1;
            let weight = match is_certain {
                true => Weight::Error,
                false => Weight::Warning,
            };
            report.add(
                (weight, "star-is-literal"),
                &format!("{path}.{field}[{number}]"),
                what,
                advice,
            );
        }
    }
}

fn verbs(report: &mut Report<'_>, rule: &Rule, path: &str) {
    for (number, verb) in rule.matched.verbs.iter().enumerate() {
        let is_known = VERBS.contains(&verb.as_str()) || OTHER_VERBS.contains(&verb.as_str());
        if is_known || verb.contains('*') {
            continue;
        }
        let what = format!(
            "{} is no verb that requests have",
            line(verb, VALUE_CHARS_MAX)
        );
        let advice = format!("write some of {}", VERBS.join(", "));
        report.add(
            (Weight::Warning, "unknown-verb"),
            &format!("{path}.verbs[{number}]"),
            what,
            advice,
        );
    }
}

/// Users and groups mixed up.
fn names(report: &mut Report<'_>, rule: &Rule, path: &str) {
    const GROUPS: [&str; 6] = [
        "system:authenticated",
        "system:unauthenticated",
        "system:masters",
        "system:nodes",
        "system:serviceaccounts",
        "system:bootstrappers",
    ];
    for (number, user) in rule.matched.users.iter().enumerate() {
        if GROUPS.contains(&user.as_str()) || user.starts_with("system:serviceaccounts:") {
            let what = format!(
                "{} is a group, and no user has that name",
                line(user, VALUE_CHARS_MAX)
            );
            let path = format!("{path}.users[{number}]");
            report.add(
                (Weight::Warning, "group-as-user"),
                &path,
                what,
                "move it to userGroups",
            );
        }
    }
    for (number, group) in rule.matched.user_groups.iter().enumerate() {
        let is_user = ["system:serviceaccount:", "system:node:"]
            .iter()
            .any(|prefix| group.starts_with(prefix))
            || group == "system:anonymous";
        if is_user {
            let what = format!(
                "{} is a user, and no group has that name",
                line(group, VALUE_CHARS_MAX)
            );
            let path = format!("{path}.userGroups[{number}]");
            report.add(
                (Weight::Warning, "user-as-group"),
                &path,
                what,
                "move it to users",
            );
        }
    }
}

fn resources(report: &mut Report<'_>, rule: &Rule, path: &str) {
    for (number, group) in rule.matched.resources.iter().enumerate() {
        let path = format!("{path}.resources[{number}]");
        for (number, pattern) in group.resources.iter().enumerate() {
            let path = format!("{path}.resources[{number}]");
            let shown = line(pattern, VALUE_CHARS_MAX);
            let mut parts = pattern.split('/');
            let (left, right) = (parts.next().unwrap_or_default(), parts.next());
            let is_pattern = |part: &str| part == "*" || !part.contains('*');
            let is_odd = left.is_empty()
                || right == Some("")
                || parts.next().is_some()
                || !is_pattern(left)
                || !right.is_none_or(is_pattern)
                || pattern == "*/*"
                || pattern.chars().any(|character| character.is_uppercase());
            if is_odd {
                report.add(
                    (Weight::Warning, "matches-nothing"),
                    &path,
                    format!("{shown} is the name of no resource, and no pattern"),
                    "write pods, pods/log, pods/*, */status or *, in lower case and plural",
                );
            }
            let known = GROUPS.iter().find(|(name, _)| *name == left);
            if let Some((_, right_group)) = known
                && group.group != *right_group
                && group.group != "*"
                && !OTHER_GROUPS.contains(&group.group.as_str())
                && is_of_kubernetes(&group.group)
            {
                let quoted = |group: &str| match group {
                    "" => "the core group (\"\")".to_owned(),
                    group => format!("group {}", line(group, VALUE_CHARS_MAX)),
                };
                let what = format!("{shown} is not in {}", quoted(&group.group));
                let advice = format!("write it under {}", quoted(right_group));
                report.add((Weight::Warning, "wrong-group"), &path, what, advice);
            }
        }
        // A list, a watch and a deletecollection have the name that a field selector asks for (metadata.name=a).
        let is_create = |verb: &String| verb == "create";
        let verbs = &rule.matched.verbs;
        let has_name =
            !group.resource_names.is_empty() && !group.resource_names.iter().any(String::is_empty);
        let has_subresource = group
            .resources
            .iter()
            .any(|pattern| pattern.contains('/') || pattern == "*");
        if has_name && !has_subresource && !verbs.is_empty() && verbs.iter().all(is_create) {
            report.add(
                (Weight::Warning, "matches-nothing"),
                &format!("{path}.resourceNames"),
                "what is created has no name in its URL, so no request is one of these",
                "take resourceNames out, or take verbs in that name an object",
            );
        }
    }
}

/// Groups of custom resources may have resources of any name.
fn is_of_kubernetes(group: &str) -> bool {
    GROUPS.iter().any(|(_, known)| *known == group)
}

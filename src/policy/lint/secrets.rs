//! Bodies that are secrets or that are very large.

use std::collections::{BTreeMap, BTreeSet};

use auditrelay_audit::policy::Policy;

use super::{
    Report, Weight,
    requests::{What, ask, everybody, namespaces, writes_bodies},
};

/// A verb on something, and which of its bodies hold what nobody may read: the request's, the answer's.
struct Secret {
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    holds: (bool, bool),
    severity: Weight,
}

const fn secret(
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    holds: (bool, bool),
    severity: Weight,
) -> Secret {
    Secret {
        group,
        resource,
        verb,
        holds,
        severity,
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const SECRETS: [Secret; 14] = [
    secret("", "secrets", "get", (false, true), Weight::Error),
    secret("", "secrets", "list", (false, true), Weight::Error),
    secret("", "secrets", "create", (true, true), Weight::Error),
    secret("", "secrets", "update", (true, true), Weight::Error),
    secret("", "secrets", "patch", (true, true), Weight::Error),
    secret("", "secrets", "delete", (false, true), Weight::Error),
    secret(
        "",
        "serviceaccounts/token",
        "create",
        (false, true),
        Weight::Error,
    ),
    secret(
        AUTHENTICATION,
        "tokenreviews",
        "create",
        (true, true),
        Weight::Error,
    ),
    secret("", "configmaps", "get", (false, true), Weight::Warning),
    secret("", "configmaps", "list", (false, true), Weight::Warning),
    secret("", "configmaps", "create", (true, true), Weight::Warning),
    secret("", "configmaps", "update", (true, true), Weight::Warning),
    secret("", "configmaps", "patch", (true, true), Weight::Warning),
    secret("", "configmaps", "delete", (false, true), Weight::Warning),
];

pub(super) fn look(report: &mut Report<'_>) {
    let policy = &report.loaded.policy;
    let everybody = everybody(policy);
    let mut namespaces = namespaces(policy);
    namespaces.push(String::new());
    // By the rule that decides, and by what it gives away: the verbs.
    let mut found: BTreeMap<(usize, Weight, &str), BTreeSet<&str>> = BTreeMap::new();
    for secret in &SECRETS {
        let is_collection = secret.verb == "list";
        let is_named = secret.verb != "create" || secret.resource.contains('/');
        for who in &everybody {
            for namespace in &namespaces {
                // A list is of a namespace or of all; a token review is in none.
                let is_asked = match (secret.group, is_collection) {
                    (AUTHENTICATION, _) => namespace.is_empty(),
                    (_, true) => true,
                    (_, false) => !namespace.is_empty(),
                };
                if !is_asked {
                    continue;
                }
                let name = if is_named && !is_collection { "a" } else { "" };
                let what = What {
                    group: secret.group,
                    resource: secret.resource,
                    namespace,
                    name,
                };
                let decision = ask(policy, who, secret.verb, what);
                let (request, answer) = writes_bodies(decision.level);
                if let Some(rule) = decision.rule
                    && ((request && secret.holds.0) || (answer && secret.holds.1))
                {
                    let key = (rule, secret.severity, secret.resource);
                    found.entry(key).or_default().insert(secret.verb);
                }
            }
        }
    }
    for ((rule, severity, resource), verbs) in found {
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        let holds = if severity == Weight::Error {
            "passwords and tokens"
        } else {
            "what may be passwords"
        };
        report.add(
            (severity, "secret-bodies"),
            &format!("rules[{rule}].level"),
            format!("bodies of {resource} ({verbs}) are written, and they hold {holds}"),
            format!(
                "right above it put the same rule again with level: Metadata and no other resources than {resource}; if it is for nothing else, write level: Metadata here"
            ),
        );
    }
    large(report);
}

/// Whole lists in answers.
fn large(report: &mut Report<'_>) {
    let policy = &report.loaded.policy;
    let mut found: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for who in everybody(policy) {
        for (group, resource) in [
            ("", "pods"),
            ("", "nodes"),
            ("apps", "deployments"),
            ("example.com", "widgets"),
        ] {
            let what = What {
                group,
                resource,
                namespace: "",
                name: "",
            };
            let decision = ask(policy, &who, "list", what);
            if let (Some(rule), (_, true)) = (decision.rule, writes_bodies(decision.level)) {
                found.entry(rule).or_default().insert(resource);
            }
        }
    }
    for (rule, resources) in found {
        let resources = resources.into_iter().collect::<Vec<_>>().join(", ");
        report.add(
            (Weight::Warning, "whole-lists"),
            &format!("rules[{rule}].level"),
            format!("each list of {resources} is written with all that is in it"),
            lists_alone(policy, rule),
        );
    }
}

/// How a rule keeps all but the lists. The same rule for lists alone takes nothing that this one would not have
/// taken, so rules below it still get what is theirs.
fn lists_alone(policy: &Policy, rule: usize) -> &'static str {
    let verbs = policy
        .rules
        .get(rule)
        .map(|rule| rule.matched.verbs.as_slice());
    match verbs {
        Some([only]) if only == "list" => "write level: Metadata here",
        _ => {
            "right above it put the same rule again (its users, groups, namespaces and resources) with level: Metadata and verbs: [list]"
        }
    }
}

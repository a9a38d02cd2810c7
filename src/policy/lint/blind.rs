//! What leaves no trace though somebody will ask for it.

use std::collections::BTreeMap;

use auditrelay_audit::{
    Level,
    policy::{Decision, GroupResources, Policy, Rule},
};

use super::{
    Report, Weight,
    requests::{What, Who, ask, asker, nobody, person, workload},
};

/// Subresources that do what their resource's own verbs do not.
const SUBRESOURCES: [(&str, &str, &[&str]); 5] = [
    (
        "",
        "pods",
        &[
            "exec",
            "attach",
            "portforward",
            "ephemeralcontainers",
            "eviction",
            "log",
            "proxy",
        ],
    ),
    ("", "services", &["proxy"]),
    ("", "nodes", &["proxy"]),
    ("", "serviceaccounts", &["token"]),
    ("apps", "deployments", &["scale"]),
];

pub(super) fn look(report: &mut Report<'_>) {
    let policy = &report.loaded.policy;
    subresources(report, policy);
    unseen(report, policy);
}

/// A rule writes what is done to `pods`, and nothing writes what the same people do to `pods/exec`.
fn subresources(report: &mut Report<'_>, policy: &Policy) {
    for (number, rule) in policy.rules.iter().enumerate() {
        if rule.level == Level::None {
            continue;
        }
        for (place, entry) in rule.matched.resources.iter().enumerate() {
            for (group, resource, subresources) in SUBRESOURCES {
                let names_it = entry.resources.iter().position(|one| one == resource);
                let Some(position) =
                    names_it.filter(|_| entry.group == group || entry.group == "*")
                else {
                    continue;
                };
                // By the rule above that takes them before this one is asked.
                let mut lost: BTreeMap<Option<usize>, Vec<String>> = BTreeMap::new();
                for subresource in subresources {
                    let asked = decision(policy, rule, entry, group, resource, subresource);
                    let Some(decision) = asked.filter(|one| one.level == Level::None) else {
                        continue;
                    };
                    let above = decision.rule.filter(|by| *by < number);
                    let name = format!("{resource}/{subresource}");
                    if !above.is_some_and(|by| names(policy, by, resource, subresource)) {
                        lost.entry(above).or_default().push(name);
                    }
                }
                for (above, names) in lost {
                    let names = names.join(", ");
                    let (what, advice) = match above {
                        None => (
                            format!(
                                "{resource} does not cover its subresources, and nothing writes {names}"
                            ),
                            format!("add them, or {resource}/* for all of them"),
                        ),
                        Some(by) => (
                            format!(
                                "{resource} is written, and rules[{by}] drops {names} before this rule is asked"
                            ),
                            format!(
                                "put a rule with level: Metadata for them above rules[{by}], unless that is what is meant"
                            ),
                        ),
                    };
                    let path = format!("rules[{number}].resources[{place}].resources[{position}]");
                    let kind = (Weight::Warning, "missing-subresource");
                    report.add(kind, &path, what, advice);
                }
            }
        }
    }
}

/// Whether a rule names a subresource, so that what it does with it is meant.
fn names(policy: &Policy, rule: usize, resource: &str, subresource: &str) -> bool {
    let entries = policy.rules.get(rule).map(|rule| &rule.matched.resources);
    let patterns = entries.into_iter().flatten().flat_map(|one| &one.resources);
    let meant = [
        format!("{resource}/{subresource}"),
        format!("{resource}/*"),
        format!("*/{subresource}"),
    ];
    patterns.into_iter().any(|pattern| meant.contains(pattern))
}

/// What becomes of a subresource, for whom the rule is for; none if its verbs leave it out on purpose.
fn decision(
    policy: &Policy,
    rule: &Rule,
    entry: &GroupResources,
    group: &str,
    resource: &str,
    subresource: &str,
) -> Option<Decision> {
    let first = |list: &[String], other: &str| list.first().map_or(other.to_owned(), Clone::clone);
    let matched = &rule.matched;
    let namespace = match group {
        _ if resource == "nodes" => String::new(),
        _ => first(&matched.namespaces, "shop"),
    };
    // A session is a get or a create, all else is a write.
    let verb = if subresource == "log" || subresource == "proxy" {
        "get"
    } else {
        "create"
    };
    let name = first(&entry.resource_names, "a");
    let resource = format!("{resource}/{subresource}");
    let what = What {
        group,
        resource: &resource,
        namespace: &namespace,
        name: &name,
    };
    let wants = matched.verbs.is_empty() || matched.verbs.iter().any(|one| one == verb);
    wants.then(|| ask(policy, &asker(matched), verb, what))
}

/// What is asked, by whom, and how it is called.
type Sample = (&'static str, Decision);

fn unseen(report: &mut Report<'_>, policy: &Policy) {
    let ask = |who: &Who, verb: &str, group: &str, resource: &str, namespace: &str, name: &str| {
        let what = What {
            group,
            resource,
            namespace,
            name,
        };
        ask(policy, who, verb, what)
    };
    const RBAC: &str = "rbac.authorization.k8s.io";
    let (person, nobody) = (person(), nobody());
    let samples: [Sample; 9] = [
        (
            "exec into pods",
            ask(&person, "create", "", "pods/exec", "shop", "a"),
        ),
        (
            "exec into pods over WebSockets",
            ask(&person, "get", "", "pods/exec", "shop", "a"),
        ),
        (
            "port-forwards",
            ask(&person, "create", "", "pods/portforward", "shop", "a"),
        ),
        (
            "people reading secrets",
            ask(&person, "get", "", "secrets", "shop", "a"),
        ),
        (
            "pods reading secrets",
            ask(&workload(), "list", "", "secrets", "shop", ""),
        ),
        (
            "changes of cluster roles",
            ask(&person, "create", RBAC, "clusterrolebindings", "", ""),
        ),
        (
            "deletions of namespaces",
            ask(&person, "delete", "", "namespaces", "shop", "shop"),
        ),
        (
            "tokens made for service accounts",
            ask(&person, "create", "", "serviceaccounts/token", "shop", "a"),
        ),
        (
            "what is asked without a name",
            ask(&nobody, "list", "", "pods", "shop", ""),
        ),
    ];
    for (rule, names) in by_rule(samples, |level| level == Level::None) {
        let (path, by) = match rule {
            Some(rule) => (format!("rules[{rule}]"), "drops"),
            None => (String::new(), "no rule matches, so nothing is written of"),
        };
        let what = format!("{by} {}", names.join(", "));
        let advice =
            "put a rule with level: Metadata for them above it, unless that is what is meant";
        report.add((Weight::Warning, "leaves-no-trace"), &path, what, advice);
    }
}

/// What was asked, by the rule that decided so.
fn by_rule(
    samples: impl IntoIterator<Item = Sample>,
    is_meant: impl Fn(Level) -> bool,
) -> BTreeMap<Option<usize>, Vec<&'static str>> {
    let mut found: BTreeMap<Option<usize>, Vec<&str>> = BTreeMap::new();
    for (name, decision) in samples {
        if is_meant(decision.level) {
            found.entry(decision.rule).or_default().push(name);
        }
    }
    found
}

//! What leaves no trace though somebody will ask for it, and what fills the log though nobody will.

use std::collections::BTreeMap;

use auditrelay_audit::{
    Level,
    policy::{Decision, GroupResources, Policy, Rule},
};

use super::{
    Report, Weight,
    requests::{What, Who, agent, ask, ask_path, nobody, node, part, person, who, workload},
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
    noise(report, policy);
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
                let is_lost = |subresource: &&&str| {
                    is_lost(policy, rule, entry, group, resource, subresource)
                };
                let lost: Vec<String> = subresources
                    .iter()
                    .filter(is_lost)
                    .map(|subresource| format!("{resource}/{subresource}"))
                    .collect();
                if lost.is_empty() {
                    continue;
                }
                let what = format!(
                    "{resource} does not cover its subresources, and nothing writes {}",
                    lost.join(", ")
                );
                let advice = format!("add them, or {resource}/* for all of them");
                let path = format!("rules[{number}].resources[{place}].resources[{position}]");
                report.add(
                    (Weight::Warning, "missing-subresource"),
                    &path,
                    what,
                    advice,
                );
            }
        }
    }
}

/// Whether nothing is written of a subresource, for whom the rule is for.
fn is_lost(
    policy: &Policy,
    rule: &Rule,
    entry: &GroupResources,
    group: &str,
    resource: &str,
    subresource: &str,
) -> bool {
    let first = |list: &[String], other: &str| list.first().map_or(other.to_owned(), Clone::clone);
    let matched = &rule.matched;
    let mut asks = person();
    asks.user = first(&matched.users, &asks.user);
    asks.groups.extend(matched.user_groups.first().cloned());
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
    // What a rule of verbs leaves out on purpose is not for this check.
    let wants = matched.verbs.is_empty() || matched.verbs.iter().any(|one| one == verb);
    wants && ask(policy, &asks, verb, what).level == Level::None
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

#[expect(clippy::too_many_lines, reason = "a table")]
fn noise(report: &mut Report<'_>, policy: &Policy) {
    let ask = |who: &Who, verb: &str, group: &str, resource: &str, namespace: &str, name: &str| {
        let what = What {
            group,
            resource,
            namespace,
            name,
        };
        ask(policy, who, verb, what)
    };
    let (node, manager) = (node(), part("system:kube-controller-manager"));
    let apiserver = who(
        "system:apiserver",
        &["system:masters", "system:authenticated"],
    );
    let samples: [Sample; 12] = [
        (
            "leases of nodes",
            ask(
                &node,
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-node-lease",
                "node-1",
            ),
        ),
        (
            "leases of controllers",
            ask(
                &manager,
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-system",
                "a",
            ),
        ),
        (
            "events of nodes",
            ask(&node, "create", "", "events", "shop", ""),
        ),
        (
            "events of controllers",
            ask(&agent(), "create", "events.k8s.io", "events", "shop", ""),
        ),
        (
            "health checks (/healthz)",
            ask_path(policy, &nobody(), "/healthz"),
        ),
        (
            "health checks (/livez, /readyz)",
            ask_path(policy, &nobody(), "/readyz"),
        ),
        (
            "API discovery",
            ask_path(policy, &person(), "/apis/apps/v1"),
        ),
        (
            "reads of nodes",
            ask(&node, "get", "", "nodes", "", "node-1"),
        ),
        (
            "status reports of nodes",
            ask(&node, "patch", "", "nodes/status", "", "node-1"),
        ),
        (
            "watches of kube-proxy",
            ask(
                &part("system:kube-proxy"),
                "watch",
                "discovery.k8s.io",
                "endpointslices",
                "",
                "",
            ),
        ),
        (
            "reads of the controller manager",
            ask(&manager, "list", "", "pods", "", ""),
        ),
        (
            "reads of the API server itself",
            ask(&apiserver, "list", "", "services", "", ""),
        ),
    ];
    for (rule, names) in by_rule(samples, |level| level != Level::None) {
        let Some(rule) = rule else { continue };
        let what = format!(
            "writes what the cluster says to itself all day: {}",
            names.join(", ")
        );
        let advice = "put a rule with level: None for them above it";
        report.add(
            (Weight::Warning, "noise"),
            &format!("rules[{rule}]"),
            what,
            advice,
        );
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

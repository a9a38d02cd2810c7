//! What fills the log though nobody will ask for it.
//!
//! Contract: a rule that is advised is for the cluster's own agents by name, with the verbs and resources that they
//! use all day, or for health checks: it drops nothing that a person does.

use std::collections::BTreeMap;

use auditrelay_audit::{Level, policy::Decision};

use super::{
    Report, Weight,
    requests::{What, Who, agent, ask, ask_path, named, nobody, node, part},
};

/// What the cluster says to itself, how it is called, and the rule that drops no more than that.
struct Sample {
    name: &'static str,
    decision: Decision,
    rule: &'static str,
}

pub(super) fn look(report: &mut Report<'_>) {
    let mut found: BTreeMap<usize, Vec<Sample>> = BTreeMap::new();
    for sample in samples(report) {
        if sample.decision.level != Level::None
            && let Some(rule) = sample.decision.rule
        {
            found.entry(rule).or_default().push(sample);
        }
    }
    for (rule, samples) in found {
        let names: Vec<&str> = samples.iter().map(|sample| sample.name).collect();
        let mut rules: Vec<&str> = samples.iter().map(|sample| sample.rule).collect();
        rules.dedup();
        let what = format!(
            "writes what the cluster says to itself all day: {}",
            names.join(", ")
        );
        let advice = format!(
            "right above it put these, or what policy simulate --suggest works out from a log: - {}",
            rules.join(" - ")
        );
        report.add(
            (Weight::Warning, "noise"),
            &format!("rules[{rule}]"),
            what,
            advice,
        );
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn samples(report: &Report<'_>) -> [Sample; 11] {
    const LEASES: &str = "coordination.k8s.io";
    let policy = &report.loaded.policy;
    let ask =
        |who: &Who, verb: &str, (group, resource): (&str, &str), namespace: &str, name: &str| {
            let what = What {
                group,
                resource,
                namespace,
                name,
            };
            ask(policy, who, verb, what)
        };
    let (node, manager) = (node(), part("system:kube-controller-manager"));
    [
        Sample {
            name: "leases of nodes",
            decision: ask(
                &node,
                "update",
                (LEASES, "leases"),
                "kube-node-lease",
                "node-1",
            ),
            rule: r#"{level: None, userGroups: ["system:nodes"], verbs: [get, update], namespaces: [kube-node-lease], resources: [{group: coordination.k8s.io, resources: [leases]}]}"#,
        },
        Sample {
            name: "leases of controllers",
            decision: ask(&manager, "update", (LEASES, "leases"), "kube-system", "a"),
            rule: r#"{level: None, users: ["system:kube-controller-manager", "system:kube-scheduler"], verbs: [get, update], namespaces: [kube-system], resources: [{group: coordination.k8s.io, resources: [leases]}]}"#,
        },
        Sample {
            name: "events of nodes",
            decision: ask(&node, "create", ("", "events"), "shop", ""),
            rule: r#"{level: None, userGroups: ["system:nodes"], verbs: [create, patch], resources: [{group: "", resources: [events]}]}"#,
        },
        Sample {
            name: "events of controllers",
            decision: ask(&agent(), "create", ("events.k8s.io", "events"), "shop", ""),
            rule: r#"{level: None, userGroups: ["system:serviceaccounts:kube-system"], verbs: [create, patch], resources: [{group: "", resources: [events]}, {group: events.k8s.io, resources: [events]}]}"#,
        },
        Sample {
            name: "health checks (/healthz)",
            decision: ask_path(policy, &nobody(), "/healthz"),
            rule: HEALTH,
        },
        Sample {
            name: "health checks (/livez, /readyz)",
            decision: ask_path(policy, &nobody(), "/readyz"),
            rule: HEALTH,
        },
        Sample {
            name: "reads of nodes",
            decision: ask(&node, "get", ("", "nodes"), "", "node-1"),
            rule: r#"{level: None, userGroups: ["system:nodes"], verbs: [get, list, watch], resources: [{group: "", resources: [nodes]}]}"#,
        },
        Sample {
            name: "status reports of nodes",
            decision: ask(&node, "patch", ("", "nodes/status"), "", "node-1"),
            rule: r#"{level: None, userGroups: ["system:nodes"], verbs: [patch, update], resources: [{group: "", resources: [nodes/status]}]}"#,
        },
        Sample {
            name: "watches of kube-proxy",
            decision: ask(
                &part("system:kube-proxy"),
                "watch",
                ("discovery.k8s.io", "endpointslices"),
                "",
                "",
            ),
            rule: r#"{level: None, users: ["system:kube-proxy"], verbs: [list, watch], resources: [{group: "", resources: [services, endpoints]}, {group: discovery.k8s.io, resources: [endpointslices]}]}"#,
        },
        Sample {
            name: "reads of the controller manager",
            decision: ask(&manager, "list", ("", "pods"), "", ""),
            rule: r#"{level: None, users: ["system:kube-controller-manager"], verbs: [get, list, watch], resources: [{group: "", resources: [pods, nodes, services, endpoints]}, {group: apps}]}"#,
        },
        Sample {
            name: "reads of the API server itself",
            decision: ask(&named("system:apiserver"), "list", ("", "services"), "", ""),
            rule: r#"{level: None, users: ["system:apiserver"], verbs: [get, list, watch], resources: [{group: "", resources: [services, endpoints, namespaces]}]}"#,
        },
    ]
}

const HEALTH: &str =
    r#"{level: None, verbs: [get], nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]}"#;

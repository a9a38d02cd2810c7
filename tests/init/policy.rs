//! The audit policy that is written: what the API server would take for one, and which requests it asks for.

use auditrelay_audit::{
    Envelope, Level, Stage,
    policy::{Match, Policy, Request, load},
};
use serde_json::json;

const POLICY: &str = include_str!("../../src/init/set/audit-policy.yaml");

/// As an API server of any version loads it: what only some of them take is a warning.
fn policy() -> Policy {
    let loaded = load(POLICY).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.policy
}

#[test]
fn it_asks_for_no_answers_and_every_rule_has_its_reason() {
    let policy = policy();
    assert_eq!(policy.omit_stages, [Stage::RequestReceived]);
    assert!(policy.omit_managed_fields);
    for rule in &policy.rules {
        // Bodies of answers are asked for nowhere.
        assert_ne!(rule.level, Level::RequestResponse, "{rule:?}");
        // Users, groups and verbs know no patterns.
        let asked = &rule.matched;
        let mut exact = asked
            .users
            .iter()
            .chain(&asked.user_groups)
            .chain(&asked.verbs);
        assert!(exact.all(|one| !one.contains('*')), "{rule:?}");
    }
    let last = policy.rules.last().expect("rules");
    assert_eq!(
        (last.level, &last.matched),
        (Level::Metadata, &Match::default())
    );
    let lines: Vec<&str> = POLICY.lines().collect();
    for (place, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with("- level:") {
            assert!(
                lines[place - 1].trim_start().starts_with('#'),
                "line {place}: no reason is given"
            );
        }
    }
}

/// Who asks: user, groups.
type Who = (&'static str, &'static [&'static str]);
const ALICE: Who = ("alice", &["dev", "system:authenticated"]);
const NODE: Who = ("system:node:a", &["system:nodes", "system:authenticated"]);
const MANAGER: Who = ("system:kube-controller-manager", &["system:authenticated"]);
const APISERVER: Who = (
    "system:apiserver",
    &["system:masters", "system:authenticated"],
);
const NOBODY: Who = ("system:anonymous", &["system:unauthenticated"]);
const CONTROLLER: Who = (
    "system:serviceaccount:kube-system:deployment-controller",
    &[
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
        "system:authenticated",
    ],
);
const OPERATOR: Who = (
    "system:serviceaccount:shop:operator",
    &[
        "system:serviceaccounts",
        "system:serviceaccounts:shop",
        "system:authenticated",
    ],
);

/// `what` is `/path`, or `[group:]resource[/subresource]` of one object, or of none with `*` behind it.
fn level(policy: &Policy, (user, groups): Who, verb: &str, what: &str) -> &'static str {
    let mut event = json!({
        "level": "Metadata", "auditID": "a", "stage": "ResponseComplete", "requestURI": "/x", "verb": verb,
        "user": {"username": user, "groups": groups}, "sourceIPs": [],
        "requestReceivedTimestamp": "2026-11-21T03:15:29.131663Z",
        "stageTimestamp": "2026-11-21T03:15:29.133245Z",
    });
    if what.starts_with('/') {
        event["requestURI"] = what.into();
    } else {
        let name = if what.ends_with('*') { "" } else { "x" };
        let what = what.trim_end_matches('*');
        let (group, rest) = what.split_once(':').unwrap_or(("", what));
        let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        event["objectRef"] = json!({
            "apiGroup": group, "resource": resource, "subresource": subresource, "name": name, "namespace": "y",
        });
    }
    let event = event.to_string();
    let event = Envelope::parse(&event).expect("readable");
    let decision = policy.evaluate(&Request::at_the_api_server(&event));
    decision.rule.map_or("no rule", |_| decision.level.as_str())
}

#[test]
fn the_first_rule_that_matches_asks_for_what_it_should() {
    let policy = policy();
    let rbac = "rbac.authorization.k8s.io:clusterrolebindings";
    for (who, verb, what, expected) in [
        // Quiet.
        (NOBODY, "get", "/healthz", "None"),
        (ALICE, "get", "/readyz/etcd", "None"),
        (ALICE, "get", "/apis/apps/v1", "None"),
        (NODE, "update", "coordination.k8s.io:leases", "None"),
        (ALICE, "create", "events", "None"),
        (NODE, "watch", "secrets", "None"),
        (NODE, "patch", "pods/status", "None"),
        (MANAGER, "list", "pods*", "None"),
        (MANAGER, "update", "coordination.k8s.io:leases", "None"),
        (OPERATOR, "update", "coordination.k8s.io:leases", "None"),
        (CONTROLLER, "get", "apps:deployments", "None"),
        (CONTROLLER, "watch", "shop.example:carts*", "None"),
        (CONTROLLER, "patch", "apps:deployments/status", "None"),
        // What hides nothing must not be quiet.
        (NOBODY, "get", "/api/v1", "Metadata"),
        (NOBODY, "get", "/x", "Metadata"),
        (ALICE, "delete", "events", "Metadata"),
        (ALICE, "delete", "coordination.k8s.io:leases", "Metadata"),
        (ALICE, "watch", "pods", "Metadata"),
        (ALICE, "list", "pods", "Metadata"),
        (OPERATOR, "list", "pods", "Metadata"),
        (OPERATOR, "watch", "pods*", "Metadata"),
        (OPERATOR, "watch", "secrets*", "Metadata"),
        (OPERATOR, "patch", "shop.example:carts/status", "Metadata"),
        (NOBODY, "list", "events*", "Metadata"),
        (ALICE, "update", "coordination.k8s.io:leases", "Metadata"),
        (NODE, "create", "serviceaccounts/token", "Metadata"),
        (MANAGER, "delete", "nodes", "Request"),
        // With what was sent.
        (ALICE, "create", rbac, "Request"),
        (CONTROLLER, "patch", rbac, "Request"),
        (ALICE, "delete", "pods", "Request"),
        (ALICE, "patch", "apps:deployments", "Request"),
        (OPERATOR, "update", "apps:deployments/scale", "Request"),
        (ALICE, "create", "pods/ephemeralcontainers", "Request"),
        (
            ALICE,
            "create",
            "admissionregistration.k8s.io:mutatingwebhookconfigurations",
            "Request",
        ),
        // Without.
        (CONTROLLER, "create", "pods", "Metadata"),
        (ALICE, "patch", "configmaps", "Metadata"),
        (ALICE, "create", "shop.example:carts", "Metadata"),
        (ALICE, "get", rbac, "Metadata"),
    ] {
        assert_eq!(
            level(&policy, who, verb, what),
            expected,
            "{} {verb} {what}",
            who.0
        );
    }
}

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

/// A rule that drops what the cluster does all day drops it for whoever stole a credential of the cluster, too.
/// What such a one would come for is written down, whoever asks.
#[test]
fn a_stolen_credential_of_the_cluster_leaves_a_trace() {
    let policy = policy();
    for who in [
        CONTROLLER, NODE, MANAGER, APISERVER, OPERATOR, ALICE, NOBODY,
    ] {
        let traced = |verb: &str, what: &str| {
            let level = level(&policy, who, verb, what);
            assert_ne!(level, "None", "{} {verb} {what}", who.0);
        };
        for what in [
            // Over a WebSocket the verb is get, over SPDY create.
            "pods/exec",
            "pods/attach",
            "pods/portforward",
            "pods/proxy",
            "services/proxy",
            "nodes/proxy",
            "pods/log",
        ] {
            for verb in VERBS {
                assert_eq!(level(&policy, who, verb, what), "Metadata", "{}", who.0);
            }
        }
        // All secrets, however they are asked for: a watch begins with what is there.
        for verb in ["get", "list", "watch"] {
            traced(verb, "secrets*");
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            for what in [
                "secrets",
                "serviceaccounts/token",
                "serviceaccounts",
                "pods",
                "pods/ephemeralcontainers",
                "services/status",
                "configmaps",
                "apps:daemonsets",
                "rbac.authorization.k8s.io:roles",
                "rbac.authorization.k8s.io:clusterrolebindings",
                "admissionregistration.k8s.io:validatingwebhookconfigurations",
                "apiregistration.k8s.io:apiservices",
                "certificates.k8s.io:certificatesigningrequests",
                "certificates.k8s.io:certificatesigningrequests/approval",
                "certificates.k8s.io:certificatesigningrequests/status",
                "shop.example:carts/status",
            ] {
                traced(verb, what);
            }
            // Whose these are is on the node itself.
            if who.0 != NODE.0 {
                traced(verb, "nodes/status");
                traced(verb, "pods/status");
                for verb in ["get", "list", "watch"] {
                    traced(verb, "secrets");
                }
            }
        }
    }
}

#[test]
fn no_body_of_a_secret_is_ever_asked_for() {
    let policy = policy();
    for who in [ALICE, NODE, MANAGER, NOBODY, CONTROLLER, OPERATOR] {
        for verb in VERBS {
            for what in [
                "secrets",
                "serviceaccounts/token",
                "authentication.k8s.io:tokenreviews",
            ] {
                let level = level(&policy, who, verb, what);
                assert!(
                    ["None", "Metadata"].contains(&level),
                    "{} {verb} {what}: {level}",
                    who.0
                );
            }
        }
        // Writes of secrets are told, whoever does it.
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            assert_eq!(
                level(&policy, who, verb, "secrets"),
                "Metadata",
                "{} {verb}",
                who.0
            );
        }
    }
}

//! Ways to read without being heard of: a watch that never ends, and somebody else's name.

use auditrelay_audit::Severity;
use auditrelay_config::RouteConfig;
use serde_json::json;

use super::{config, event, name, routes, told, with};

#[test]
fn a_watch_of_secrets_is_told_once_and_before_the_client_ends_it() {
    let routes = routes("");
    let started = event("alice watch secrets -");
    assert_eq!(started["stage"], "ResponseStarted");
    assert_eq!(name(&routes, &started), "secrets-watch");
    let ended = with(started, "/stage", "ResponseComplete".into());
    assert_eq!(name(&routes, &ended), "-");
    for stage in ["ResponseStarted", "ResponseComplete"] {
        let of_workload = event("system:serviceaccount:ops:operator watch secrets -");
        assert_eq!(
            name(&routes, &with(of_workload, "/stage", stage.into())),
            "-"
        );
    }
    // What is no watch is told at its end alone.
    let read = event("alice list secrets -");
    assert_eq!(
        name(&routes, &with(read, "/stage", "ResponseStarted".into())),
        "-"
    );
}

#[test]
fn who_is_impersonated_is_never_quiet() {
    let routes = routes("");
    for (words, expected) in [
        (
            "system:serviceaccount:teleport:agent get secrets demo s",
            "secrets-read",
        ),
        (
            "system:serviceaccount:teleport:agent list secrets demo",
            "secrets-read",
        ),
        (
            "system:serviceaccount:teleport:agent watch secrets demo",
            "secrets-watch",
        ),
        (
            "system:serviceaccount:teleport:agent get nodes/proxy - n1",
            "proxy",
        ),
        (
            "system:serviceaccount:teleport:agent delete persistentvolumes - v",
            "deletes",
        ),
        (
            "system:serviceaccount:teleport:agent deletecollection events demo",
            "deletecollection",
        ),
        (
            "system:serviceaccount:kube-system:proxy patch apps:daemonsets kube-system d",
            "kube-system",
        ),
        (
            "alice update coordination.k8s.io:leases kube-system l",
            "kube-system",
        ),
        ("system:node:n1 get secrets demo s", "secrets-read"),
        (
            "system:kube-controller-manager get secrets demo s",
            "secrets-read",
        ),
        (
            "system:anonymous get configmaps kube-public cluster-info",
            "anonymous",
        ),
    ] {
        let other = json!({ "username": "bob", "groups": ["developers"] });
        let as_bob = with(event(words), "/impersonatedUser", other);
        let found = told(&routes, &as_bob);
        let (found, severity) = found.unwrap_or_else(|| panic!("{words} is quiet"));
        assert_eq!(found, expected, "{words}");
        assert!(severity != Severity::Info, "{words}");
    }
}

/// So that no quiet route is added without it.
#[test]
fn every_quiet_route_asks_that_it_was_allowed_and_nobody_impersonated() {
    let quiet = |route: &&RouteConfig| route.channel.is_empty();
    let mut seen = 0;
    for route in config("").routes.iter().filter(quiet) {
        let name = route.name.as_ref();
        let nobody = route.impersonated.as_ref().is_some_and(|user| user.nobody);
        assert!(nobody || name == "starter-quiet-dry-runs", "{name}");
        let is_public = name.starts_with("starter-quiet-public") || name.ends_with("cluster-info");
        assert!(route.decision.is_some() || is_public, "{name}");
        seen += 1;
    }
    assert!(seen > 8, "{seen}");
}

//! What the written routes tell of real events, and a second cluster beside the first.

use std::fs;

use crate::{
    connect::{Relay, api_server},
    init, support, text,
};

/// The routes by which these events are told, by the relay's own configuration.
fn routes_of(folder: &std::path::Path, channel: &str, events: &str) -> Vec<String> {
    fs::write(folder.join("events.json"), events).expect("written");
    let config = ["--config", "set/relay/relay.yaml"];
    let args = [
        &["render", "--channel", channel],
        &config[..],
        &["events.json"],
    ]
    .concat();
    let (_, stdout, stderr) = support::run(folder, &[], &args);
    assert!(stderr.contains("0 unreadable"), "{stderr}");
    let marks = ["🔴 ", "🟠 ", "🔵 "];
    let route = |line: &str| {
        let (_, rest) = marks.iter().find_map(|mark| line.split_once(mark))?;
        Some(rest.split_once(':')?.0.to_owned())
    };
    let mut routes: Vec<String> = stdout.lines().filter_map(route).collect();
    routes.dedup();
    routes
}

fn event(verb: &str, user: &str, group: &str, resource: &str, code: u16) -> String {
    let (api_group, resource) = resource.split_once(':').unwrap_or(("", resource));
    support::list(user, verb, ["x".to_owned()])
        .replace("\"dev\"", &format!("\"{group}\""))
        .replace(
            "\"resource\":\"pods\"",
            &format!("\"resource\":\"{resource}\",\"apiGroup\":\"{api_group}\""),
        )
        .replace("\"code\":200", &format!("\"code\":{code}"))
}

fn subresource(verb: &str, resource: &str, name: &str) -> String {
    event(verb, "alice", "dev", resource, 200).replace(
        "\"apiGroup\":\"\"",
        &format!("\"apiGroup\":\"\",\"subresource\":\"{name}\""),
    )
}

#[test]
fn the_routes_tell_what_they_are_named_for_and_not_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    init(
        folder.path(),
        "https://relay.example:8443/webhook/prod",
        &[],
    );
    let real = |name: &str| {
        text(format!(
            "{}/tests/messages/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        ))
    };
    for (events, route) in [
        (real("exec"), "session-in-a-pod"),
        (real("secret-read"), "secrets"),
        (real("rbac-change"), "who-may-do-what"),
        (
            event("create", "alice", "dev", "serviceaccounts", 201),
            "who-may-do-what",
        ),
        (
            event("delete", "alice", "dev", "namespaces", 200),
            "nodes-and-namespaces",
        ),
        (
            event("patch", "alice", "dev", "apps:deployments", 200),
            "workloads",
        ),
        (
            event(
                "get",
                "system:anonymous",
                "system:unauthenticated",
                "pods",
                403,
            ),
            "anonymous",
        ),
    ] {
        let told = routes_of(folder.path(), "audit", &events);
        assert_eq!(told, [route], "{events}");
    }
    for events in [
        event("get", "alice", "dev", "pods", 200),
        event("list", "alice", "dev", "apps:deployments", 200),
        event(
            "get",
            "alice",
            "dev",
            "rbac.authorization.k8s.io:roles",
            200,
        ),
        event("create", "alice", "dev", "shop.example:carts", 201),
    ] {
        for channel in ["audit", "terminal"] {
            assert!(
                routes_of(folder.path(), channel, &events).is_empty(),
                "{events}"
            );
        }
    }
}

/// Who reads secrets, and who goes through the API server, is told to people. That controllers watch secrets, all day,
/// is shown where the relay runs.
#[test]
fn what_controllers_do_with_secrets_all_day_is_told_to_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = "https://relay.example:8443/webhook/prod";
    init(folder.path(), url, &[]);
    let cart = "system:serviceaccount:shop:cart";
    let secrets = |verb, user, group| event(verb, user, group, "secrets", 200);
    // A session is told when it begins.
    let attach =
        subresource("get", "pods", "attach").replace("ResponseComplete", "ResponseStarted");
    for (events, channel, route) in [
        (attach, "audit", "session-in-a-pod"),
        (
            subresource("get", "nodes", "proxy"),
            "audit",
            "through-the-api-server",
        ),
        (secrets("watch", "alice", "dev"), "audit", "secrets"),
        (
            secrets("list", cart, "system:serviceaccounts"),
            "audit",
            "secrets",
        ),
        (
            secrets("watch", cart, "system:serviceaccounts"),
            "terminal",
            "secrets-watched-by-controllers",
        ),
        (
            secrets("watch", "system:kube-controller-manager", "x"),
            "terminal",
            "secrets-watched-by-the-control-plane",
        ),
    ] {
        for each in ["audit", "terminal"] {
            let told = routes_of(folder.path(), each, &events);
            let expected: &[&str] = if each == channel { &[route] } else { &[] };
            assert_eq!(told, expected, "{each}: {events}");
        }
    }
}

/// The guide's way to a second cluster: a set of the same CA, and its entry in the first one's configuration.
#[tokio::test]
async fn a_second_cluster_is_one_more_entry() {
    let mut relay = Relay::start(&["--mtls"]);
    let url = format!("https://127.0.0.1:{}/webhook/staging", relay.port());
    init(relay.folder(), &url, &["--ca", "set/ca", "--out", "other"]);
    let entry = text(relay.path("other/relay/relay.yaml"));
    let (_, entry) = entry.split_once("\nclients:\n").expect("clients");
    let (entry, _) = entry.split_once("\n#").expect("their end");
    let config = relay.path("set/relay/relay.yaml");
    let both = text(&config).replace(
        "\nclients:\n",
        &format!("\nclients:\n{}\n", entry.trim_end()),
    );
    fs::write(&config, both).expect("written");
    relay.restart();
    for (set, events) in [("set", 20), ("other", 30)] {
        let kubeconfig = relay.path(set).join("apiserver/kubeconfig.yaml");
        let report = api_server(&kubeconfig, events).await;
        assert_eq!(report.events_accepted, u64::from(events), "{set}: {report}");
    }
    relay.delivered(50).await;
    let told = text(relay.path("stdout"));
    // In a digest's head, or below a sentence.
    for cluster in ["prod", "staging"] {
        let forms = [format!("events from {cluster}"), format!("{cluster} · ")];
        assert!(
            forms.iter().any(|form| told.contains(form)),
            "{cluster}: {told}"
        );
    }
}

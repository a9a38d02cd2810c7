//! The starter routes on real events: what each takes, and what stays quiet; and on events that the corpus lacks.

use std::{collections::BTreeMap, io::Write as _};

use auditrelay_audit::{Envelope, Event, Severity};
use auditrelay_config::{Config, Overrides, load};
use auditrelay_dispatch::Routes;
use serde_json::{Value, json};

mod hiding;

fn config(more: &str) -> Config {
    let text = format!("channels: {{sec: {{preview: true}}}}\nstarter_routes: sec\n{more}");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    loaded.unwrap_or_else(|error| panic!("{error}")).config
}

fn routes(more: &str) -> Routes {
    Routes::new(&config(more))
}

/// The starter route that tells the event if it is alone; none where it is quiet.
fn told(routes: &Routes, event: &Value) -> Option<(String, Severity)> {
    let text = event.to_string();
    let envelope = Envelope::parse(&text).expect("readable");
    let event = Event {
        cluster: "home",
        envelope: &envelope,
    };
    let targets = routes.targets(&event);
    assert!(targets.len() < 2, "one channel hears of it once");
    let target = targets.first()?;
    assert_eq!(target.channel, "sec");
    let name = target.route.strip_prefix("starter-");
    Some((name.expect("a starter route").to_owned(), target.severity))
}

fn name(routes: &Routes, event: &Value) -> String {
    told(routes, event).map_or_else(|| "-".to_owned(), |(name, _)| name)
}

/// `user verb group/resource/sub namespace name`, allowed, at the stage that tells of it; `-` is empty.
fn event(words: &str) -> Value {
    let mut words = words
        .split(' ')
        .map(|word| if word == "-" { "" } else { word });
    let mut next = || words.next().unwrap_or_default();
    let (user, verb, what) = (next(), next(), next());
    let (namespace, name) = (next(), next());
    let (group, resource) = what.split_once(':').unwrap_or(("", what));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let of_account = user.strip_prefix("system:serviceaccount:");
    let groups: Vec<String> = match (user, of_account) {
        ("system:anonymous", _) => vec!["system:unauthenticated".to_owned()],
        (node, _) if node.starts_with("system:node:") => vec!["system:nodes".to_owned()],
        (_, Some(account)) => {
            let (namespace, _) = account.split_once(':').expect("an account");
            vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ]
        }
        _ => vec!["developers".to_owned()],
    };
    let is_session = matches!(subresource, "exec" | "attach" | "portforward" | "proxy");
    let is_session = is_session || verb == "watch";
    json!({
        "level": "Request", "stage": if is_session { "ResponseStarted" } else { "ResponseComplete" },
        "requestURI": "/api/v1/x", "verb": verb, "user": { "username": user, "groups": groups },
        "objectRef": { "apiGroup": group, "resource": resource, "subresource": subresource,
            "namespace": namespace, "name": name },
        "responseStatus": { "code": 200 },
        "annotations": { "authorization.k8s.io/decision": "allow" },
    })
}

fn with(mut event: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    event.pointer_mut(parent).expect("there")[key.replace("~1", "/")] = value;
    event
}

const KCM: &str = "system:serviceaccount:kube-system";
const RBAC: &str = "rbac.authorization.k8s.io";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_told_and_by_which() {
    let routes = routes("");
    for (words, expected) in [
        ("alice get pods/exec demo p", "exec"),
        ("alice create pods/portforward demo p", "exec"),
        ("alice patch pods/ephemeralcontainers demo p", "exec"),
        ("system:node:n1 create pods/exec demo p", "exec"),
        (
            "system:kube-controller-manager get pods/attach demo p",
            "exec",
        ),
        ("system:anonymous list pods demo", "anonymous"),
        (
            "system:anonymous get configmaps kube-public other",
            "anonymous",
        ),
        (
            "alice patch admissionregistration.k8s.io:mutatingwebhookconfigurations - w",
            "admission",
        ),
        (
            "alice delete admissionregistration.k8s.io:validatingadmissionpolicybindings - w",
            "admission",
        ),
        (
            "alice create rbac.authorization.k8s.io:rolebindings demo b",
            "rbac",
        ),
        (
            "alice update certificates.k8s.io:certificatesigningrequests/approval - c",
            "csr-approval",
        ),
        (
            "alice create serviceaccounts/token demo robot",
            "token-request",
        ),
        (
            "system:serviceaccount:ci:runner create serviceaccounts/token demo robot",
            "token-request",
        ),
        ("alice get secrets demo s", "secrets-read"),
        ("alice watch secrets demo", "secrets-watch"),
        ("alice list secrets demo", "secrets-read"),
        ("alice get nodes/proxy - n1", "proxy"),
        ("alice create pods/proxy demo p", "proxy"),
        (
            "system:serviceaccount:ci:runner create nodes/proxy - n1",
            "proxy",
        ),
        ("system:anonymous watch secrets -", "anonymous-watch"),
        ("system:anonymous get pods/exec demo p", "anonymous"),
        (
            "system:serviceaccount:ci:runner list secrets -",
            "secrets-of-workloads",
        ),
        ("alice delete namespaces demo demo", "deletes"),
        ("alice delete persistentvolumes - v", "deletes"),
        (
            "system:serviceaccount:ci:runner delete namespaces demo demo",
            "deletes",
        ),
        (
            "alice delete apiextensions.k8s.io:customresourcedefinitions - c",
            "deletes",
        ),
        ("alice deletecollection pods demo", "deletecollection"),
        ("alice patch apps:daemonsets kube-system d", "kube-system"),
        (
            "system:serviceaccount:ci:runner create configmaps kube-system c",
            "kube-system",
        ),
        (
            "alice delete coordination.k8s.io:leases kube-system l",
            "kube-system",
        ),
    ] {
        assert_eq!(name(&routes, &event(words)), expected, "{words}");
    }
}

#[test]
fn what_a_cluster_does_all_day_is_quiet() {
    let routes = routes("");
    for words in [
        "system:node:n1 get secrets demo s",
        "system:node:n1 create serviceaccounts/token demo robot",
        "system:node:n1 create pods kube-system mirror",
        "system:node:n1 patch pods/status kube-system p",
        "system:kube-controller-manager create serviceaccounts/token kube-system robot",
        "system:kube-controller-manager watch secrets -",
        "system:kube-scheduler update coordination.k8s.io:leases kube-system kube-scheduler",
        "system:apiserver update rbac.authorization.k8s.io:clusterroles - admin",
        "system:serviceaccount:kube-system:namespace-controller deletecollection secrets demo",
        "system:serviceaccount:kube-system:generic-garbage-collector delete pods kube-system p",
        "system:serviceaccount:kube-system:certificate-controller update certificates.k8s.io:certificatesigningrequests/approval - c",
        "system:serviceaccount:kube-system:coredns patch configmaps kube-system c",
        "system:serviceaccount:storage:provisioner delete persistentvolumes - v",
        "system:serviceaccount:ops:operator get secrets demo s",
        "system:serviceaccount:ops:operator watch secrets -",
        "system:serviceaccount:ops:prometheus get nodes/proxy - n1",
        "alice get services/proxy demo s",
        "system:serviceaccount:ops:operator update coordination.k8s.io:leases kube-system l",
        "system:serviceaccount:ops:operator deletecollection events demo",
        "system:anonymous get configmaps kube-public cluster-info",
        "alice list pods demo",
        "alice create apps:deployments demo d",
        "alice get configmaps kube-system c",
    ] {
        assert_eq!(name(&routes, &event(words)), "-", "{words}");
    }
    for path in [
        // The API server serves what is unescaped.
        "/%6civez",
        "/healthz",
        "/livez/ping",
        "/readyz?verbose",
        "/version",
        "/openid/v1/jwks",
    ] {
        let probe = json!({ "level": "Metadata", "stage": "ResponseComplete", "verb": "get",
            "requestURI": path, "user": { "username": "system:anonymous", "groups": ["system:unauthenticated"] },
            "annotations": { "authorization.k8s.io/decision": "allow" } });
        assert_eq!(name(&routes, &probe), "-", "{path}");
        let metrics = with(probe, "/requestURI", "/metrics".into());
        assert_eq!(name(&routes, &metrics), "anonymous");
    }
}

#[test]
fn who_is_quiet_is_told_when_refused() {
    let routes = routes("");
    for (words, expected) in [
        ("system:node:n1 get secrets demo s", "secrets-read"),
        (
            "system:serviceaccount:ops:operator get secrets demo s",
            "secrets-read",
        ),
        (
            "system:serviceaccount:ops:operator list secrets demo",
            "secrets-read",
        ),
        (
            "system:serviceaccount:ops:operator watch secrets demo",
            "secrets-watch",
        ),
        (
            "system:serviceaccount:ops:prometheus get nodes/proxy - n1",
            "proxy",
        ),
        ("system:kube-scheduler list secrets -", "secrets-read"),
        ("system:anonymous list secrets -", "secrets-read"),
        ("system:anonymous list pods demo", "-"),
    ] {
        let refused = with(
            event(words),
            "/annotations/authorization.k8s.io~1decision",
            "forbid".into(),
        );
        assert_eq!(name(&routes, &refused), expected, "{words}");
    }
}

#[test]
fn what_weighs_more_is_critical() {
    let routes = routes("");
    let critical = |event: &Value, expected: &str| {
        let found = told(&routes, event);
        assert_eq!(
            found,
            Some((expected.to_owned(), Severity::Critical)),
            "{event}"
        );
    };
    let binding = event(&format!("alice create {RBAC}:clusterrolebindings - b"));
    let body = json!({ "roleRef": { "kind": "ClusterRole", "name": "cluster-admin" } });
    critical(&with(binding.clone(), "/requestObject", body), "rbac-risky");
    let view = json!({ "roleRef": { "kind": "ClusterRole", "name": "view" } });
    assert_eq!(
        name(&routes, &with(binding, "/requestObject", view)),
        "rbac"
    );
    for verb in ["*", "bind", "escalate", "impersonate"] {
        let role = event(&format!("alice patch {RBAC}:clusterroles - r"));
        let body = json!({ "rules": [{ "verbs": [verb] }] });
        critical(&with(role, "/requestObject", body), "rbac-risky");
    }
    // A subject more for the binding of every cluster: no role in the patch, or no body at all.
    let add = json!({ "subjects": [{ "kind": "User", "name": "eve" }] });
    let to = |name| event(&format!("eve patch {RBAC}:clusterrolebindings - {name}"));
    critical(
        &with(to("cluster-admin"), "/requestObject", add.clone()),
        "rbac-risky",
    );
    critical(&to("cluster-admin"), "rbac-cluster-admin");
    assert_eq!(
        name(&routes, &with(to("view"), "/requestObject", add)),
        "rbac"
    );
    critical(&event("system:anonymous get nodes -"), "anonymous");
    critical(&event("alice delete namespaces demo demo"), "deletes");
    let panic = with(event("alice get pods demo p"), "/stage", "Panic".into());
    critical(&panic, "panic");
    critical(
        &with(
            event("system:apiserver get pods demo p"),
            "/stage",
            "Panic".into(),
        ),
        "panic",
    );
    let pod = json!({ "spec": { "containers": [{ "securityContext": { "privileged": true } }] } });
    for (words, expected) in [
        ("alice create pods demo p".to_owned(), "risky-pods"),
        (
            "alice patch apps:deployments demo d".to_owned(),
            "risky-pods",
        ),
        (
            format!("{KCM}:daemon-set-controller create pods demo p"),
            "-",
        ),
        ("system:node:n1 create pods kube-system p".to_owned(), "-"),
        ("alice create pods/binding demo p".to_owned(), "-"),
    ] {
        let event = with(event(&words), "/requestObject", pod.clone());
        assert_eq!(name(&routes, &event), expected, "{words}");
    }
}

#[test]
fn a_dry_run_is_quiet_and_what_only_looks_like_one_is_not() {
    let routes = routes("");
    for (words, expected) in [
        (
            "alice patch rbac.authorization.k8s.io:clusterroles - r",
            "-",
        ),
        ("alice get secrets demo s", "secrets-read"),
        ("alice create pods/exec demo p", "exec"),
        (
            "alice create serviceaccounts/token demo robot",
            "token-request",
        ),
        ("alice delete namespaces demo demo", "deletes"),
    ] {
        let dry = with(event(words), "/requestURI", "/x?dryRun=All".into());
        assert_eq!(name(&routes, &dry), expected, "{words}");
    }
}

#[test]
fn a_route_of_ones_own_decides_first() {
    let silenced = routes("routes: [{name: mine, level: None, users: [alice]}]");
    assert_eq!(name(&silenced, &event("alice get secrets demo s")), "-");
    assert_eq!(
        name(&silenced, &event("bob get secrets demo s")),
        "secrets-read"
    );
}

/// Which starter route takes how many of the corpus' events; what none takes is quiet.
#[test]
fn the_corpus() {
    let routes = routes("");
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for line in include_str!("../../../tests/judged/corpus.jsonl").lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        *taken.entry(name(&routes, &event)).or_default() += 1;
    }
    let found: Vec<String> = taken
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    assert_eq!(found, CORPUS);
}

const CORPUS: [&str; 6] = [
    "- 53",
    "deletes 2",
    "exec 1",
    "risky-pods 1",
    "secrets-read 3",
    "token-request 1",
];

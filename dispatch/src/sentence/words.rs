//! The words for what was done, and for what it was done to.
//!
//! Invariant: a resource is called by a word of ours only where group and resource are Kubernetes' own; a
//! look-alike of another group keeps its whole name.

use std::borrow::Cow;

use auditrelay_audit::{Envelope, ObjectRef};

use crate::escape::clean;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// `deleted`.
    pub past: Cow<'static, str>,
    /// `delete`.
    pub infinitive: Cow<'static, str>,
    /// Whether the words already say which subresource it was.
    pub names_subresource: bool,
    /// Whether the words need no object: its kind is in them.
    pub names_object: bool,
}

impl Action {
    fn of((past, infinitive): (&'static str, &'static str)) -> Self {
        Self {
            past: past.into(),
            infinitive: infinitive.into(),
            names_subresource: false,
            names_object: false,
        }
    }
}

/// What a verb did to a resource or subresource. `selects` says whether a selector was given.
pub fn action(verb: &str, object: Option<&ObjectRef<'_>>, selects: bool) -> Action {
    let (group, resource, subresource) = object.map_or(("", "", ""), |object| {
        (
            object.api_group.as_str(),
            object.resource.as_str(),
            object.subresource.as_str(),
        )
    });
    if !subresource.is_empty()
        && let Some(words) = subresource_words(subresource, verb)
    {
        return Action {
            names_subresource: true,
            ..Action::of(words)
        };
    }
    if let ("create", Some(words)) = (verb, review_words(group, resource)) {
        return Action {
            names_object: true,
            ..Action::of(words)
        };
    }
    Action::of(match verb {
        "get" => ("read", "read"),
        "list" => ("listed", "list"),
        "watch" => ("watched", "watch"),
        "create" => ("created", "create"),
        "update" => ("updated", "update"),
        "patch" => ("patched", "patch"),
        "delete" => ("deleted", "delete"),
        "deletecollection" if selects => ("deleted a selection of", "delete a selection of"),
        "deletecollection" => ("deleted all", "delete all"),
        "post" | "put" | "head" | "options" | "connect" | "trace" => {
            return spelled(
                &format!("sent a {} to", verb.to_uppercase()),
                &format!("send a {} to", verb.to_uppercase()),
            );
        }
        "" => (
            "sent a request without a verb to",
            "send a request without a verb to",
        ),
        other => {
            let verb = clean(other, 20);
            return spelled(&format!("did “{verb}” on"), &format!("do “{verb}” on"));
        }
    })
}

/// Words that are put together.
pub fn spelled(past: &str, infinitive: &str) -> Action {
    Action {
        past: past.to_owned().into(),
        infinitive: infinitive.to_owned().into(),
        names_subresource: false,
        names_object: false,
    }
}

fn subresource_words(subresource: &str, verb: &str) -> Option<(&'static str, &'static str)> {
    let writes = matches!(verb, "update" | "patch");
    Some(match subresource {
        "exec" => ("exec'd into", "exec into"),
        "attach" => ("attached to", "attach to"),
        "portforward" => ("opened a port-forward to", "open a port-forward to"),
        "proxy" => (
            "went through the API server's proxy to",
            "go through the API server's proxy to",
        ),
        "log" if verb == "get" => ("read the log of", "read the log of"),
        "token" if verb == "create" => ("requested a token for", "request a token for"),
        "eviction" if verb == "create" => ("evicted", "evict"),
        "binding" if verb == "create" => ("assigned a node to", "assign a node to"),
        "approval" if writes => ("decided on", "decide on"),
        "ephemeralcontainers" if writes => {
            ("added a debug container to", "add a debug container to")
        }
        "scale" if writes => ("scaled", "scale"),
        "scale" if verb == "get" => ("read the scale of", "read the scale of"),
        "resize" if writes => ("resized", "resize"),
        "status" if writes => ("changed the status of", "change the status of"),
        "status" if verb == "get" => ("read the status of", "read the status of"),
        "finalize" if writes => ("removed finalizers of", "remove finalizers of"),
        "rollback" if verb == "create" => ("rolled back", "roll back"),
        _ => return None,
    })
}

/// Questions about permissions are written as creations.
fn review_words(group: &str, resource: &str) -> Option<(&'static str, &'static str)> {
    Some(match (group, resource) {
        ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews") => (
            "asked for its own permissions",
            "ask for its own permissions",
        ),
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => (
            "asked for somebody's permissions",
            "ask for somebody's permissions",
        ),
        ("authentication.k8s.io", "selfsubjectreviews") => ("asked who it is", "ask who it is"),
        ("authentication.k8s.io", "tokenreviews") => {
            ("had a token checked", "have a token checked")
        }
        _ => return None,
    })
}

/// A resource of Kubernetes' own: its name for one, and whether it lives in a namespace.
pub fn noun(group: &str, resource: &str) -> Option<(&'static str, bool)> {
    Some(match (group, resource) {
        ("", "pods") => ("pod", true),
        ("", "secrets") => ("secret", true),
        ("", "configmaps") => ("configmap", true),
        ("", "services") => ("service", true),
        ("", "endpoints") => ("endpoints", true),
        ("", "events") | ("events.k8s.io", "events") => ("event", true),
        ("", "serviceaccounts") => ("serviceaccount", true),
        ("", "persistentvolumeclaims") => ("persistentvolumeclaim", true),
        ("", "limitranges") => ("limitrange", true),
        ("", "resourcequotas") => ("resourcequota", true),
        ("", "replicationcontrollers") => ("replicationcontroller", true),
        ("", "podtemplates") => ("podtemplate", true),
        ("", "persistentvolumes") => ("persistentvolume", false),
        ("", "nodes") => ("node", false),
        ("", "namespaces") => ("namespace", false),
        ("apps", "deployments") => ("deployment", true),
        ("apps", "daemonsets") => ("daemonset", true),
        ("apps", "statefulsets") => ("statefulset", true),
        ("apps", "replicasets") => ("replicaset", true),
        ("batch", "jobs") => ("job", true),
        ("batch", "cronjobs") => ("cronjob", true),
        ("autoscaling", "horizontalpodautoscalers") => ("horizontalpodautoscaler", true),
        ("policy", "poddisruptionbudgets") => ("poddisruptionbudget", true),
        ("networking.k8s.io", "networkpolicies") => ("networkpolicy", true),
        ("networking.k8s.io", "ingresses") => ("ingress", true),
        ("coordination.k8s.io", "leases") => ("lease", true),
        ("discovery.k8s.io", "endpointslices") => ("endpointslice", true),
        ("rbac.authorization.k8s.io", "roles") => ("role", true),
        ("rbac.authorization.k8s.io", "rolebindings") => ("rolebinding", true),
        ("rbac.authorization.k8s.io", "clusterroles") => ("clusterrole", false),
        ("rbac.authorization.k8s.io", "clusterrolebindings") => ("clusterrolebinding", false),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            ("certificatesigningrequest", false)
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            ("customresourcedefinition", false)
        }
        ("apiregistration.k8s.io", "apiservices") => ("apiservice", false),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => {
            ("mutatingwebhookconfiguration", false)
        }
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => {
            ("validatingwebhookconfiguration", false)
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => {
            ("validatingadmissionpolicy", false)
        }
        ("storage.k8s.io", "storageclasses") => ("storageclass", false),
        ("scheduling.k8s.io", "priorityclasses") => ("priorityclass", false),
        _ => return None,
    })
}

/// Whether the request writes an object, as Kubernetes' verbs for objects have it.
pub fn is_write(event: &Envelope<'_>) -> bool {
    const CONNECTS: [&str; 4] = ["exec", "attach", "portforward", "proxy"];
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    let subresource = event
        .object_ref
        .as_ref()
        .map(|object| object.subresource.as_str());
    writes.contains(&event.verb.as_str())
        && subresource.is_some_and(|subresource| !CONNECTS.contains(&subresource))
}

//! What kind of request an event is of, as far as it matters to who tunes a policy: what must not be lost.
//!
//! Contract: judged by what the event itself says. Whoever is not certainly a part of the cluster counts as a
//! person, and a verb that is not certainly a read counts as a write.

use auditrelay_audit::{Envelope, ObjectRef, Stage};
use serde::Serialize;

/// A kind of request. One request may be of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A write by a person or a pipeline: by anybody but the control plane and what runs in `kube-system`.
    PersonWrite,
    /// Answered with 401 or 403, or forbidden by the authorizer.
    Denied,
    /// Of a secret, or of a service account's token.
    Secret,
    /// exec, attach, port-forward, and ways through the API server to what listens in the cluster.
    Session,
    /// Made as somebody else.
    Impersonated,
    /// A change of who may do what, or a look at it by a person.
    Rbac,
    /// A look at who may do what by a part of the cluster.
    RbacRead,
    /// By nobody in particular; health checks are not meant.
    Anonymous,
    /// The API server failed on it.
    Panic,
    /// A write by a part of the cluster that is no heartbeat.
    SystemWrite,
    /// What the cluster writes to itself all day: leases, events, endpoints.
    Heartbeat,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::PersonWrite,
        Self::Denied,
        Self::Secret,
        Self::Session,
        Self::Impersonated,
        Self::Rbac,
        Self::RbacRead,
        Self::Anonymous,
        Self::Panic,
        Self::SystemWrite,
        Self::Heartbeat,
    ];

    /// In words, of several.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::PersonWrite => "writes by people and pipelines",
            Self::Denied => "denied requests (401, 403)",
            Self::Secret => "secrets and tokens",
            Self::Session => "exec, attach, port-forward, proxy",
            Self::Impersonated => "impersonated requests",
            Self::Rbac => "RBAC: changes, and reads by people",
            Self::RbacRead => "RBAC: reads by the cluster itself",
            Self::Anonymous => "anonymous requests",
            Self::Panic => "panics of the API server",
            Self::SystemWrite => "writes by the cluster itself",
            Self::Heartbeat => "leases, events, endpoints",
        }
    }

    /// Whether a loss of it is told loudly.
    pub(super) fn is_loud(self) -> bool {
        !matches!(self, Self::RbacRead | Self::SystemWrite | Self::Heartbeat)
    }
}

/// The kinds of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub(super) fn of(event: &Envelope<'_>) -> Self {
        let verb = event.verb.as_str();
        let object = event.object_ref.as_ref();
        let (is_write, is_system) = (!is_read(verb), is_system(event));
        let is_heartbeat =
            is_write && is_system && object.is_some_and(|object| is_heartbeat(verb, object));
        let mut kinds = Self::default();
        let mut add = |kind: Kind, is_so: bool| {
            if is_so {
                kinds.0 |= 1 << kind as u16;
            }
        };
        let by_cluster = is_system && is_own(event);
        add(Kind::PersonWrite, is_write && !by_cluster && !is_heartbeat);
        add(Kind::SystemWrite, is_write && by_cluster && !is_heartbeat);
        add(Kind::Heartbeat, is_heartbeat);
        add(Kind::Denied, is_denied(event));
        add(Kind::Secret, object.is_some_and(is_secret));
        add(Kind::Session, object.is_some_and(is_session));
        add(Kind::Impersonated, event.impersonated_user.is_some());
        let is_rbac =
            object.is_some_and(|object| object.api_group.as_str() == "rbac.authorization.k8s.io");
        let is_quiet = is_rbac && !is_write && is_system;
        add(Kind::Rbac, is_rbac && !is_quiet);
        add(Kind::RbacRead, is_quiet);
        let is_health = object.is_none() && health_check(event.path()).is_some();
        add(Kind::Anonymous, is_anonymous(event) && !is_health);
        add(Kind::Panic, event.stage == Stage::Panic);
        kinds
    }

    pub(super) fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Whether a suggestion must leave it alone.
    pub(super) fn is_precious(self) -> bool {
        self.iter().any(|kind| kind != Kind::Heartbeat)
    }
}

/// Whether the event says how the request ended. A 401 has no other event than this one.
pub(super) fn is_end(event: &Envelope<'_>) -> bool {
    match event.stage {
        Stage::ResponseComplete | Stage::Panic | Stage::Unknown => true,
        Stage::ResponseStarted => event.user.username.is_empty(),
        Stage::RequestReceived => false,
    }
}

/// Verbs that change nothing; of what has no resource they are HTTP's methods.
pub(super) fn is_read(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch" | "head" | "options")
}

/// Whether it is certainly no person that asks: the control plane, a node, a service account. `system:admin` is what people are called who hold the
/// certificate of some distributions' installer.
pub(super) fn is_system(event: &Envelope<'_>) -> bool {
    let name = event.user.username.as_str();
    name.starts_with("system:") && name != "system:admin" && !is_anonymous(event)
}

/// Whether what asks belongs to the cluster, and not to who uses it: pipelines have service accounts, too.
fn is_own(event: &Envelope<'_>) -> bool {
    let account = event.user.username.strip_prefix("system:serviceaccount:");
    account.is_none_or(|account| account.starts_with("kube-system:"))
}

fn is_anonymous(event: &Envelope<'_>) -> bool {
    let name = event.user.username.as_str();
    let mut groups = event.user.groups.iter();
    name.is_empty()
        || name == "system:anonymous"
        || groups.any(|group| group.as_str() == "system:unauthenticated")
}

fn is_denied(event: &Envelope<'_>) -> bool {
    matches!(event.code(), Some(401 | 403)) || event.decision().as_deref() == Some("forbid")
}

fn is_secret(object: &ObjectRef<'_>) -> bool {
    let (resource, subresource) = (object.resource.as_str(), object.subresource.as_str());
    resource == "secrets" || (resource == "serviceaccounts" && subresource == "token")
}

fn is_session(object: &ObjectRef<'_>) -> bool {
    matches!(
        object.subresource.as_str(),
        "exec" | "attach" | "portforward" | "proxy"
    )
}

fn is_heartbeat(verb: &str, object: &ObjectRef<'_>) -> bool {
    let what = (object.api_group.as_str(), object.resource.as_str());
    let is_note = matches!(
        what,
        ("coordination.k8s.io", "leases")
            | ("" | "events.k8s.io", "events")
            | ("", "endpoints")
            | ("discovery.k8s.io", "endpointslices")
    );
    is_note && object.subresource.is_empty() && matches!(verb, "create" | "update" | "patch")
}

/// The pattern of a health check's path.
pub(super) fn health_check(path: &str) -> Option<&'static str> {
    pattern_of(path, &["/healthz*", "/livez*", "/readyz*"])
}

/// The one of these patterns, all of which end in `*`, that a path matches. None of them may be the beginning of
/// another.
pub(super) fn pattern_of(path: &str, patterns: &[&'static str]) -> Option<&'static str> {
    let matches = |pattern: &&&'static str| {
        let prefix = pattern.strip_suffix('*');
        prefix.is_some_and(|prefix| path.starts_with(prefix))
    };
    patterns.iter().find(matches).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(user: &str, verb: &str, rest: &str) -> Vec<Kind> {
        let text = format!(
            r#"{{"level":"Metadata","stage":"ResponseComplete","verb":"{verb}","user":{{"username":"{user}"}}{rest}}}"#
        );
        let envelope = Envelope::parse(&text).expect("readable");
        Kinds::of(&envelope).iter().collect()
    }

    fn object(group: &str, resource: &str, subresource: &str) -> String {
        format!(
            r#","objectRef":{{"apiGroup":"{group}","resource":"{resource}","subresource":"{subresource}"}}"#
        )
    }

    #[test]
    fn what_must_not_be_lost_is_known_by_what_the_event_says() {
        use Kind::*;
        let lease = object("coordination.k8s.io", "leases", "");
        let role = object("rbac.authorization.k8s.io", "roles", "");
        let pod = object("", "pods", "");
        let answered = |code: i32| format!(r#"{pod},"responseStatus":{{"code":{code}}}"#);
        let forbidden = r#","annotations":{"authorization.k8s.io/decision":"forbid"}"#;
        let system = "system:serviceaccount:kube-system:b";
        let pipeline = "system:serviceaccount:ci:deployer";
        for (user, verb, rest, expected) in [
            ("alice", "get", pod.clone(), vec![]),
            ("alice", "create", pod.clone(), vec![PersonWrite]),
            // A verb that nobody knows may write.
            ("alice", "", pod.clone(), vec![PersonWrite]),
            ("system:admin", "delete", pod.clone(), vec![PersonWrite]),
            (system, "delete", pod.clone(), vec![SystemWrite]),
            (system, "get", pod.clone(), vec![]),
            (pipeline, "delete", pod.clone(), vec![PersonWrite]),
            (pipeline, "get", pod.clone(), vec![]),
            (pipeline, "update", lease.clone(), vec![Heartbeat]),
            ("system:node:a", "patch", pod.clone(), vec![SystemWrite]),
            (system, "update", lease.clone(), vec![Heartbeat]),
            (system, "delete", lease.clone(), vec![SystemWrite]),
            ("alice", "update", lease, vec![PersonWrite]),
            (system, "get", answered(403), vec![Denied]),
            (system, "get", answered(401), vec![Denied]),
            (system, "get", answered(404), vec![]),
            (system, "get", format!("{pod}{forbidden}"), vec![Denied]),
            (system, "list", object("", "secrets", ""), vec![Secret]),
            (
                system,
                "create",
                object("", "serviceaccounts", "token"),
                vec![Secret, SystemWrite],
            ),
            (system, "get", object("", "pods", "exec"), vec![Session]),
            (system, "get", object("", "nodes", "proxy"), vec![Session]),
            ("alice", "get", role.clone(), vec![Rbac]),
            (system, "get", role.clone(), vec![RbacRead]),
            (system, "patch", role, vec![Rbac, SystemWrite]),
            (
                system,
                "get",
                r#","impersonatedUser":{"username":"x"}"#.into(),
                vec![Impersonated],
            ),
            ("system:anonymous", "get", pod.clone(), vec![Anonymous]),
            ("", "get", pod, vec![Anonymous]),
            (
                "system:anonymous",
                "get",
                r#","requestURI":"/healthz/etcd?verbose""#.into(),
                vec![],
            ),
        ] {
            assert_eq!(kinds(user, verb, &rest), expected, "{user} {verb} {rest}");
        }
    }
}

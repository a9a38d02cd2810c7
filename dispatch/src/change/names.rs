//! What fields are called, and what follows from that: whether their values may be shown, and how early.

use auditrelay_audit::mask::is_secret_name;

/// Names by which an object refers to a secret or asks for a token, without holding it.
const REFERENCES: [&str; 7] = [
    "secretRef",
    "secretKeyRef",
    "imagePullSecrets",
    "serviceAccountToken",
    "secret",
    "secrets",
    "tokenRequests",
];
const REFERENCE_LEAVES: [&str; 9] = [
    "name",
    "namespace",
    "key",
    "secretName",
    "optional",
    "path",
    "expirationSeconds",
    "audience",
    "defaultMode",
];
/// Lists whose entries have a `key` that is a label's or a taint's name.
const KEYED: [&str; 6] = [
    "tolerations",
    "taints",
    "matchExpressions",
    "matchFields",
    "configMapKeyRef",
    "items",
];
const HARMLESS: [&str; 4] = [
    "topologyKey",
    "secretName",
    "automountServiceAccountToken",
    "tokenExpirationSeconds",
];

/// Fields that say most of what a workload may do, or that an incident turns on.
pub(super) const TELLING: [&str; 27] = [
    "privileged",
    "allowPrivilegeEscalation",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "hostPath",
    "runAsUser",
    "capabilities",
    "add",
    "serviceAccountName",
    "automountServiceAccountToken",
    "image",
    "replicas",
    "command",
    "args",
    "externalIPs",
    "externalName",
    "unschedulable",
    "taints",
    "schedule",
    "suspend",
    "paused",
    "nodeName",
    "url",
    "failurePolicy",
    "finalizers",
    "type",
];
/// Fields that the API server or kubectl fill in.
pub(super) const BORING: [&str; 14] = [
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "restartPolicy",
    "dnsPolicy",
    "schedulerName",
    "terminationGracePeriodSeconds",
    "protocol",
    "enableServiceLinks",
    "revisionHistoryLimit",
    "progressDeadlineSeconds",
    "maxSurge",
    "maxUnavailable",
    "lastTransitionTime",
];

/// What the names on the way to a value say of it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Trust {
    /// Nothing speaks against showing it.
    Plain,
    /// Nor in a list whose entries have a `key` of a label.
    Keyed,
    /// It only refers to a secret.
    Reference,
    /// It is one, or may be.
    Secret,
}

impl Trust {
    /// What they say with one more.
    pub(super) fn below(self, name: &str) -> Self {
        match self {
            Self::Secret => Self::Secret,
            _ if HARMLESS.contains(&name) => Self::Plain,
            Self::Reference if REFERENCE_LEAVES.contains(&name) => Self::Plain,
            Self::Keyed if matches!(name, "key" | "keys") => Self::Plain,
            _ if REFERENCES.contains(&name) => Self::Reference,
            _ if KEYED.contains(&name) => Self::Keyed,
            _ if is_secret_name(own_part(name)) => Self::Secret,
            Self::Reference => Self::Reference,
            Self::Plain | Self::Keyed => Self::Plain,
        }
    }
}

/// A label's name without Kubernetes' own domain before it, some of which say `authorization`.
fn own_part(name: &str) -> &str {
    match name.split_once('/') {
        Some((domain, own))
            if ["k8s.io", "kubernetes.io"]
                .iter()
                .any(|known| domain.ends_with(known)) =>
        {
            own
        }
        _ => name,
    }
}

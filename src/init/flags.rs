//! The flags of the API server, once for all platforms.
//!
//! Contract: what the files of a platform set is what `flags.md` explains.

/// Where the API server's own file is. Not where Kubernetes' documentation puts an audit log: a mount at a path, or
/// a volume of a name, that is there already makes a static pod invalid, and no API server starts.
pub(super) const LOG_DIR: &str = "/var/log/kubernetes/auditrelay";

/// A flag without its dashes, and why it has this value.
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) value: String,
    why: &'static str,
}

/// What tells the API server about the webhook, with its files in `folder`.
pub(super) fn webhook(folder: &str) -> Vec<Flag> {
    let flag = |name, value: &str, why| Flag {
        name,
        value: value.to_owned(),
        why,
    };
    vec![
        flag(
            "audit-policy-file",
            &format!("{folder}/audit-policy.yaml"),
            "Which requests are written down. Without a policy there are no events.",
        ),
        flag(
            "audit-webhook-config-file",
            &format!("{folder}/kubeconfig.yaml"),
            "Where events are posted, and what is shown there. Read once, at the start.",
        ),
        flag(
            "audit-webhook-mode",
            "batch",
            "The default, written down: no request to the cluster ever waits for the relay.",
        ),
        flag(
            "audit-webhook-batch-max-wait",
            "5s",
            "How long an event waits for company. The default, 30 s, is how late a message would be in a quiet cluster.",
        ),
        flag(
            "audit-webhook-truncate-enabled",
            "true",
            "Off by default. Without it one request whose body cannot be written as JSON loses the whole batch it is \
             in; with it only itself. An event above 100 KiB loses its body; one that is longer even so (level \
             Metadata) is dropped.",
        ),
    ]
}

/// The API server's own file beside it: what the webhook could not deliver is still there.
pub(super) fn log_file() -> Vec<Flag> {
    let flag = |name, value: &str, why| Flag {
        name,
        value: value.to_owned(),
        why,
    };
    vec![
        flag(
            "audit-log-path",
            &format!("{LOG_DIR}/audit.log"),
            "A second copy on the node, by the same policy: what the webhook lost while the relay was away for longer \
             than 90 s is there. Nothing is taken out of it.",
        ),
        flag(
            "audit-log-mode",
            "blocking",
            "The default, written down: a request waits until its event is with the operating system of the node, not \
             with its disk. So the file has what the webhook's buffer in memory loses. If the folder is on a slow or a \
             network disk, take `batch`.",
        ),
        flag(
            "audit-log-maxage",
            "7",
            "Days after which a rotated file is deleted.",
        ),
        flag("audit-log-maxbackup", "10", "Rotated files that are kept."),
        flag(
            "audit-log-maxsize",
            "100",
            "Megabytes of a file before it is rotated: with the two above, at most about 1.1 GB.",
        ),
    ]
}

/// Each flag on a line of its own.
pub(super) fn lines(flags: &[Flag], form: impl Fn(&Flag) -> String) -> String {
    let lines: Vec<String> = flags.iter().map(form).collect();
    lines.join("\n")
}

impl Flag {
    /// A row of `flags.md`.
    pub(super) fn row(&self) -> String {
        let Self { name, value, why } = self;
        format!("| `--{name}={value}` | {why} |")
    }

    /// A line for minikube.
    pub(super) fn extra_config(&self) -> String {
        format!("  --extra-config=apiserver.{}={}", self.name, self.value)
    }

    /// An item of a YAML list for k3s and RKE2.
    pub(super) fn item(&self) -> String {
        format!("  - {}={}", self.name, self.value)
    }
}

/// The JSON patch that kubeadm and kubectl apply to the API server's static pod.
pub(super) fn static_pod_patch(flags: &[Flag], folder: &str) -> String {
    let mut text = String::from(
        "# A JSON patch of the API server's static pod: `kubectl patch --type json`, or kubeadm's `--patches`.\n\
         # It adds, so it is applied once, to a manifest as kubeadm writes it.\n",
    );
    for Flag { name, value, .. } in flags {
        text.push_str(&format!(
            "- op: add\n  path: /spec/containers/0/command/-\n  value: --{name}={value}\n"
        ));
    }
    for (name, path, kind, read_only) in [
        ("auditrelay", folder, "Directory", true),
        ("auditrelay-log", LOG_DIR, "DirectoryOrCreate", false),
    ] {
        text.push_str(&format!(
            "- op: add\n  path: /spec/containers/0/volumeMounts/-\n  \
             value: {{ name: {name}, mountPath: {path}, readOnly: {read_only} }}\n\
             - op: add\n  path: /spec/volumes/-\n  \
             value: {{ name: {name}, hostPath: {{ path: {path}, type: {kind} }} }}\n"
        ));
    }
    text
}

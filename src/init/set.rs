//! The files of a set: their texts, who needs them, and who may read them.
//!
//! Contract: what holds a secret has mode 0600, everything else 0644. Every place of a template is filled, and a
//! value that stands in YAML is quoted where it could be read as something else.

use std::path::Path;

use super::flags::{Flag, LOG_DIR, lines, log_file, static_pod_patch, webhook};
use super::keys::{Keys, client_name};
use super::plan::{Plan, San};

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Where kubeadm's API server finds its part; kind has the same.
const KUBEADM_DIR: &str = "/etc/kubernetes/auditrelay";
/// minikube mounts this folder of its machine into the API server.
const MINIKUBE_DIR: &str = "/etc/ssl/certs/auditrelay";
const K3S_DIR: &str = "/etc/rancher/k3s/auditrelay";
const RKE2_DIR: &str = "/etc/rancher/rke2/auditrelay";

/// One file.
pub(super) struct Entry {
    /// Below the set's folder.
    pub(super) path: &'static str,
    pub(super) mode: u32,
    pub(super) text: String,
    pub(super) what: &'static str,
}

impl Entry {
    pub(super) fn is_secret(&self) -> bool {
        self.mode == SECRET
    }
}

/// Fills the places of a template, such as `@NAME@`. In one pass: what is put in is not looked at again, and a
/// folder may be called `@NAME@`.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        text.push_str(before);
        let place = values.iter().find_map(|(name, value)| {
            let rest = after.strip_prefix(name)?.strip_prefix('@')?;
            Some((*value, rest))
        });
        let (value, after) = place.unwrap_or(("@", after));
        text.push_str(value);
        rest = after;
    }
    text + rest
}

/// Text as YAML: JSON's strings are YAML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A path as a word of a command line.
pub(super) fn shell(path: &Path) -> String {
    let text = shown(path);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@".contains(&byte);
    if text.bytes().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn public(path: &'static str, what: &'static str, text: String) -> Entry {
    Entry {
        path,
        mode: PUBLIC,
        text,
        what,
    }
}

/// All files of the set.
pub(super) fn entries(plan: &Plan, keys: &Keys) -> Vec<Entry> {
    let secret = |path, what, text: &str| Entry {
        path,
        mode: SECRET,
        text: text.to_owned(),
        what,
    };
    let ca = || keys.ca.certificate.clone();
    let mut all = vec![
        public("README.md", "what to do, step by step", readme(plan, keys)),
        public("ca/ca.crt", "the CA that signed the rest", ca()),
        secret("ca/ca.key", "its key: keep it offline", &keys.ca.key),
        public("relay/relay.yaml", "the relay's configuration", relay(plan)),
        public(
            "relay/server.crt",
            "what the relay shows",
            keys.server.certificate.clone(),
        ),
        secret("relay/server.key", "its key", &keys.server.key),
        public(
            "apiserver/kubeconfig.yaml",
            "--audit-webhook-config-file",
            kubeconfig(plan),
        ),
        public(
            "apiserver/audit-policy.yaml",
            "--audit-policy-file",
            include_str!("set/audit-policy.yaml").to_owned(),
        ),
        public("apiserver/ca.crt", "whom the API server trusts", ca()),
    ];
    if let Some(client) = &keys.client {
        all.push(public(
            "relay/client-ca.crt",
            "who signs certificates of API servers",
            ca(),
        ));
        all.push(public(
            "apiserver/client.crt",
            "what the API server shows",
            client.certificate.clone(),
        ));
        all.push(secret("apiserver/client.key", "its key", &client.key));
    }
    if let Some(token) = &keys.token {
        let line = format!("{token}\n");
        all.push(secret(
            "relay/tokens",
            "tokens that are taken, one a line",
            &line,
        ));
        all.push(secret(
            "apiserver/token",
            "the token that the API server shows",
            &line,
        ));
    }
    all.extend(platforms(plan));
    all
}

fn platforms(plan: &Plan) -> Vec<Entry> {
    let mut all = static_pods(plan);
    all.extend(single_binaries());
    let flags = lines(&with_log_file("DIR"), Flag::row);
    let config = shell(&plan.relay_dir.join("relay.yaml"));
    let values = [("FLAGS", &*flags), ("RELAY_CONFIG", &*config)];
    all.push(public(
        "platforms/flags.md",
        "the API server's flags, and why",
        fill(include_str!("set/flags.md"), &values),
    ));
    all.push(public(
        "platforms/managed.md",
        "what managed clusters can do",
        include_str!("set/managed.md").to_owned(),
    ));
    all
}

fn with_log_file(dir: &str) -> Vec<Flag> {
    let mut flags = webhook(dir);
    flags.extend(log_file());
    flags
}

/// Clusters whose API server is a static pod of kubeadm's.
fn static_pods(plan: &Plan) -> Vec<Entry> {
    let below = |name: &str| quoted(&shown(&plan.out.join(name)));
    let kind = fill(
        include_str!("set/kind.yaml"),
        &[
            ("APISERVER_DIR", &below("apiserver")),
            ("PATCHES_DIR", &below("platforms/kubeadm")),
            ("NODE_DIR", KUBEADM_DIR),
        ],
    );
    let flags = lines(&webhook(MINIKUBE_DIR), Flag::extra_config).replace('\n', " \\\n");
    let minikube = fill(
        include_str!("set/minikube.md"),
        &[("FLAGS", &flags), ("NODE_DIR", MINIKUBE_DIR)],
    );
    let kubeadm = fill(include_str!("set/kubeadm.md"), &[("NODE_DIR", KUBEADM_DIR)]);
    let patch = static_pod_patch(&with_log_file(KUBEADM_DIR), KUBEADM_DIR);
    vec![
        public("platforms/kubeadm.md", "steps for kubeadm", kubeadm),
        public(
            "platforms/kubeadm/kube-apiserver0+json.yaml",
            "the patch of the static pod, for kubeadm and kind",
            patch,
        ),
        public("platforms/minikube.md", "steps for minikube", minikube),
        public(
            "platforms/kind.md",
            "steps for kind",
            include_str!("set/kind.md").to_owned(),
        ),
        public("platforms/kind.yaml", "a kind cluster", kind),
    ]
}

/// k3s and RKE2.
fn single_binaries() -> Vec<Entry> {
    let k3s = lines(&with_log_file(K3S_DIR), Flag::item);
    let mut rke2 = webhook(RKE2_DIR);
    // RKE2 has a key of its own for it, and a log file anyway.
    rke2.retain(|flag| flag.name != "audit-policy-file");
    let rke2 = lines(&rke2, Flag::item);
    let at = |template: &str, dir: &str, flags: &str| {
        fill(
            template,
            &[("NODE_DIR", dir), ("LOG_DIR", LOG_DIR), ("FLAGS", flags)],
        )
    };
    vec![
        public(
            "platforms/k3s.md",
            "steps for k3s",
            at(include_str!("set/k3s.md"), K3S_DIR, ""),
        ),
        public(
            "platforms/k3s.yaml",
            "k3s' configuration",
            at(include_str!("set/k3s.yaml"), K3S_DIR, &k3s),
        ),
        public(
            "platforms/rke2.md",
            "steps for RKE2",
            at(include_str!("set/rke2.md"), RKE2_DIR, ""),
        ),
        public(
            "platforms/rke2.yaml",
            "RKE2's configuration",
            at(include_str!("set/rke2.yaml"), RKE2_DIR, &rke2),
        ),
    ]
}

fn kubeconfig(plan: &Plan) -> String {
    let mut user = Vec::new();
    if plan.mtls {
        user.push("      client-certificate: client.crt\n      client-key: client.key");
    }
    if plan.token {
        user.push("      tokenFile: token");
    }
    let values = [("SERVER", plan.server.as_str()), ("USER", &user.join("\n"))];
    fill(include_str!("set/kubeconfig.yaml"), &values)
}

fn relay(plan: &Plan) -> String {
    let at = |name: &str| quoted(&shown(&plan.relay_dir.join(name)));
    let mut client = String::new();
    let mut client_ca = String::new();
    if plan.mtls {
        let name = quoted(&client_name(&plan.cluster));
        client.push_str(&format!("    certificate_names: [{name}]\n"));
        client_ca.push_str(&format!("  client_ca_file: {}\n", at("client-ca.crt")));
    }
    if plan.token {
        client.push_str(&format!("    token_file: {}\n", at("tokens")));
    }
    fill(
        include_str!("set/relay.yaml"),
        &[
            ("SERVER", plan.server.as_str()),
            ("LISTEN", &quoted(&plan.listen.to_string())),
            ("CLUSTER", &quoted(plan.cluster.as_str())),
            ("CLIENT_CA", &client_ca),
            ("CLIENT", &client),
            ("RELAY_DIR_SERVER_CRT", &at("server.crt")),
            ("RELAY_DIR_SERVER_KEY", &at("server.key")),
            ("RELAY_DIR_DATA", &at("data")),
        ],
    )
}

fn readme(plan: &Plan, keys: &Keys) -> String {
    let sans: Vec<String> = plan.sans.iter().map(San::to_string).collect();
    let mut renew = format!("--url {} --ca ca --out NEW", plan.server);
    for san in plan.sans.iter().skip(1) {
        renew.push_str(&format!(" --san '{san}'"));
    }
    for (flag, is_set) in [("--mtls", plan.mtls), ("--token", plan.token)] {
        if is_set {
            renew.push_str(&format!(" {flag}"));
        }
    }
    fill(
        include_str!("set/README.md"),
        &[
            ("SERVER", plan.server.as_str()),
            ("CLUSTER", plan.cluster.as_str()),
            ("TODAY", &keys.today.to_string()),
            ("LEAF_END", &keys.leaf_ends.to_string()),
            ("CA_END", &keys.ca_ends.to_string()),
            ("RELAY_DIR", &shell(&plan.relay_dir)),
            ("RELAY_CONFIG", &shell(&plan.relay_dir.join("relay.yaml"))),
            ("SANS", &sans.join(", ")),
            ("CURL", &curl(plan)),
            ("RENEW", &renew),
        ],
    )
}

/// A request that posts nothing and is answered all the same.
fn curl(plan: &Plan) -> String {
    let mut line = String::from("curl --cacert ca.crt");
    if plan.mtls {
        line.push_str(" --cert client.crt --key client.key");
    }
    if plan.token {
        line.push_str(" --header \"Authorization: Bearer $(cat token)\"");
    }
    let body = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[]}"#;
    format!(
        "{line} --header 'Content-Type: application/json' \\\n     --data '{body}' \\\n     \
         --write-out '%{{http_code}}\\n' {}",
        plan.server
    )
}

//! What platforms are told: the same flags everywhere, explained, and steps that work when they are followed to the letter.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{init, mode, text, yaml};

const URL: &str = "https://relay.example:8443/webhook/prod";

/// The flags that the patch of the static pod adds; what it mounts it has a volume for.
fn flags_of_the_patch(platforms: &Path) -> Vec<String> {
    let patch = text(platforms.join("kubeadm/kube-apiserver0+json.yaml"));
    // The parser takes maps only.
    let read: Value = yaml(&format!("patch:\n{patch}"));
    let operations = read["patch"].as_array().expect("a list");
    let of_path = |path: &str| -> Vec<Value> {
        let has = |one: &&Value| one["path"] == path && one["op"] == "add";
        let values = operations.iter().filter(has);
        values.map(|one| one["value"].clone()).collect()
    };
    let flags = of_path("/spec/containers/0/command/-");
    let mounts = of_path("/spec/containers/0/volumeMounts/-");
    let volumes = of_path("/spec/volumes/-");
    assert_eq!(operations.len(), flags.len() + mounts.len() + volumes.len());
    for (mount, volume) in mounts.iter().zip(&volumes) {
        assert_eq!(mount["name"], volume["name"]);
        assert_eq!(mount["mountPath"], volume["hostPath"]["path"]);
    }
    assert_eq!(mounts[0]["readOnly"], true);
    assert_eq!(mounts[0]["mountPath"], "/etc/kubernetes/auditrelay");
    let flag = |flag: &Value| flag.as_str().expect("text").to_owned();
    flags.iter().map(flag).collect()
}

/// What platforms are told is YAML, and names files where the steps put them.
#[test]
fn platforms_are_told_of_the_same_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    init(folder.path(), URL, &[]);
    let platforms = folder.path().join("set/platforms");
    let explained = text(platforms.join("flags.md"));
    let mut flags = flags_of_the_patch(&platforms);
    for file in ["k3s.yaml", "rke2.yaml"] {
        let read: Value = yaml(&text(platforms.join(file)));
        let list = read["kube-apiserver-arg+"].as_array();
        let list = list.unwrap_or_else(|| panic!("{file}: {read}"));
        assert!(list.len() >= 4, "{file}");
        flags.extend(
            list.iter()
                .map(|flag| format!("--{}", flag.as_str().expect("text"))),
        );
    }
    let dirs = [
        "kubernetes/auditrelay",
        "rancher/k3s/auditrelay",
        "rancher/rke2/auditrelay",
    ];
    for flag in flags {
        let name = flag.split('=').next().expect("a name");
        assert!(
            explained.contains(&format!("| `{name}=")),
            "{flag} is not explained"
        );
        if let Some((_, path)) = flag.split_once("=/etc/") {
            let (dir, file) = path.rsplit_once('/').expect("a file");
            assert!(dirs.contains(&dir), "{flag}");
            assert!(
                folder.path().join("set/apiserver").join(file).exists(),
                "{flag}"
            );
        }
    }
    let kind: Value = yaml(&text(platforms.join("kind.yaml")));
    for mount in kind["nodes"][0]["extraMounts"].as_array().expect("mounts") {
        assert!(Path::new(mount["hostPath"].as_str().expect("a path")).is_dir());
    }
}

/// The blocks of commands of a page, as somebody would paste them.
fn blocks(page: &str) -> Vec<String> {
    let inside = page.split("```").skip(1).step_by(2);
    let left = |block: &str| -> String {
        let lines = block.lines().map(|line| format!("{}\n", line.trim_start()));
        lines.collect()
    };
    inside.map(left).collect()
}

/// A node whose root is a folder, and the commands of kubeadm.md on it.
struct Node {
    folder: tempfile::TempDir,
    blocks: Vec<String>,
}

impl Node {
    fn new(manifest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        init(folder.path(), URL, &[]);
        let blocks = blocks(&text(folder.path().join("set/platforms/kubeadm.md")));
        let node = Self { folder, blocks };
        fs::create_dir_all(node.kubernetes("manifests")).expect("a folder");
        fs::write(node.manifest(), manifest).expect("written");
        fs::set_permissions(node.manifest(), PermissionsExt::from_mode(0o600)).expect("mine");
        node
    }

    fn kubernetes(&self, name: &str) -> PathBuf {
        self.folder.path().join("etc/kubernetes").join(name)
    }

    fn manifest(&self) -> PathBuf {
        self.kubernetes("manifests/kube-apiserver.yaml")
    }

    /// Runs the only block that has this in it; says what is printed.
    fn run(&self, block: &str) -> String {
        let has = |one: &&String| one.contains(block);
        let found: Vec<&String> = self.blocks.iter().filter(has).collect();
        assert_eq!(found.len(), 1, "{block}: {found:?}");
        let root = self.folder.path().to_str().expect("text");
        let script = found[0]
            .replace("ssh root@NODE ", "")
            .replace("scp ", "cp ")
            .replace("root@NODE:", "")
            .replace("/etc/", &format!("{root}/etc/"));
        let output = Command::new("sh")
            .args(["-c", &format!("umask 022\n{script}")])
            .current_dir(if script.contains("apiserver/*") {
                self.folder.path().join("set")
            } else {
                self.kubernetes("")
            })
            .env("HOME", root)
            .output()
            .expect("a shell");
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}

fn is_kubectl_there() -> bool {
    let is_there = Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output();
    is_there.is_ok()
}

/// What the API server's container says twice, of which a kubelet takes none: then nothing starts at all.
fn said_twice(pod: &Value) -> Vec<String> {
    let container = &pod["spec"]["containers"][0];
    let all = |list: &Value, name: &str| -> Vec<String> {
        let values = list.as_array().into_iter().flatten();
        values
            .map(|one| {
                one[name]
                    .as_str()
                    .expect("text")
                    .trim_end_matches('/')
                    .to_owned()
            })
            .collect()
    };
    let mut twice = Vec::new();
    for mut names in [
        all(&pod["spec"]["volumes"], "name"),
        all(&container["volumeMounts"], "mountPath"),
    ] {
        names.sort();
        let pairs = names.windows(2).filter(|pair| pair[0] == pair[1]);
        twice.extend(pairs.map(|pair| pair[0].clone()));
    }
    twice
}

/// Each block of kubeadm.md, twice, on a manifest as kubeadm writes it.
#[test]
fn kubeadms_steps_can_be_followed_to_the_letter_and_again() {
    if !is_kubectl_there() {
        println!("skipped: kubectl is not installed");
        return;
    }
    let node = Node::new(STATIC_POD);
    for _ in 0..2 {
        assert_eq!(node.run("scp "), "");
        let patches = fs::read_dir(node.kubernetes("auditrelay-patches"));
        let patches: Vec<_> = patches.expect("a folder").collect();
        assert_eq!(patches.len(), 1, "{patches:?}");
        assert_eq!(mode(&node.kubernetes("auditrelay")), 0o700);
        assert_eq!(mode(&node.kubernetes("auditrelay/client.key")), 0o600);
    }
    let said = node.run("kubectl patch");
    assert!(said.contains("--audit-webhook-config-file="), "{said}");
    assert_eq!(
        text(node.manifest()),
        STATIC_POD,
        "not before it is looked at"
    );
    assert_eq!(node.run("mv "), "");
    // As kubeadm has it, and as the benchmark of the CIS asks.
    assert_eq!(mode(&node.manifest()), 0o600);
    let patched = text(node.manifest());
    let pod: Value = yaml(&patched);
    let command = &pod["spec"]["containers"][0]["command"];
    assert_eq!(command[1], "--advertise-address=10.0.0.1");
    let flag = "--audit-webhook-config-file=/etc/kubernetes/auditrelay/kubeconfig.yaml";
    let command = command.as_array().expect("a list");
    assert!(command.contains(&flag.into()), "{patched}");
    assert_eq!(said_twice(&pod), [""; 0]);
    assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(3));

    // Once more: nothing is patched twice, and the copy of before is still that.
    let said = node.run("kubectl patch");
    assert!(said.contains("stop: "), "{said}");
    assert!(node.run("mv ").contains("kube-apiserver.patched.yaml"));
    assert_eq!(text(node.manifest()), patched);
    assert_eq!(node.run("kube-apiserver.before.yaml manifests"), "");
    assert_eq!(text(node.manifest()), STATIC_POD);
    assert_eq!(mode(&node.manifest()), 0o600);
}

/// A patch that does not fit leaves nothing that could be put in place.
#[test]
fn a_patch_that_fails_leaves_no_manifest() {
    if !is_kubectl_there() {
        println!("skipped: kubectl is not installed");
        return;
    }
    let node =
        Node::new("kind: Pod\napiVersion: v1\nmetadata: {name: x}\nspec: {containers: []}\n");
    node.run("scp ");
    node.run("kubectl patch");
    assert!(!node.kubernetes("kube-apiserver.patched.yaml").exists());
}

/// Kubernetes' own documentation of audit shows these names and places. Beside them ours stand all the same, if an
/// upgrade applies the patch to them.
#[test]
fn what_the_patch_adds_collides_with_no_audit_that_is_set_up_already() {
    if !is_kubectl_there() {
        println!("skipped: kubectl is not installed");
        return;
    }
    let other = STATIC_POD
        .replace(
            "        - --advertise",
            "        - --audit-log-path=/var/log/kubernetes/audit/audit.log\n        - --advertise",
        )
        .replace(
            "      volumeMounts:\n",
            "      volumeMounts:\n        - {mountPath: /etc/kubernetes/audit-policy.yaml, name: audit}\n        \
             - {mountPath: /var/log/kubernetes/audit/, name: audit-log}\n",
        )
        .replace(
            "  volumes:\n",
            "  volumes:\n    - {hostPath: {path: /etc/kubernetes/audit-policy.yaml}, name: audit}\n    \
             - {hostPath: {path: /var/log/kubernetes/audit/}, name: audit-log}\n",
        );
    let node = Node::new(&other);
    node.run("scp ");
    let said = node.run("kubectl patch");
    assert!(
        said.contains("stop: ") && said.contains("audit-log-path"),
        "{said}"
    );
    assert!(!node.kubernetes("kube-apiserver.patched.yaml").exists());
    // What kubeadm does with --patches.
    let output = Command::new("kubectl")
        .args(["patch", "--local", "--type", "json", "-o", "yaml", "-f"])
        .arg(node.manifest())
        .arg("--patch-file")
        .arg(node.kubernetes("auditrelay-patches/kube-apiserver0+json.yaml"))
        .output()
        .expect("kubectl");
    let pod: Value = yaml(std::str::from_utf8(&output.stdout).expect("text"));
    assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(5));
    assert_eq!(said_twice(&pod), [""; 0]);
    // Of two equal flags the last one counts.
    let command = pod["spec"]["containers"][0]["command"]
        .as_array()
        .expect("a list");
    let last = command.iter().filter_map(Value::as_str);
    let last = last.rev().find(|one| one.starts_with("--audit-log-path="));
    assert_eq!(
        last,
        Some("--audit-log-path=/var/log/kubernetes/auditrelay/audit.log")
    );
}

/// k3s and RKE2 read these files by the alphabet: one that comes later, and has the key without `+`, would take our
/// flags away.
#[test]
fn the_files_of_k3s_and_rke2_come_last_and_their_folders_are_made() {
    let folder = tempfile::tempdir().expect("a folder");
    init(folder.path(), URL, &[]);
    for name in ["k3s", "rke2"] {
        let path = format!("/etc/rancher/{name}/config.yaml.d/zz-auditrelay.yaml");
        let platforms = folder.path().join("set/platforms");
        let (steps, file) = (
            text(platforms.join(format!("{name}.md"))),
            text(platforms.join(format!("{name}.yaml"))),
        );
        assert!(
            steps.contains(&format!("cp platforms/{name}.yaml {path}\n")),
            "{steps}"
        );
        assert!(file.starts_with(&format!("# {path}: ")), "{file}");
        let (_, made) = steps.split_once("\nmkdir -m 0700 -p ").expect("folders");
        let (made, _) = made.split_once('\n').expect("a line");
        let made: Vec<&str> = made.split(' ').collect();
        let paths = file.lines().filter_map(|line| line.split_once("=/"));
        for (_, path) in paths {
            let (folder, _) = path.rsplit_once('/').expect("a file");
            assert!(made.contains(&&*format!("/{folder}")), "{path}: {made:?}");
        }
    }
}

const STATIC_POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  labels: {component: kube-apiserver, tier: control-plane}
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
    - command:
        - kube-apiserver
        - --advertise-address=10.0.0.1
      image: registry.k8s.io/kube-apiserver:v1.36.0
      name: kube-apiserver
      volumeMounts:
        - {mountPath: /etc/kubernetes/pki, name: k8s-certs, readOnly: true}
  hostNetwork: true
  volumes:
    - {hostPath: {path: /etc/kubernetes/pki, type: DirectoryOrCreate}, name: k8s-certs}
status: {}
";

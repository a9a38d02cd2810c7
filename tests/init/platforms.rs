//! What platforms are told: the same flags everywhere, explained, and steps that work when they are followed to the letter.

use std::{fs, path::Path, process::Command};

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

//! The files: who may read them, what is never overwritten, and that they are what they say.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{init, mode, support, text, try_init, yaml};

const URL: &str = "https://relay.example:8443/webhook/prod";

/// Every file below a folder, with its content.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(all(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    found
}

#[test]
fn what_is_secret_only_its_owner_can_read_and_nothing_else_is_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = init(folder.path(), URL, &["--mtls", "--token"]);
    let set = folder.path().join("set");
    let secret = [
        "ca/ca.key",
        "relay/server.key",
        "relay/tokens",
        "apiserver/client.key",
        "apiserver/token",
    ];
    for (path, content) in all(&set) {
        let name = path
            .strip_prefix(&set)
            .expect("below")
            .to_str()
            .expect("text");
        let expected = if secret.contains(&name) { 0o600 } else { 0o644 };
        assert_eq!(mode(&path), expected, "{name}");
        assert!(told.contains(&format!("{name} ")), "{name} is not listed");
        let content = String::from_utf8(content).expect("text");
        let is_key = content.contains("PRIVATE KEY") || content.trim().len() == 64;
        assert_eq!(is_key, secret.contains(&name), "{name}");
        assert!(
            !content.contains('@') || name == "platforms/kubeadm.md",
            "{name} has an open place"
        );
        assert!(!told.contains(content.trim()), "{name} is printed");
    }
    for dir in [
        "",
        "ca",
        "relay",
        "apiserver",
        "platforms",
        "platforms/kubeadm",
    ] {
        assert_eq!(mode(&set.join(dir)), 0o700, "{dir}");
    }
    assert_eq!(
        fs::read_dir(&set).expect("a folder").count(),
        5,
        "nothing is left over"
    );
}

#[test]
fn nothing_is_overwritten_unless_it_was_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    init(folder.path(), URL, &[]);
    let set = folder.path().join("set");
    let before = all(&set);
    let (code, stdout, stderr) = try_init(folder.path(), URL, &["--token"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains("--force") && stderr.contains("nothing was written"),
        "{stderr}"
    );
    assert_eq!(all(&set), before, "not one byte");

    // One of them is enough, a link too, and none of the others is written.
    let other = folder.path().join("other");
    fs::create_dir_all(other.join("relay")).expect("a folder");
    symlink("/nowhere", other.join("relay/server.key")).expect("a link");
    let (code, _, stderr) = try_init(folder.path(), URL, &["--out", "other"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("relay/server.key is there already,"),
        "{stderr}"
    );
    assert_eq!(fs::read_dir(&other).expect("a folder").count(), 1);

    fs::set_permissions(set.join("ca/ca.key"), PermissionsExt::from_mode(0o644)).expect("mine");
    fs::write(set.join("mine.txt"), "mine").expect("written");
    init(folder.path(), URL, &["--force"]);
    let after = all(&set);
    assert_ne!(
        after[&set.join("ca/ca.key")],
        before[&set.join("ca/ca.key")]
    );
    assert_eq!(mode(&set.join("ca/ca.key")), 0o600);
    assert_eq!(after[&set.join("mine.txt")], b"mine");
    assert_eq!(after.len(), before.len() + 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "mine").expect("written");
    let (code, stdout, stderr) = try_init(folder.path(), URL, &["--out", "file/set"]);
    assert_eq!((code, stdout.as_str()), (70, ""));
    assert!(stderr.contains("cannot write into"), "{stderr}");
    let (code, _, _) = try_init(folder.path(), URL, &["--out", "file"]);
    assert_ne!(code, 0);
    assert_eq!(text(folder.path().join("file")), "mine");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for (url, more) in [
        ("http://relay.example:8443/webhook", &["--mtls"][..]),
        ("https://me:hunter2@relay.example/webhook", &[]),
        ("https://relay.example/webhook?cluster=hunter2", &[]),
        (URL, &["--cluster", "other"]),
        (URL, &["--san", "a b"]),
        (URL, &["--ca", "nowhere"]),
    ] {
        let (code, stdout, stderr) = try_init(folder.path(), url, more);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
        assert!(!folder.path().join("set").exists());
    }
}

#[test]
fn another_set_of_the_same_ca_has_keys_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    init(folder.path(), URL, &["--token"]);
    init(
        folder.path(),
        URL,
        &["--ca", "set/ca", "--token", "--out", "new"],
    );
    let both = |name: &str| {
        let of = |set: &str| text(folder.path().join(set).join(name));
        (of("set"), of("new"))
    };
    for same in ["ca/ca.crt", "ca/ca.key", "apiserver/ca.crt"] {
        let (old, new) = both(same);
        assert_eq!(old, new, "{same}");
    }
    for changed in ["relay/server.crt", "relay/server.key", "relay/tokens"] {
        let (old, new) = both(changed);
        assert_ne!(old, new, "{changed}");
    }
    // A key of another CA is noticed.
    init(folder.path(), URL, &["--out", "foreign"]);
    fs::copy(
        folder.path().join("foreign/ca/ca.key"),
        folder.path().join("set/ca/ca.key"),
    )
    .expect("copied");
    let (code, _, stderr) = try_init(folder.path(), URL, &["--ca", "set/ca", "--out", "third"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("not the key of ca.crt"), "{stderr}");
    let leaf = folder.path().join("new/ca");
    fs::copy(
        folder.path().join("new/relay/server.crt"),
        leaf.join("ca.crt"),
    )
    .expect("copied");
    fs::copy(
        folder.path().join("new/relay/server.key"),
        leaf.join("ca.key"),
    )
    .expect("copied");
    let (code, _, stderr) = try_init(folder.path(), URL, &["--ca", "new/ca", "--out", "third"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("no certificate of a CA"), "{stderr}");
}

#[test]
fn the_relays_configuration_is_valid_wherever_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, more) in [&["--mtls"][..], &["--token"], &["--mtls", "--token"]]
        .into_iter()
        .enumerate()
    {
        // What would mean something to YAML, to a shell, or to a table.
        let out = format!("it's: a \"set\" #{number} | `x`");
        let url = "https://[2001:db8::1]:8443/webhook/007";
        let more = [more, &["--out", &out]].concat();
        init(folder.path(), url, &more);
        let config = format!("{out}/relay/relay.yaml");
        let (code, stdout, stderr) =
            support::run(folder.path(), &[], &["check", "--config", &config]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.ends_with("the configuration is valid\n"), "{stdout}");
        let read: Value = yaml(&text(folder.path().join(&config)));
        let key = folder.path().join(&out).join("relay/server.key");
        assert_eq!(read["tls"]["key_file"], key.to_str().expect("text"));
        assert_eq!(read["listen"], "[::]:8443");
        assert_eq!(read["clients"][0]["cluster"], "007");
        assert_eq!(
            read["clients"][0]["certificate_names"].is_array(),
            more.contains(&"--mtls")
        );
        assert_eq!(
            read["clients"][0]["token_file"].is_string(),
            more.contains(&"--token")
        );
    }
}

/// What is asked for is put in as it is, also where it looks like a place of a template.
#[test]
fn a_folder_may_be_called_like_a_place_of_a_template() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = "@SERVER@-@CLUSTER@-@FLAGS@-@PATCHES_DIR@-@RELAY_DIR_DATA@-@RELAY_CONFIG@-@CURL@";
    let relay_dir = format!("/etc/{names}");
    let more = ["--out", names, "--relay-dir", &relay_dir];
    init(folder.path(), URL, &more);
    let set = folder.path().join(names);
    let config: Value = yaml(&text(set.join("relay/relay.yaml")));
    for (value, file) in [
        (&config["tls"]["certificate_file"], "server.crt"),
        (&config["tls"]["key_file"], "server.key"),
        (&config["tls"]["client_ca_file"], "client-ca.crt"),
        (&config["data_dir"], "data"),
    ] {
        assert_eq!(value, &format!("{relay_dir}/{file}"));
    }
    let kind: Value = yaml(&text(set.join("platforms/kind.yaml")));
    for mount in kind["nodes"][0]["extraMounts"].as_array().expect("mounts") {
        let path = Path::new(mount["hostPath"].as_str().expect("a path"));
        assert!(path.starts_with(&set) && path.is_dir(), "{mount}");
    }
    for file in ["README.md", "platforms/flags.md"] {
        let config = format!("--config {relay_dir}/relay.yaml");
        assert!(text(set.join(file)).contains(&config), "{file}");
    }
}

#[test]
fn json_is_for_scripts() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = init(
        folder.path(),
        URL,
        &["--json", "--relay-dir", "/etc/auditrelay"],
    );
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["cluster"], &told["listen"]),
        (&"prod".into(), &"0.0.0.0:8443".into())
    );
    let files = told["files"].as_array().expect("a list");
    assert_eq!(files.len(), all(&folder.path().join("set")).len());
    for file in files {
        let path = Path::new(file["path"].as_str().expect("a path"));
        assert_eq!(file["mode"], format!("{:04o}", mode(path)));
        assert_eq!(file["secret"], mode(path) == 0o600);
    }
    let config = text(folder.path().join("set/relay/relay.yaml"));
    assert!(config.contains("key_file: \"/etc/auditrelay/server.key\""));
}

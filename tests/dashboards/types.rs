//! The dashboards against Grafana's own types, with TypeScript's compiler (`dashboards/check`), and that they are what
//! their generator makes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::boards::{NAMES, root, text};

/// Whether node is here; a test that is skipped says so.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn has_node() -> bool {
    let version = Command::new("node").arg("--version").output();
    let is_here = version.is_ok_and(|output| output.status.success());
    if !is_here {
        println!("skipped: node is not installed");
    }
    is_here
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn is_installed() -> bool {
    let is_ready = root().join("target/grafana/ready").exists();
    if !is_ready {
        println!("skipped: Grafana's types are not installed (bash dashboards/check/install.sh)");
    }
    is_ready
}

fn node(script: &str, files: &[PathBuf]) -> Output {
    let mut command = Command::new("node");
    command.arg(root().join(script)).args(files);
    command.output().expect("it was there a moment ago")
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, text).expect("written");
    file
}

#[test]
fn grafanas_own_types_take_the_dashboards_and_no_typo() {
    if !has_node() || !is_installed() {
        return;
    }
    let committed = NAMES.map(|name| root().join(format!("dashboards/{name}.json")));
    let output = node("dashboards/check/check.mjs", &committed);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{output:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let typos = [
        ("key", "\"fieldConfig\":", "\"fieldConfg\":"),
        ("needed", "\"schemaVersion\": 39,", ""),
        ("kind", "\"type\": \"stat\"", "\"type\": \"stats\""),
        ("option", "\"graphMode\":", "\"graphMod\":"),
        ("choice", "\"background_solid\"", "\"background_sold\""),
        ("custom", "\"lineWidth\":", "\"lineWith\":"),
        ("override", "\"custom.width\"", "\"custom.widht\""),
        ("target", "\"legendFormat\":", "\"legend\":"),
        ("mark", "\"useValueForTime\":", "\"useValForTime\":"),
        ("variable", "\"includeAll\":", "\"includeall\":"),
        ("place", "\"w\": 4", "\"width\": 4"),
        ("number", "\"refresh\": 2", "\"refresh\": \"2\""),
    ];
    let whole = text("overview");
    let mut files = vec![written(folder.path(), "right", &whole)];
    for (name, from, to) in typos {
        let changed = whole.replacen(from, to, 1);
        assert_ne!(changed, whole, "{name}: there is no {from}");
        files.push(written(folder.path(), name, &changed));
    }
    let output = node("dashboards/check/check.mjs", &files);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    for (name, ..) in typos {
        assert!(
            said.contains(&format!("{name}.json(")),
            "{name} was not found: {said}"
        );
    }
    assert!(!said.contains("right.json("), "{said}");
}

#[test]
fn the_dashboards_are_what_their_generator_makes() {
    if !has_node() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = node("dashboards/make/make.mjs", &[folder.path().to_owned()]);
    assert!(output.status.success(), "{output:?}");
    for name in NAMES {
        let file = folder.path().join(format!("{name}.json"));
        let made = fs::read_to_string(file).expect("made");
        assert!(
            made == text(name),
            "dashboards/{name}.json is not what node dashboards/make/make.mjs writes"
        );
    }
}

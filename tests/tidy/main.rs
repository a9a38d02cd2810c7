//! Rules of the project that neither rustc nor clippy knows: who may import whom, how long a file may
//! be, what must not be left in it, and that the documentation agrees with the code.
//!
//! Each rule is a function from text to findings ([`rules`]). The tests here apply it to the whole
//! project; those beside the rules apply it to an example that breaks it, so that a rule which can no
//! longer fail is noticed.

mod rules;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rules::*;

#[test]
fn packages_import_along_the_arrows_only() {
    let root = read("Cargo.toml");
    let known: Vec<&str> = ARROWS.iter().map(|(folder, _)| *folder).collect();
    assert_eq!(
        members(&root),
        known,
        "the workspace's members have changed"
    );
    let mut findings = Vec::new();
    for (folder, allowed) in ARROWS {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        findings.extend(forbidden(
            &dependencies(&manifest),
            allowed,
            &format!("{folder}/Cargo.toml"),
        ));
        for (path, text) in files(&["rs"]) {
            let is_here = match folder {
                "." => path.starts_with("src/"),
                folder => path.starts_with(&format!("{folder}/src/")),
            };
            if is_here {
                let mut imported = imports(&text);
                if is_for_tests(&path) {
                    imported.remove("loadtest");
                }
                findings.extend(forbidden(&imported, allowed, &path));
            }
        }
    }
    none(&findings);
}

#[test]
fn no_file_is_too_long_and_each_says_what_it_is() {
    let mut findings = Vec::new();
    for (path, text) in files(&["rs"]) {
        findings.extend(too_long(&path, &text));
        if path.starts_with("src/") || path.contains("/src/") {
            findings.extend(headless(&path, &text));
        }
    }
    none(&findings);
}

#[test]
fn nothing_is_left_for_later() {
    none(&each_file(&["rs", "sh", "toml", "yaml", "yml"], unfinished));
}

#[test]
fn no_tabs_and_no_spaces_at_the_end_of_a_line() {
    none(&each_file(
        &["rs", "md", "sh", "toml", "yaml", "yml"],
        untidy_spaces,
    ));
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let registered: BTreeSet<String> = files(&["rs"])
        .iter()
        .filter(|(path, _)| path.starts_with("src/") || path.contains("/src/"))
        .flat_map(|(_, text)| registered_metrics(text))
        .collect();
    assert!(
        registered.len() > 10,
        "the sources were not read: {registered:?}"
    );
    let mut findings = undocumented(&registered, &described_metrics(&read(METRICS_PAGE)));
    for (path, text) in files(&["md", "json", "yaml"]) {
        if path.starts_with("docs/") || path.starts_with("dashboards/") || path == "README.md" {
            findings.extend(unknown_metrics(&path, &text, &registered));
        }
    }
    none(&findings);
}

#[test]
fn every_reason_of_a_refusal_is_documented() {
    let labels = strings_of_function(&read("ingest/src/refusal.rs"), "label");
    assert!(labels.len() > 10, "the labels were not found: {labels:?}");
    none(&missing_rows(&labels, &read(METRICS_PAGE)));
}

#[test]
fn every_link_and_every_path_in_the_documentation_leads_somewhere() {
    none(&each_file(&["md"], |path, text| {
        let mut findings = dead_links(path, text, |target| root().join(target).exists());
        findings.extend(dead_paths(path, text, |target| {
            root().join(target).exists()
        }));
        findings
    }));
}

// The project's files.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let file = root().join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Files with one of these extensions: path from the root, and content.
fn files(extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(root(), extensions, &mut found);
    assert!(
        !found.is_empty(),
        "no files of {extensions:?} under {}",
        root().display()
    );
    found
}

fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(folder).expect("a folder of the project can be read");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            // Build output is marked by cargo, whatever its name.
            let is_output = path.join("CACHEDIR.TAG").exists();
            if !is_output && name != ".git" && name != "target" && name != "auditrelay-data" {
                walk(&path, extensions, found);
            }
        } else if path
            .extension()
            .is_some_and(|one| extensions.iter().any(|other| one == *other))
        {
            let relative = path.strip_prefix(root()).expect("below the root");
            let bytes = fs::read(&path).expect("a file of the project can be read");
            // Samples of audit events may hold bytes that are no text.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            found.push((relative.display().to_string(), text));
        }
    }
}

fn each_file(extensions: &[&str], rule: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    files(extensions)
        .iter()
        .flat_map(|(path, text)| rule(path, text))
        .collect()
}

fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

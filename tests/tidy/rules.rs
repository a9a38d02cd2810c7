//! The rules: functions from text to findings, and for each an example that breaks it.

use std::{collections::BTreeSet, path::Path};

/// Which package may import which, by folder; `.` is the root package (docs/ARCHITECTURE.md).
pub(crate) const ARROWS: [(&str, &[&str]); 7] = [
    (
        ".",
        &["audit", "config", "store", "ingest", "dispatch", "loadtest"],
    ),
    ("audit", &[]),
    ("config", &["audit"]),
    ("store", &["audit"]),
    ("ingest", &["audit", "config", "store"]),
    ("dispatch", &["audit", "config", "store"]),
    ("loadtest", &[]),
];
pub(crate) const LINES_MAX: usize = 400;
pub(crate) const METRICS_PAGE: &str = "docs/metrics.md";

pub(crate) fn members(manifest: &str) -> Vec<&str> {
    let list = manifest
        .split_once("\nmembers = [")
        .map_or("", |(_, rest)| rest);
    let list = list.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).collect()
}

/// Our own packages that a manifest depends on, other than for tests, by folder.
pub(crate) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            section = line;
        }
        let counts = section.contains("dependencies")
            && !section.contains("dev-dependencies")
            && !section.starts_with("[workspace");
        if counts {
            found.extend(
                words_from(line, "auditrelay")
                    .map(|name| name.strip_prefix("auditrelay-").unwrap_or(".").to_owned()),
            );
        }
    }
    found
}

/// Our own packages that a source file names, by folder.
pub(crate) fn imports(text: &str) -> BTreeSet<String> {
    let is_ours = |name: &str| ARROWS.iter().any(|(folder, _)| *folder == name);
    words_from(text, "auditrelay_")
        .filter_map(|word| word.strip_prefix("auditrelay_"))
        .filter(|name| is_ours(name))
        .map(str::to_owned)
        .collect()
}

/// Whether a source file is compiled for tests only; manifests hold that nothing else can see a dev-dependency.
pub(crate) fn is_for_tests(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let names = ["tests.rs", "test_support.rs"];
    names.contains(&name) || name.ends_with("_tests.rs") || path.contains("/tests/")
}

pub(crate) fn forbidden(imported: &BTreeSet<String>, allowed: &[&str], path: &str) -> Vec<String> {
    // Within a package its own name is no import.
    let own = path.split('/').next().unwrap_or_default();
    imported
        .iter()
        .filter(|name| !allowed.contains(&name.as_str()) && *name != own)
        .map(|name| format!("{path}: imports {name}, which it must not"))
        .collect()
}

pub(crate) fn too_long(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let finding = format!("{path}: {lines} lines, at most {LINES_MAX} are allowed; split it");
    if lines > LINES_MAX {
        vec![finding]
    } else {
        Vec::new()
    }
}

pub(crate) fn headless(path: &str, text: &str) -> Vec<String> {
    if text.starts_with("//!") {
        return Vec::new();
    }
    vec![format!(
        "{path}: does not begin with //! and what it is for"
    )]
}

pub(crate) fn unfinished(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not break its own rule.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let macros = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("db", "g!"),
    ];
    let is_word = |line: &str, word: &str| words_from(line, word).any(|found| found == word);
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let left = words.iter().find(|word| is_word(line, word));
        if let Some(what) = left.or_else(|| macros.iter().find(|name| line.contains(**name))) {
            findings.push(format!("{path}:{number}: {what}"));
        }
    }
    findings
}

pub(crate) fn untidy_spaces(path: &str, text: &str) -> Vec<String> {
    let untidy = |line: &str| line.contains('\t') || line.trim_end() != line;
    let lines = text.split('\n').zip(1..);
    lines
        .filter(|(line, _)| untidy(line))
        .map(|(_, number)| format!("{path}:{number}: a tab, or a space at the end"))
        .collect()
}

/// Words of `A-Z a-z 0-9 _ -` that begin with `prefix`.
pub(crate) fn words_from<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    text.split(move |character| !is_word(character))
        .filter(move |word| word.starts_with(prefix))
}

pub(crate) fn is_metric(name: &str) -> bool {
    let is_package = ARROWS
        .iter()
        .any(|(folder, _)| name == format!("auditrelay_{folder}"));
    let rest = name.strip_prefix("auditrelay_").unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    // The type in the metadata of the relay's Slack messages looks like one.
    let is_event_type = name == "auditrelay_message";
    // AUDITRELAY__ begins the names of environment variables.
    !is_event_type
        && !is_package
        && !rest.is_empty()
        && !rest.starts_with('_')
        && rest.bytes().all(is_plain)
}

/// Names that stand as a string of their own in a source file.
pub(crate) fn registered_metrics(text: &str) -> Vec<String> {
    text.split('"')
        .filter(|name| is_metric(name))
        .map(str::to_owned)
        .collect()
}

/// Names in the first cell of a table's row.
pub(crate) fn described_metrics(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name.to_owned())
        .filter(|name| is_metric(name))
        .collect()
}

pub(crate) fn undocumented(
    registered: &BTreeSet<String>,
    described: &BTreeSet<String>,
) -> Vec<String> {
    let missing = registered.difference(described);
    let invented = described.difference(registered);
    missing
        .map(|name| format!("{METRICS_PAGE}: {name} is missing"))
        .chain(invented.map(|name| format!("{METRICS_PAGE}: there is no metric {name}")))
        .collect()
}

pub(crate) fn unknown_metrics(
    path: &str,
    text: &str,
    registered: &BTreeSet<String>,
) -> Vec<String> {
    let is_known = |name: &str| {
        // What Prometheus makes of a histogram.
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        registered.contains(name) || base.is_some_and(|base| registered.contains(base))
    };
    words_from(text, "auditrelay_")
        .filter(|name| is_metric(name) && !is_known(name))
        .map(|name| format!("{path}: there is no metric {name}"))
        .collect()
}

/// The strings within a method's body.
pub(crate) fn strings_of_function(text: &str, name: &str) -> BTreeSet<String> {
    let start = format!("fn {name}(");
    let body = text.split_once(&start).map_or("", |(_, rest)| rest);
    let body = body.split("\n    }\n").next().unwrap_or_default();
    let strings = body.split('"').skip(1).step_by(2);
    strings.map(str::to_owned).collect()
}

pub(crate) fn missing_rows(labels: &BTreeSet<String>, page: &str) -> Vec<String> {
    let has_row = |label: &str| page.contains(&format!("\n| `{label}` |"));
    labels
        .iter()
        .filter(|label| !has_row(label))
        .map(|label| format!("{METRICS_PAGE}: {label} has no row"))
        .collect()
}

pub(crate) fn parent(path: &str) -> &Path {
    Path::new(path).parent().unwrap_or(Path::new(""))
}

pub(crate) fn dead_links(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
        .filter(|target| !exists(&parent(path).join(target)))
        .map(|target| format!("{path}: the link to {target} leads nowhere"))
        .collect()
}

/// Paths in backquotes that begin with one of the project's folders.
pub(crate) fn dead_paths(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folders = [
        "src",
        "tests",
        "docs",
        "dashboards",
        ".github",
        ".config",
        ".ci",
    ];
    let is_ours = |target: &str| {
        let first = target.split_once('/').map_or("", |(first, _)| first);
        let is_folder = folders.contains(&first) || ARROWS.iter().any(|(one, _)| *one == first);
        is_folder && first != "." && !target.contains(['<', '*', ' ', '{', '…'])
    };
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|target| is_ours(target) && !exists(Path::new(target)))
        .map(|target| format!("{path}: there is no {target}"))
        .collect()
}

/// Each rule finds what it is for.
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn imports_against_an_arrow_are_found() {
        let manifest = "[package]\nname = \"auditrelay-store\"\n[dependencies]\nauditrelay-audit.workspace = true\n\
                        x = { package = \"auditrelay-ingest\" } # auditrelay-config\n[dependencies.auditrelay-dispatch]\n\
                        [dev-dependencies]\nauditrelay-loadtest.workspace = true\n";
        assert_eq!(
            dependencies(manifest),
            set(&["audit", "dispatch", "ingest"])
        );
        assert_eq!(
            dependencies("[dependencies]\nauditrelay = { path = \"..\" }\n"),
            set(&["."])
        );
        let source = "use auditrelay_config::Config;\nconst NAME: &str = \"auditrelay_store_moved_aside\";\n";
        assert_eq!(imports(source), set(&["config"]));
        assert_eq!(
            forbidden(&set(&["audit", "config"]), &["audit"], "store/src/x.rs").len(),
            1
        );
        assert!(forbidden(&set(&["store"]), &[], "store/src/x.rs").is_empty());
        for (path, is_test) in [
            ("store/src/x/tests.rs", true),
            ("store/src/x/tests/killed.rs", true),
            ("store/src/x_tests.rs", true),
            ("store/src/attests.rs", false),
            ("store/src/x.rs", false),
        ] {
            assert_eq!(is_for_tests(path), is_test, "{path}");
        }
        assert_eq!(
            members("[workspace]\nmembers = [\".\", \"audit\"]\nx = [\"y\"]"),
            [".", "audit"]
        );
    }

    #[test]
    fn long_headless_and_unfinished_files_are_found() {
        assert_eq!(too_long("x.rs", &"x\n".repeat(LINES_MAX + 1)).len(), 1);
        assert!(too_long("x.rs", &"x\n".repeat(LINES_MAX)).is_empty());
        assert_eq!(headless("x.rs", "use std::fs;\n").len(), 1);
        assert!(headless("x.rs", "//! Why.\n").is_empty());
        for bad in [
            concat!("// TO", "DO: later"),
            concat!("to", "do!()"),
            concat!("let x = db", "g!(1);"),
        ] {
            assert_eq!(unfinished("x.rs", bad).len(), 1, "{bad}");
        }
        assert!(unfinished("x.rs", concat!("let method = \"T0XX", "XX\";")).is_empty());
    }

    #[test]
    fn tabs_and_spaces_at_the_end_are_found() {
        assert_eq!(untidy_spaces("x.md", "a\nb \n\tc\nd\r\n").len(), 3);
        assert!(untidy_spaces("x.md", "  a b\n\n").is_empty());
    }

    #[test]
    fn metrics_that_differ_from_the_page_are_found() {
        let source =
            r#"counter("auditrelay_a_total", "auditrelay_store"); env("auditrelay__listen")"#;
        assert_eq!(registered_metrics(source), ["auditrelay_a_total"]);
        let page = "| `auditrelay_b` | gauge |\nsee `auditrelay_c`\n";
        assert_eq!(described_metrics(page), set(&["auditrelay_b"]));
        assert_eq!(
            undocumented(&set(&["auditrelay_a"]), &set(&["auditrelay_b"])).len(),
            2
        );
        let text = "rate(auditrelay_a_bucket[5m]) auditrelay_b `auditrelay_config`";
        assert_eq!(
            unknown_metrics("x.md", text, &set(&["auditrelay_a"])).len(),
            1
        );
    }

    #[test]
    fn labels_without_a_row_are_found() {
        let source =
            "    fn label(self) {\n        \"a\"; \"b\"\n    }\n    fn other() { \"c\" }\n";
        let labels = strings_of_function(source, "label");
        assert_eq!(labels, set(&["a", "b"]));
        assert_eq!(missing_rows(&labels, "| x |\n| `a` | y |\n").len(), 1);
    }

    #[test]
    fn links_and_paths_that_lead_nowhere_are_found() {
        let exists =
            |path: &Path| path == Path::new("docs/a.md") || path == Path::new("audit/src/lib.rs");
        let text = "[a](a.md#x) [b](b.md) [c](https://x.y/z) [d](#e)";
        assert_eq!(
            dead_links("docs/x.md", text, exists),
            ["docs/x.md: the link to b.md leads nowhere"]
        );
        let text = "`audit/src/lib.rs`, `audit/src/gone.rs`, `/webhook/x`, `audit/<file>`";
        assert_eq!(
            dead_paths("x.md", text, exists),
            ["x.md: there is no audit/src/gone.rs"]
        );
    }
}

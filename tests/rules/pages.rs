//! The pages: a runbook for each alert that begins with what to do, commands that exist, tables that are true.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use crate::{
    generated, none, promtool, read, root,
    rules::{self, Alert, Rules},
    support,
};

/// Sections of a runbook, in this order.
const SECTIONS: [&str; 7] = [
    "Do this now",
    "What it means",
    "At stake",
    "Why it fires",
    "Find the cause",
    "How it ends",
    "False alarms",
];
const FOLDER: &str = "docs/runbooks";
const INDEX: &str = "docs/runbooks/README.md";
const ALERTS_PAGE: &str = "docs/alerts.md";
const BEGIN: &str = "<!-- generated from the rules: begin -->\n";
const END: &str = "<!-- generated from the rules: end -->\n";

/// Runbooks by the name of their alert.
fn runbooks() -> BTreeMap<String, String> {
    let entries = fs::read_dir(root().join(FOLDER)).expect("the folder of the runbooks");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("text"));
    names
        .filter(|name| name != "README.md")
        .map(|name| {
            let text = read(&format!("{FOLDER}/{name}"));
            (name.trim_end_matches(".md").to_owned(), text)
        })
        .collect()
}

/// What is wrong with the form of a runbook.
fn malformed(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.starts_with(&format!("# {name}\n\n## {}\n\n1. ", SECTIONS[0])) {
        findings.push(format!(
            "{name}: does not begin with `# {name}`, `## {}` and step 1",
            SECTIONS[0]
        ));
    }
    let sections: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    if sections != SECTIONS {
        findings.push(format!("{name}: its sections are {sections:?}"));
    }
    let (first, _) = text.split_once("\n## What it means").unwrap_or_default();
    let has_command = ["`auditrelay ", "`kubectl ", "```promql", "```sh"]
        .iter()
        .any(|one| first.contains(one));
    if !has_command {
        findings.push(format!("{name}: nothing to type under `{}`", SECTIONS[0]));
    }
    if text.lines().count() > 70 {
        findings.push(format!("{name}: too long to be read at night"));
    }
    findings
}

#[test]
fn every_alert_has_a_runbook_that_begins_with_what_to_do() {
    let pages = runbooks();
    let alerts: BTreeSet<String> = Rules::read()
        .alerts
        .into_iter()
        .map(|one| one.name)
        .collect();
    let mut findings = Vec::new();
    for name in &alerts {
        match pages.get(name) {
            None => findings.push(format!("{FOLDER}/{name}.md does not exist")),
            Some(text) => findings.extend(malformed(name, text)),
        }
    }
    let orphans = pages.keys().filter(|name| !alerts.contains(*name));
    findings.extend(orphans.map(|name| format!("{FOLDER}/{name}.md: there is no such alert")));
    none(&findings);
}

#[test]
fn a_runbook_that_begins_with_anything_else_is_found() {
    let good = "# A\n\n## Do this now\n\n1. `auditrelay status`\n\n## What it means\n\n## At stake\n\n## Why it fires\n\n\
                ## Find the cause\n\n## How it ends\n\n## False alarms\n";
    assert_eq!(malformed("A", good), Vec::<String>::new());
    assert_eq!(
        malformed("A", &good.replace("1. `auditrelay status`", "1. Wait.")).len(),
        1
    );
    assert_eq!(
        malformed("A", &good.replace("Do this now", "Background")).len(),
        2
    );
    assert_eq!(malformed("B", good).len(), 1);
}

/// Commands of the relay in a page: in backquotes or on a line of a block, alone or behind `kubectl … --`.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            is_block = !is_block;
            continue;
        }
        let pieces: Vec<&str> = match is_block {
            true => vec![line],
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        for piece in pieces {
            let piece = piece.split_once(" -- ").map_or(piece, |(_, inner)| inner);
            let piece = [" | ", " > "].iter().fold(piece, |piece, end| {
                piece.split(*end).next().unwrap_or_default()
            });
            if let Some(rest) = piece.strip_prefix("auditrelay ") {
                found.push(rest.to_owned());
            }
        }
    }
    found
}

/// Words of a command line; quotes keep words together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (piece, n) in line.split(['\'', '"']).zip(0..) {
        match n % 2 {
            0 => words.extend(piece.split_whitespace().map(str::to_owned)),
            _ => words.push(piece.to_owned()),
        }
    }
    words
}

/// What the binary's own parser says against a command line: `--help` at its end makes it stop after parsing.
fn refused(line: &str) -> Option<String> {
    let mut arguments = words(line);
    arguments.push("--help".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let (code, _, stderr) = support::run(folder.path(), &[], &arguments);
    (code != 0).then(|| format!("auditrelay {line}: {stderr}"))
}

#[test]
fn every_command_in_the_pages_is_accepted_by_the_binary() {
    let mut lines: BTreeSet<String> = runbooks()
        .values()
        .flat_map(|text| commands(text))
        .collect();
    lines.extend(commands(&read(INDEX)));
    lines.extend(commands(&read(ALERTS_PAGE)));
    assert!(lines.len() > 10, "no commands were found: {lines:?}");
    none(
        &lines
            .iter()
            .filter_map(|line| refused(line))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_command_that_the_binary_does_not_know_is_found() {
    let page = "1. `auditrelay ledger --jsn`\n   ```sh\n   kubectl exec r -- auditrelay ledgre | head > x\n   auditrelay dead list --since 1h\n   ```\n";
    assert_eq!(
        commands(page),
        ["ledger --jsn", "ledgre", "dead list --since 1h"]
    );
    assert_eq!(
        commands(page)
            .iter()
            .filter_map(|line| refused(line))
            .count(),
        2
    );
    assert_eq!(
        words("mute add --reason 'a b' x"),
        ["mute", "add", "--reason", "a b", "x"]
    );
}

/// Blocks of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let inside = |rest: &'a str| rest.split("```").next().unwrap_or_default();
    let lines = |block: &str| block.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    text.split(&start)
        .skip(1)
        .map(|rest| lines(inside(rest)))
        .collect()
}

#[test]
fn promtool_accepts_every_query_in_the_pages() {
    let mut file = "groups:\n- name: pages\n  rules:\n".to_owned();
    let page = crate::names::Reference::of(&read("docs/metrics.md"));
    let mut findings = Vec::new();
    let mut queries = 0;
    let texts = runbooks()
        .into_values()
        .chain([read(INDEX), read(ALERTS_PAGE)]);
    for query in texts.flat_map(|text| blocks(&text, "promql")) {
        queries += 1;
        findings.extend(
            page.unknown(&query)
                .into_iter()
                .map(|what| format!("{query}: {what}")),
        );
        let lines = query.replace('\n', "\n      ");
        writeln!(
            file,
            "  - record: query_{queries}\n    expr: |\n      {lines}"
        )
        .expect("text");
    }
    none(&findings);
    assert!(queries > 5, "the queries were not found");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queries.yaml");
    fs::write(&path, file).expect("written");
    if let Some((accepted, said)) = promtool(&["check", "rules", &path.display().to_string()]) {
        assert!(accepted, "{said}");
    }
}

#[test]
fn the_examples_for_alertmanager_name_alerts_that_exist() {
    let alerts: BTreeSet<String> = Rules::read()
        .alerts
        .into_iter()
        .map(|one| one.name)
        .collect();
    let examples = blocks_as_they_are(&read(ALERTS_PAGE));
    assert!(examples.len() >= 2, "no examples");
    let names = examples
        .iter()
        .flat_map(|example| rules::alert_names_of(example));
    none(
        &names
            .filter(|name| !alerts.contains(name))
            .collect::<Vec<_>>(),
    );
}

/// A relay that is down, or was scaled away, must not mute the page about what the others hear.
#[test]
fn a_relay_that_is_down_silences_what_is_its_own_only() {
    let page = read(ALERTS_PAGE);
    let example = page.split("inhibit_rules:").nth(1).expect("the example");
    let example = example.split("```").next().unwrap_or_default();
    let rules: Vec<&str> = example.split("- source_matchers:").skip(1).collect();
    let of_down = rules.iter().filter(|rule| {
        let source = rule.lines().next().unwrap_or_default();
        source.contains("AuditRelayDown")
    });
    let mut findings = Vec::new();
    for rule in of_down.clone() {
        if !rule.contains("equal: [job, instance]") {
            findings.push(format!("one relay silences others:{rule}"));
        }
    }
    assert!(of_down.count() > 0, "the rule was not found");
    none(&findings);
}

fn blocks_as_they_are(text: &str) -> Vec<String> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// A page with its generated part as it has to be.
fn with_table(page: &str, table: &str) -> String {
    let (head, rest) = page.split_once(BEGIN).expect("where the table begins");
    let (_, tail) = rest.split_once(END).expect("where it ends");
    format!("{head}{BEGIN}{table}{END}{tail}")
}

fn wait(alert: &Alert) -> String {
    match (alert.wait.as_str(), alert.keep.as_str()) {
        ("", "") => "at once".to_owned(),
        ("", keep) => format!("at once, kept {keep}"),
        (wait, "") => wait.to_owned(),
        (wait, keep) => format!("{wait}, kept {keep}"),
    }
}

/// A summary without what is filled in when it fires.
fn plain(summary: &str) -> String {
    let mut text = String::new();
    let mut rest = summary;
    while let Some((before, after)) = rest.split_once("{{ ") {
        text.push_str(before);
        let (inside, after) = after.split_once(" }}").unwrap_or_default();
        match inside.strip_prefix("$labels.") {
            Some("instance") | None => {}
            Some(label) => {
                write!(text, "`{label}`").expect("text");
            }
        }
        rest = after;
    }
    text.push_str(rest);
    let text = text.replace("(no target)", "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_pages_list_every_alert_as_it_is() {
    let rules = Rules::read();
    let mut table = "| Alert | Severity | When | For |\n| --- | --- | --- | --- |\n".to_owned();
    let mut index =
        "| Runbook | Page or ticket | What is the matter |\n| --- | --- | --- |\n".to_owned();
    let mut listed = BTreeSet::new();
    for alert in &rules.alerts {
        let (name, severity) = (&alert.name, &alert.severity);
        let when: Vec<&str> = alert.expression.split_whitespace().collect();
        let when = when.join(" ").replace('|', "\\|");
        writeln!(
            table,
            "| [{name}](runbooks/{name}.md) | {severity} | `{when}` | {} |",
            wait(alert)
        )
        .expect("text");
        if listed.insert(name) {
            let own = rules.alerts.iter().filter(|one| one.name == *name);
            let mut severities: Vec<&str> = own
                .map(|one| {
                    if one.severity == "critical" {
                        "page"
                    } else {
                        "ticket"
                    }
                })
                .collect();
            severities.sort_unstable();
            writeln!(
                index,
                "| [{name}]({name}.md) | {} | {} |",
                severities.join(", "),
                plain(&alert.summary)
            )
            .expect("text");
        }
    }
    generated(ALERTS_PAGE, &with_table(&read(ALERTS_PAGE), &table));
    generated(INDEX, &with_table(&read(INDEX), &index));
}

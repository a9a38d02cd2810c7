//! The Prometheus rules, their cases and their pages: what an operator loads is true, tried and explained.
//!
//! - `promtool` accepts the rules, and each case in `dashboards/rules/tests` holds.
//! - Each alert has a case in which it fires, for each severity, and one in which it does not.
//! - Metrics, labels and their values exist in `docs/metrics.md`.
//! - Each alert has a runbook of the same name that begins with what to do; its commands are accepted by the
//!   binary, its queries by `promtool`.
//! - What is generated (the operator's form, the tables in the pages) is what the rules say.
//! - A real Prometheus evaluates them against a relay: nothing fires while it is well, and the right alert does
//!   when a channel is parked and when the relay is gone ([`live`]).

mod environments;
mod live;
mod names;
mod pages;
#[path = "../support/prometheus.rs"]
mod prometheus;
mod rules;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rules::{Alert, Rules};

/// Set, the tests write what is generated from the rules instead of comparing it.
const WRITE: &str = "AUDITRELAY_WRITE_GENERATED";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let file = root().join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Compares a generated file, or writes it.
fn generated(path: &str, text: &str) {
    if std::env::var_os(WRITE).is_some() {
        fs::write(root().join(path), text).expect("written");
    }
    assert!(
        read(path) == text,
        "{path} is not what the rules say: run this test with {WRITE}=1"
    );
}

/// The files of cases.
fn case_files() -> Vec<PathBuf> {
    let folder = root().join("dashboards/rules/tests");
    let entries = fs::read_dir(folder).expect("the folder of the cases");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    files
}

/// Runs promtool; `None` where it is not installed.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn promtool(arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new("promtool").args(arguments).output() else {
        println!("skipped: promtool is not installed (apt-get install prometheus)");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[test]
fn promtool_accepts_the_rules() {
    let file = root().join(rules::FILE);
    if let Some((accepted, said)) = promtool(&["check", "rules", &file.display().to_string()]) {
        assert!(accepted, "{said}");
    }
}

#[test]
fn every_case_holds() {
    // A file each: they run beside each other.
    let findings: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = case_files()
            .into_iter()
            .map(|file| {
                scope.spawn(move || promtool(&["test", "rules", &file.display().to_string()]))
            })
            .collect();
        runs.into_iter()
            .filter_map(|run| run.join().expect("it ends"))
            .filter(|(held, _)| !held)
            .map(|(_, said)| said)
            .collect()
    });
    none(&findings);
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let files = case_files().into_iter();
    let cases = rules::cases(files.map(|file| fs::read_to_string(file).expect("text")));
    let rules = Rules::read();
    none(&uncovered(&rules.alerts, &cases));
    let known: BTreeSet<&str> = rules.alerts.iter().map(|one| one.name.as_str()).collect();
    let unknown = cases
        .iter()
        .filter(|case| !known.contains(case.alert.as_str()));
    none(
        &unknown
            .map(|case| format!("a case for {}, which does not exist", case.alert))
            .collect::<Vec<_>>(),
    );
}

fn uncovered(alerts: &[Alert], cases: &[rules::Case]) -> Vec<String> {
    let mut findings = Vec::new();
    for alert in alerts {
        let own = || cases.iter().filter(|case| case.alert == alert.name);
        if !own().any(|case| case.severities.contains(&alert.severity)) {
            findings.push(format!(
                "{} ({}): no case in which it fires",
                alert.name, alert.severity
            ));
        }
        if !own().any(|case| case.severities.is_empty()) {
            findings.push(format!("{}: no case in which it does not fire", alert.name));
        }
    }
    findings
}

#[test]
fn an_alert_without_a_case_is_found() {
    let alert = |severity: &str| Alert {
        name: "A".to_owned(),
        severity: severity.to_owned(),
        ..Alert::default()
    };
    let case = |severities: &[&str]| rules::Case {
        alert: "A".to_owned(),
        severities: severities.iter().map(|one| (*one).to_owned()).collect(),
    };
    let both = [alert("critical"), alert("warning")];
    assert_eq!(uncovered(&both, &[case(&["critical"])]).len(), 3);
    assert!(uncovered(&both, &[case(&["critical", "warning"]), case(&[])]).is_empty());
}

#[test]
fn every_alert_is_labelled_and_says_what_is_the_matter() {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for alert in Rules::read().alerts {
        let name = &alert.name;
        if !["critical", "warning"].contains(&alert.severity.as_str()) {
            findings.push(format!("{name}: severity {}", alert.severity));
        }
        if !seen.insert((name.clone(), alert.severity.clone())) {
            findings.push(format!("{name}: twice with severity {}", alert.severity));
        }
        if alert.service != "auditrelay" || !name.starts_with("AuditRelay") {
            findings.push(format!("{name}: its name or its label service"));
        }
        if alert.runbook_url != format!("{}{name}.md", rules::RUNBOOKS) {
            findings.push(format!("{name}: runbook_url {}", alert.runbook_url));
        }
        for (what, text) in [
            ("summary", &alert.summary),
            ("description", &alert.description),
        ] {
            if text.len() < 20 || text.contains('\n') {
                findings.push(format!("{name}: {what} {text:?}"));
            }
        }
    }
    none(&findings);
}

#[test]
fn every_metric_label_and_value_is_in_the_reference() {
    let page = names::Reference::of(&read("docs/metrics.md"));
    let rules = Rules::read();
    let mut findings = Vec::new();
    for (name, expression) in rules.expressions() {
        findings.extend(
            page.unknown(expression)
                .into_iter()
                .map(|what| format!("{name}: {what}")),
        );
    }
    for alert in &rules.alerts {
        for text in [&alert.summary, &alert.description] {
            let unknown = page.unknown_labels_of_template(text);
            findings.extend(
                unknown
                    .into_iter()
                    .map(|what| format!("{}: {what}", alert.name)),
            );
        }
    }
    none(&findings);
}

#[test]
fn records_are_named_after_their_metric() {
    let page = names::Reference::of(&read("docs/metrics.md"));
    let mut findings = Vec::new();
    for (name, expression) in &Rules::read().records {
        let parts: Vec<&str> = name.split(':').collect();
        let is_named = match parts.as_slice() {
            [level, metric, operation] => {
                !level.is_empty()
                    && !operation.is_empty()
                    && page.has(metric)
                    && expression.contains(metric)
            }
            _ => false,
        };
        if !is_named {
            findings.push(format!(
                "{name}: not level:metric:operation of a metric that it uses"
            ));
        }
    }
    none(&findings);
}

#[test]
fn the_operators_form_holds_the_same_groups() {
    generated(
        rules::OPERATOR_FILE,
        &rules::operator_form(&read(rules::FILE)),
    );
}

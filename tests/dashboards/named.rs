//! Every metric that a query names is described in docs/metrics.md, with the labels that the query uses, and is asked
//! for by job; every rate is taken over Grafana's own interval.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::boards::{NAMES, board, none, panels, root};

/// What Prometheus itself adds to every series, and in Kubernetes.
const ADDED: [&str; 3] = ["job", "instance", "namespace"];

type Described = BTreeMap<String, BTreeSet<String>>;

fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| !word.is_empty())
}

/// Names in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The rows of docs/metrics.md: each metric with its labels. A histogram has its three series.
fn described() -> Described {
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("the page");
    let mut found = Described::from([("up".to_owned(), BTreeSet::new())]);
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, names, kind, labels, ..] = cells.as_slice() else {
            continue;
        };
        let labels: BTreeSet<String> = quoted(labels).collect();
        for name in quoted(names) {
            if *kind == "histogram" {
                for part in ["bucket", "count", "sum"] {
                    let mut labels = labels.clone();
                    labels.insert("le".to_owned());
                    found.insert(format!("{name}_{part}"), labels);
                }
            }
            found.insert(name, labels.clone());
        }
    }
    assert!(found.len() > 40, "the page was not read: {found:?}");
    found
}

fn is_metric(word: &str) -> bool {
    word == "up" || word.starts_with("auditrelay_") || word.starts_with("process_")
}

/// What is wrong with one expression.
fn problems(expr: &str, described: &Described) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: BTreeSet<String> = ADDED.map(str::to_owned).into();
    let mut rest = expr;
    let mut selectors = 0;
    // What stands in quotes is no name: only selectors are looked into, brace by brace.
    while let Some(start) = rest.find('{') {
        let end = start + rest[start..].find('}').expect("a brace that closes");
        let (before, matchers) = (&rest[..start], &rest[start + 1..end]);
        rest = &rest[end + 1..];
        selectors += 1;
        let name = words(before).last().unwrap_or_default();
        let Some(labels) = described.get(name) else {
            problems.push(format!("docs/metrics.md has no {name}"));
            continue;
        };
        known.extend(labels.iter().cloned());
        for matcher in matchers.split(", ") {
            let label = words(matcher).next().unwrap_or_default();
            if !labels.contains(label) && !ADDED.contains(&label) {
                problems.push(format!("{name} has no label {label}"));
            }
        }
        if !matchers.contains("job=~\"$job\"") {
            problems.push(format!("{name} is not asked for by job"));
        }
    }
    let outside: String = expr
        .split('{')
        .map(|part| part.rsplit('}').next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" {} ");
    let named = words(&outside).filter(|word| is_metric(word)).count();
    if named != selectors {
        problems.push("a metric without a selector, so for every job".to_owned());
    }
    for by in outside.split("by (").skip(1) {
        let list = by.split(')').next().unwrap_or_default();
        for label in words(list).filter(|label| !known.contains(*label)) {
            problems.push(format!("nothing here has the label {label}"));
        }
    }
    problems.extend(windows(&outside));
    problems
}

/// A rate over a fixed window is empty or wrong at another scrape interval.
fn windows(outside: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut rest = outside;
    while let Some(start) = rest.find('[') {
        let end = start + rest[start..].find(']').expect("a bracket that closes");
        let window = rest[start + 1..end].split(':').next().unwrap_or_default();
        // The function stands right before the metric.
        let function = words(&rest[..start]).rev().find(|word| {
            [
                "rate",
                "increase",
                "predict_linear",
                "irate",
                "delta",
                "deriv",
            ]
            .contains(word)
        });
        let is_right = match function {
            Some("rate" | "deriv") => window == "$__rate_interval",
            // "in the last hour", as the title says.
            Some("increase" | "delta" | "predict_linear") => window == "1h",
            _ => false,
        };
        if !is_right {
            problems.push(format!("{function:?} over [{window}]"));
        }
        rest = &rest[end + 1..];
    }
    problems
}

#[test]
fn every_metric_exists_with_its_labels_and_is_asked_for_by_job() {
    let described = described();
    let mut findings = Vec::new();
    for panel in panels() {
        for (letter, expr) in panel.queries() {
            for problem in problems(&expr, &described) {
                findings.push(format!("{}, {letter}: {problem}", panel.place));
            }
            if expr.contains("[1h]")
                && !(panel.string("/title").contains("1 h") || is_said(&panel.json))
            {
                findings.push(format!(
                    "{}: does not say that it is of an hour",
                    panel.place
                ));
            }
        }
    }
    for name in NAMES {
        let board = board(name);
        for mark in board["annotations"]["list"].as_array().expect("a list") {
            let expr = mark["expr"].as_str().expect("text");
            findings.extend(problems(expr, &described));
        }
        for variable in board["templating"]["list"].as_array().expect("a list") {
            let query = variable["query"]["query"].as_str().unwrap_or_default();
            let names = words(query).filter(|word| is_metric(word));
            for metric in names.filter(|word| !described.contains_key(*word)) {
                findings.push(format!("{name}: docs/metrics.md has no {metric}"));
            }
        }
    }
    none(&findings);
}

/// A table says it in the column's name, a forecast in its description.
fn is_said(panel: &serde_json::Value) -> bool {
    let text = panel.to_string();
    text.contains(", 1 h\"") || text.contains("as it did in the last one")
}

#[test]
fn what_is_wrong_with_a_query_is_found() {
    let described = described();
    let found = |expr: &str| problems(expr, &described).join("; ");
    let good = "sum by (channel) (rate(auditrelay_posts_total{job=~\"$job\", outcome=\"later\"}[$__rate_interval]))";
    assert_eq!(found(good), "");
    for (from, to, what) in [
        ("posts_total", "post_total", "has no auditrelay_post_total"),
        ("outcome", "result", "no label result"),
        ("job=~\"$job\", ", "", "not asked for by job"),
        ("$__rate_interval", "5m", "over [5m]"),
        ("by (channel)", "by (workspace)", "has the label workspace"),
        (
            "{job=~\"$job\", outcome=\"later\"}",
            "",
            "without a selector",
        ),
    ] {
        let bad = good.replace(from, to);
        assert!(found(&bad).contains(what), "{bad}: {}", found(&bad));
    }
}

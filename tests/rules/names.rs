//! Names in PromQL, held against the reference of metrics.
//!
//! No parser: what is looked at is each name before `{`, `[` or an end, each matcher within braces, and each list
//! behind by, without, on and ignoring. `promtool` holds the grammar.

use std::collections::{BTreeMap, BTreeSet};

/// Labels that Prometheus or an operator adds, and those of histograms.
const ADDED: [&str; 9] = [
    "job",
    "instance",
    "namespace",
    "pod",
    "container",
    "endpoint",
    "node",
    "le",
    "plugin",
];
/// Metrics of the API server and of Prometheus itself (Kubernetes: `apiserver/pkg/audit/metrics.go`).
const FOREIGN: [&str; 4] = [
    "up",
    "apiserver_audit_error_total",
    "apiserver_audit_event_total",
    "apiserver_audit_requests_rejected_total",
];

/// Metrics of `docs/metrics.md`: their labels, and everything in backquotes.
pub(crate) struct Reference {
    metrics: BTreeMap<String, BTreeSet<String>>,
    words: BTreeSet<String>,
}

impl Reference {
    pub(crate) fn of(page: &str) -> Self {
        let mut metrics = BTreeMap::new();
        for row in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            if !["counter", "gauge", "histogram"].contains(cells.get(1).unwrap_or(&"")) {
                continue;
            }
            let quoted = |cell: &str| -> BTreeSet<String> {
                cell.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(str::to_owned)
                    .collect()
            };
            let names = quoted(cells[0]);
            let labels = cells.get(2).map(|cell| quoted(cell)).unwrap_or_default();
            metrics.extend(names.into_iter().map(|name| (name, labels.clone())));
        }
        assert!(!metrics.is_empty(), "no metrics in the page");
        // Whole pieces in backquotes, such as `parked`, and values as `state="parked"`.
        let pieces = page
            .lines()
            .flat_map(|line| line.split('`').skip(1).step_by(2));
        let value = |piece: &str| piece.split('"').nth(1).unwrap_or(piece).to_owned();
        let words = pieces.map(value).collect();
        Self { metrics, words }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        FOREIGN.contains(&name)
            || self.metrics.contains_key(name)
            || base.is_some_and(|base| self.metrics.contains_key(base))
    }

    fn labels_of(&self, name: &str) -> Option<&BTreeSet<String>> {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let own = self.metrics.get(name);
        own.or_else(|| base.and_then(|base| self.metrics.get(base)))
    }

    fn has_label(&self, label: &str) -> bool {
        ADDED.contains(&label) || self.metrics.values().any(|labels| labels.contains(label))
    }

    /// Everything in an expression that the reference does not have.
    pub(crate) fn unknown(&self, expression: &str) -> Vec<String> {
        let mut findings = Vec::new();
        for (name, matchers) in selectors(expression) {
            // A record: the metric is its middle part.
            let metric = name.split(':').nth(1).unwrap_or(&name);
            if !self.has(metric) {
                findings.push(format!("there is no metric {metric}"));
                continue;
            }
            let labels = self.labels_of(metric);
            for (label, value) in matchers {
                let has_it = labels.is_some_and(|labels| labels.contains(&label));
                if !has_it && !ADDED.contains(&label.as_str()) {
                    findings.push(format!("{metric} has no label {label}"));
                }
                let values = value
                    .split('|')
                    .filter(|_| !ADDED.contains(&label.as_str()));
                for value in values.filter(|value| !self.words.contains(*value)) {
                    findings.push(format!("{label} of {metric} is never {value}"));
                }
            }
        }
        let grouped = grouping_labels(expression);
        let unknown = grouped.into_iter().filter(|label| !self.has_label(label));
        findings.extend(unknown.map(|label| format!("there is no label {label}")));
        findings
    }

    /// Labels that an annotation names and no metric has.
    pub(crate) fn unknown_labels_of_template(&self, template: &str) -> Vec<String> {
        let named = template.split("$labels.").skip(1).map(word);
        let unknown = named.filter(|label| !self.has_label(label));
        unknown
            .map(|label| format!("there is no label {label}"))
            .collect()
    }
}

fn is_name(one: char) -> bool {
    one.is_ascii_alphanumeric() || one == '_' || one == ':'
}

fn word(text: &str) -> String {
    text.chars().take_while(|one| is_name(*one)).collect()
}

/// Names of metrics and of records, each with its matchers.
fn selectors(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) =
        rest.find(|one: char| is_name(one) || one == '"' || one == '{' || one == '(')
    {
        rest = &rest[start..];
        let name = word(rest);
        if name.is_empty() {
            // What stands in braces or in quotes on its own belongs to nothing here.
            rest = &rest[1..];
            continue;
        }
        rest = &rest[name.len()..];
        if is_grouping(&name) {
            rest = rest.split_once(')').map_or("", |(_, rest)| rest);
            continue;
        }
        // A function is followed by its bracket, and a keyword has no underscore.
        let is_metric = name.contains('_') && !rest.starts_with('(');
        if !is_metric && !FOREIGN.contains(&name.as_str()) && !rest.starts_with('{') {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some((inside, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
        {
            let quoted: Vec<&str> = inside.split('"').collect();
            for pair in quoted.chunks_exact(2) {
                let label = pair[0].trim_start_matches([',', ' ']);
                matchers.push((word(label), pair[1].to_owned()));
            }
            rest = after;
        }
        found.push((name, matchers));
    }
    found
}

fn is_grouping(name: &str) -> bool {
    ["by", "without", "on", "ignoring"].contains(&name)
}

fn grouping_labels(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in ["by (", "without (", "on (", "ignoring ("] {
        for rest in expression.split(word).skip(1) {
            let inside = rest.split(')').next().unwrap_or_default();
            let labels = inside
                .split(',')
                .map(str::trim)
                .filter(|label| !label.is_empty());
            found.extend(labels.map(str::to_owned));
        }
    }
    found
}

#[test]
fn what_is_mistyped_is_found() {
    let page = "| `auditrelay_lane_state` | gauge | `channel`, `state` | | `open`, or `state=\"parked\"`; `lane closed` |\n\
                | `auditrelay_wait_seconds` | histogram | | seconds | |\n";
    let page = Reference::of(page);
    let good = r#"max without (state) (auditrelay_lane_state{state=~"open|parked"}) > 0
        and on (channel) rate(auditrelay_wait_seconds_bucket{le="1"}[5m]) / up{job="x"}"#;
    assert_eq!(page.unknown(good), Vec::<String>::new());
    for (bad, what) in [
        (
            "auditrelay_lane_sate == 1",
            "there is no metric auditrelay_lane_sate",
        ),
        (
            "x:auditrelay_lane_sate:sum",
            "there is no metric auditrelay_lane_sate",
        ),
        (
            "rate(apiserver_audit_errors_total[1m])",
            "there is no metric apiserver_audit_errors_total",
        ),
        (
            r#"auditrelay_lane_state{lane="a"}"#,
            "auditrelay_lane_state has no label lane",
        ),
        (
            r#"auditrelay_lane_state{state="closed"}"#,
            "state of auditrelay_lane_state is never closed",
        ),
        (
            r#"auditrelay_lane_state{state=~"open|shut"}"#,
            "state of auditrelay_lane_state is never shut",
        ),
        ("sum by (chanel) (up)", "there is no label chanel"),
    ] {
        assert!(
            page.unknown(bad).contains(&what.to_owned()),
            "{bad}: {:?}",
            page.unknown(bad)
        );
    }
    assert_eq!(
        page.unknown_labels_of_template("{{ $labels.channel }} {{ $labels.chanel }}")
            .len(),
        1
    );
}

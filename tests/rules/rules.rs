//! The rule file and the files of cases, read as YAML.

use yaml_rust2::{Yaml, YamlLoader};

pub(crate) const FILE: &str = "dashboards/rules/auditrelay.rules.yaml";
pub(crate) const OPERATOR_FILE: &str = "dashboards/rules/auditrelay.prometheusrule.yaml";
/// What an operator replaces by the place of their own copy (docs/alerts.md).
pub(crate) const RUNBOOKS: &str = "https://runbooks.example/auditrelay/";

#[derive(Debug, Clone, Default)]
pub(crate) struct Alert {
    pub name: String,
    pub severity: String,
    pub service: String,
    pub expression: String,
    pub wait: String,
    pub keep: String,
    pub summary: String,
    pub description: String,
    pub runbook_url: String,
}

pub(crate) struct Rules {
    pub alerts: Vec<Alert>,
    /// Names and expressions.
    pub records: Vec<(String, String)>,
}

/// One check of an alert: the severities that have to fire at its time, none or more.
#[derive(Debug)]
pub(crate) struct Case {
    pub alert: String,
    pub severities: Vec<String>,
}

fn document(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).expect("YAML");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn list(yaml: &Yaml) -> impl Iterator<Item = &Yaml> {
    yaml.as_vec().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(yaml: &Yaml) -> String {
    yaml.as_str().unwrap_or_default().to_owned()
}

impl Rules {
    pub(crate) fn read() -> Self {
        Self::of(&super::read(FILE))
    }

    pub(crate) fn of(file: &str) -> Self {
        let file = document(file);
        let (mut alerts, mut records) = (Vec::new(), Vec::new());
        for group in list(&file["groups"]) {
            for rule in list(&group["rules"]) {
                let expression = text(&rule["expr"]);
                assert!(!expression.is_empty(), "{rule:?}");
                match rule["alert"].as_str() {
                    None => records.push((text(&rule["record"]), expression)),
                    Some(name) => alerts.push(Alert {
                        name: name.to_owned(),
                        severity: text(&rule["labels"]["severity"]),
                        service: text(&rule["labels"]["service"]),
                        expression,
                        wait: text(&rule["for"]),
                        keep: text(&rule["keep_firing_for"]),
                        summary: text(&rule["annotations"]["summary"]),
                        description: text(&rule["annotations"]["description"]),
                        runbook_url: text(&rule["annotations"]["runbook_url"]),
                    }),
                }
            }
        }
        assert!(
            alerts.len() > 40 && records.len() > 5,
            "the rules were not read"
        );
        Self { alerts, records }
    }

    pub(crate) fn expressions(&self) -> impl Iterator<Item = (&str, &str)> {
        let alerts = self
            .alerts
            .iter()
            .map(|one| (one.name.as_str(), one.expression.as_str()));
        let records = self
            .records
            .iter()
            .map(|(name, expression)| (name.as_str(), expression.as_str()));
        alerts.chain(records)
    }
}

pub(crate) fn cases(files: impl Iterator<Item = String>) -> Vec<Case> {
    let mut found = Vec::new();
    for file in files {
        let file = document(&file);
        for test in list(&file["tests"]) {
            for check in list(&test["alert_rule_test"]) {
                let expected = list(&check["exp_alerts"]);
                found.push(Case {
                    alert: text(&check["alertname"]),
                    severities: expected
                        .map(|one| text(&one["exp_labels"]["severity"]))
                        .collect(),
                });
            }
        }
    }
    assert!(found.len() > 90, "the cases were not read: {found:?}");
    found
}

/// The rules as the Prometheus operator takes them. Whole lines are moved, so that comments stay.
pub(crate) fn operator_form(file: &str) -> String {
    let (_, groups) = file.split_once("\ngroups:\n").expect("groups");
    let head = "\
# Generated from auditrelay.rules.yaml, which says why each threshold is what it is. For the Prometheus operator; see
# docs/alerts.md.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: auditrelay
  labels:
    app.kubernetes.io/name: auditrelay
spec:
  groups:
";
    let mut form = head.to_owned();
    for line in groups
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        if !line.is_empty() {
            form.push_str("  ");
        }
        form.push_str(line);
        form.push('\n');
    }
    form
}

/// Names that stand behind `alertname` in Alertmanager's configuration, and whether it is YAML at all.
pub(crate) fn alert_names_of(configuration: &str) -> Vec<String> {
    let _ = document(configuration);
    let words = configuration.split(|one: char| !one.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with("AuditRelay"))
        .map(str::to_owned)
        .collect()
}

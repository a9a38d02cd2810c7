//! Several environments in one Prometheus, as `docs/alerts.md` says to load the rules for them: a leader of one does not
//! hide that another has none.

use std::{fs, process::Command};

use serde_json::json;

use crate::{promtool, read, root, rules};

/// The command of the page that adds a label to what relays are counted together by.
fn command() -> String {
    let page = read("docs/alerts.md");
    let lines = page.lines().map(str::trim);
    let mut found = lines.filter(|line| line.contains("environment, job"));
    let command = found.next().expect("the command").to_owned();
    assert!(command.starts_with("sed ") && command.ends_with(" auditrelay.rules.yaml"));
    command
}

#[test]
fn two_environments_with_the_same_names_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("auditrelay.rules.yaml");
    fs::copy(root().join(rules::FILE), copy).expect("copied");
    let run = Command::new("sh")
        .args(["-c", &command()])
        .current_dir(folder.path())
        .status();
    assert!(run.expect("a shell").success());
    let series = |name: &str, environment: &str, instance: &str, values: &str| {
        let labels = format!(
            "job=\"auditrelay\",environment=\"{environment}\",queue=\"q\",instance=\"{instance}\""
        );
        json!({"series": format!("{name}{{{labels}}}"), "values": values})
    };
    let alert = json!({
        "exp_labels": {
            "job": "auditrelay", "environment": "dev", "queue": "q",
            "severity": "critical", "service": "auditrelay",
        },
        "exp_annotations": {
            "summary": "None of the audit relays of the queue q leads",
            "description": "Batches are accepted as long as NATS takes them, and nothing of them is routed or posted until one leads again.",
            "runbook_url": format!("{}AuditRelayNoLeader.md", rules::RUNBOOKS),
        },
    });
    let test = json!({
        "rule_files": ["auditrelay.rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "30s",
            "input_series": [
                series("auditrelay_leader", "prod", "one:9090", "1+0x20"),
                series("auditrelay_leader", "prod", "two:9090", "0+0x20"),
                series("auditrelay_leader", "dev", "three:9090", "0+0x20"),
            ],
            "alert_rule_test": [
                {"alertname": "AuditRelayNoLeader", "eval_time": "5m", "exp_alerts": [alert]},
            ],
        }],
    });
    let file = folder.path().join("case.yaml");
    // JSON is YAML.
    fs::write(&file, test.to_string()).expect("written");
    if let Some((held, said)) = promtool(&["test", "rules", &file.display().to_string()]) {
        assert!(held, "{said}");
    }
}

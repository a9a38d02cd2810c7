//! What roles and bindings hold: who may do what from now on, the dangerous parts marked.

use serde_json::Value;

use super::name;

const NAMES_MAX: usize = 8;

/// A binding's role and subjects; nothing where the body is no binding.
pub(super) fn binding(body: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(role) = body["roleRef"]["name"].as_str() {
        let all = body["roleRef"]["kind"] == "ClusterRole" && role == "cluster-admin";
        let mark = if all {
            "  ⚠ everything is allowed"
        } else {
            ""
        };
        lines.push(format!(
            "grants {} {}{mark}",
            name(&body["roleRef"]["kind"]),
            name(&body["roleRef"]["name"])
        ));
    }
    let mut subjects = Vec::new();
    for subject in body["subjects"].as_array().into_iter().flatten() {
        let who = match subject["namespace"].as_str() {
            Some(_) => format!("{}/{}", name(&subject["namespace"]), name(&subject["name"])),
            None => name(&subject["name"]),
        };
        let mark = match subject["name"].as_str() {
            Some("system:unauthenticated" | "system:anonymous") => {
                "  ⚠ anybody, without authentication"
            }
            Some("system:authenticated") => "  ⚠ everybody with a credential",
            Some("system:serviceaccounts") => "  ⚠ every service account",
            _ => "",
        };
        subjects.push(format!("to {} {who}{mark}", name(&subject["kind"])));
    }
    // What is dangerous must not hide behind what is not.
    subjects.sort_by_key(|line| !line.contains('⚠'));
    lines.extend(subjects);
    lines
}

/// A role's rules, the marked ones first; nothing where the body holds none.
pub(super) fn rules(body: &Value) -> Vec<String> {
    let rules = body["rules"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = rules.map(rule).collect();
    lines.sort_by_key(|line| !line.contains('⚠'));
    lines
}

fn rule(rule: &Value) -> String {
    let mut line = format!("may {}", names(&rule["verbs"]));
    let groups: Vec<&str> = strings(&rule["apiGroups"]).collect();
    if has_any(&rule["resources"]) {
        line.push_str(&format!(" on {}", names(&rule["resources"])));
        match groups.as_slice() {
            [] | [""] => {}
            ["*"] => line.push_str(" in all API groups"),
            _ => line.push_str(&format!(" in {}", names(&rule["apiGroups"]))),
        }
    }
    if has_any(&rule["resourceNames"]) {
        line.push_str(&format!(", only {}", names(&rule["resourceNames"])));
    }
    if has_any(&rule["nonResourceURLs"]) {
        line.push_str(&format!(" at {}", names(&rule["nonResourceURLs"])));
    }
    let dangers: Vec<&str> = ["escalate", "bind", "impersonate"]
        .into_iter()
        .filter(|danger| strings(&rule["verbs"]).any(|verb| verb == *danger))
        .collect();
    let wild = |list: &str| strings(&rule[list]).any(|one| one == "*");
    if wild("verbs") && wild("resources") {
        line.push_str("  ⚠ everything");
    } else if wild("verbs") || wild("resources") {
        line.push_str("  ⚠ wildcard");
    } else if !dangers.is_empty() {
        line.push_str(&format!("  ⚠ {}", dangers.join(", ")));
    }
    line
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn has_any(list: &Value) -> bool {
    strings(list).next().is_some()
}

/// `get, list, …`; the core group's name is empty.
fn names(list: &Value) -> String {
    let all: Vec<&str> = strings(list).collect();
    let shown = all.iter().take(NAMES_MAX).map(|text| match *text {
        "" => "core".to_owned(),
        "*" => "*".to_owned(),
        other => crate::escape::quoted(other, 40),
    });
    let more = all.len().saturating_sub(NAMES_MAX);
    let more = (more > 0).then(|| format!("{more} more"));
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

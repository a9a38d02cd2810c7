//! What can be seen of a dashboard without running it: that each panel explains itself, and that it fits.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::boards::{NAMES, Panel, board, none, panels, root};

/// Grafana's ids of the units that our panels have.
const UNITS: [&str; 9] = [
    "none",
    "short",
    "s",
    "bytes",
    "Bps",
    "percentunit",
    "eps",
    "reqps",
    "cps",
];

/// At 1280 px a column is about 51 px wide; a letter of a title about 7.5 px, and its frame, its "i" and its link 56 px.
fn letters_that_fit(columns: u64) -> usize {
    let pixels = columns * 51;
    usize::try_from((pixels.saturating_sub(56)) * 10 / 75).expect("small")
}

/// The fewest columns in which a kind of panel can be read.
fn columns_needed(kind: &str) -> u64 {
    match kind {
        "stat" => 4,
        "timeseries" => 6,
        "bargauge" => 6,
        _ => 12,
    }
}

fn unexplained(panel: &Panel) -> Vec<String> {
    let mut findings = Vec::new();
    let mut find = |is: bool, what: &str| {
        if is {
            findings.push(format!("{}: {what}", panel.place));
        }
    };
    let at = |pointer| panel.json.pointer(pointer).cloned().unwrap_or_default();
    let says = at("/description").as_str().unwrap_or_default().to_owned();
    find(says.len() < 40 || !says.ends_with('.'), "no description");
    let unit = at("/fieldConfig/defaults/unit");
    find(
        !UNITS.contains(&unit.as_str().unwrap_or_default()),
        "no unit that we know",
    );
    let steps = panel.list("/fieldConfig/defaults/thresholds/steps");
    find(
        steps.is_empty() || !steps[0]["value"].is_null(),
        "no thresholds",
    );
    let is_number = ["stat", "bargauge"].contains(&panel.string("/type"));
    find(
        is_number && steps.len() < 2,
        "thresholds that decide nothing",
    );
    let ordered = steps
        .windows(2)
        .all(|pair| pair[0]["value"].as_f64() < pair[1]["value"].as_f64());
    find(!ordered, "thresholds out of order");
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    find(
        at("/datasource") != source,
        "a data source that is not the variable's",
    );
    let targets = panel.list("/targets");
    find(targets.is_empty(), "no query");
    find(
        targets.iter().any(|target| target["datasource"] != source),
        "a query whose data source is not the variable's",
    );
    let title = panel.string("/title");
    let columns = at("/gridPos/w").as_u64().expect("a width");
    find(
        title.is_empty() || title.chars().count() > letters_that_fit(columns),
        "a title that is missing or would be cut at 1280 px",
    );
    find(
        columns < columns_needed(panel.string("/type")),
        "too narrow to be read",
    );
    findings
}

#[test]
fn each_panel_explains_itself() {
    let findings: Vec<String> = panels().iter().flat_map(unexplained).collect();
    none(&findings);
}

#[test]
fn a_panel_that_does_not_explain_itself_is_found() {
    let mut panel = panels().remove(0);
    assert!(unexplained(&panel).is_empty());
    for (pointer, value, what) in [
        ("/description", json!("Short."), "no description"),
        ("/fieldConfig/defaults/unit", json!("parsecs"), "no unit"),
        (
            "/fieldConfig/defaults/thresholds/steps",
            json!([]),
            "no thresholds",
        ),
        ("/datasource/uid", json!("P1234"), "not the variable's"),
        (
            "/title",
            json!("Relays that can be reached now, and were before"),
            "would be cut",
        ),
        ("/gridPos/w", json!(3), "too narrow"),
    ] {
        let spot = panel.json.pointer_mut(pointer).expect("it is there");
        let before = std::mem::replace(spot, value);
        let findings = unexplained(&panel).join("\n");
        assert!(findings.contains(what), "{pointer}: {findings}");
        *panel.json.pointer_mut(pointer).expect("it is there") = before;
    }
}

/// The last number of a range stays what it was when the relay is gone.
#[test]
fn a_number_is_that_of_now() {
    for panel in panels() {
        let is_range = panel
            .list("/targets")
            .iter()
            .any(|target| target["instant"] != true || target["range"] != false);
        if ["stat", "bargauge", "table"].contains(&panel.string("/type")) {
            assert!(!is_range, "{}: a query over the range", panel.place);
        }
        if panel.string("/type") == "stat" {
            assert_eq!(
                panel.string("/options/graphMode"),
                "none",
                "{}",
                panel.place
            );
        }
    }
}

#[test]
fn all_jobs_are_those_of_relays() {
    for name in NAMES {
        let board = board(name);
        let variables = board["templating"]["list"].as_array().expect("a list");
        let job = variables.iter().find(|one| one["name"] == "job");
        let job = job.expect("a variable");
        assert_eq!(
            job["definition"],
            "label_values(auditrelay_build_info, job)"
        );
        assert!(job.get("allValue").is_none(), "{name}: {job}");
    }
}

/// The cells of the grid that a panel covers.
fn cells(panel: &Value) -> impl Iterator<Item = (u64, u64)> {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64());
    let [x, y, w, h] = [x, y, w, h].map(|number| number.expect("a number"));
    (x..x + w).flat_map(move |column| (y..y + h).map(move |row| (column, row)))
}

#[test]
fn panels_fit_into_the_grid_and_cover_nothing() {
    let mut uids = BTreeSet::new();
    for name in NAMES {
        let board = board(name);
        assert!(uids.insert(board["uid"].to_string()), "{name}: a uid twice");
        assert_eq!(board["schemaVersion"], 39, "{name}");
        assert!(
            board.get("id").is_none(),
            "{name}: an id is another Grafana's"
        );
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().expect("panels") {
            let place = format!("{name}: {}", panel["title"]);
            assert!(ids.insert(panel["id"].as_u64()), "{place}: an id twice");
            for cell in cells(panel) {
                assert!(cell.0 < 24, "{place}: beyond the 24th column");
                assert!(taken.insert(cell), "{place}: covers another at {cell:?}");
            }
        }
        // No holes: whatever is beside or above something is something.
        let rows = taken.iter().map(|cell| cell.1).max().expect("panels") + 1;
        let last_row_open = (0..24).filter(|x| !taken.contains(&(*x, rows - 1))).count();
        assert_eq!(last_row_open, 0, "{name}: a hole at the end");
        assert_eq!(taken.len() as u64, rows * 24, "{name}: a hole");
    }
}

#[test]
fn the_pages_lead_to_each_other_and_carry_what_was_chosen() {
    for name in NAMES {
        let board = board(name);
        assert_eq!(board["tags"], json!(["auditrelay"]), "{name}");
        let link = &board["links"][0];
        assert_eq!(
            (&link["type"], &link["tags"]),
            (&json!("dashboards"), &json!(["auditrelay"]))
        );
        assert_eq!(
            (&link["includeVars"], &link["keepTime"]),
            (&json!(true), &json!(true))
        );
        let list = board["templating"]["list"].as_array().expect("variables");
        let variables: Vec<&str> = list
            .iter()
            .map(|one| one["name"].as_str().expect("a name"))
            .collect();
        assert!(
            variables.starts_with(&["datasource", "job"]),
            "{variables:?}"
        );
        let marks = board["annotations"]["list"]
            .as_array()
            .expect("annotations");
        let marks: Vec<String> = marks.iter().map(|one| one["expr"].to_string()).collect();
        for metric in [
            "auditrelay_start_time_seconds",
            "auditrelay_config_last_reload_success_timestamp_seconds",
        ] {
            assert!(
                marks.iter().any(|expr| expr.contains(metric)),
                "{name}: {metric}"
            );
        }
    }
}

/// A page for every alert that a panel sends its reader to.
#[test]
fn every_runbook_that_a_panel_leads_to_is_written() {
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    for panel in panels() {
        for link in panel.list("/links") {
            let url = link["url"].as_str().expect("a URL");
            let Some(page) = url.strip_prefix("${runbooks}/") else {
                findings.push(format!("{}: {url}", panel.place));
                continue;
            };
            if !root().join("docs/runbooks").join(page).exists() {
                findings.push(format!("{}: no docs/runbooks/{page}", panel.place));
            }
            names.insert(page.to_owned());
        }
    }
    none(&findings);
    assert!(names.len() > 10, "{names:?}");
}

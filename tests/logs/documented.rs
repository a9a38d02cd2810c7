//! `docs/logs.md` against the sources: every error and every warning is there with what to do, and nothing else.

use std::{collections::BTreeSet, fs, path::Path};

use crate::source::calls;

/// A row of the page's table.
struct Row {
    level: String,
    /// The message, or how it begins.
    message: String,
}

fn rows() -> Vec<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells = cells(line);
        let [level, message, meaning, what_to_do] = cells.as_slice() else {
            continue;
        };
        if ["error", "warn", "info"].contains(&level.as_str()) {
            assert!(!meaning.is_empty() && !what_to_do.is_empty(), "{line}");
            rows.push(Row {
                level: level.clone(),
                message: message
                    .replace('`', "")
                    .trim_end_matches('…')
                    .trim()
                    .to_owned(),
            });
        }
    }
    rows
}

#[test]
fn every_error_and_warning_is_in_the_table_and_every_row_in_the_sources() {
    let (rows, calls) = (rows(), calls());
    let mut missing = BTreeSet::new();
    let mut used = BTreeSet::new();
    for call in &calls {
        let message = call.message.replace('`', "");
        let row = rows
            .iter()
            .position(|row| row.level == call.level && message.starts_with(&row.message));
        match row {
            Some(row) => {
                used.insert(row);
            }
            None if ["error", "warn"].contains(&call.level) => {
                missing.insert(format!("{}: {} {:?}", call.place, call.level, call.message));
            }
            None => {}
        }
    }
    let missing: Vec<String> = missing.into_iter().collect();
    assert!(
        missing.is_empty(),
        "not in docs/logs.md:\n{}",
        missing.join("\n")
    );
    let unused: Vec<&str> = rows
        .iter()
        .enumerate()
        .filter(|(row, _)| !used.contains(row))
        .map(|(_, row)| row.message.as_str())
        .collect();
    assert!(unused.is_empty(), "nothing in the sources says {unused:#?}");
    assert!(
        rows.len() >= 40 && calls.len() >= 60,
        "{} {}",
        rows.len(),
        calls.len()
    );
}

/// What a JSON line has by itself; a field of that name would stand there twice.
#[test]
fn no_field_has_the_name_of_one_that_every_line_has() {
    for call in calls() {
        for name in ["timestamp", "level", "target", "message"] {
            let is_field = call
                .fields
                .split(',')
                .map(|field| field.trim().trim_start_matches(['%', '?']))
                .any(|field| field == name || field.starts_with(&format!("{name} =")));
            assert!(!is_field, "{}: {name}", call.place);
        }
    }
}

/// A message is the same for every incident of its kind, so that it can be counted and looked up; what differs is in fields.
/// Numbers of the configuration may stand in it.
#[test]
fn a_message_has_nothing_put_in_but_what_is_configured() {
    let allowed = [
        ("src/term.rs", 2),
        ("src/reload.rs", 1),
        ("src/serve.rs", 3),
        ("src/logs/limit.rs", 2),
        ("ingest/src/refusal_log.rs", 1),
    ];
    for call in calls() {
        let put_in = call.message.matches('{').count();
        let max = allowed
            .iter()
            .find(|(file, _)| call.place.starts_with(file));
        let max = max.map_or(0, |(_, max)| *max);
        assert!(put_in <= max, "{}: {:?}", call.place, call.message);
    }
}

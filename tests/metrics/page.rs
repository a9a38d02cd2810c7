//! docs/metrics.md, as a program reads it.

use std::{collections::BTreeMap, fs, path::Path};

/// A row of the reference.
#[derive(Debug)]
pub struct Row {
    pub kind: String,
    pub labels: Vec<String>,
    pub meaning: String,
}

impl Row {
    /// The page says that it is not always there.
    pub fn may_be_absent(&self) -> bool {
        ["A series is there", "there are no series", "Absent "]
            .iter()
            .any(|words| self.meaning.contains(words))
    }
}

pub fn text() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    fs::read_to_string(page).expect("the page")
}

/// Rows by name: those of five cells of which the second is a type.
pub fn rows(page: &str) -> BTreeMap<String, Row> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().trim_matches('|').splitn(5, '|').collect();
        let [name, kind, labels, _unit, meaning] = cells[..] else {
            return None;
        };
        let kind = kind.trim();
        if !["counter", "gauge", "histogram"].contains(&kind) {
            return None;
        }
        let labels = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`'));
        let mut labels: Vec<String> = labels
            .filter(|one| !one.is_empty())
            .map(Into::into)
            .collect();
        labels.sort();
        let row = Row {
            kind: kind.to_owned(),
            labels,
            meaning: meaning.trim().to_owned(),
        };
        Some((name.trim().trim_matches('`').to_owned(), row))
    };
    page.lines().filter_map(row).collect()
}

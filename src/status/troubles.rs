//! What goes on being wrong in parts of the relay that do not write to the board: found by looking, told when it begins and
//! when it ends.

use std::collections::BTreeMap;

use auditrelay_store::{QueueError, Space};

use super::readings::labelled;
use crate::{metrics::Readings, output::count};

/// By part and what of it: what is said when it begins, and when it ends.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<(&'static str, String), (String, String)>);

impl Troubles {
    /// Those of now.
    pub(super) fn of(space: &Space, storage: Option<&QueueError>, readings: &Readings) -> Self {
        let mut now = Self::default();
        if let Some(why) = &space.refusing {
            let begins = format!("new batches are refused (429): {why}");
            now.add(
                "queue",
                "",
                begins,
                "new batches are taken again".to_owned(),
            );
        }
        if let Some(error) = storage {
            let begins = format!("nothing can be committed: {error}");
            now.add("storage", "", begins, "commits succeed again".to_owned());
        }
        let files_current = labelled(readings, "auditrelay_ingest_files_current");
        if files_current.into_iter().any(|(_, value)| value == 0.0) {
            let begins = "a certificate, key, CA, token or password file cannot be used; what was read before is in \
                          use, and the log names the file";
            let ends = "all certificate, key, CA, token and password files are in use again";
            now.add("credentials", "", begins.to_owned(), ends.to_owned());
        }
        for (path, failing) in labelled(readings, "auditrelay_log_file_failing_files") {
            if failing > 0.0 {
                let files = count(failing as u64, "file");
                let begins = format!("{path}: {files} or folders cannot be read; the log says why");
                let ends = format!("{path}: everything can be read again");
                now.add("log_file", path, begins, ends);
            }
        }
        now
    }

    fn add(&mut self, part: &'static str, what: &str, begins: String, ends: String) {
        self.0.insert((part, what.to_owned()), (begins, ends));
    }

    /// What is to be told, with the part it is of.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<(&'static str, String)> {
        let begun = self
            .0
            .iter()
            .filter(|(key, _)| !before.0.contains_key(*key));
        let begun = begun.map(|((part, _), (begins, _))| (*part, begins.clone()));
        let ended = before
            .0
            .iter()
            .filter(|(key, _)| !self.0.contains_key(*key));
        let ended = ended.map(|((part, _), (_, ends))| (*part, ends.clone()));
        ended.chain(begun).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_when_it_begins_and_once_when_it_ends() {
        let reading = |name: &str, label: &str, value: f64| {
            let values = BTreeMap::from([(label.to_owned(), value)]);
            (name.to_owned(), values)
        };
        let bad = Readings::from([
            reading("auditrelay_ingest_files_current", "", 0.0),
            reading("auditrelay_log_file_failing_files", "/a.log", 2.0),
        ]);
        let good = Readings::from([
            reading("auditrelay_ingest_files_current", "", 1.0),
            reading("auditrelay_log_file_failing_files", "/a.log", 0.0),
        ]);
        let full = Space {
            refusing: Some("it is full".into()),
            ..Space::default()
        };
        let parts = |changes: Vec<(&'static str, String)>| -> Vec<_> {
            changes.into_iter().map(|(part, _)| part).collect()
        };
        let gone = QueueError::Storage("the disk is gone".into());
        let well = Troubles::of(&Space::default(), None, &good);
        assert!(well.changes_since(&Troubles::default()).is_empty());
        let ill = Troubles::of(&full, Some(&gone), &bad);
        let all = ["credentials", "log_file", "queue", "storage"];
        let begun = ill.changes_since(&well);
        assert!(begun[2].1.contains("it is full"), "{begun:?}");
        assert_eq!(parts(begun), all);
        // Another reason for the same is no news.
        let fuller = Space {
            refusing: Some("it is fuller".into()),
            ..Space::default()
        };
        let still = Troubles::of(&fuller, Some(&gone), &bad);
        assert!(still.changes_since(&ill).is_empty());
        assert_eq!(parts(well.changes_since(&still)), all);
    }
}

//! Audit log files as the other door, with the real binary and real files.

#[path = "../support/mod.rs"]
mod support;

mod follow;
mod import;
mod killed;
mod lines;
mod rotate;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use support::{PATIENCE, Running, ids, list, metric};

pub(crate) const CONFIG: [&str; 2] = ["--config", "c.yaml"];

/// A folder with a configuration that follows `path`, and one channel that takes what it gets.
pub(crate) fn folder(path: &str, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "inputs: {{log_file: [{{path: '{path}', cluster: west}}]}}
channels: {{ops: {{preview: true, message_interval_milliseconds: 100}}}}
{more}
"
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    folder
}

pub(crate) fn start(folder: &Path) -> Running {
    Running::start(folder, &[], &CONFIG)
}

/// Lines as the log backend writes them.
pub(crate) fn lines(prefix: &str, count: usize) -> String {
    let list: Value =
        serde_json::from_str(&list("alice", "get", ids(prefix, count))).expect("JSON");
    let line = |item: &Value| {
        let mut event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1"});
        let fields = event.as_object_mut().expect("an object");
        fields.extend(item.as_object().expect("an object").clone());
        format!("{event}\n")
    };
    let items = list["items"].as_array().expect("items");
    items.iter().map(line).collect()
}

/// A log file and who writes it.
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    file: File,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        let file = OpenOptions::new().append(true).create(true).open(&path);
        Self {
            file: file.expect("made"),
            path,
        }
    }

    pub(crate) fn write(&mut self, text: impl AsRef<[u8]>) {
        self.file.write_all(text.as_ref()).expect("written");
    }

    /// As the log backend does: a new name, and a new file.
    pub(crate) fn rotate(&mut self, number: u64) -> PathBuf {
        let name = format!(
            "audit-2026-11-26T04-33-{:02}.{:03}.log",
            number / 1_000,
            number % 1_000
        );
        let rotated = self.path.with_file_name(name);
        fs::rename(&self.path, &rotated).expect("renamed");
        *self = Self::new(self.path.clone());
        rotated
    }

    /// As logrotate's copytruncate does.
    pub(crate) fn copy_and_truncate(&mut self) -> PathBuf {
        let copy = self.path.with_file_name("audit.log.1");
        fs::copy(&self.path, &copy).expect("copied");
        self.file.set_len(0).expect("cut");
        copy
    }
}

/// Waits until so many lines are in, and nothing waits; every one of them is counted once.
pub(crate) async fn received(relay: &Running, lines: u64) -> Value {
    let waiting = async {
        loop {
            let ledger = relay.ledger().await;
            if ledger["received"].as_u64() >= Some(lines) && ledger["waiting"] == 0 {
                return ledger;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let Ok(ledger) = tokio::time::timeout(PATIENCE, waiting).await else {
        panic!("{lines} lines, and {}", relay.ledger().await);
    };
    assert_eq!(ledger["received"], lines, "{ledger}");
    assert_eq!(ledger["duplicates"], 0, "{ledger}");
    assert_eq!(ledger["balanced"], true, "{ledger}");
    ledger
}

/// A metric of the only path.
pub(crate) async fn of_path(relay: &Running, name: &str, path: &str) -> f64 {
    let (_, metrics) = relay.get("/metrics").await;
    metric(
        &metrics,
        &format!("auditrelay_log_file_{name}{{path=\"{path}\"}}"),
    )
}

/// Waits until it has this value: what a relay says of its files comes after their lines.
pub(crate) async fn becomes(relay: &Running, name: &str, path: &str, value: f64) {
    let waiting = async {
        while of_path(relay, name, path).await != value {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!(
            "{name} is {}, not {value}",
            of_path(relay, name, path).await
        );
    }
}

/// Everything that it said, once it is stopped.
pub(crate) async fn stopped(mut relay: Running) -> String {
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0));
    relay.all_logs()
}

/// Lets the relay look at its files a few times: for what must not happen.
pub(crate) async fn a_while() {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

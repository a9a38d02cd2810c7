//! The watchdog: the real binary, a local Slack, and a dead man's switch that is only an HTTP server.

#[path = "../../ingest/tests/common/pki.rs"]
mod pki;
#[path = "../support/mod.rs"]
mod support;

mod doors;
mod storm;
mod switch;
mod way;

use std::{fs, path::Path, time::Duration};

use support::{PATIENCE, Running, metric};
use switch::Switch;

/// A configuration whose watchdog posts to a switch, which stands for `SWITCH`.
pub(crate) fn started(folder: &Path, switch: &Switch, config: &str) -> Running {
    fs::write(folder.join("switch"), switch.url()).expect("written");
    fs::write(folder.join("c.yaml"), config).expect("written");
    Running::start(folder, &[], &["--config", "c.yaml"])
}

/// Waits until it is so; only a broken relay is waited for in vain.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a metric is so, and returns all of them.
pub(crate) async fn until_metric(
    running: &Running,
    series: &str,
    is_so: impl Fn(f64) -> bool,
) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let metrics = running.get("/metrics").await.1;
        // Lanes have their series when they begin, a moment after the doors.
        let is_there = metrics.lines().any(|line| line.starts_with(series));
        if is_there && is_so(metric(&metrics, series)) {
            return metrics;
        }
        assert!(tokio::time::Instant::now() < deadline, "never: {series}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the log says something; all of it. It often comes after what is counted of the same.
pub(crate) async fn until_logged(running: &mut Running, part: &str) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let logs = running.logs();
        if logs.contains(part) {
            return logs;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "never {part}: {logs}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) const DELIVERED: &str = "auditrelay_watchdog_last_delivered_timestamp_seconds";
pub(crate) const ACCEPTED: &str = "auditrelay_watchdog_sent_total{outcome=\"accepted\"}";
pub(crate) const FAILED: &str = "auditrelay_watchdog_sent_total{outcome=\"failed\"}";

//! What a report takes from the metrics, by name; what a relay has no metric of is left as it was.

use super::report::{Certificate, LogFile, Reload, Report, Watchdog};
use crate::metrics::Readings;

/// Fills in what metrics tell.
pub(super) fn fill(report: &mut Report, readings: &Readings, not_loaded: Option<String>) {
    report.reload = reload(readings, not_loaded);
    report.watchdog = watchdog(readings);
    report.files_current = alone(readings, "auditrelay_ingest_files_current").map(|one| one > 0.0);
    report.certificates = certificates(readings);
    for (path, files) in labelled(readings, "auditrelay_log_file_files") {
        let value = |name: &str| labelled(readings, name).find(|(label, _)| *label == path);
        let value = |name: &str| value(name).map_or(0.0, |(_, value)| value);
        let read = value("auditrelay_log_file_last_read_timestamp_seconds");
        let log_file = LogFile {
            files: files as u64,
            failing_files: value("auditrelay_log_file_failing_files") as u64,
            lag_bytes: value("auditrelay_log_file_lag_bytes") as u64,
            resting: value("auditrelay_log_file_resting") > 0.0,
            last_read_unix_ms: (read > 0.0).then_some(unix_ms(read)),
        };
        report.log_files.insert(path.to_owned(), log_file);
    }
}

/// A metric without a label.
fn alone(readings: &Readings, name: &str) -> Option<f64> {
    readings.get(name)?.get("").copied()
}

/// A metric's values by its label's.
pub(super) fn labelled<'a>(
    readings: &'a Readings,
    name: &str,
) -> impl Iterator<Item = (&'a str, f64)> + use<'a> {
    let values = readings.get(name).into_iter().flatten();
    values.map(|(label, value)| (label.as_str(), *value))
}

fn unix_ms(seconds: f64) -> i64 {
    (seconds * 1_000.0) as i64
}

fn reload(readings: &Readings, last_failure: Option<String>) -> Option<Reload> {
    let gauge = |name: &str| alone(readings, name);
    let loaded = gauge("auditrelay_config_last_reload_success_timestamp_seconds")?;
    Some(Reload {
        last_successful: gauge("auditrelay_config_last_reload_successful")? > 0.0,
        loaded_unix_ms: unix_ms(loaded),
        restart_pending: gauge("auditrelay_config_restart_pending")? as u64,
        last_failure,
    })
}

fn watchdog(readings: &Readings) -> Option<Watchdog> {
    let gauge = |name: &str| alone(readings, name).filter(|value| *value > 0.0);
    let last = gauge("auditrelay_watchdog_last_delivered_timestamp_seconds");
    Some(Watchdog {
        interval_seconds: gauge("auditrelay_watchdog_interval_seconds")? as u64,
        last_delivered_unix_ms: last.map(unix_ms),
        leads_since_unix_ms: gauge("auditrelay_leader_since_timestamp_seconds").map(unix_ms),
    })
}

fn certificates(readings: &Readings) -> Vec<Certificate> {
    let own = labelled(
        readings,
        "auditrelay_tls_certificate_not_after_timestamp_seconds",
    );
    let own = own.map(|(kind, end)| (kind, None, end));
    let name = "auditrelay_client_certificate_not_after_timestamp_seconds";
    let clients = labelled(readings, name);
    let clients = clients.map(|(client, end)| ("client", Some(client.to_owned()), end));
    let all = own.chain(clients);
    let all = all.map(|(kind, client, end)| Certificate {
        kind: kind.to_owned(),
        client,
        not_after_unix_ms: unix_ms(end),
    });
    all.collect()
}

//! What the operator sees of following files. The label is the path as it is configured: names of files come and
//! go, and would be series without end.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Metrics of every configured path; clones count into the same series.
#[derive(Debug, Clone)]
pub struct LogFileMetrics {
    pub(super) lines: IntCounterVec,
    pub(super) bytes: IntCounterVec,
    pub(super) unreadable: IntCounterVec,
    pub(super) lag_bytes: IntGaugeVec,
    pub(super) files: IntGaugeVec,
    pub(super) failing_files: IntGaugeVec,
    pub(super) waiting_files: IntGaugeVec,
    pub(super) resting: IntGaugeVec,
    pub(super) last_read: IntGaugeVec,
}

impl LogFileMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry holds metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["path"])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["path"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            lines: counter(
                "auditrelay_log_file_lines_total",
                "Lines of log files made durable, by configured path.",
            )?,
            bytes: counter(
                "auditrelay_log_file_bytes_total",
                "Bytes of log files read with them, unpacked.",
            )?,
            unreadable: counter(
                "auditrelay_log_file_unreadable_lines_total",
                "Lines of log files that are no events and went to quarantine.",
            )?,
            lag_bytes: gauge(
                "auditrelay_log_file_lag_bytes",
                "Bytes of files that are not compressed which are not read yet.",
            )?,
            files: gauge(
                "auditrelay_log_file_files",
                "Files that belong to the configured path and are followed.",
            )?,
            failing_files: gauge(
                "auditrelay_log_file_failing_files",
                "Files that cannot be looked at or read now.",
            )?,
            waiting_files: gauge(
                "auditrelay_log_file_waiting_files",
                "Files that are not read because they begin with the line of another one.",
            )?,
            resting: gauge(
                "auditrelay_log_file_resting",
                "1 while reading rests because the queue has no space, or cannot be reached.",
            )?,
            last_read: gauge(
                "auditrelay_log_file_last_read_timestamp_seconds",
                "When a line was made durable last, Unix time; 0 before the first.",
            )?,
        })
    }

    /// Every series exists from the start.
    pub(super) fn create(&self, path: &str) {
        for counter in [&self.lines, &self.bytes, &self.unreadable] {
            counter.with_label_values(&[path]);
        }
        for gauge in [
            &self.lag_bytes,
            &self.files,
            &self.failing_files,
            &self.waiting_files,
            &self.resting,
            &self.last_read,
        ] {
            gauge.with_label_values(&[path]);
        }
    }
}

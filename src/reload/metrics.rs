//! What reloads tell Prometheus.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::{metrics::Register, when::now_unix_ms};

#[derive(Clone)]
pub(crate) struct ReloadMetrics {
    reloads: IntCounterVec,
    last_successful: IntGauge,
    last_success: IntGauge,
    restart_pending: IntGauge,
}

impl ReloadMetrics {
    /// Registers them, as of a configuration that was just loaded.
    ///
    /// # Errors
    /// A name is taken.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let register = Register(registry);
        let reloads = IntCounterVec::new(
            Opts::new(
                "auditrelay_config_reloads_total",
                "How often the configuration was loaded again.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(reloads.clone()))?;
        for outcome in ["success", "failure"] {
            reloads.with_label_values(&[outcome]);
        }
        let metrics = Self {
            reloads,
            last_successful: register.gauge(
                "auditrelay_config_last_reload_successful",
                "1 if the configuration that was loaded last is the one in use.",
            )?,
            last_success: register.gauge(
                "auditrelay_config_last_reload_success_timestamp_seconds",
                "When the configuration in use was loaded, Unix time.",
            )?,
            restart_pending: register.gauge(
                "auditrelay_config_restart_pending",
                "Changed keys that count only after a restart.",
            )?,
        };
        metrics.loaded();
        Ok(metrics)
    }

    fn loaded(&self) {
        self.last_successful.set(1);
        self.last_success.set(now_unix_ms() / 1_000);
    }

    pub(super) fn success(&self, restart_pending: usize) {
        self.reloads.with_label_values(&["success"]).inc();
        self.loaded();
        let pending = i64::try_from(restart_pending).unwrap_or(i64::MAX);
        self.restart_pending.set(pending);
    }

    pub(super) fn failure(&self) {
        self.reloads.with_label_values(&["failure"]).inc();
        self.last_successful.set(0);
    }
}

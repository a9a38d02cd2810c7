//! What the operator sees of the files at the door, and of who comes in.

use auditrelay_config::ClientConfig;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Keys;

/// Metrics of one keyring. Labels come from the configuration or from closed sets.
pub(super) struct KeyringMetrics {
    not_after: IntGaugeVec,
    reloads: IntCounterVec,
    is_current: IntGauge,
    requests: IntCounterVec,
}

impl KeyringMetrics {
    pub(super) fn new(clients: &[ClientConfig]) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            not_after: IntGaugeVec::new(
                Opts::new(
                    "auditrelay_tls_certificate_not_after_timestamp_seconds",
                    "When the first certificate of a file expires, Unix time.",
                ),
                &["certificate"],
            )?,
            reloads: IntCounterVec::new(
                Opts::new(
                    "auditrelay_ingest_file_reloads_total",
                    "Changes of certificates, keys, tokens and passwords, by whether they could be used.",
                ),
                &["outcome"],
            )?,
            is_current: IntGauge::new(
                "auditrelay_ingest_files_current",
                "1 if what is in use is what the files of certificates, keys, tokens and passwords hold.",
            )?,
            requests: IntCounterVec::new(
                Opts::new(
                    "auditrelay_client_requests_total",
                    "Requests let in, by the client that they are from.",
                ),
                &["client"],
            )?,
        };
        for outcome in ["success", "failure"] {
            metrics.reloads.with_label_values(&[outcome]);
        }
        for client in clients {
            metrics.requests.with_label_values(&[client.name.as_str()]);
        }
        Ok(metrics)
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.not_after.clone()))?;
        registry.register(Box::new(self.reloads.clone()))?;
        registry.register(Box::new(self.is_current.clone()))?;
        registry.register(Box::new(self.requests.clone()))
    }

    /// These are in use now.
    pub(super) fn in_use(&self, keys: &Keys) {
        self.is_current.set(1);
        let Some(encryption) = &keys.encryption else {
            return;
        };
        for (certificate, facts) in [
            ("server", &encryption.chain),
            ("client_ca", &encryption.client_cas),
        ] {
            if let Some(first) = facts.iter().map(|facts| facts.not_after).min() {
                self.not_after.with_label_values(&[certificate]).set(first);
            }
        }
    }

    pub(super) fn reloaded(&self) {
        self.reloads.with_label_values(&["success"]).inc();
    }

    /// The files hold what cannot be used.
    pub(super) fn outdated(&self, is_new_problem: bool) {
        if is_new_problem {
            self.reloads.with_label_values(&["failure"]).inc();
        }
        self.is_current.set(0);
    }

    /// The files hold what is in use, after they did not.
    pub(super) fn as_before(&self) {
        self.is_current.set(1);
    }

    pub(super) fn let_in(&self, client: &str) {
        self.requests.with_label_values(&[client]).inc();
    }
}

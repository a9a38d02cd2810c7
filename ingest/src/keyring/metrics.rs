//! What the operator sees of the files at the door, and of who comes in.

use auditrelay_config::ClientConfig;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Keys;

/// Metrics of one keyring. Labels come from the configuration or from closed sets.
pub(super) struct KeyringMetrics {
    not_after: IntGaugeVec,
    pub(super) reloads: IntCounterVec,
    is_current: IntGauge,
    requests: IntCounterVec,
    client_not_after: IntGaugeVec,
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
            client_not_after: IntGaugeVec::new(
                Opts::new(
                    "auditrelay_client_certificate_not_after_timestamp_seconds",
                    "When the certificate that a client shows ends, Unix time.",
                ),
                &["client"],
            )?,
        };
        for outcome in ["success", "failure"] {
            metrics.reloads.with_label_values(&[outcome]);
        }
        // Nothing is in use that was not read.
        metrics.is_current.set(1);
        for client in clients {
            metrics.requests.with_label_values(&[client.name.as_str()]);
        }
        Ok(metrics)
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.not_after.clone()))?;
        registry.register(Box::new(self.reloads.clone()))?;
        registry.register(Box::new(self.is_current.clone()))?;
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.client_not_after.clone()))
    }

    /// These are in use now.
    pub(super) fn in_use(&self, keys: &Keys) {
        let Some(encryption) = keys.parts.encryption() else {
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

    /// The files were looked at: so many problems are new, and whether all of them are in use.
    pub(super) fn looked(&self, new_problems: usize, is_current: bool) {
        let failures = self.reloads.with_label_values(&["failure"]);
        failures.inc_by(new_problems as u64);
        self.is_current.set(i64::from(is_current));
    }

    /// The first certificate that a client shows ends then, Unix time.
    pub(super) fn client_ends(&self, client: &str, not_after: i64) {
        self.client_not_after
            .with_label_values(&[client])
            .set(not_after);
    }

    pub(super) fn let_in(&self, client: &str) {
        self.requests.with_label_values(&[client]).inc();
    }
}

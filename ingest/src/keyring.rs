//! What the door needs of files: what it encrypts with, and who may come in.
//!
//! Invariants:
//! * what is in use is whole, unit by unit (`parts`): made from files that were all readable and fit
//!   together. Files that cannot be used keep the old state of their unit, and of no other;
//! * a handshake and a request each see one state, never half of a change;
//! * a request is judged by the state of its own time, also on a connection that is older.

mod authorization;
mod certificate;
mod clients;
mod ends;
mod files;
mod itself;
mod metrics;
mod parts;
mod peer;
#[cfg(test)]
#[path = "../tests/common/pki.rs"]
mod pki;
mod secrets;
mod server;
mod token_file;
mod warnings;
mod watch;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use auditrelay_config::{ClientConfig, ClusterName, TlsConfig};
use hyper::HeaderMap;
use prometheus::Registry;
use tokio_rustls::rustls::{ServerConfig, pki_types::UnixTime};

use self::{
    authorization::Authorization,
    clients::{Certificate, Clients},
    ends::Ends,
    files::Reading,
    metrics::KeyringMetrics,
    parts::{Parts, Source, paths},
    secrets::{Digest, Hasher},
};
use crate::refusal::Refusal;

pub(crate) use self::peer::Peer;
pub use self::{token_file::TokenFile, watch::RELOAD_INTERVAL};

/// What is said of a secret that is not kept as one.
const READABLE_BY_EVERYBODY: &str = "can be read by every user of this machine; take that right away \
     (chmod o-r; defaultMode: 0440 for a Kubernetes volume)";

/// What connections and requests are judged by; it changes as a whole.
pub struct Keyring {
    tls: TlsConfig,
    clients: Vec<ClientConfig>,
    hasher: Hasher,
    metrics: KeyringMetrics,
    ends: Ends,
    current: ArcSwap<Keys>,
    /// What this process shows where it is its own client.
    itself: ArcSwapOption<Digest>,
}

/// One state of the files.
struct Keys {
    /// Different for each state.
    number: u64,
    parts: Parts,
    clients: Clients,
}

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyringError(String);

impl Keyring {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, is not what it should be, or does not fit another.
    pub fn open(tls: &TlsConfig, clients: &[ClientConfig]) -> Result<Self, KeyringError> {
        let hasher = Hasher::new().map_err(KeyringError)?;
        let metrics =
            KeyringMetrics::new(clients).map_err(|error| KeyringError(error.to_string()))?;
        let reading = Reading::of(paths(tls, clients));
        let parts = Parts::read(Source {
            tls,
            clients,
            reading: &reading,
            hasher: &hasher,
        });
        let keys = Keys::new(1, parts.map_err(KeyringError)?, clients);
        metrics.in_use(&keys);
        Ok(Self {
            tls: tls.clone(),
            clients: clients.to_vec(),
            hasher,
            metrics,
            ends: Ends::default(),
            current: ArcSwap::from_pointee(keys),
            itself: ArcSwapOption::empty(),
        })
    }

    /// Lets its metrics be seen.
    ///
    /// # Errors
    /// The registry holds metrics of these names already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        self.metrics.register(registry)
    }

    /// What should be known of the files in use: secrets that everybody can read, certificates that
    /// expire within 14 days (those of clients once they were shown), and the like. Each text stays the
    /// same as long as it holds.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let now = unix_s(peer::now());
        let keys = self.current.load();
        let mut warnings = keys.warnings(&self.tls, &self.clients, now);
        warnings.extend(self.ends.warnings(now));
        warnings
    }

    /// Until when the certificates of `tls.certificate_file` are all valid, Unix time in seconds; `None`
    /// for plain HTTP.
    #[must_use]
    pub fn not_after_unix_s(&self) -> Option<i64> {
        let keys = self.current.load();
        let chain = keys.parts.encryption().map(|part| part.chain.iter());
        chain.and_then(|chain| chain.map(|facts| facts.not_after).min())
    }

    /// What new connections are encrypted with; `None` for plain HTTP.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        let keys = self.current.load();
        let encryption = keys.parts.encryption();
        encryption.map(|encryption| Arc::clone(&encryption.config))
    }

    /// The cluster that a request is from: `claimed` is what its path names, `otherwise` holds without
    /// any other.
    ///
    /// # Errors
    /// It is from nobody who may come in, or not from the cluster that it names.
    pub(crate) fn cluster(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        claimed: Option<ClusterName>,
        otherwise: &ClusterName,
    ) -> Result<ClusterName, Refusal> {
        self.cluster_at(peer::now(), peer, headers, claimed, otherwise)
    }

    fn cluster_at(
        &self,
        now: UnixTime,
        peer: &Peer,
        headers: &HeaderMap,
        claimed: Option<ClusterName>,
        otherwise: &ClusterName,
    ) -> Result<ClusterName, Refusal> {
        let keys = self.current.load();
        if keys.clients.are_everybody() {
            return Ok(claimed.unwrap_or_else(|| otherwise.clone()));
        }
        // A header that says nothing valid is judged like none: a certificate may be enough.
        let authorization = Authorization::read(headers, &self.hasher);
        let authorization = authorization.unwrap_or_else(Authorization::Malformed);
        if self.is_itself(&authorization) {
            return Ok(claimed.unwrap_or_else(|| otherwise.clone()));
        }
        let certificate = peer.certificate(&keys, now);
        let admitted = keys
            .clients
            .admit(certificate, &authorization, claimed, otherwise)?;
        self.metrics.let_in(admitted.client.as_str());
        if let (true, Certificate::Signed { until, .. }) = (admitted.by_certificate, certificate) {
            let end = self.ends.saw(admitted.client, until, unix_s(now));
            self.metrics.client_ends(admitted.client.as_str(), end);
        }
        Ok(admitted.cluster)
    }
}

impl Keys {
    fn new(number: u64, parts: Parts, configured: &[ClientConfig]) -> Self {
        let clients = Clients::new(configured, parts.secrets());
        Self {
            number,
            parts,
            clients,
        }
    }
}

/// As certificates count it.
fn unix_s(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

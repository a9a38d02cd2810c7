//! What the door needs of files: what it encrypts with, and who may come in.
//!
//! Invariants:
//! * what is in use is whole: it was made from files that were all readable and fit together, as they
//!   were found at one time;
//! * a handshake and a request each see one state, never half of a change;
//! * a request is judged by the state of its own time, also on a connection that is older.

mod authorization;
mod certificate;
mod clients;
mod files;
mod metrics;
mod peer;
mod secrets;
mod server;
mod watch;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use auditrelay_config::{ClientConfig, ClusterName, TlsConfig};
use hyper::HeaderMap;
use prometheus::Registry;
use tokio_rustls::rustls::{ServerConfig, pki_types::UnixTime};

use self::{
    authorization::Authorization,
    clients::Clients,
    files::{Fingerprint, Reading},
    metrics::KeyringMetrics,
    secrets::Hasher,
    server::{Encryption, problem},
};
use crate::refusal::Refusal;

pub(crate) use self::peer::Peer;
pub use self::watch::RELOAD_INTERVAL;

/// A certificate that has as much left, or less, is spoken of: 14 days, in seconds.
const EXPIRES_SOON_SECONDS: i64 = 14 * 24 * 3600;
/// What is said of a secret that is not kept as one.
const READABLE_BY_EVERYBODY: &str = "can be read by every user of this machine; take that right away \
     (chmod o-r; defaultMode: 0440 for a Kubernetes volume)";

/// What connections and requests are judged by; it changes as a whole.
pub struct Keyring {
    tls: TlsConfig,
    clients: Vec<ClientConfig>,
    hasher: Hasher,
    metrics: KeyringMetrics,
    current: ArcSwap<Keys>,
}

/// One state of the files.
struct Keys {
    /// Different for each state.
    number: u64,
    fingerprint: Fingerprint,
    encryption: Option<Encryption>,
    clients: Clients,
    /// What is no reason to refuse the files, and should be known.
    oddities: Vec<String>,
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
        let keys = keys(tls, clients, &reading, &hasher, 1).map_err(KeyringError)?;
        metrics.in_use(&keys);
        Ok(Self {
            tls: tls.clone(),
            clients: clients.to_vec(),
            hasher,
            metrics,
            current: ArcSwap::from_pointee(keys),
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
    /// expire within 14 days, and the like. Each text stays the same as long as it holds.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.current.load().warnings(&self.tls, peer::now())
    }

    /// Until when the certificates of `tls.certificate_file` are all valid, Unix time in seconds; `None`
    /// for plain HTTP.
    #[must_use]
    pub fn not_after_unix_s(&self) -> Option<i64> {
        let keys = self.current.load();
        let chain = keys.encryption.as_ref().map(|part| part.chain.iter());
        chain.and_then(|chain| chain.map(|facts| facts.not_after).min())
    }

    /// What new connections are encrypted with; `None` for plain HTTP.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        let keys = self.current.load();
        let encryption = keys.encryption.as_ref();
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
        let authorization = Authorization::read(headers, &self.hasher)
            .map_err(|fault| keys.clients.malformed(fault))?;
        let certificate = peer.certificate(&keys, now);
        let admitted = keys
            .clients
            .admit(certificate, &authorization, claimed, otherwise)?;
        self.metrics.let_in(admitted.client.as_str());
        Ok(admitted.cluster)
    }
}

impl Keys {
    fn warnings(&self, tls: &TlsConfig, now: UnixTime) -> Vec<String> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut warnings = self.oddities.clone();
        let Some(encryption) = &self.encryption else {
            return warnings;
        };
        for (key, file, facts) in [
            (
                "tls.certificate_file",
                &tls.certificate_file,
                &encryption.chain,
            ),
            (
                "tls.client_ca_file",
                &tls.client_ca_file,
                &encryption.client_cas,
            ),
        ] {
            let Some(file) = file else { continue };
            for (facts, number) in facts.iter().zip(1..) {
                let what = if now > facts.not_after {
                    "has expired: API servers and the relay do not accept it any more; renew it"
                } else if now < facts.not_before {
                    "is not valid yet; look at the clock of this machine"
                } else if facts.not_after - now <= EXPIRES_SOON_SECONDS {
                    "expires within 14 days; renew it"
                } else {
                    continue;
                };
                let what = format!("holds a certificate (number {number}) that {what}");
                warnings.push(problem(key, file, &what));
            }
        }
        warnings
    }
}

/// Every file that the configuration names, once.
fn paths(tls: &TlsConfig, clients: &[ClientConfig]) -> BTreeSet<PathBuf> {
    let of_tls = [&tls.certificate_file, &tls.key_file, &tls.client_ca_file];
    let of_clients = clients
        .iter()
        .flat_map(|client| [&client.token_file, &client.password_file]);
    let named = of_tls.into_iter().chain(of_clients).flatten();
    named.cloned().collect()
}

/// Makes a state of what was read.
fn keys(
    tls: &TlsConfig,
    configured: &[ClientConfig],
    reading: &Reading,
    hasher: &Hasher,
    number: u64,
) -> Result<Keys, String> {
    let encryption = server::encryption(tls, reading)?;
    let (clients, mut oddities) = Clients::read(configured, reading, hasher)?;
    oddities.extend(oddities_of_tls(
        tls,
        configured,
        reading,
        encryption.as_ref(),
    ));
    Ok(Keys {
        number,
        fingerprint: reading.fingerprint(hasher),
        encryption,
        clients,
        oddities,
    })
}

fn oddities_of_tls(
    tls: &TlsConfig,
    clients: &[ClientConfig],
    reading: &Reading,
    encryption: Option<&Encryption>,
) -> Vec<String> {
    let mut oddities = Vec::new();
    let key = tls.key_file.as_ref();
    if let Some(file) = key.filter(|file| reading.is_for_everybody(file)) {
        oddities.push(problem("tls.key_file", file, READABLE_BY_EVERYBODY));
    }
    if let Some(encryption) = encryption {
        oddities.extend(oddities_of_certificates(tls, encryption));
    }
    let asks_certificates = clients
        .iter()
        .any(|client| !client.certificate_names.is_empty());
    if tls.client_ca_file.is_some() && !asks_certificates {
        oddities.push(
            "tls.client_ca_file: no client asks for a certificate, so nobody is let in or kept out by it; name \
             certificates in clients[].certificate_names"
                .to_owned(),
        );
    }
    if encryption.is_none() && !clients.is_empty() {
        oddities.push(
            "clients: an API server sends neither token nor password over plain http, and has no certificate \
             to show there; set tls.certificate_file and tls.key_file, unless something in front of the \
             relay ends TLS and hands the Authorization header on"
                .to_owned(),
        );
    }
    oddities
}

fn oddities_of_certificates(tls: &TlsConfig, encryption: &Encryption) -> Vec<String> {
    let mut oddities = Vec::new();
    if let (Some(own), Some(file)) = (encryption.chain.first(), &tls.certificate_file) {
        let mut odd = |what: &str| oddities.push(problem("tls.certificate_file", file, what));
        if !own.has_alternative_names {
            odd(
                "begins with a certificate without a subject alternative name; API servers look at no other \
                 name and refuse it",
            );
        }
        if !own.is_for_servers {
            odd(
                "begins with a certificate that is not for servers (extended key usage); API servers refuse it. \
                 Is it a client's?",
            );
        }
    }
    for (ca, number) in encryption.client_cas.iter().zip(1..) {
        if let (false, Some(file)) = (ca.is_ca, &tls.client_ca_file) {
            let what = format!(
                "holds a certificate (number {number}) that is no CA: it signs nobody; put the CA there that \
                 signed it"
            );
            oddities.push(problem("tls.client_ca_file", file, &what));
        }
    }
    oddities
}

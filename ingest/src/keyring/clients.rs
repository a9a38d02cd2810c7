//! Whether a request is let in, as which client, and for which cluster.
//!
//! Invariants:
//! * an entry is an "and": it is satisfied by who shows everything that it asks for; the list is an
//!   "or" (decision 0017);
//! * entries that ask for a certificate count before those that ask for a token, and those before
//!   basic authentication: the strongest thing that a request shows decides its cluster. A weaker one
//!   beside it cannot claim another;
//! * a cluster that an entry names is its own: who comes in by an entry without a cluster posts for those
//!   that no entry names;
//! * a header that says nothing valid is worth as much as none;
//! * every secret of every entry is compared for every request that shows one;
//! * a refusal says to a client no more about a secret than that it is not enough.

use std::{path::Path, sync::Arc};

use auditrelay_config::{ClientConfig, ClientName, ClusterName};

use super::{
    authorization::Authorization,
    certificate::canonical,
    files::Reading,
    secrets::{Digest, Hasher, Kind, Secrets},
    server::problem,
};
use crate::refusal::{Reason, Refusal};

const BEARER: &str = "Bearer realm=\"auditrelay\"";
const BASIC: &str = "Basic realm=\"auditrelay\", charset=\"UTF-8\"";

/// Everybody who may post. Empty: everybody may.
pub(super) struct Clients {
    /// Those that ask for a certificate first, then for a token, then the others; else as configured.
    entries: Vec<Entry>,
    /// What is asked for, in words.
    asked: String,
    /// What should be known of them, beside what their files hold.
    oddities: Vec<String>,
}

struct Entry {
    name: ClientName,
    cluster: Option<ClusterName>,
    certificate_names: Vec<String>,
    secret: Arc<Secret>,
}

/// What an entry asks for beside a certificate.
pub(super) enum Secret {
    /// Nothing.
    NotAsked,
    /// One of these.
    Token(Secrets),
    /// This user and one of these.
    Basic {
        /// The user.
        user: Digest,
        /// Each is valid.
        passwords: Secrets,
    },
}

/// What the certificate of a connection is worth, at the time of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Certificate<'a> {
    /// None was shown.
    Absent,
    /// A CA of ours signed it.
    Signed {
        /// Its names.
        names: &'a [String],
        /// How long it is good: the first end of what was shown, Unix time in seconds.
        until: i64,
    },
    /// Its time is over: it counts as not shown.
    Expired,
    /// Its CA is not one of ours any more: it counts as not shown.
    Foreign,
}

/// Who was let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted<'a> {
    pub(super) client: &'a ClientName,
    /// Whether its entry asks for a certificate.
    pub(super) by_certificate: bool,
    pub(super) cluster: ClusterName,
}

/// How one entry looks upon one request.
struct Look<'a> {
    entry: &'a Entry,
    certificate: bool,
    secret: bool,
}

impl Clients {
    /// The entries, with the secret of each.
    pub(super) fn new(
        configured: &[ClientConfig],
        secrets: impl IntoIterator<Item = Arc<Secret>>,
    ) -> Self {
        let entry = |(client, secret): (&ClientConfig, _)| Entry {
            name: client.name.clone(),
            cluster: client.cluster.clone(),
            certificate_names: client
                .certificate_names
                .iter()
                .map(|name| canonical(name))
                .collect(),
            secret,
        };
        let mut entries: Vec<Entry> = configured.iter().zip(secrets).map(entry).collect();
        entries.sort_by_key(Entry::rank);
        Self {
            oddities: shared_secrets(&entries),
            asked: asked(&entries),
            entries,
        }
    }

    pub(super) fn oddities(&self) -> &[String] {
        &self.oddities
    }

    /// Whether everybody is let in.
    pub(super) fn are_everybody(&self) -> bool {
        self.entries.is_empty()
    }

    /// Judges a request. `claimed` is the cluster that its path names, `otherwise` holds without any
    /// other.
    pub(super) fn admit(
        &self,
        certificate: Certificate<'_>,
        authorization: &Authorization,
        claimed: Option<ClusterName>,
        otherwise: &ClusterName,
    ) -> Result<Admitted<'_>, Refusal> {
        // Collected before any is judged: none is left out, so that time tells nothing.
        let looks: Vec<Look<'_>> = self
            .entries
            .iter()
            .map(|entry| entry.look(certificate, authorization))
            .collect();
        let mut satisfied = looks
            .iter()
            .filter(|look| look.certificate && look.secret)
            .map(|look| look.entry);
        let Some(first) = satisfied.next() else {
            return Err(self.stranger(certificate, authorization, &looks));
        };
        let equals = satisfied.take_while(|entry| entry.rank() == first.rank());
        let meant = claimed.as_ref().unwrap_or(otherwise);
        let agrees = |entry: &&Entry| match &entry.cluster {
            Some(own) => claimed.as_ref().is_none_or(|claimed| own == claimed),
            None => !self.is_somebodys(meant),
        };
        let Some(entry) = std::iter::once(first).chain(equals).find(agrees) else {
            return Err(wrong_cluster(claimed.is_some()));
        };
        let own = entry.cluster.clone().or(claimed);
        Ok(Admitted {
            client: &entry.name,
            by_certificate: !entry.certificate_names.is_empty(),
            cluster: own.unwrap_or_else(|| otherwise.clone()),
        })
    }

    /// Whether an entry has this cluster as its own.
    fn is_somebodys(&self, cluster: &ClusterName) -> bool {
        let owners = self
            .entries
            .iter()
            .filter_map(|entry| entry.cluster.as_ref());
        owners.into_iter().any(|own| own == cluster)
    }

    fn stranger(
        &self,
        certificate: Certificate<'_>,
        authorization: &Authorization,
        looks: &[Look<'_>],
    ) -> Refusal {
        let knows_secret = looks
            .iter()
            .any(|look| look.secret && !matches!(*look.entry.secret, Secret::NotAsked));
        let asks_certificate = |look: &&Look<'_>| !look.entry.certificate_names.is_empty();
        let mut asking = looks.iter().filter(asks_certificate).peekable();
        let is_asked = asking.peek().is_some();
        let knows_certificate = asking.any(|look| look.certificate);
        let (reason, told) = match (authorization, certificate) {
            (_, Certificate::Expired) if is_asked => (
                Reason::CertificateExpired,
                "the client certificate of this connection, or its CA's, is not valid at this time; renew it",
            ),
            (_, Certificate::Foreign) if is_asked => (
                Reason::CertificateUntrusted,
                "the CA of this connection's client certificate is not in tls.client_ca_file any more",
            ),
            (Authorization::Malformed(fault), _) => (Reason::AuthorizationMalformed, *fault),
            // The same words for both: whether a secret is right is not told to who lacks the rest.
            (Authorization::Bearer(_), _) => (
                secret_reason(knows_secret, Reason::UnknownToken),
                "the bearer token is none that a client of this relay has, or its client has to show its \
                 certificate too",
            ),
            (Authorization::Basic { .. }, _) => (
                secret_reason(knows_secret, Reason::WrongPassword),
                "user and password are none that a client of this relay has, or their client has to show \
                 its certificate too",
            ),
            (Authorization::Absent, Certificate::Signed { .. }) if knows_certificate => (
                Reason::CredentialsIncomplete,
                "the client certificate is known, and its client has to send a token or a password too",
            ),
            (Authorization::Absent, Certificate::Signed { .. }) if is_asked => {
                return Refusal::new(
                    Reason::UnknownCertificate,
                    "the client certificate is signed by tls.client_ca_file, and neither its subject CN nor \
                     one of its SANs is among clients[].certificate_names of the relay; add it there, or \
                     use the certificate that was made for this",
                );
            }
            (Authorization::Absent, _) => (
                Reason::Unauthenticated,
                "the request shows nothing of who it is from (a certificate of a CA that the relay does not \
                 know is not sent at all)",
            ),
        };
        self.unauthorized(reason, told)
    }

    fn unauthorized(&self, reason: Reason, told: &str) -> Refusal {
        let mut refusal = Refusal::new(reason, format!("{told}; {}", self.asked));
        let asks = |kind: fn(&Secret) -> bool| self.entries.iter().any(|entry| kind(&entry.secret));
        if asks(|secret| matches!(secret, Secret::Token(_))) {
            refusal.challenges.push(BEARER);
        }
        if asks(|secret| matches!(secret, Secret::Basic { .. })) {
            refusal.challenges.push(BASIC);
        }
        refusal
    }
}

impl Secret {
    /// Reads what an entry names; also says what is odd about it, but no reason to refuse it.
    pub(super) fn read(
        client: &ClientConfig,
        index: usize,
        reading: &Reading,
        hasher: &Hasher,
    ) -> Result<(Self, Vec<String>), String> {
        let mut oddities = Vec::new();
        let mut secrets = |key: &str, file: &Path, kind: Kind| {
            let key = format!("clients[{index}].{key}");
            let bytes = reading.bytes(file);
            let parsed = bytes.and_then(|bytes| Secrets::parse(bytes, kind, hasher));
            let secrets = parsed.map_err(|what| problem(&key, file, &what))?;
            if reading.is_for_everybody(file) {
                oddities.push(problem(&key, file, super::READABLE_BY_EVERYBODY));
            }
            if let Some(line) = secrets.weak_lines.first() {
                let name = kind.name();
                let what = format!(
                    "holds a {name} in line {line} that is short enough to be guessed; use 32 random characters"
                );
                oddities.push(problem(&key, file, &what));
            }
            Ok::<_, String>(secrets)
        };
        let secret = if let Some(file) = &client.token_file {
            Self::Token(secrets("token_file", file, Kind::Token)?)
        } else if let (Some(user), Some(file)) = (&client.username, &client.password_file) {
            Self::Basic {
                user: hasher.digest(user.as_bytes()),
                passwords: secrets("password_file", file, Kind::Password)?,
            }
        } else if client.certificate_names.is_empty() {
            return Err(format!(
                "clients[{index}] asks for nothing: anybody would be it"
            ));
        } else {
            Self::NotAsked
        };
        Ok((secret, oddities))
    }
}

impl Entry {
    fn rank(&self) -> u8 {
        match &*self.secret {
            _ if !self.certificate_names.is_empty() => 0,
            Secret::Token(_) => 1,
            Secret::Basic { .. } | Secret::NotAsked => 2,
        }
    }

    fn look(&self, certificate: Certificate<'_>, authorization: &Authorization) -> Look<'_> {
        let is_own = |name: &String| self.certificate_names.contains(name);
        let certificate = match certificate {
            _ if self.certificate_names.is_empty() => true,
            Certificate::Signed { names, .. } => names.iter().any(is_own),
            Certificate::Absent | Certificate::Expired | Certificate::Foreign => false,
        };
        let secret = match (&*self.secret, authorization) {
            (Secret::NotAsked, _) => true,
            (Secret::Token(tokens), Authorization::Bearer(token)) => tokens.hold(token).into(),
            (
                Secret::Basic { user, passwords },
                Authorization::Basic {
                    user: shown,
                    password,
                },
            ) => (user.is(shown) & passwords.hold(password)).into(),
            _ => false,
        };
        Look {
            entry: self,
            certificate,
            secret,
        }
    }
}

/// Of a path, or of the cluster that holds without one.
fn wrong_cluster(is_in_path: bool) -> Refusal {
    let told = if is_in_path {
        "the path names a cluster that this client does not post for; leave the name out of the \
         URL in the webhook kubeconfig, or correct it, or clients[].cluster of the relay"
    } else {
        "the path names no cluster, and the relay's own is another client's; add the name to the URL \
         in the webhook kubeconfig (/webhook/NAME), or set clients[].cluster of the relay"
    };
    Refusal::new(Reason::WrongCluster, told)
}

fn secret_reason(is_known: bool, otherwise: Reason) -> Reason {
    if is_known {
        Reason::CredentialsIncomplete
    } else {
        otherwise
    }
}

/// Pairs of clients that one token makes both of, so that the first is always meant.
fn shared_secrets(entries: &[Entry]) -> Vec<String> {
    let tokens = entries.iter().filter_map(|entry| match &*entry.secret {
        Secret::Token(tokens) if entry.certificate_names.is_empty() => Some((&entry.name, tokens)),
        _ => None,
    });
    let tokens: Vec<_> = tokens.collect();
    let mut shared = Vec::new();
    for (index, (name, own)) in tokens.iter().enumerate() {
        let is_shared = |(_, other): &&(&ClientName, &Secrets)| {
            let digests = other.digests().iter();
            digests.fold(false, |found, digest| found | bool::from(own.hold(digest)))
        };
        for (other, _) in tokens[index + 1..].iter().filter(is_shared) {
            shared.push(format!(
                "clients {name} and {other} have a token in common; whoever sends it is {name}, or \
                 {other} where the path names that one's cluster: give each its own"
            ));
        }
    }
    shared
}

/// What the entries ask for, in words that a client may read.
fn asked(entries: &[Entry]) -> String {
    let mut ways = Vec::new();
    for entry in entries {
        let certificate = !entry.certificate_names.is_empty();
        let way = match (&*entry.secret, certificate) {
            (Secret::NotAsked, _) => "a client certificate",
            (Secret::Token(_), true) => "a client certificate and a bearer token",
            (Secret::Token(_), false) => "a bearer token",
            (Secret::Basic { .. }, true) => "a client certificate and user and password",
            (Secret::Basic { .. }, false) => "user and password",
        };
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    format!("clients of this relay show {}", ways.join(", or "))
}

#[cfg(test)]
mod tests;

//! The queue on NATS JetStream, where several relays are one.
//!
//! Contract: nothing in an address is a secret; what proves who the relay is has keys of its own, of which one kind is
//! set. Which promise of the servers an acknowledgement rests on is said in so many words: `monitoring`, or
//! `accept_replicated_without_fsync`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::error::ConfigError;
use crate::model::{GIB, IngestConfig, MIB};
use crate::names::{RelayName, StreamName};
use crate::nats_urls::{MonitoringUrl, ServerUrl};
use crate::queue;
use crate::raw::RawConfig;
use crate::secret::NatsSecret;
use crate::text::{self, FromText};
use crate::tree::Tree;

/// Most addresses in a list.
const ADDRESSES_MAX: usize = 32;
/// Of `queue.bytes_max` at its default: a body, which is a quarter of `bytes_max` at most, always fits.
const INBOX_BYTES_MAX: u64 = 2 * GIB;
const APPEND_TIMEOUT_MILLISECONDS: u64 = 800;

/// Where the queue is if it is not in `data_dir`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JetStreamConfig {
    /// Servers to begin with; one is enough to find the others of its cluster. Never empty.
    pub servers: Vec<ServerUrl>,
    /// What names of streams and subjects begin with. Relays with the same one are one.
    pub name: StreamName,
    /// What this relay is called among them; if it is left out, the name of its host.
    pub relay_name: Option<RelayName>,
    /// How many servers hold each message: 1, 3 or 5.
    pub replicas: Bounded<1, 5>,
    /// The file of a JWT and an nkey, as `nsc` writes it.
    #[serde(deserialize_with = "text::read_option")]
    pub credentials_file: Option<PathBuf>,
    /// The user, with `password`.
    pub user: Option<String>,
    /// The user's password. Read from `password_file` if that is set.
    pub password: Option<NatsSecret>,
    /// The file `password` is read from.
    #[serde(deserialize_with = "text::read_option")]
    pub password_file: Option<PathBuf>,
    /// A token instead of a user. Read from `token_file` if that is set.
    pub token: Option<NatsSecret>,
    /// The file `token` is read from.
    #[serde(deserialize_with = "text::read_option")]
    pub token_file: Option<PathBuf>,
    /// Encryption towards the servers.
    pub tls: JetStreamTls,
    /// What may wait to be taken over by the relay that leads; beside `queue.bytes_max`.
    pub inbox_bytes_max: Bounded<MIB, { 4 << 40 }>,
    /// How long a relay leads without saying so again.
    pub lease_seconds: Bounded<3, 10>,
    /// How long an append waits for the servers, in all.
    pub append_timeout_milliseconds: Bounded<50, 28_000>,
    /// Where each server tells that it syncs before it acknowledges.
    pub monitoring: Vec<MonitoringUrl>,
    /// Whether what is acknowledged may be in the memory of three or more servers only.
    pub accept_replicated_without_fsync: bool,
}

/// Encryption towards the servers of JetStream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JetStreamTls {
    /// Whether a connection without it is refused, whatever the address says.
    pub required: bool,
    /// CAs besides those of the system, PEM.
    #[serde(deserialize_with = "text::read_option")]
    pub ca_file: Option<PathBuf>,
    /// The relay's own certificate, PEM.
    #[serde(deserialize_with = "text::read_option")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(deserialize_with = "text::read_option")]
    pub key_file: Option<PathBuf>,
}

impl Default for JetStreamConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            name: StreamName::from_text("auditrelay").expect("the literal is a name"),
            relay_name: None,
            replicas: const { Bounded::preset(3) },
            credentials_file: None,
            user: None,
            password: None,
            password_file: None,
            token: None,
            token_file: None,
            tls: JetStreamTls::default(),
            inbox_bytes_max: const { Bounded::preset(INBOX_BYTES_MAX) },
            lease_seconds: const { Bounded::preset(6) },
            append_timeout_milliseconds: const { Bounded::preset(APPEND_TIMEOUT_MILLISECONDS) },
            monitoring: Vec::new(),
            accept_replicated_without_fsync: false,
        }
    }
}

impl JetStreamConfig {
    /// Gives what is not set its part of what it depends on: the inbox of `queue.bytes_max`, an append of the time for
    /// an answer.
    fn fit(
        &mut self,
        queue_part: impl FnOnce(u64) -> u64,
        ingest: &IngestConfig,
        is_set: impl Fn(&str) -> bool,
    ) {
        if !is_set("inbox_bytes_max") {
            self.inbox_bytes_max = Bounded::clamped(queue_part(INBOX_BYTES_MAX));
        }
        if !is_set("append_timeout_milliseconds") {
            let answer = ingest.ack_timeout_milliseconds.get();
            let part = APPEND_TIMEOUT_MILLISECONDS.min(answer * 8 / 9);
            self.append_timeout_milliseconds = Bounded::clamped(part);
        }
    }

    /// The key to blame, none for all of them, and what is wrong.
    fn fault(&self, ingest: &IngestConfig) -> Option<(&'static str, String)> {
        self.address_fault()
            .or_else(|| self.identity_fault())
            .or_else(|| self.promise_fault())
            .or_else(|| self.size_fault(ingest))
    }

    fn address_fault(&self) -> Option<(&'static str, String)> {
        let (servers, monitoring) = (self.servers.len(), self.monitoring.len());
        if servers == 0 || servers > ADDRESSES_MAX {
            let problem = format!("found {servers} servers, expected 1 to {ADDRESSES_MAX}");
            return Some(("servers", problem));
        }
        if monitoring > ADDRESSES_MAX {
            let problem = format!("found {monitoring} URLs, expected at most {ADDRESSES_MAX}");
            return Some(("monitoring", problem));
        }
        let twice = |url: &MonitoringUrl| self.monitoring.iter().filter(|one| *one == url).count();
        let twice = self.monitoring.iter().find(|url| twice(url) > 1)?;
        let problem = format!("found {twice} twice, expected the one of each server once");
        Some(("monitoring", problem))
    }

    fn identity_fault(&self) -> Option<(&'static str, String)> {
        let fault = |key: &'static str, problem: &str| Some((key, problem.to_owned()));
        let ways = [
            ("credentials_file", self.credentials_file.is_some()),
            ("user", self.user.is_some() || self.password.is_some()),
            ("token", self.token.is_some()),
        ];
        let mut ways = ways.iter().filter(|(_, is_set)| *is_set);
        if let (Some(_), Some((key, _))) = (ways.next(), ways.next()) {
            return fault(
                key,
                "expected only one of credentials_file, user with password, and token",
            );
        }
        if self.user.as_deref().is_some_and(str::is_empty) {
            return fault("user", "found an empty name");
        }
        match (&self.user, &self.password) {
            (Some(_), None) => {
                return fault("user", "expected password or password_file beside it");
            }
            (None, Some(_)) => return fault("password", "expected user beside it"),
            _ => {}
        }
        match (&self.tls.certificate_file, &self.tls.key_file) {
            (Some(_), None) => fault("tls.certificate_file", "expected key_file beside it"),
            (None, Some(_)) => fault("tls.key_file", "expected certificate_file beside it"),
            _ => None,
        }
    }

    fn promise_fault(&self) -> Option<(&'static str, String)> {
        let replicas = self.replicas.get();
        if replicas.is_multiple_of(2) {
            let problem = format!("found {replicas}, expected 1, 3 or 5");
            return Some(("replicas", problem));
        }
        let accepts = self.accept_replicated_without_fsync;
        let monitored = self.monitoring.len() as u64;
        let key = "accept_replicated_without_fsync";
        match (accepts, monitored) {
            (true, 1..) => {
                let problem = "found true beside monitoring, expected only one of the two: whether servers sync is \
                               checked, or it does not matter";
                Some((key, problem.to_owned()))
            }
            (true, 0) if replicas == 1 => {
                let problem = "found true with replicas: 1, expected monitoring instead: one server that loses power \
                               would lose what it acknowledged";
                Some((key, problem.to_owned()))
            }
            (false, 0) => {
                let problem = "expected monitoring (the http:// URL of each server's monitoring port, where it says that \
                               it runs with sync_interval: always) or, with three or more replicas, \
                               accept_replicated_without_fsync: true: without either a server acknowledges what a loss \
                               of power may take away";
                Some(("", problem.to_owned()))
            }
            (false, 1..) if monitored < replicas => {
                let problem = format!(
                    "found {monitored}, expected the one of each server, so at least as many as replicas ({replicas})"
                );
                Some(("monitoring", problem))
            }
            _ => None,
        }
    }

    fn size_fault(&self, ingest: &IngestConfig) -> Option<(&'static str, String)> {
        let (append, answer) = (
            self.append_timeout_milliseconds.get(),
            ingest.ack_timeout_milliseconds.get(),
        );
        if append >= answer {
            let problem = format!(
                "found {append}, expected less than ingest.ack_timeout_milliseconds ({answer})"
            );
            return Some(("append_timeout_milliseconds", problem));
        }
        let (inbox, body) = (self.inbox_bytes_max.get(), ingest.body_bytes_max.get());
        (inbox < body).then(|| {
            let problem =
                format!("found {inbox}, expected at least ingest.body_bytes_max ({body})");
            ("inbox_bytes_max", problem)
        })
    }

    /// Whether what is sent to a server leaves this machine unencrypted, as far as the configuration tells.
    #[must_use]
    pub fn is_in_the_open(&self) -> bool {
        let open = |server: &ServerUrl| !server.is_encrypted() && !server.is_loopback();
        !self.tls.required && self.servers.iter().any(open)
    }
}

/// Completes the section and checks it.
pub(crate) fn resolve(raw: &mut RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let bytes_max = raw.queue.bytes_max.get();
    let Some(jetstream) = &mut raw.queue.jetstream else {
        return Ok(());
    };
    jetstream.fit(
        |bytes| queue::part(bytes, bytes_max),
        &raw.ingest,
        |key| tree.has(&format!("queue.jetstream.{key}")),
    );
    match jetstream.fault(&raw.ingest) {
        Some((key, problem)) => {
            let path = format!("queue.jetstream.{key}");
            Err(tree.refusal(path.trim_end_matches('.'), &problem))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_unencrypted_is_known() {
        let of = |server: &str, required: bool| {
            let config = JetStreamConfig {
                servers: vec![ServerUrl::from_text(server).expect(server)],
                tls: JetStreamTls {
                    required,
                    ..JetStreamTls::default()
                },
                ..JetStreamConfig::default()
            };
            config.is_in_the_open()
        };
        assert!(of("nats://nats.example:4222", false));
        for (closed, required) in [
            ("nats://nats.example:4222", true),
            ("tls://nats.example:4222", false),
            ("nats://127.0.0.1:4222", false),
            ("nats://[::1]:4222", false),
            ("nats://localhost", false),
        ] {
            assert!(!of(closed, required), "{closed}");
        }
    }
}

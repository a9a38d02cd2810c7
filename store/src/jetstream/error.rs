//! What can be wrong with the servers, and what to do about it.
//!
//! No text here quotes a credential: addresses are given as host and port (`shown`), and what servers and the library
//! say is taken from their error codes and descriptions only.

use std::{fmt, path::PathBuf};

use async_nats::jetstream::{self, ErrorCode};

/// The oldest server that does what the relay needs.
pub(super) const VERSION_MIN: (u64, u64) = (2, 10);

/// Why JetStream cannot be the queue, or did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JetStreamError {
    /// The options cannot be right, whatever the servers say.
    #[error("queue.jetstream: {0}")]
    Options(String),
    /// A file with a credential or a certificate cannot be used.
    #[error("queue.jetstream: {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers.
    #[error("no NATS server answers at {servers}: {why}")]
    Unreachable {
        /// Hosts and ports.
        servers: String,
        /// What the last one said.
        why: String,
    },
    /// The servers do not accept who the relay says it is.
    #[error(
        "NATS at {servers} refuses the relay's {credentials}: see queue.jetstream.credentials_file, user and password, or token"
    )]
    Unauthorized {
        /// Hosts and ports.
        servers: String,
        /// What kind of them.
        credentials: &'static str,
    },
    /// No trust between the relay and a server.
    #[error(
        "no TLS with NATS at {servers}: {why}; see queue.jetstream.tls (ca_file for who signed the servers' certificates, certificate_file and key_file where servers ask for one)"
    )]
    Tls {
        /// Hosts and ports.
        servers: String,
        /// What TLS says.
        why: String,
    },
    /// A server that cannot do what is needed.
    #[error(
        "NATS server {server} is {version}; the relay needs {}.{} or later",
        VERSION_MIN.0,
        VERSION_MIN.1
    )]
    TooOld {
        /// Its name.
        server: String,
        /// What it says it is.
        version: String,
    },
    /// JetStream is off.
    #[error(
        "there is no JetStream at {servers} for the relay: give the servers a `jetstream` block, and the relay's account JetStream"
    )]
    NotEnabled {
        /// Hosts and ports.
        servers: String,
    },
    /// A cluster that is too small.
    #[error(
        "stream {stream} cannot have {replicas} replicas: {why}; give the cluster as many servers with JetStream, or set queue.jetstream.replicas lower"
    )]
    TooFewServers {
        /// The stream.
        stream: String,
        /// How many were asked for.
        replicas: usize,
        /// What the servers say.
        why: String,
    },
    /// Not enough room is left to promise a stream its bytes.
    #[error(
        "stream {stream} cannot have {bytes} bytes reserved: {why}; raise max_file_store of the servers or the account's limit, or set queue.jetstream.inbox_bytes_max or queue.bytes_max lower"
    )]
    NoRoom {
        /// The stream.
        stream: String,
        /// How many bytes were asked for.
        bytes: i64,
        /// What the servers say.
        why: String,
    },
    /// A stream is there and is not what the relay needs.
    #[error("stream {stream} has {setting} {has}, the relay needs {needs}: {advice}")]
    Setting {
        /// The stream.
        stream: String,
        /// Which setting.
        setting: &'static str,
        /// What it is.
        has: String,
        /// What it has to be.
        needs: String,
        /// What to do.
        advice: String,
    },
    /// The servers refuse a stream for another reason.
    #[error("NATS refuses stream {stream}: {why}")]
    Stream {
        /// The stream.
        stream: String,
        /// What they say.
        why: String,
    },
    /// A server acknowledges what it has not synced.
    #[error(
        "NATS server {server} acknowledges messages before it has synced them (its monitoring port says so): set `sync_interval: always` in its jetstream block, or say queue.jetstream.accept_replicated_without_fsync: true with three or more replicas"
    )]
    NotSynced {
        /// Its name.
        server: String,
    },
    /// A server holds streams, and nothing says whether it syncs.
    #[error(
        "NATS server {server} holds the relay's streams, and none of queue.jetstream.monitoring is its monitoring port: name the ports of all servers, or say queue.jetstream.accept_replicated_without_fsync: true with three or more replicas"
    )]
    NotMonitored {
        /// Its name.
        server: String,
    },
    /// A monitoring port does not answer, so nothing says whether its server syncs.
    #[error("the monitoring port {address} does not say whether its NATS server syncs: {why}")]
    Monitoring {
        /// Host and port.
        address: String,
        /// What happened.
        why: String,
    },
    /// Replication alone is to make messages durable, and there is too little of it.
    #[error(
        "stream {stream} has {replicas} replicas, and queue.jetstream.accept_replicated_without_fsync needs 3 or more: a message that one server has not synced must be on others"
    )]
    TooFewReplicas {
        /// The stream.
        stream: String,
        /// How many it has.
        replicas: usize,
    },
    /// A relay with another key.
    #[error(
        "the dedup key of this relay is not the one of the relays that its streams are shared with (bucket {bucket}): it would not know again what they have seen; give all of them the same file (dedup.key_file). To exchange the key on purpose stop all of them, forget the old one (nats kv del {bucket} {entry}), and start them with the new one"
    )]
    OtherKey {
        /// The bucket.
        bucket: String,
        /// The entry in it.
        entry: &'static str,
    },
    /// JetStream did not do something, now.
    #[error("JetStream did not {what}: {why}")]
    Failed {
        /// What was asked.
        what: String,
        /// What it said.
        why: String,
    },
}

impl JetStreamError {
    /// Whether it may be better a moment later; otherwise somebody has to change something.
    pub fn is_of_the_moment(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Monitoring { .. } | Self::Failed { .. }
        )
    }

    /// What was asked failed now, for this reason.
    pub(super) fn failed(what: impl Into<String>, why: &impl fmt::Display) -> Self {
        Self::Failed {
            what: what.into(),
            why: why.to_string(),
        }
    }

    /// An answer of JetStream that is an error, about a stream and what was asked of it.
    pub(super) fn of_answer(config: &jetstream::stream::Config, error: &jetstream::Error) -> Self {
        let why = error.to_string();
        let stream = config.name.clone();
        match error.error_code() {
            ErrorCode::CLUSTER_NOT_AVAILABLE => {
                Self::failed(format!("answer for stream {stream}"), &why)
            }
            // A cluster's servers that are too full are no peers either.
            ErrorCode::CLUSTER_NO_PEERS if why.contains("storage") => Self::NoRoom {
                stream,
                bytes: config.max_bytes,
                why,
            },
            ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS => {
                Self::TooFewServers {
                    stream,
                    replicas: config.num_replicas,
                    why,
                }
            }
            ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => Self::NoRoom {
                stream,
                bytes: config.max_bytes,
                why,
            },
            _ => Self::Stream { stream, why },
        }
    }
}

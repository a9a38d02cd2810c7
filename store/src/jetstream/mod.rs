//! The queue on NATS JetStream, for several relays as one.
//!
//! Two streams and a lease (docs/decisions/0034):
//! * the **inbox** (`inbox`): any replica appends batches to it, and `Ok` means that JetStream stores them durably. A
//!   work queue: the leader takes batches out of it in order;
//! * the **ledger stream** (`ledger_stream`): everything else, written by the leader alone. It is what the files of
//!   [`crate::Engine`] are on a disk: the same logs and the same index, written by the same code;
//! * the **lease** (`lease`): one replica leads. It routes, runs every lane and answers commands. A new leader
//!   opens the ledger stream as a relay that starts opens its files: what was leased comes back as resumed.
//!
//! Invariants:
//! * each message of the ledger stream is published under the condition that the last one is the publisher's own
//!   (`Nats-Expected-Last-Sequence`). A new leader publishes one before it reads, so that nobody who led before can
//!   add anything any more, whatever its clock says: the lease is for who acts outside, the stream guards itself;
//! * who holds the lease counts its time from before it asked for it, who waits for it from after it saw it.

mod ask;
mod client;
mod connect;
mod drain;
mod error;
mod inbox;
mod inbox_look;
mod inbox_room;
mod lease;
pub(crate) mod ledger_stream;
mod left;
mod message;
mod moving;
mod open;
mod parts;
mod promises;
mod publish;
mod pump;
pub(crate) mod segments;
mod settings;
mod shared_key;
mod silence;
mod streams;
mod take;
#[cfg(test)]
pub(crate) mod test_support;

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

pub use ask::{Answer, AskError, Gone, Question, Questions};
pub use connect::JetStream;
pub use error::JetStreamError;
pub use inbox::Inbox;
pub use inbox_look::InboxHolds;
pub use lease::{Leadership, Requests};
pub use moving::Importing;
pub(crate) use moving::MARK as IMPORTING;
pub(crate) use pump::INPUT as INBOX_INPUT;

/// How to reach the servers, and what is asked of them.
#[derive(Debug, Clone)]
pub struct JetStreamOptions {
    /// `nats://` or `tls://` addresses; one is enough to find the others of its cluster.
    pub servers: Vec<String>,
    /// How the relay proves who it is.
    pub credentials: Credentials,
    /// Certificates, where TLS is used.
    pub tls: Tls,
    /// How many servers hold each message.
    pub replicas: usize,
    /// What names of streams and subjects begin with; relays with the same name are one.
    pub name: String,
    /// The most bytes of the inbox. Past it batches are refused.
    pub inbox_bytes_max: u64,
    /// The most bytes of the ledger stream: above what [`crate::Limits::bytes_max`] lets it come to.
    pub ledger_bytes_max: u64,
    /// How long a replica leads without saying so again.
    pub lease: Duration,
    /// How long an append waits for JetStream, in all.
    pub append_timeout: Duration,
    /// What servers promise for what they acknowledge.
    pub durability: Durability,
}

/// How the relay proves who it is to the servers.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// With a `.creds` file, which is read for each connection.
    File(PathBuf),
    /// With a user and a password.
    User(String, SecretString),
    /// With a token.
    Token(SecretString),
}

/// Certificates towards the servers.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Whether TLS is required, whatever the address says.
    pub required: bool,
    /// Who signed the certificates of the servers, PEM, instead of the system's own authorities.
    pub ca_file: Option<PathBuf>,
    /// The relay's own certificate and its key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why an acknowledged message survives.
#[derive(Debug, Clone)]
pub enum Durability {
    /// Every server syncs before it acknowledges (`sync_interval: always`), which their monitoring ports say:
    /// `http://` addresses, one of each server.
    Synced(Vec<url::Url>),
    /// Servers acknowledge before they sync, and three or more hold each message; said explicitly by
    /// `accept_replicated_without_fsync`.
    ReplicatedWithoutFsync,
}

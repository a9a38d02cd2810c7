//! The streams of the queue: created where they are missing, at a start or later, checked where they are there.
//!
//! Contract:
//! * a stream that is there has every setting that a promise of the queue rests on, or it is refused with what it has,
//!   what is needed and what to do. What can be raised without harm (bytes, replicas, the window of duplicates) is
//!   raised; what somebody gave more of is left alone; nothing is ever lowered or deleted;
//! * any number of relays may create them at once.
//!
//! | stream | subjects | retention | what for |
//! | --- | --- | --- | --- |
//! | `<name>-inbox` | `<name>.inbox`, `<name>.inbox.>` | work queue | batches that were accepted, until the leader took them |
//! | `<name>-ledger` | `<name>.ledger.>` | limits | what the leader writes |
//! | `KV_<name>-lease` | `$KV.<name>-lease.>` | limits, one message a subject | who leads |
//!
//! All are files, refuse what is new when they are full, never delete by age or count, and are read from their leader
//! alone (no `allow_direct`: a replica that lags would answer).

use std::time::Duration;

use async_nats::jetstream::{
    self, Context, ErrorCode,
    context::RequestErrorKind,
    response::Response,
    stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
};

use super::{JetStreamOptions, error::JetStreamError, settings::compare};

/// How long an ID of a message is remembered: longer than anybody tries the same publication again.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The lease is one short message.
const LEASE_BYTES_MAX: i64 = 1 << 20;
/// How often a stream is looked for that others create at the same time.
const TRIES_MAX: usize = 5;
/// How long one question about a stream waits. A cluster does not answer those that come while it makes the stream, so
/// it is asked again.
const ANSWER: Duration = Duration::from_secs(1);

/// What they are called. All relays with the same name are one queue.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    /// The inbox.
    pub(crate) inbox: String,
    /// The subject of the inbox; parts of large blocks are below it.
    pub(crate) inbox_subject: String,
    /// The ledger stream.
    pub(crate) ledger: String,
    /// What subjects of the ledger stream begin with, with the dot.
    pub(crate) ledger_prefix: String,
    /// The bucket of the lease.
    pub(crate) lease: String,
}

impl Streams {
    fn named(name: &str) -> Self {
        Self {
            inbox: format!("{name}-inbox"),
            inbox_subject: format!("{name}.inbox"),
            ledger: format!("{name}-ledger"),
            ledger_prefix: format!("{name}.ledger."),
            lease: format!("{name}-lease"),
        }
    }

    /// The streams themselves, that of the lease too.
    pub(super) fn all(&self) -> [String; 3] {
        [
            self.inbox.clone(),
            self.ledger.clone(),
            format!("KV_{}", self.lease),
        ]
    }

    /// Creates or checks them.
    pub(super) async fn open(
        context: &Context,
        options: &JetStreamOptions,
    ) -> Result<Self, JetStreamError> {
        let streams = Self::named(&options.name);
        for config in streams.configs(options) {
            ensure(context, &config).await?;
        }
        Ok(streams)
    }

    /// What they have to be.
    fn configs(&self, options: &JetStreamOptions) -> [Config; 3] {
        let common = Config {
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: options.replicas,
            duplicate_window: DUPLICATE_WINDOW,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_message_size: -1,
            max_consumers: -1,
            ..Config::default()
        };
        let inbox = Config {
            name: self.inbox.clone(),
            description: Some("auditrelay: batches that were accepted".to_owned()),
            subjects: vec![
                self.inbox_subject.clone(),
                format!("{}.>", self.inbox_subject),
            ],
            retention: RetentionPolicy::WorkQueue,
            max_bytes: bytes(options.inbox_bytes_max),
            ..common.clone()
        };
        let ledger = Config {
            name: self.ledger.clone(),
            description: Some(
                "auditrelay: written by the relay that leads, and by nobody else".to_owned(),
            ),
            subjects: vec![format!("{}>", self.ledger_prefix)],
            retention: RetentionPolicy::Limits,
            max_bytes: bytes(options.ledger_bytes_max),
            ..common.clone()
        };
        let lease = Config {
            name: format!("KV_{}", self.lease),
            description: Some("auditrelay: which relay leads".to_owned()),
            subjects: vec![format!("$KV.{}.>", self.lease)],
            retention: RetentionPolicy::Limits,
            max_bytes: LEASE_BYTES_MAX,
            max_messages_per_subject: 1,
            allow_rollup: true,
            ..common
        };
        [inbox, ledger, lease]
    }
}

fn bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What the servers say about a stream; `None` if it is not there.
pub(super) async fn info(context: &Context, name: &str) -> Result<Option<Info>, JetStreamError> {
    match ask(context, "INFO", name, &()).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        Err(error) => {
            let config = Config::from(name);
            Err(JetStreamError::of_answer(&config, &error))
        }
    }
}

async fn ask<T: serde::Serialize + ?Sized>(
    context: &Context,
    what: &str,
    name: &str,
    payload: &T,
) -> Result<Result<Info, jetstream::Error>, JetStreamError> {
    let failed = |why: &dyn std::fmt::Display| {
        JetStreamError::failed(format!("answer for stream {name}"), &why)
    };
    let mut answer = None;
    for _ in 0..TRIES_MAX {
        let asked = context.request(format!("STREAM.{what}.{name}"), payload);
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(answered)) => {
                answer = Some(answered);
                break;
            }
            Ok(Err(error)) if error.kind() == RequestErrorKind::TimedOut => {}
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => {}
        }
    }
    let Some(answer) = answer else {
        return Err(failed(&format_args!(
            "no answer in {TRIES_MAX} s; servers do not answer either what the relay's user may not ask, see its permissions"
        )));
    };
    Ok(match answer {
        Response::Ok(info) => Ok(info),
        Response::Err { error } => Err(error),
    })
}

async fn ensure(context: &Context, needed: &Config) -> Result<(), JetStreamError> {
    let mut refusal = None;
    for _ in 0..TRIES_MAX {
        if let Some(info) = info(context, &needed.name).await? {
            return match compare(&info.config, needed)? {
                None => Ok(()),
                Some(raised) => update(context, &raised).await,
            };
        }
        match ask(context, "CREATE", &needed.name, needed).await? {
            Ok(_) => {
                tracing::info!(
                    stream = needed.name,
                    replicas = needed.num_replicas,
                    "a stream was created"
                );
                return Ok(());
            }
            // Another relay was faster, perhaps with other options.
            Err(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                refusal = Some(error);
            }
            Err(error) => return Err(JetStreamError::of_answer(needed, &error)),
        }
    }
    let why = refusal.map_or_else(String::new, |error| error.to_string());
    Err(JetStreamError::failed(
        format!("create stream {}", needed.name),
        &why,
    ))
}

async fn update(context: &Context, raised: &Config) -> Result<(), JetStreamError> {
    match ask(context, "UPDATE", &raised.name, raised).await? {
        Ok(_) => {
            tracing::info!(
                stream = raised.name,
                bytes_max = raised.max_bytes,
                replicas = raised.num_replicas,
                "a stream was given more, as configured"
            );
            Ok(())
        }
        Err(error) => Err(JetStreamError::of_answer(raised, &error)),
    }
}

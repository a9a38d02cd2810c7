//! The key of the lease and its value.
//!
//! Read from the stream's leader, not from a replica that may lag; written under the condition of its revision. A value
//! that no relay wrote, and a key that was deleted by hand, count as held by somebody who is not known: whoever held
//! it finds out with its next renewal only.

use std::time::Duration;

use async_nats::jetstream::{
    Context,
    context::PublishErrorKind,
    message::PublishMessage,
    stream::{RawMessageErrorKind, Stream},
};
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

/// How long one question waits for its answer, at most and at least.
const TRY_MAX: Duration = Duration::from_millis(1_500);
const TRY_MIN: Duration = Duration::from_millis(250);

/// What the key says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Value {
    /// The name of the replica that holds it.
    pub(super) replica: String,
    /// Random: this hold of it, and no other.
    pub(super) tenure: String,
    /// When it was asked for, for people.
    pub(super) since: String,
    /// It was given up.
    pub(super) is_released: bool,
}

impl Value {
    pub(super) fn new(replica: &str) -> Self {
        Self {
            replica: replica.to_owned(),
            tenure: nuid::next().to_string(),
            since: String::new(),
            is_released: false,
        }
    }
}

/// Who holds the lease, as the key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// Nobody: it was never held, or given up.
    Free,
    By(Value),
    ByUnknown,
}

impl Held {
    fn read(payload: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(payload) {
            Ok(value) if value.is_released => Self::Free,
            Ok(value) => Self::By(value),
            Err(_) => Self::ByUnknown,
        }
    }

    pub(super) fn is_by(&self, tenure: &str) -> bool {
        matches!(self, Self::By(value) if value.tenure == tenure)
    }
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is the key's value, with this revision.
    Is(u64),
    /// Another revision is there.
    Not,
    /// Nobody says.
    Unknown,
}

/// The key.
#[derive(Debug, Clone)]
pub(in crate::jetstream) struct Register {
    context: Context,
    stream: Stream<()>,
    subject: String,
}

impl Register {
    /// In a bucket, with leases that last so long.
    pub(in crate::jetstream) fn new(context: &Context, bucket: &str, lease: Duration) -> Self {
        let mut context = context.clone();
        context.set_timeout((lease / 4).clamp(TRY_MIN, TRY_MAX));
        Self {
            stream: context
                .get_stream_no_info(format!("KV_{bucket}"))
                .now_or_never()
                .and_then(Result::ok)
                .expect("names of buckets are checked, and nobody is asked"),
            context,
            subject: format!("$KV.{bucket}.leader"),
        }
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// Its revision, 0 where there is none, and who holds it.
    ///
    /// # Errors
    /// Nobody says.
    pub(super) async fn read(&self) -> Result<(u64, Held), String> {
        let last = self.stream.get_last_raw_message_by_subject(&self.subject);
        match last.await {
            Ok(found) => Ok((found.sequence, Held::read(&found.payload))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                let info = self.stream.get_info().await;
                let info = info.map_err(|error| error.to_string())?;
                // As many messages as were ever written: none was deleted, so this key never had one. (The dedup key's
                // mark is in the bucket too.)
                let is_new = info.state.last_sequence == info.state.messages;
                Ok((0, if is_new { Held::Free } else { Held::ByUnknown }))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes it if its revision is this one.
    pub(super) async fn write(&self, value: &Value, revision: u64) -> Written {
        let value = serde_json::to_vec(value).expect("strings and a bool are JSON");
        let message = PublishMessage::build()
            .payload(value.into())
            .expected_last_subject_sequence(revision);
        let sent = self.context.send_publish(self.subject.clone(), message);
        let acknowledged = match sent.await {
            Ok(sent) => sent.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(ack) => Written::Is(ack.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Written::Not,
            Err(_) => Written::Unknown,
        }
    }
}

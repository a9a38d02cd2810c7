//! The key of the lease and its value.
//!
//! Read from the stream's leader, not from a replica that may lag; written under the condition of its revision. A value
//! that no relay wrote, and a key that was deleted by hand, count as held by somebody who is not known: whoever held
//! it finds out with its next renewal only.
//!
//! Relays are exchanged one by one, so those of one queue may be configured differently, or be of different builds, for a
//! while. So the value says what others have to reckon with, and what an earlier build left out is taken from the
//! reader's own configuration.

use std::time::Duration;

use async_nats::jetstream::{
    Context,
    context::PublishErrorKind,
    message::PublishMessage,
    stream::{RawMessageErrorKind, Stream},
};
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// How long one question waits for its answer, at most and at least.
const TRY_MAX: Duration = Duration::from_millis(1_500);
const TRY_MIN: Duration = Duration::from_millis(250);
/// What a value says is believed up to here: no configuration has as much.
const SAID_MAX: Duration = Duration::from_secs(120);

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
    /// How long the lease lasts without a renewal, in milliseconds.
    #[serde(default)]
    pub(super) lease_ms: u64,
    /// How long requests that were begun under it, or before, may be under way after its end, in milliseconds.
    #[serde(default)]
    pub(super) requests_ms: u64,
}

impl Value {
    pub(super) fn new(replica: &str, lease: Duration) -> Self {
        Self {
            replica: replica.to_owned(),
            tenure: nuid::next().to_string(),
            since: String::new(),
            is_released: false,
            lease_ms: in_ms(lease),
            requests_ms: 0,
        }
    }

    pub(super) fn with_requests(&self, last: Duration) -> Self {
        Self {
            requests_ms: in_ms(last),
            ..self.clone()
        }
    }
}

fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Who holds the lease, as the key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// Nobody: it was never held, or given up by this one.
    Free(Option<Value>),
    By(Value),
    ByUnknown,
}

impl Held {
    fn read(payload: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(payload) {
            Ok(value) if value.is_released => Self::Free(Some(value)),
            Ok(value) => Self::By(value),
            Err(_) => Self::ByUnknown,
        }
    }

    pub(super) fn is_by(&self, tenure: &str) -> bool {
        matches!(self, Self::By(value) if value.tenure == tenure)
    }

    /// How long it lasts without a renewal, for one whose own leases last so long: the longer of both, as two that do not
    /// agree must not lead at once.
    pub(super) fn lasts(&self, own: Duration) -> Duration {
        match self {
            Self::Free(_) => Duration::ZERO,
            Self::By(value) => own.max(Duration::from_millis(value.lease_ms).min(SAID_MAX)),
            Self::ByUnknown => own,
        }
    }

    /// How long requests may be under way after its end.
    pub(super) fn requests(&self) -> Duration {
        match self {
            Self::By(value) | Self::Free(Some(value)) => {
                Duration::from_millis(value.requests_ms).min(SAID_MAX)
            }
            Self::Free(None) | Self::ByUnknown => Duration::ZERO,
        }
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
    /// How long one question waits for its answer.
    patience: Duration,
}

impl Register {
    /// In a bucket, with leases that last so long.
    pub(in crate::jetstream) fn new(context: &Context, bucket: &str, lease: Duration) -> Self {
        let patience = (lease / 4).clamp(TRY_MIN, TRY_MAX);
        let mut context = context.clone();
        context.set_timeout(patience);
        Self {
            stream: context
                .get_stream_no_info(format!("KV_{bucket}"))
                .now_or_never()
                .and_then(Result::ok)
                .expect("names of buckets are checked, and nobody is asked"),
            context,
            subject: format!("$KV.{bucket}.leader"),
            patience,
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
                Ok((
                    0,
                    if is_new {
                        Held::Free(None)
                    } else {
                        Held::ByUnknown
                    },
                ))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes it if its revision is this one.
    pub(super) async fn write(&self, value: &Value, revision: u64) -> Written {
        let value = serde_json::to_vec(value).expect("strings, numbers and a bool are JSON");
        let message = PublishMessage::build()
            .payload(value.into())
            .expected_last_subject_sequence(revision);
        let sent = self.context.send_publish(self.subject.clone(), message);
        let acknowledged = timeout(self.patience, async { sent.await?.await });
        match acknowledged.await {
            Ok(Ok(ack)) => Written::Is(ack.sequence),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Written::Not,
            Ok(Err(_)) | Err(_) => Written::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::{
        JetStream, JetStreamOptions,
        test_support::{options_of, server},
    };

    /// So many wait for their acknowledgements that no other batch is sent.
    #[tokio::test]
    async fn it_is_written_however_many_batches_wait_for_an_answer() {
        let Some(server) = server() else { return };
        let lease = Duration::from_secs(60);
        let options = JetStreamOptions {
            lease,
            ..options_of(&server)
        };
        let jetstream = JetStream::connect_when_there(&options).await.unwrap();
        // It hears all of them, and answers none.
        let _silent = jetstream.client().subscribe("silent").await.unwrap();
        jetstream.client().flush().await.unwrap();
        let mut waiting = Vec::new();
        let send = || jetstream.context().publish("silent", "".into());
        while let Ok(sent) = timeout(Duration::from_secs(1), send()).await {
            waiting.push(sent.unwrap());
        }
        let (register, value) = (jetstream.register(), Value::new("a", lease));
        let written = async {
            // A busy machine may take longer than one try does.
            while register.write(&value, 0).await == Written::Unknown {}
        };
        let written = timeout(Duration::from_secs(60), written).await;
        written.expect("it is written");
        let (_, held) = register.read().await.unwrap();
        assert_eq!(held, Held::By(value));
    }

    #[test]
    fn what_an_earlier_build_wrote_is_read_and_the_longer_lease_counts() {
        const SECOND: Duration = Duration::from_secs(1);
        let earlier = br#"{"replica":"a","tenure":"t","since":"","is_released":false}"#;
        let held = Held::read(earlier);
        assert!(held.is_by("t"), "{held:?}");
        assert_eq!(held.lasts(6 * SECOND), 6 * SECOND);
        assert_eq!(held.requests(), Duration::ZERO);

        let value = Value::new("a", 10 * SECOND).with_requests(50 * SECOND);
        let written = serde_json::to_vec(&value).unwrap();
        let held = Held::read(&written);
        assert_eq!(held.lasts(3 * SECOND), 10 * SECOND);
        assert_eq!(held.lasts(20 * SECOND), 20 * SECOND);
        assert_eq!(held.requests(), 50 * SECOND);
        // Who gave it up may still have requests under way.
        let released = Value {
            is_released: true,
            ..value.clone()
        };
        let held = Held::read(&serde_json::to_vec(&released).unwrap());
        assert_eq!(
            (held.lasts(SECOND), held.requests()),
            (Duration::ZERO, 50 * SECOND)
        );
        // Nobody waits for ever, whatever somebody wrote there.
        let wrong = Value::new("a", Duration::MAX).with_requests(Duration::MAX);
        let held = Held::read(&serde_json::to_vec(&wrong).unwrap());
        assert_eq!((held.lasts(SECOND), held.requests()), (SAID_MAX, SAID_MAX));
    }
}

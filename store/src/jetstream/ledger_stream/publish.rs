//! Publishing to the ledger stream, each message under the condition that the one before it is the writer's own.
//!
//! Invariants:
//! * a message is published again, with the same ID and under the same condition, until it is acknowledged or time is
//!   up. The stream stores it once: it knows the ID, and the condition holds once;
//! * a refusal ("wrong last sequence") may come from the writer's own message, whose acknowledgement was lost. What is
//!   stored where it was to be tells. If it is somebody else's, the writer is fenced off for good;
//! * several parts are under way at once, at most [`UNDER_WAY_MAX`]; what the server stores is a beginning of them.

use std::{io, sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    error::Error as NatsError,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self, Context,
        context::PublishErrorKind,
        message::PublishMessage,
        stream::{RawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

/// Parts under way at once; with parts of 512 KiB that is 4 MiB.
const UNDER_WAY_MAX: usize = 8;
/// Pauses between tries grow up to this.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// One message to publish.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) subject: String,
    /// What it is known by, also when it is published again.
    pub(super) id: String,
    /// The sequence of the message before it; its own is the next one.
    pub(super) after: u64,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// Why the stream does not take it, for good.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// Somebody else wrote after the fence.
    Fenced(u64),
    /// There is no room.
    Full(Arc<str>),
    /// A message is larger than the servers take.
    TooLarge(Arc<str>),
    /// Nobody acknowledged it in time; it may be stored or not.
    Unanswered(Arc<str>),
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        let (kind, text) = match refusal {
            Refusal::Fenced(seq) => (
                io::ErrorKind::ResourceBusy,
                format!(
                    "another relay took over: message {seq} of the ledger stream is not this one's"
                ),
            ),
            Refusal::Full(text) => (
                io::ErrorKind::StorageFull,
                format!(
                    "the ledger stream has no room ({text}): raise queue.bytes_max and start a relay again, or raise what its servers or account may store"
                ),
            ),
            Refusal::TooLarge(text) => (
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of the ledger stream is too large ({text}): max_payload of the servers was lowered; raise it"
                ),
            ),
            Refusal::Unanswered(text) => (
                io::ErrorKind::TimedOut,
                format!("the ledger stream did not acknowledge: {text}"),
            ),
        };
        io::Error::new(kind, text)
    }
}

/// What became of one try.
enum Problem {
    Refused(Refusal),
    WrongLast,
    Again(String),
}

/// Publishes messages in order until all of them are acknowledged, or until then.
pub(super) async fn publish(
    context: &Context,
    stream: &Stream<()>,
    messages: &[Outgoing],
    until: Instant,
) -> Result<(), Refusal> {
    // For as long as nothing gets on: a large append may take its time.
    let patience = until.saturating_duration_since(Instant::now());
    let mut until = until;
    let mut rest = messages;
    let mut pause = Duration::from_millis(50);
    while !rest.is_empty() {
        let under_way = &rest[..rest.len().min(UNDER_WAY_MAX)];
        let outcomes = join_all(under_way.iter().map(|message| try_once(context, message))).await;
        let before = rest.len();
        let mut problem = None;
        for outcome in outcomes {
            match outcome {
                Ok(()) => rest = &rest[1..],
                Err(found) => {
                    problem = Some(found);
                    break;
                }
            }
        }
        if rest.len() < before {
            pause = Duration::from_millis(50);
            until = Instant::now() + patience;
        }
        let Some(problem) = problem else { continue };
        let text = match problem {
            Problem::Refused(refusal) => return Err(refusal),
            Problem::Again(text) => text,
            Problem::WrongLast => match whose(stream, &rest[0]).await {
                Whose::Own => {
                    rest = &rest[1..];
                    continue;
                }
                Whose::Others => return Err(Refusal::Fenced(rest[0].after + 1)),
                Whose::Unknown(text) => text,
            },
        };
        if Instant::now() + pause >= until {
            return Err(Refusal::Unanswered(text.into()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Ok(())
}

async fn try_once(context: &Context, message: &Outgoing) -> Result<(), Problem> {
    let publish = PublishMessage::build()
        .headers(message.headers.clone())
        .payload(message.payload.clone())
        .message_id(&message.id)
        .expected_last_sequence(message.after);
    let sent = context.send_publish(message.subject.clone(), publish).await;
    let acknowledged = match sent {
        Ok(sent) => sent.await,
        Err(error) => Err(error),
    };
    match acknowledged {
        Ok(ack) if ack.sequence == message.after + 1 => Ok(()),
        Ok(ack) => Err(Problem::Again(format!(
            "it was acknowledged as message {} where it is {}",
            ack.sequence,
            message.after + 1
        ))),
        Err(error) => Err(problem(&error)),
    }
}

fn problem(error: &NatsError<PublishErrorKind>) -> Problem {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Problem::WrongLast,
        PublishErrorKind::MaxPayloadExceeded => {
            Problem::Refused(Refusal::TooLarge(error.to_string().into()))
        }
        PublishErrorKind::StreamNotFound => {
            Problem::Again("no server takes messages for it now".to_owned())
        }
        PublishErrorKind::TimedOut => Problem::Again("no answer in time".to_owned()),
        _ => match said(error) {
            Some(said) if is_full(said) => Problem::Refused(Refusal::Full(said.to_string().into())),
            Some(said) => Problem::Again(said.to_string()),
            None => Problem::Again(error.to_string()),
        },
    }
}

/// What the server said, if it was it.
fn said(error: &NatsError<PublishErrorKind>) -> Option<&jetstream::Error> {
    use std::error::Error as _;
    error.source()?.downcast_ref()
}

/// NATS: a stream past its `max_bytes` answers with "stream store failed"; servers and accounts past theirs have
/// codes of their own.
fn is_full(said: &jetstream::Error) -> bool {
    use jetstream::ErrorCode;
    let code = said.error_code();
    let is_limit = code == ErrorCode::STREAM_STORE_FAILED && said.to_string().contains("maximum");
    let is_of_account = [
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ];
    is_limit || is_of_account.contains(&code)
}

/// Whose message is where ours was to be.
enum Whose {
    Own,
    Others,
    /// There is none (an earlier part of ours was lost on the way, or a server that was just elected is behind), or
    /// nobody says.
    Unknown(String),
}

async fn whose(stream: &Stream<()>, message: &Outgoing) -> Whose {
    let seq = message.after + 1;
    match stream.get_raw_message(seq).await {
        Ok(found) => {
            let id = found.headers.get(NATS_MESSAGE_ID);
            if id.is_some_and(|id| id.as_str() == message.id) {
                Whose::Own
            } else {
                Whose::Others
            }
        }
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
            match stream.get_info().await {
                // Whoever took over may have purged it since.
                Ok(info) if info.state.last_sequence >= seq => Whose::Others,
                Ok(info) => Whose::Unknown(format!(
                    "its last message is {} where {} was acknowledged",
                    info.state.last_sequence, message.after
                )),
                Err(error) => Whose::Unknown(error.to_string()),
            }
        }
        Err(error) => Whose::Unknown(error.to_string()),
    }
}

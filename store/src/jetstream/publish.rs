//! Publishing one message to the inbox within a deadline.
//!
//! Contract:
//! * `Ok` only if JetStream acknowledged the message before the deadline; with it comes where it is stored. After an
//!   error it may be stored or not;
//! * a try that got no answer is repeated under the same `Nats-Msg-Id`, so that it is stored once;
//! * without a connection nothing is tried: the client would keep it, and send it when nobody waits for it any more;
//! * an error says what the servers said, in their words, and no credential is ever in these.

use std::{error::Error as _, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
    message::PublishMessage,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::JetStream;
use crate::{Full, QueueError};

/// How long one try waits for its acknowledgement.
const TRY: Duration = Duration::from_millis(300);
/// Between a try that was refused for the moment and the next one.
const PAUSE: Duration = Duration::from_millis(25);

/// What to do after a try.
enum Failed {
    Again(String),
    Full(String),
    Never(String),
}

/// Publishes a message; where it is stored.
pub(super) async fn publish(
    servers: &JetStream,
    subject: &str,
    message: PublishMessage,
    deadline: Instant,
) -> Result<u64, QueueError> {
    let message = message.expected_stream(&servers.streams().inbox);
    let mut last = "no server acknowledged the batch in time".to_owned();
    while Instant::now() < deadline {
        if let Err(why) = servers.promises() {
            last = why.to_owned();
            sleep(PAUSE).await;
            continue;
        }
        let until = deadline.min(Instant::now() + TRY);
        let tried = timeout_at(until, once(servers, subject, message.clone())).await;
        match tried {
            // Who was stopped meanwhile is too late, whatever the answer says: a deadline is counted on.
            Ok(Ok(seq)) if Instant::now() <= deadline => {
                servers.silence().acknowledged();
                return Ok(seq);
            }
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(Failed::Full(why))) => return Err(QueueError::Full(Full(why))),
            Ok(Err(Failed::Never(why))) => return Err(QueueError::Unavailable(why.into())),
            Ok(Err(Failed::Again(why))) => {
                last = why;
                sleep(PAUSE).await;
            }
        }
    }
    Err(QueueError::Unavailable(last.into()))
}

async fn once(servers: &JetStream, subject: &str, message: PublishMessage) -> Result<u64, Failed> {
    let sent = servers.context().send_publish(subject.to_owned(), message);
    let acknowledged = match sent.await {
        Ok(sent) => sent.await,
        Err(error) => Err(error),
    };
    acknowledged
        .map(|acknowledged| acknowledged.sequence)
        .map_err(|error| judge(servers, &error))
}

fn judge(servers: &JetStream, error: &PublishError) -> Failed {
    let inbox = &servers.streams().inbox;
    let source = error.source();
    let answer = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), answer) {
        (PublishErrorKind::WrongLastSequence, _) => Failed::Never(
            "a part of a large block came so late that the block was given up".to_owned(),
        ),
        (_, Some(answer)) => {
            let said = answer.to_string();
            match answer.error_code() {
                ErrorCode::STREAM_STORE_FAILED if said.contains("maximum") => Failed::Full(
                    format!("stream {inbox} is full (queue.jetstream.inbox_bytes_max): {said}"),
                ),
                ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Failed::Full(format!(
                    "stream {inbox} takes no message of this size (its max_msg_size): {said}"
                )),
                ErrorCode::INSUFFICIENT_RESOURCES
                | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                | ErrorCode::STORAGE_RESOURCES_EXCEEDED => Failed::Full(format!(
                    "the NATS servers have no room for stream {inbox} (their max_file_store, or a limit of the account): {said}"
                )),
                _ => Failed::Again(format!("stream {inbox} did not take the batch: {said}")),
            }
        }
        (PublishErrorKind::StreamNotFound, None) => {
            Failed::Again(format!("no server answers for stream {inbox}"))
        }
        (PublishErrorKind::MaxPayloadExceeded, None) => Failed::Never(
            "the servers' max_payload became smaller while the batch was cut".to_owned(),
        ),
        (kind, None) => Failed::Again(format!("stream {inbox} did not take the batch: {kind}")),
    }
}

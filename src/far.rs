//! What is asked of the relay that leads, from a replica that does not: commands, and pages of the admin port.
//!
//! A question is JSON ([`Asked`]). An answer is a line of JSON ([`Head`]) and behind it what the leader's own admin port
//! would have said: lines of a command, a page, or a reason in words.
//!
//! Invariants:
//! * who asks has shown the token of the replica's own run before;
//! * nobody leads for a moment at every change: a question is asked again for [`PATIENCE`], then refused with words. With the
//!   wait for an answer to begin that is less than a command waits for this replica;
//! * whoever goes away ends the work, as on the leader's own port: the answer is not taken any more, and the leader hears of it.

mod answer;

use std::time::Duration;

use auditrelay_store::jetstream::{Answer, AskError, JetStream};
use hyper::{StatusCode, body::Bytes};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::request::Request;

pub(crate) use answer::answer_for;

/// How long somebody to lead is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);
/// More of a page, or of a reason, is not read.
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 256;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Asked {
    Ledger {},
    Status {},
    Command(Request),
}

/// How an answer begins, in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// As HTTP has it.
    status: u16,
}

/// A refusal: as HTTP has it, and in words.
pub(crate) type Refused = (StatusCode, String);

/// An answer that began well.
#[derive(Debug)]
pub(crate) struct Body {
    /// What came with the head.
    first: Option<Bytes>,
    rest: Answer,
}

impl Body {
    /// The next of it; `None` at the end.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, AskError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.rest.next().await,
        }
    }

    async fn whole(mut self) -> Result<Vec<u8>, AskError> {
        let mut text = Vec::new();
        while let Some(piece) = self.next().await? {
            if text.len() + piece.len() > PAGE_BYTES_MAX {
                return Err(AskError::Silent);
            }
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }
}

/// This replica among those that are one with it.
pub(crate) struct Replica {
    pub(crate) queue: JetStream,
    /// What this one is called.
    pub(crate) name: String,
}

impl Replica {
    /// Who leads, as this replica saw it last.
    pub(crate) fn leader(&self) -> Option<String> {
        self.queue.leader().borrow().clone()
    }

    /// A page of the leader.
    ///
    /// # Errors
    /// As of [`ask`].
    pub(crate) async fn page(&self, asked: &Asked) -> Result<Value, Refused> {
        page(&self.queue, asked).await
    }
}

/// Asks who leads.
///
/// # Errors
/// Nobody leads, it did not answer, or it refused.
pub(crate) async fn ask(queue: &JetStream, asked: &Asked) -> Result<Body, Refused> {
    let begun = Instant::now();
    loop {
        match ask_once(queue, asked).await {
            Ok((head, body)) if head.status == StatusCode::OK.as_u16() => return Ok(body),
            Ok((head, body)) => {
                let status = StatusCode::from_u16(head.status);
                let reason = body.whole().await.unwrap_or_default();
                let reason = String::from_utf8_lossy(&reason).trim().to_owned();
                return Err((status.unwrap_or(StatusCode::BAD_GATEWAY), reason));
            }
            Err(AskError::NobodyLeads) if begun.elapsed() < PATIENCE => sleep(PAUSE).await,
            Err(error) => return Err(refused(&error)),
        }
    }
}

/// As JSON.
async fn page(queue: &JetStream, asked: &Asked) -> Result<Value, Refused> {
    let body = ask(queue, asked).await?.whole().await;
    let body = body.map_err(|error| refused(&error))?;
    serde_json::from_slice(&body).map_err(|_| {
        let reason = "the answer of the relay that leads cannot be read; is it another version?";
        (StatusCode::BAD_GATEWAY, reason.to_owned())
    })
}

fn refused(error: &AskError) -> Refused {
    let status = match error {
        AskError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        AskError::Away | AskError::NobodyLeads | AskError::Silent => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (status, error.to_string())
}

async fn ask_once(queue: &JetStream, asked: &Asked) -> Result<(Head, Body), AskError> {
    let question = serde_json::to_vec(asked).map_err(|_| AskError::Silent)?;
    let mut rest = queue.ask(question).await?;
    let first = rest.next().await?.ok_or(AskError::Silent)?;
    let (head, first) = split(first).ok_or(AskError::Silent)?;
    let first = Some(first).filter(|first| !first.is_empty());
    Ok((head, Body { first, rest }))
}

/// The head, which comes in one piece, and what is behind it.
fn split(mut piece: Bytes) -> Option<(Head, Bytes)> {
    let end = piece.iter().position(|byte| *byte == b'\n')?;
    if end > HEAD_BYTES_MAX {
        return None;
    }
    let head = piece.split_to(end + 1);
    Some((serde_json::from_slice(&head).ok()?, piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_begins_with_its_head() {
        let whole = Bytes::from_static(b"{\"status\":429}\nother commands\nare");
        let (head, rest) = split(whole).expect("a head");
        assert_eq!(head, Head { status: 429 });
        assert_eq!(rest, "other commands\nare");
        for text in ["", "{\"status\":200}", "\n", "{}\n", "200\n"] {
            assert!(split(Bytes::from(text)).is_none(), "{text:?}");
        }
    }

    #[test]
    fn questions_are_written_so() {
        for (asked, text) in [
            (Asked::Ledger {}, r#"{"ledger":{}}"#),
            (
                Asked::Command(Request::Events { message: 7 }),
                r#"{"command":{"events":{"message":7}}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&asked).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<Asked>(text).expect("JSON"), asked);
        }
    }
}

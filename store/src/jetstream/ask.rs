//! Questions of any replica, or of a command, to the replica that leads: over plain NATS, nothing of it is stored.
//!
//! Contract:
//! * who leads listens on `<name>.command.<tenure>`, whose last part is the random ID that stands in its lease, and whoever asks looks it
//!   up there. So one that hangs, and is still connected, gets no question any more once another one has the lease; where nobody
//!   listens, the server says so at once ([`AskError::NobodyLeads`]);
//! * an answer comes to an inbox of the asker's own, in pieces of at most [`PIECE_BYTES_MAX`] and below what the server takes. Each piece
//!   waits for the asker's word that it was taken. So a slow asker makes the answer wait, and one that went away, or takes nothing for
//!   [`PIECE_TIMEOUT`], ends it;
//! * who answers says something at once, and then every few seconds: after [`FIRST_MAX`] without the first word, and [`SILENCE_MAX`]
//!   without the next one, it is given up;
//! * without a connection nobody is asked, which is said at once ([`AskError::Away`]);
//! * an answer has ended only with its end mark: what broke off is an error, never a short answer.
//!
//! Who may publish to `<name>.command.>` is the servers' business (permissions of users): the relay's own port asks for the token
//! of its run before it forwards anything.

use std::time::Duration;

use async_nats::{Client, HeaderMap, RequestErrorKind, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{JetStream, Leadership};

/// Of an answer, at a time.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// What headers may take of what the server lets a message have.
const HEADER_BYTES: usize = 1 << 10;
/// How long an asker has to take a piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take to begin: well below what a command waits for the relay that it asks.
const FIRST_MAX: Duration = Duration::from_secs(3);
/// How long an answer may be silent then. A leader that was killed says nothing any more.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a message to itself is waited for before it is sent again.
const COMES_BACK: Duration = Duration::from_secs(1);
/// Stands at the last piece.
const END: &str = "Auditrelay-End";

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no connection to a NATS server.
    #[error("this relay has no connection to a NATS server, and cannot ask the one that leads")]
    Away,
    /// Nobody listens.
    #[error("no relay leads now; one begins to within seconds, try again")]
    NobodyLeads,
    /// It would not fit into a message.
    #[error(
        "the request has {bytes} bytes, and the NATS servers take {bytes_max} at the most (max_payload)"
    )]
    TooLarge {
        /// Of the request.
        bytes: usize,
        /// That a message may have.
        bytes_max: usize,
    },
    /// Whoever began to answer says nothing any more, or nothing comes through.
    #[error("the relay that leads did not answer in time, or its answer broke off; try again")]
    Silent,
}

/// An answer as it comes.
#[derive(Debug)]
pub struct Answer {
    client: Client,
    pieces: Subscriber,
    /// Until when it has to begin, if it has not.
    begins_until: Option<Instant>,
    has_ended: bool,
}

/// What is asked of who leads. Whoever is asked later than this is dropped asks nobody.
#[derive(Debug)]
pub struct Questions {
    client: Client,
    questions: Subscriber,
}

/// One of them.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub text: Bytes,
    client: Client,
    asker: async_nats::Subject,
}

/// The asker takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("whoever asked has gone")]
pub struct Gone;

impl JetStream {
    fn command_subject(&self, tenure: &str) -> String {
        format!("{}.command.{tenure}", self.options().name)
    }

    /// Asks who leads.
    ///
    /// # Errors
    /// It is too large, or cannot be sent, or nobody leads; the last may be said by the answer only.
    pub async fn ask(&self, question: Vec<u8>) -> Result<Answer, AskError> {
        let client = self.client();
        let bytes_max = client.max_payload().saturating_sub(HEADER_BYTES);
        if question.len() > bytes_max {
            let bytes = question.len();
            return Err(AskError::TooLarge { bytes, bytes_max });
        }
        if !self.is_connected() {
            return Err(AskError::Away);
        }
        let tenure = self.lease().tenure().ok_or(AskError::NobodyLeads)?;
        let subject = self.command_subject(&tenure);
        let until = Instant::now() + FIRST_MAX;
        let asked = async {
            let inbox = client.new_inbox();
            // Before anybody can answer.
            let pieces = client.subscribe(inbox.clone()).await.ok()?;
            let sent = client.publish_with_reply(subject, inbox, question.into());
            sent.await.ok()?;
            Some(pieces)
        };
        let pieces = timeout_at(until, asked).await.ok().flatten();
        Ok(Answer {
            client: client.clone(),
            pieces: pieces.ok_or(AskError::Silent)?,
            begins_until: Some(until),
            has_ended: false,
        })
    }

    /// Listens to what is asked of who leads: for the one that does, and for as long as it does.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn questions(&self, leadership: &Leadership) -> Result<Questions, AskError> {
        let client = self.client().clone();
        let subject = self.command_subject(leadership.id());
        let questions = client.subscribe(subject).await;
        let questions = questions.map_err(|_| AskError::Silent)?;
        // The server knows it before this replica says that it leads.
        let known = timeout(SILENCE_MAX, comes_back(&client)).await;
        known.ok().flatten().ok_or(AskError::Silent)?;
        Ok(Questions { client, questions })
    }
}

/// Sends a message to itself. A server does what a connection asks in its order, so all that was asked before is done when it
/// comes back. (The client's `flush` waits for the socket only.)
async fn comes_back(client: &Client) -> Option<()> {
    let inbox = client.new_inbox();
    let mut back = client.subscribe(inbox.clone()).await.ok()?;
    loop {
        client.publish(inbox.clone(), Bytes::new()).await.ok()?;
        if let Ok(back) = timeout(COMES_BACK, back.next()).await {
            return back.map(drop);
        }
        // A connection that was lost took it along; the next one has the subscriptions.
    }
}

impl Answer {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// It broke off, or nobody leads.
    pub async fn next(&mut self) -> Result<Option<Bytes>, AskError> {
        if self.has_ended {
            return Ok(None);
        }
        let begins_until = self.begins_until.take();
        let until = begins_until.unwrap_or_else(|| Instant::now() + SILENCE_MAX);
        let piece = timeout_at(until, self.pieces.next()).await;
        let piece = piece.ok().flatten().ok_or(AskError::Silent)?;
        if piece.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(AskError::NobodyLeads);
        }
        let headers = piece.headers.as_ref();
        self.has_ended = headers.is_some_and(|headers| headers.get(END).is_some());
        if let Some(taken) = piece.reply {
            let said = self.client.publish(taken, Bytes::new()).await;
            said.map_err(|_| AskError::Silent)?;
        }
        Ok(Some(piece.payload))
    }
}

impl Questions {
    /// The next one; `None` when there is no connection any more, and there will be none.
    pub async fn next(&mut self) -> Option<Question> {
        loop {
            let message = self.questions.next().await?;
            // Who wants no answer is nobody of ours.
            if let Some(asker) = message.reply {
                return Some(Question {
                    text: message.payload,
                    client: self.client.clone(),
                    asker,
                });
            }
        }
    }
}

impl Question {
    /// Tells the next part of the answer, however long; `Ok` once the asker has taken it.
    ///
    /// # Errors
    /// It takes nothing any more: what is done for it alone can end.
    pub async fn say(&self, mut text: Bytes) -> Result<(), Gone> {
        let room = self.client.max_payload().saturating_sub(HEADER_BYTES);
        let piece_max = PIECE_BYTES_MAX.min(room).max(1);
        while !text.is_empty() {
            let piece = text.split_to(text.len().min(piece_max));
            self.send(piece, HeaderMap::new()).await?;
        }
        Ok(())
    }

    /// The answer is whole.
    ///
    /// # Errors
    /// The asker has gone before.
    pub async fn end(self) -> Result<(), Gone> {
        let mut headers = HeaderMap::new();
        headers.insert(END, "1");
        self.send(Bytes::new(), headers).await
    }

    async fn send(&self, piece: Bytes, headers: HeaderMap) -> Result<(), Gone> {
        let request = async_nats::Request::new()
            .payload(piece)
            .headers(headers)
            .timeout(Some(PIECE_TIMEOUT));
        match self.client.send_request(self.asker.clone(), request).await {
            Ok(_taken) => Ok(()),
            Err(error) => {
                if error.kind() != RequestErrorKind::NoResponders {
                    tracing::debug!(%error, "an answer to another replica was not taken");
                }
                Err(Gone)
            }
        }
    }
}

//! The complete list behind a digest, as replies to it or as a file.
//!
//! Contract: best effort. A digest is told when its message is accepted, whatever becomes of its details,
//! and it names the command that lists them. They are posted while nothing else waits, one reply at a
//! time, at the channel's pace; the queue remembers how many are done, so a restart goes on where it was.
//! A reply that may have been posted is looked for before it is repeated.

use std::collections::VecDeque;

use auditrelay_config::DigestDetails;
use auditrelay_store::{Queue, QueueError, Thread};

use super::Lane;
use crate::{
    Destination, Message, SendError,
    destination::{Attachment, Found},
    details::{listing, replies},
};

/// Digests whose details are not all posted yet.
#[derive(Debug, Default)]
pub(super) struct Details {
    threads: VecDeque<Thread>,
    /// The replies of the first of them.
    replies: Option<Replies>,
    /// The next reply may have been posted.
    unsure: bool,
}

#[derive(Debug)]
struct Replies {
    of: u64,
    told_unix_ms: i64,
    messages: Vec<Message>,
}

/// What to do with a thread.
enum Step {
    /// So many parts are done.
    Done(u32),
    /// There is nothing more to do for it.
    Finished,
    /// The same again, later.
    Again,
}

impl Details {
    pub(super) fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// Reads which digests lack details.
    pub(super) async fn load_details(&mut self) -> Result<(), QueueError> {
        let first = self.details.threads.front().map(|thread| thread.message);
        self.details.threads = self.queue.threads(&self.channel).await?.into();
        let front = self.details.threads.front();
        if front.map(|thread| thread.message) != first {
            // One that was begun by a process that ended may be further than it noted.
            self.details.unsure = front.is_some();
            self.details.replies = None;
        }
        Ok(())
    }

    /// Posts the next piece.
    pub(super) async fn post_details(&mut self) -> Result<(), QueueError> {
        let Some(thread) = self.details.threads.front().cloned() else {
            return Ok(());
        };
        let step = match self.settings.style.details {
            // It was configured otherwise when the digest was told.
            DigestDetails::Command => Step::Finished,
            DigestDetails::Thread => self.post_reply(&thread).await?,
            DigestDetails::File => self.post_file(&thread).await?,
        };
        match step {
            Step::Again => {}
            Step::Done(done) => {
                self.queue
                    .note_thread(&self.channel, thread.message, Some(done))
                    .await?;
                if let Some(front) = self.details.threads.front_mut() {
                    front.done = done;
                }
            }
            Step::Finished => {
                self.queue
                    .note_thread(&self.channel, thread.message, None)
                    .await?;
                self.details.threads.pop_front();
                self.details.replies = None;
                self.details.unsure = false;
            }
        }
        Ok(())
    }

    async fn post_reply(&mut self, thread: &Thread) -> Result<Step, QueueError> {
        if self
            .details
            .replies
            .as_ref()
            .is_none_or(|replies| replies.of != thread.message)
        {
            self.details.replies = self.make_replies(thread).await?;
        }
        let Some(replies) = &self.details.replies else {
            return Ok(Step::Finished);
        };
        let Some(message) = replies.messages.get(thread.done as usize) else {
            return Ok(Step::Finished);
        };
        let is_last = thread.done as usize + 1 == replies.messages.len();
        let next = if is_last {
            Step::Finished
        } else {
            Step::Done(thread.done + 1)
        };
        if self.details.unsure {
            match self.destination.find(message, replies.told_unix_ms).await {
                Ok(Found::Posted(_)) => {
                    self.details.unsure = false;
                    return Ok(next);
                }
                Ok(Found::Absent) => {}
                Ok(Found::Unknowable { .. }) if thread.done == 0 => {}
                Ok(Found::Unknowable { reason }) => return Ok(self.give_up(thread, &reason)),
                Err(error) => return Ok(self.details_refused(error, thread)),
            }
        }
        self.pace.ready().await;
        match self.destination.post(message).await {
            Ok(_) => {
                self.details.unsure = false;
                self.accepted("details");
                Ok(next)
            }
            Err(error) => Ok(self.details_refused(error, thread)),
        }
    }

    async fn make_replies(&self, thread: &Thread) -> Result<Option<Replies>, QueueError> {
        let Some((told_unix_ms, members)) = self.told(thread).await? else {
            return Ok(None);
        };
        let (number, replies_max) = (thread.message, self.settings.thread_replies_max);
        let (ts, key) = (thread.thread.clone(), self.key.clone());
        let channel = self.channel.clone();
        let made = tokio::task::spawn_blocking(move || {
            let mut messages = replies(&members, number, replies_max, true);
            for (n, message) in (0_u32..).zip(&mut messages) {
                let parts = [channel.as_bytes(), ts.as_bytes(), &n.to_be_bytes()];
                message.id = format!("{:032x}", key.message(parts));
                message.thread = Some(ts.clone());
            }
            messages
        });
        let messages = made.await.unwrap_or_default();
        Ok(Some(Replies {
            of: number,
            told_unix_ms,
            messages,
        }))
    }

    async fn post_file(&mut self, thread: &Thread) -> Result<Step, QueueError> {
        let Some((_, members)) = self.told(thread).await? else {
            return Ok(Step::Finished);
        };
        let text = tokio::task::spawn_blocking(move || listing(&members)).await;
        let file = Attachment {
            thread: thread.thread.clone(),
            name: format!("auditrelay-{}.txt", thread.message),
            text: text.unwrap_or_default(),
        };
        if file.text.is_empty() {
            return Ok(Step::Finished);
        }
        self.pace.ready().await;
        match self.destination.attach(&file).await {
            Ok(()) => {
                self.accepted("details");
                Ok(Step::Finished)
            }
            // It may be there, and one list is enough.
            Err(SendError::Unknown { reason }) => Ok(self.give_up(thread, &reason)),
            Err(error) => Ok(self.details_refused(error, thread)),
        }
    }

    /// What the digest stood for; `None` where that is not known any more.
    async fn told(
        &self,
        thread: &Thread,
    ) -> Result<Option<(i64, auditrelay_store::Members)>, QueueError> {
        match self.queue.told(thread.message).await {
            Ok(told) => Ok(told.map(|told| (told.told_unix_ms, told.members))),
            Err(QueueError::Unreadable(reason)) => {
                tracing::warn!(channel = self.channel, %reason, "a digest's details cannot be read");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn details_refused(&mut self, error: SendError, thread: &Thread) -> Step {
        self.count(error.as_str());
        match error {
            SendError::Later {
                after,
                limited,
                reason,
            } => {
                self.later(after, limited, &reason);
                Step::Again
            }
            SendError::Unknown { reason } => {
                self.details.unsure = true;
                self.later(None, false, &reason);
                Step::Again
            }
            SendError::Park { reason } | SendError::Never { reason } => {
                self.give_up(thread, &reason)
            }
        }
    }

    fn give_up(&self, thread: &Thread, reason: &str) -> Step {
        tracing::warn!(
            channel = self.channel,
            message = thread.message,
            reason,
            "the rest of a digest's details is not posted; `auditrelay events --message` lists them"
        );
        Step::Finished
    }
}

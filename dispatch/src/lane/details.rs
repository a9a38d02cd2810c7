//! The complete list behind a digest, as replies to it or as a file.
//!
//! Contract: best effort. A digest is told when its message is accepted, whatever becomes of its details,
//! and it names the command that lists them. They are posted while nothing else waits, one reply at a
//! time, at the channel's pace; the queue remembers how many are done, so a restart goes on where it was.
//! A reply that may have been posted is looked for before it is repeated; a file is shared once (`file.rs`). A failure holds the details alone,
//! but for the channel's own rate limit: what is new does not wait for them.

use std::collections::VecDeque;

use auditrelay_config::DigestDetails;
use auditrelay_store::{Queue, QueueError, Thread};
use tokio::time::{Instant, sleep_until};

use super::{
    Lane,
    ready::turn,
    stop::{Stop, unless_stopped},
};
use crate::{Destination, Message, SendError, destination::Found, details::replies, retry::Retry};

/// More tries in a row are in vain.
const TRIES_MAX: u32 = 8;

pub(super) const NOT_KEPT: &str =
    "what the digest stood for is not kept any more (queue.digest_detail_hours)";

/// Digests whose details are not all posted yet.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) threads: VecDeque<Thread>,
    /// The replies of the first of them.
    replies: Option<Replies>,
    /// The digest whose file this lane shares.
    pub(super) shares: Option<u64>,
    /// The next reply may have been posted.
    unsure: bool,
    /// By somebody else.
    inherited: bool,
    retry: Retry,
    /// Tries in a row that came to nothing.
    failed: u32,
    /// Nothing of them is tried before.
    resting_until: Option<Instant>,
}

#[derive(Debug)]
struct Replies {
    of: u64,
    told_unix_ms: i64,
    messages: Vec<Message>,
}

/// What to do with a thread.
pub(super) enum Step {
    /// So many parts are done.
    Done(u32),
    /// There is nothing more to do for it.
    Finished,
    /// The same again, later.
    Again,
}

impl Details {
    pub(super) fn new(retry: Retry) -> Self {
        Self {
            threads: VecDeque::new(),
            replies: None,
            shares: None,
            unsure: false,
            inherited: false,
            retry,
            failed: 0,
            resting_until: None,
        }
    }

    /// Waits until something of them can be tried: for ever, if there is nothing.
    pub(super) async fn wait(&self) {
        if self.threads.is_empty() {
            return std::future::pending().await;
        }
        if let Some(until) = self.resting_until {
            sleep_until(until).await;
        }
    }

    /// Until when nothing of them is tried, for the next lane.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.resting_until
    }

    pub(super) fn rest_until(&mut self, until: Option<Instant>) {
        self.resting_until = until;
    }

    fn rest(&self) -> bool {
        self.resting_until
            .is_some_and(|until| until > Instant::now())
    }

    pub(super) fn succeeded(&mut self) {
        self.unsure = false;
        self.inherited = false;
        self.failed = 0;
        self.retry.reset();
    }
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// Reads which digests lack details, those of a process that ended included.
    pub(super) async fn begin_details(&mut self) -> Result<(), QueueError> {
        self.load_details().await?;
        // The first of them may be further than was noted.
        self.details.unsure = !self.details.threads.is_empty();
        self.details.inherited = self.details.unsure;
        Ok(())
    }

    /// Reads which digests lack details.
    pub(super) async fn load_details(&mut self) -> Result<(), QueueError> {
        let first = self.details.threads.front().map(|thread| thread.message);
        self.details.threads = match self.queue.threads(&self.channel).await {
            Ok(threads) => threads.into(),
            Err(QueueError::Unreadable(reason)) => {
                tracing::warn!(channel = self.channel, %reason, "it cannot be read which digests lack details: theirs are not posted, \
                     `auditrelay events --message` lists them; look at the disk");
                VecDeque::new()
            }
            Err(error) => return Err(error),
        };
        let front = self.details.threads.front().map(|thread| thread.message);
        if front != first {
            // The one before gave way; nothing of those behind it is posted.
            self.details.unsure = false;
            self.details.inherited = false;
            self.details.replies = None;
        }
        Ok(())
    }

    /// Posts the next piece, if the lane is not to end before it may.
    pub(super) async fn post_details(&mut self, stop: &mut Stop) -> Result<(), QueueError> {
        let Some(thread) = self.details.threads.front().cloned() else {
            return Ok(());
        };
        if self.details.rest() {
            return Ok(());
        }
        let step = match self.settings.style.details {
            // It was configured otherwise when the digest was told.
            DigestDetails::Command => Step::Finished,
            DigestDetails::Thread => self.post_reply(&thread, stop).await?,
            DigestDetails::File => self.post_file(&thread, stop).await?,
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
                self.details.succeeded();
            }
        }
        Ok(())
    }

    async fn post_reply(&mut self, thread: &Thread, stop: &mut Stop) -> Result<Step, QueueError> {
        if self
            .details
            .replies
            .as_ref()
            .is_none_or(|replies| replies.of != thread.message)
        {
            self.details.replies = self.make_replies(thread).await?;
        }
        let Some(replies) = &self.details.replies else {
            return Ok(self.give_up(thread, NOT_KEPT));
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
            let looked_at = Instant::now();
            let looking = self.destination.find(message, replies.told_unix_ms);
            let Some(found) = unless_stopped(stop, looking).await else {
                return Ok(Step::Again);
            };
            self.count_look(&found);
            match found {
                Ok(Found::Posted(_)) => {
                    self.details.succeeded();
                    return Ok(next);
                }
                // It may come yet, from a process that posted it before.
                Ok(Found::Absent)
                    if self.details.inherited && looked_at < self.others_settled() =>
                {
                    self.details.resting_until = Some(self.others_settled());
                    return Ok(Step::Again);
                }
                Ok(Found::Absent) => {}
                Ok(Found::Unknowable { reason }) => return Ok(self.give_up(thread, &reason)),
                Err(error) => return Ok(self.details_refused(error, thread)),
            }
        }
        if unless_stopped(stop, turn(&self.term, &mut self.pace))
            .await
            .is_none()
        {
            return Ok(Step::Again);
        }
        self.note_post();
        let post = self.destination.post(message);
        match self.within_term(post).await {
            // Whoever leads next looks for it.
            None | Some(Err(SendError::Withheld)) => Ok(Step::Again),
            Some(Ok(_)) => {
                self.details.succeeded();
                self.accepted("details");
                Ok(next)
            }
            Some(Err(error)) => Ok(self.reply_refused(error, thread)),
        }
    }

    fn reply_refused(&mut self, error: SendError, thread: &Thread) -> Step {
        self.count(error.as_str());
        if let SendError::Later {
            after,
            limited: true,
            reason,
        } = error
        {
            // It holds for whatever the channel would post.
            self.later(after, true, &reason);
            return Step::Again;
        }
        self.details_refused(error, thread)
    }

    async fn make_replies(&self, thread: &Thread) -> Result<Option<Replies>, QueueError> {
        // Released when the text of the members is.
        let _permit = self.rendering.acquire().await;
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

    /// What the digest stood for; `None` where that is not known any more.
    pub(super) async fn told(
        &self,
        thread: &Thread,
    ) -> Result<Option<(i64, auditrelay_store::Members)>, QueueError> {
        match self.queue.told(thread.message).await {
            Ok(told) => Ok(told.map(|told| (told.told_unix_ms, told.members))),
            Err(QueueError::Unreadable(reason)) => {
                tracing::warn!(channel = self.channel, %reason, "a digest's details cannot be read and are not posted; look at the disk");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn details_refused(&mut self, error: SendError, thread: &Thread) -> Step {
        self.board.failed(error.as_str(), &error.to_string());
        let (after, reason) = match error {
            SendError::Later { after, reason, .. } => (after, reason),
            SendError::Unknown { after, reason } => {
                self.details.unsure = true;
                (after, reason)
            }
            SendError::Park { reason } | SendError::Never { reason } => {
                return self.give_up(thread, &reason);
            }
            SendError::Withheld => return Step::Again,
        };
        self.details.failed += 1;
        if self.details.failed >= TRIES_MAX {
            return self.give_up(thread, &reason);
        }
        let delay = after.unwrap_or_else(|| self.details.retry.next_delay());
        // Told where it is given up.
        tracing::debug!(
            channel = self.channel,
            message_id = thread.message,
            reason,
            rest_seconds = delay.as_secs_f64(),
            "a digest's details are tried again later; nothing else waits for them"
        );
        let now = Instant::now();
        self.details.resting_until = now.checked_add(delay);
        Step::Again
    }

    pub(super) fn count_given_up(&self) {
        let given_up = &self.metrics.details_given_up;
        given_up.with_label_values(&[&self.channel]).inc();
    }

    pub(super) fn give_up(&self, thread: &Thread, reason: &str) -> Step {
        tracing::warn!(
            channel = self.channel,
            message_id = thread.message,
            reason,
            "the rest of a digest's details is not posted; `auditrelay events --message` lists them"
        );
        self.count_given_up();
        let text = format!("the rest of a digest's details is not posted: {reason}");
        self.board.incident(&text);
        Step::Finished
    }
}

//! The complete list behind a digest as a file.
//!
//! Contract: shared at most once, as nothing finds a file again: that it is under way is noted before it is, and whoever
//! follows a lane that ended then, a process that was killed or a relay that led, takes it for shared. An answer that
//! says that it is not is noted too, so that whoever follows then begins it again.

use auditrelay_store::{Queue, QueueError, Thread};

use super::{
    Lane,
    details::{NOT_KEPT, Step},
    ready::turn,
    stop::{Stop, unless_stopped},
};
use crate::{Destination, SendError, destination::Attachment, details::listing};

/// What stands for the count of replies while a file is shared: no digest has as many.
const UNDER_WAY: u32 = u32::MAX;

const MAY_BE_SHARED: &str =
    "it was being shared when the relay that led before ended, and may be there";

impl<Q: Queue, D: Destination> Lane<Q, D> {
    pub(super) async fn post_file(
        &mut self,
        thread: &Thread,
        stop: &mut Stop,
    ) -> Result<Step, QueueError> {
        let Some(text) = self.make_listing(thread).await? else {
            return Ok(self.give_up(thread, NOT_KEPT));
        };
        if thread.done == UNDER_WAY && self.details.shares != Some(thread.message) {
            return Ok(self.give_up(thread, MAY_BE_SHARED));
        }
        let file = Attachment {
            thread: thread.thread.clone(),
            name: format!("auditrelay-{}.txt", thread.message),
            text,
        };
        if unless_stopped(stop, turn(&self.term, &mut self.pace))
            .await
            .is_none()
        {
            return Ok(Step::Again);
        }
        self.note_file(thread.message).await?;
        self.note_post();
        let post = self.destination.attach(&file);
        match self.within_term(post).await {
            None => Ok(Step::Again),
            Some(Err(SendError::Withheld)) => {
                self.note_not_shared(thread.message).await?;
                Ok(Step::Again)
            }
            Some(Ok(())) => {
                self.pace.left();
                self.details.succeeded();
                self.accepted("details");
                Ok(Step::Finished)
            }
            Some(Err(error)) => {
                self.count(error.as_str());
                match error {
                    // It may be there, and one list is enough.
                    SendError::Unknown { reason, .. } => {
                        self.pace.left();
                        Ok(self.give_up(thread, &reason))
                    }
                    other => {
                        let step = self.details_refused(other, thread);
                        if matches!(step, Step::Again) {
                            self.note_not_shared(thread.message).await?;
                        }
                        Ok(step)
                    }
                }
            }
        }
    }

    async fn make_listing(&self, thread: &Thread) -> Result<Option<String>, QueueError> {
        // Released when the text of the members is.
        let _permit = self.rendering.acquire().await;
        let Some((_, members)) = self.told(thread).await? else {
            return Ok(None);
        };
        let text = tokio::task::spawn_blocking(move || listing(&members)).await;
        Ok(text.ok().filter(|text| !text.is_empty()))
    }

    async fn note_file(&mut self, message: u64) -> Result<(), QueueError> {
        if self.details.shares == Some(message) {
            return Ok(());
        }
        self.note_done(message, UNDER_WAY).await?;
        self.details.shares = Some(message);
        Ok(())
    }

    async fn note_not_shared(&mut self, message: u64) -> Result<(), QueueError> {
        self.note_done(message, 0).await?;
        self.details.shares = None;
        Ok(())
    }

    async fn note_done(&mut self, message: u64, done: u32) -> Result<(), QueueError> {
        let noted = self.queue.note_thread(&self.channel, message, Some(done));
        noted.await?;
        if let Some(front) = self.details.threads.front_mut() {
            front.done = done;
        }
        Ok(())
    }
}

//! Whether a lease that was handed out before has been posted.
//!
//! Contract: what is found is acked and not posted again; what is absent is posted as if for the first
//! time; what cannot be found out, or is absent where the channel
//! posts somewhere else by now, is repeated and marked. A look-up that fails is tried again at the pace of other
//! tries, and given up after [`RETRIES_MAX`] times `retry_max_seconds`: a channel does not wait for ever to find out.
//! What somebody else posted, a process that ended or a relay that led before, is looked for until their requests are
//! certainly over (`term.rs`).

use auditrelay_store::{Queue, QueueError};

use tokio::time::{Instant, sleep_until};

use super::{
    Held, Lane,
    stop::{Stop, unless_stopped},
    told::{PostedAt, Told},
};
use crate::{Destination, Message, SendError, board::WaitsFor, destination::Found};

const RETRIES_MAX: u32 = 5;

/// What came of a look-up.
pub(super) enum Looked {
    /// It is there, or it has to be looked for again later or by another lane: nothing more to do now.
    Done,
    Absent,
    Unknowable,
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// Looks for a message that may have been posted.
    pub(super) async fn look(
        &mut self,
        id: String,
        since_unix_ms: i64,
        held: &Held,
        told: &Told,
        stop: &mut Stop,
    ) -> Result<Looked, QueueError> {
        let mut sought = Message::new(String::new(), Vec::new(), "sentences");
        sought.id = id;
        self.board.waits_for(WaitsFor::Answer);
        let looked_at = Instant::now();
        let looking = self.destination.find(&sought, since_unix_ms);
        let Some(found) = unless_stopped(stop, looking).await else {
            // Its lease is kept: the next lane looks.
            return Ok(Looked::Done);
        };
        let found = self.or_give_up(found);
        self.count_look(&found);
        match found {
            Ok(Found::Posted(receipt)) => {
                tracing::info!(
                    channel = self.channel,
                    ts = receipt.ts,
                    "the message whose answer was lost had been posted: it is not repeated"
                );
                if let Some(workspace) = &self.workspace {
                    workspace.note_accepted();
                }
                self.board.accepted();
                self.board.delivered(held.events);
                self.opened();
                let may_be_digest = held.events > self.settings.style.sentences_max;
                let posted = PostedAt::at(&receipt);
                self.ack(held, receipt, may_be_digest).await?;
                self.observe(told, posted);
                Ok(Looked::Done)
            }
            Ok(Found::Absent) if self.is_too_early(looked_at, held) => {
                let settled = self.others_settled();
                tracing::debug!(
                    channel = self.channel,
                    "a message that may have been posted is not there yet: it is looked for again"
                );
                unless_stopped(stop, sleep_until(settled)).await;
                Ok(Looked::Done)
            }
            // Nothing of this name can be looked for where it posted before.
            Ok(Found::Absent) if self.moved => Ok(Looked::Unknowable),
            Ok(Found::Absent) => Ok(Looked::Absent),
            Ok(Found::Unknowable { reason }) => {
                tracing::warn!(
                    channel = self.channel,
                    reason,
                    "it cannot be found out whether a message was posted; it is repeated and marked so. `auditrelay check \
                     --online` tells whether a scope is missing for it"
                );
                Ok(Looked::Unknowable)
            }
            Err(SendError::Later { after, reason, .. }) => {
                self.board.failed("later", &reason);
                self.later(after, false, &reason);
                Ok(Looked::Done)
            }
            // A look-up changes nothing: whatever became of it, it can be done again.
            Err(other) => {
                self.board.failed(other.as_str(), &other.to_string());
                self.later(None, false, &other.to_string());
                Ok(Looked::Done)
            }
        }
    }

    /// Whether the message may come to the channel yet, as who posted it was another process.
    fn is_too_early(&self, looked_at: Instant, held: &Held) -> bool {
        self.posted != Some(held.id.id) && looked_at < self.others_settled()
    }

    /// From when on nothing is under way any more of what others posted.
    pub(super) fn others_settled(&self) -> Instant {
        self.term.settled(self.destination.request_max())
    }

    pub(super) fn count_look(&self, found: &Result<Found, SendError>) {
        let outcome = match found {
            Ok(Found::Posted(_)) => "found",
            Ok(Found::Absent) => "absent",
            Ok(Found::Unknowable { .. }) => "unknowable",
            Err(_) => "failed",
        };
        let lookups = &self.metrics.lookups;
        lookups
            .with_label_values(&[self.channel.as_str(), outcome])
            .inc();
    }

    fn or_give_up(&mut self, found: Result<Found, SendError>) -> Result<Found, SendError> {
        let Err(error) = &found else {
            self.looking_since = None;
            return found;
        };
        let now = Instant::now();
        let since = *self.looking_since.get_or_insert(now);
        let looked_for = now - since;
        if looked_for < RETRIES_MAX * self.settings.retry_max {
            return found;
        }
        self.looking_since = None;
        let seconds = looked_for.as_secs();
        let reason = format!("look-ups failed for {seconds} s, the last one: {error}");
        Ok(Found::Unknowable { reason })
    }
}

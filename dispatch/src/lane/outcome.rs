//! What becomes of a message after the destination's answer.
//!
//! Accepted: ack. Not now: give back and hold, never for less than `Retry-After`. Broken channel: give back
//! and park, told once. Impossible message: once more as plain text, then half of its events at a time, until
//! the one that makes it impossible is alone; that one is buried. Unknown: keep the lease, which comes back
//! marked as resumed and is looked for.

use std::time::Duration;

use auditrelay_store::{Queue, QueueError};

use super::{Held, Lane};
use crate::{Destination, SendError, router::now_unix_ms};

impl<Q: Queue, D: Destination> Lane<Q, D> {
    pub(super) fn accepted(&mut self, form: &str) {
        self.count("accepted");
        self.metrics
            .messages
            .with_label_values(&[self.channel.as_str(), form])
            .inc();
        self.opened();
    }

    /// The channel takes messages.
    pub(super) fn opened(&mut self) {
        if self.state == "parked" {
            tracing::info!(channel = self.channel, "the channel takes messages again");
        }
        self.set_state("open");
        self.plain = false;
        self.tries = Default::default();
        self.retry.reset();
    }

    pub(super) async fn refused(
        &mut self,
        error: SendError,
        held: &Held,
        had_blocks: bool,
    ) -> Result<(), QueueError> {
        match error {
            SendError::Later {
                after,
                limited,
                reason,
            } => {
                self.later(after, limited, &reason);
                self.give_back(held).await
            }
            SendError::Park { reason } => {
                self.park(&reason);
                self.give_back(held).await
            }
            SendError::Never { reason } => self.never(reason, held, had_blocks).await,
            SendError::Unknown { reason } => {
                let delay = self.retry.next_delay();
                self.hold(
                    delay,
                    &reason,
                    "may have been posted, will be looked for before it is repeated",
                );
                Ok(())
            }
        }
    }

    /// A lease that may have been posted before is kept: its members must come back together, under the
    /// same ID, however often the repetition is put off.
    async fn give_back(&self, held: &Held) -> Result<(), QueueError> {
        if held.resumed {
            Ok(())
        } else {
            self.queue.release(&held.id).await
        }
    }

    pub(super) fn later(&mut self, after: Option<Duration>, limited: bool, reason: &str) {
        let delay = after.unwrap_or_else(|| self.retry.next_delay());
        if let Some(after) = after {
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            let gauge = &self.metrics.retry_after_seconds;
            gauge.with_label_values(&[&self.channel]).set(seconds);
        }
        self.hold(delay, reason, "not posted, will be tried again");
        if let Some(workspace) = self.workspace.as_ref().filter(|_| limited)
            && workspace.limited(&self.channel, delay)
        {
            tracing::warn!(
                channel = self.channel,
                "several channels met a rate limit: all channels of this token are held"
            );
        }
    }

    async fn never(
        &mut self,
        reason: String,
        held: &Held,
        had_blocks: bool,
    ) -> Result<(), QueueError> {
        // Slack's limits are partly unwritten: what it refuses with blocks may go without. While half
        // after half is tried that is known already, until one event is left.
        if had_blocks && (held.events == 1 || !self.search.is_on()) {
            tracing::warn!(
                channel = self.channel,
                reason,
                "the message was refused for its content; its text alone is tried next"
            );
            self.plain = true;
            return self.give_back(held).await;
        }
        self.plain = false;
        if held.events > 1 {
            tracing::warn!(
                channel = self.channel,
                events = held.events,
                reason,
                "the message was refused for its content; half of its events are tried next"
            );
            self.search.refused(held.events, held.possibly_repeated);
            return self.queue.release(&held.id).await;
        }
        tracing::error!(
            channel = self.channel,
            message = held.id.id,
            reason,
            "this event can never be posted; it is a dead letter now (`auditrelay dead`)"
        );
        self.search.found();
        let burial = self.tries.bury(reason, now_unix_ms());
        self.queue.bury(&held.id, burial).await
    }

    fn hold(&mut self, delay: Duration, reason: &str, meaning: &str) {
        tracing::warn!(
            channel = self.channel,
            reason,
            hold_seconds = delay.as_secs_f64(),
            "{meaning}"
        );
        // Only an accepted message shows that somebody mended the channel.
        if self.state != "parked" {
            self.set_state("holding");
        }
        self.pace.hold(delay);
    }

    /// Tells the operator once; the tries that follow are silent until something changes.
    fn park(&mut self, reason: &str) {
        if self.state != "parked" {
            tracing::error!(
                channel = self.channel,
                reason,
                retry_seconds = self.settings.park_retry.as_secs(),
                "the channel is parked: its events wait, others are not touched"
            );
            self.metrics
                .parked
                .with_label_values(&[&self.channel])
                .inc();
        }
        self.set_state("parked");
        self.pace.hold(self.settings.park_retry);
    }

    fn set_state(&mut self, state: &'static str) {
        self.state = state;
        self.metrics.set_lane(&self.channel, state);
    }

    pub(super) fn count(&self, outcome: &str) {
        self.metrics
            .posts
            .with_label_values(&[self.channel.as_str(), outcome])
            .inc();
    }
}

//! What becomes of a message after the destination's answer.
//!
//! Accepted: ack. Not now: give back and hold, never for less than `Retry-After`. Broken channel: give back
//! and park, told once. Impossible message: once more as plain text, then half of its events at a time, until
//! the one that makes it impossible is alone; that one is buried. Unknown: keep the lease, which comes back
//! marked as resumed and is looked for; where that goes on, the message itself may be what is wrong.
//!
//! Nothing is taken apart or buried because Slack is down: where the fate of a message stays open and Slack takes no other
//! message of the token meanwhile, the channel is parked. Where Slack does, an event is parked with its channel
//! once, so that the fallback has it, before it becomes a dead letter. Dead letters in a row with nothing
//! accepted between park the channel.

use std::time::Duration;

use auditrelay_store::{Queue, QueueError};
use tokio::time::Instant;

use super::{Held, Lane, Unknown};
use crate::{Destination, SendError, board::LaneState, router::now_unix_ms};

/// Answers in a row that leave a message's fate open, before the message is taken for what is wrong.
const UNKNOWN_MAX: u32 = 8;
/// Dead letters in a row; after them it is not the messages that are wrong.
const BURIED_MAX: u32 = 5;
/// Between two lines about holds of a channel.
const HOLD_LINES_INTERVAL: Duration = Duration::from_secs(60);
/// A parked channel rests so many times `park_retry_seconds` at the most.
const PARK_GROWTH_MAX: u32 = 15;

/// Why a lane waits.
#[derive(Clone, Copy)]
enum Hold {
    /// Certainly not posted.
    Refused,
    /// Posted perhaps.
    Unknown,
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    pub(super) fn accepted(&mut self, form: &str) {
        self.count("accepted");
        self.metrics
            .messages
            .with_label_values(&[self.channel.as_str(), form])
            .inc();
        if let Some(workspace) = &self.workspace {
            workspace.note_accepted();
        }
        self.board.accepted();
        self.opened();
    }

    /// A message goes out: one of the token's, whatever comes of it.
    pub(super) fn note_post(&self) {
        self.board.posts();
        if let Some(workspace) = &self.workspace {
            workspace.note_post();
        }
    }

    /// The channel has taken a message, now or before.
    pub(super) fn opened(&mut self) {
        if self.state == LaneState::Parked || self.hold_told {
            tracing::info!(channel = self.channel, "the channel takes messages again");
            self.board.incident("the channel takes messages again");
        }
        self.hold_told = false;
        self.set_state(LaneState::Open);
        self.buried = 0;
        self.parked_tries = 0;
        self.stuck = false;
        self.moved = false;
        self.settled();
    }

    /// Messages that all lanes of the token posted.
    pub(super) fn accepted_by_all(&self) -> u64 {
        let workspace = self.workspace.as_ref();
        workspace.map_or(0, crate::Workspace::accepted)
    }

    /// There is nothing to be tried again.
    fn settled(&mut self) {
        self.plain = false;
        self.without_id = false;
        self.unknown = None;
        self.tries = Default::default();
        self.retry.reset();
    }

    pub(super) async fn refused(
        &mut self,
        error: SendError,
        held: &Held,
        had_blocks: bool,
    ) -> Result<(), QueueError> {
        self.board.failed(error.as_str(), &error.to_string());
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
                self.stuck = false;
                self.park(&reason);
                self.give_back(held).await
            }
            SendError::Never { reason } => self.never(reason, held, had_blocks).await,
            SendError::Unknown { after, reason } => {
                self.unknown(after, reason, held, had_blocks).await
            }
            SendError::Withheld => self.give_back(held).await,
        }
    }

    /// A lease that may have been posted before is kept: its members must come back together, under the
    /// same ID, however often the repetition is put off. So is any where the term is over: it is not this lane's any more.
    pub(super) async fn give_back(&self, held: &Held) -> Result<(), QueueError> {
        if held.resumed || self.term.is_over() {
            Ok(())
        } else {
            self.queue.release(&held.id).await
        }
    }

    pub(super) fn later(&mut self, after: Option<Duration>, limited: bool, reason: &str) {
        let delay = after.unwrap_or_else(|| self.retry.next_delay());
        self.note_retry_after(after);
        self.hold(delay, reason, Hold::Refused);
        let place = self.pace.place();
        if let Some(workspace) = self.workspace.as_ref().filter(|_| limited)
            && let are_held = workspace.all_held_until().is_some()
            && workspace.limited(place, delay)
            && !are_held
        {
            tracing::warn!(
                channel = self.channel,
                "several channels met a rate limit: all channels of this token are held for as long as Slack asks; \
                 where it goes on, lower slack.messages_per_minute or see what else posts with this token"
            );
        }
    }

    async fn never(
        &mut self,
        reason: String,
        held: &Held,
        had_blocks: bool,
    ) -> Result<(), QueueError> {
        if self.tries_plainer(&reason, held, had_blocks) {
            return self.give_back(held).await;
        }
        if held.events > 1 {
            return self.halve(&reason, held, held.possibly_repeated).await;
        }
        self.bury(reason, held, held.resumed).await
    }

    /// The lease is kept, but where its events are taken apart.
    async fn unknown(
        &mut self,
        after: Option<Duration>,
        reason: String,
        held: &Held,
        had_blocks: bool,
    ) -> Result<(), QueueError> {
        let accepted = self.accepted_by_all();
        let run = self.unknown.get_or_insert(Unknown { tries: 0, accepted });
        run.tries += 1;
        let (tries, slack_works) = (run.tries, accepted > run.accepted);
        self.note_retry_after(after);
        if self.stuck && !slack_works {
            self.park(&reason);
            return Ok(());
        }
        let delay = self.retry.next_delay().max(after.unwrap_or_default());
        self.hold(delay, &reason, Hold::Unknown);
        if tries < UNKNOWN_MAX && !self.stuck {
            return Ok(());
        }
        let reason = format!("{reason}, {tries} times in a row");
        if !slack_works {
            self.stuck = true;
            self.park(&format!(
                "{reason}: Slack, or something on the way to it, answers no message"
            ));
            return Ok(());
        }
        self.unknown = None;
        if self.tries_plainer(&reason, held, had_blocks) {
            return Ok(());
        }
        if held.events > 1 {
            return self.halve(&reason, held, true).await;
        }
        if self.stuck {
            return self.bury(reason, held, true).await;
        }
        // The fallback is to have it before it is given up.
        self.stuck = true;
        self.park(&format!("{reason}, while Slack takes other messages"));
        Ok(())
    }

    /// Slack's limits are partly unwritten: what it refuses with blocks may go without. While half
    /// after half is tried that is known already, until one event is left.
    fn tries_plainer(&mut self, reason: &str, held: &Held, had_blocks: bool) -> bool {
        let plainer = had_blocks && (held.events == 1 || !self.search.is_on());
        if plainer {
            tracing::warn!(
                channel = self.channel,
                reason,
                "the message was refused for its content; its text alone is tried next, and if that is refused \
                 it becomes a dead letter (`auditrelay dead`)"
            );
            self.without_id = reason.contains("metadata");
        }
        self.plain = plainer;
        plainer
    }

    async fn halve(
        &mut self,
        reason: &str,
        held: &Held,
        possibly_repeated: bool,
    ) -> Result<(), QueueError> {
        // Told once for all halves.
        if !self.search.is_on() {
            tracing::warn!(
                channel = self.channel,
                events = held.events,
                reason,
                "the message was refused for its content; half of its events are tried next, and so on until the one \
                 that is refused alone; it becomes a dead letter (`auditrelay dead`)"
            );
        }
        self.unknown = None;
        self.search.refused(held.events, possibly_repeated);
        self.queue.release(&held.id).await
    }

    /// `may_be_posted`: its lease is not given back where it is not buried after all.
    async fn bury(
        &mut self,
        reason: String,
        held: &Held,
        may_be_posted: bool,
    ) -> Result<(), QueueError> {
        if self.buried >= BURIED_MAX {
            self.park(&format!(
                "{reason}: {BURIED_MAX} messages in a row, so it is not the messages; look at proxies"
            ));
            return match may_be_posted {
                true => Ok(()),
                false => self.queue.release(&held.id).await,
            };
        }
        self.search.found();
        self.unknown = None;
        self.buried += 1;
        self.without_id = false;
        tracing::error!(
            channel = self.channel,
            message_id = held.id.id,
            reason,
            "this event can never be posted; it is a dead letter now and the channel goes on: look into it with \
             `auditrelay dead show`, then redrive or drop it"
        );
        let text = format!("a message can never be posted and is a dead letter now: {reason}");
        self.board.incident(&text);
        let burial = self.tries.bury(reason, now_unix_ms());
        self.queue.bury(&held.id, burial).await
    }

    fn note_retry_after(&mut self, after: Option<Duration>) {
        if let Some(after) = after {
            self.pace.hold_as_asked(after);
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            self.board.retry_after(after);
            let gauge = &self.metrics.retry_after_seconds;
            gauge.with_label_values(&[&self.channel]).set(seconds);
        }
    }

    fn hold(&mut self, delay: Duration, reason: &str, hold: Hold) {
        self.tell_of_hold(delay, reason, hold);
        // Only an accepted message shows that somebody mended the channel.
        if self.state != LaneState::Parked {
            self.set_state(LaneState::Holding);
        }
        let meaning = match hold {
            Hold::Refused => "not now, will be tried again",
            Hold::Unknown => "may have been posted, will be looked for before it is repeated",
        };
        self.board.incident(&format!("{reason}; {meaning}"));
        self.board.rests(delay);
        self.pace.hold(delay);
    }

    /// Tells of a hold once, however often it is tried; and where holds follow each other, as rate limits do, at most
    /// once a minute.
    fn tell_of_hold(&mut self, delay: Duration, reason: &str, hold: Hold) {
        let is_recent = |at: Instant| at.elapsed() < HOLD_LINES_INTERVAL;
        if self.hold_told
            || self.state == LaneState::Parked
            || self.hold_told_at.is_some_and(is_recent)
        {
            let hold_seconds = delay.as_secs_f64();
            tracing::debug!(channel = self.channel, reason, hold_seconds, "held again");
            return;
        }
        self.hold_told = true;
        self.hold_told_at = Some(Instant::now());
        let (channel, hold_seconds) = (&self.channel, delay.as_secs_f64());
        match hold {
            Hold::Refused => tracing::warn!(
                channel,
                reason,
                hold_seconds,
                "the destination takes no message for now: it was not posted and will be tried again, its events wait; \
                 where it lasts, look at the reason, the network and the destination's status"
            ),
            Hold::Unknown => tracing::warn!(
                channel,
                reason,
                hold_seconds,
                "a message may have been posted: it will be looked for before it is repeated, events wait; where it \
                 lasts, look at the reason, the network and the destination's status"
            ),
        }
    }

    /// Tells the operator once; the tries that follow are silent until something changes, and ever rarer.
    fn park(&mut self, reason: &str) {
        let growth = 1_u32.checked_shl(self.parked_tries).unwrap_or(u32::MAX);
        let rest = self.settings.park_retry * growth.clamp(1, PARK_GROWTH_MAX);
        self.parked_tries += 1;
        // Also where it was tried in vain another way, since a reload.
        if self.state != LaneState::Parked || self.parked_tries == 1 {
            self.board.incident(&format!("parked: {reason}"));
            tracing::error!(
                channel = self.channel,
                reason,
                retry_seconds = rest.as_secs(),
                fallback = self.settings.fallback,
                "the channel is parked: its events wait, critical ones are told in the fallback too, other channels are \
                 not touched; it is tried again by itself: mend what the reason names"
            );
            self.metrics
                .parked
                .with_label_values(&[&self.channel])
                .inc();
        }
        self.set_state(LaneState::Parked);
        self.board.failed("park", reason);
        self.board.rests(rest);
        self.pace.hold(rest);
    }

    pub(super) fn set_state(&mut self, state: LaneState) {
        self.state = state;
        self.board.is(state);
        self.metrics.set_lane(&self.channel, state.as_str());
    }

    pub(super) fn count(&self, outcome: &str) {
        self.metrics
            .posts
            .with_label_values(&[self.channel.as_str(), outcome])
            .inc();
    }
}

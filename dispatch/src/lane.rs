//! Steps 7 to 9 of an event's way: one lane a channel.
//!
//! A lane waits until something is there, then until its pace allows a message, and only *then* leases,
//! so that a storm becomes a digest by itself (promise P5). It posts one message at a time and does
//! what the answer says: accepted, ack; not now, give back and hold; broken channel, give back and
//! park; impossible message, once more as plain text, then bury; unknown, keep the lease, which comes back marked as resumed.
//! Whatever happens to one lane, no other is touched (promise P6).

use std::{sync::Arc, time::Duration};

use auditrelay_config::ChannelConfig;
use auditrelay_store::{Burial, Delivery, Lease, LeaseId, LeaseLimit, Queue, QueueError};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    Budget, Destination, Message, Metrics, SendError, Templates,
    pace::Pace,
    render::{Style, render, unrendered},
    retry::Retry,
    router::now_unix_ms,
};

/// A channel's lane.
pub struct Lane<Q, D> {
    queue: Q,
    destination: D,
    channel: String,
    settings: Settings,
    pace: Pace,
    retry: Retry,
    state: &'static str,
    /// The last message was refused for its content: the next one goes without blocks.
    plain: bool,
    tries: Tries,
    metrics: Metrics,
    rendering: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
struct Settings {
    limit: LeaseLimit,
    style: Style,
    park_retry: Duration,
}

/// Posts since the last one that was accepted or buried.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    count: u32,
    first_unix_ms: i64,
}

impl Tries {
    fn add(&mut self, now_unix_ms: i64) {
        if self.count == 0 {
            self.first_unix_ms = now_unix_ms;
        }
        self.count = self.count.saturating_add(1);
    }

    /// What a dead letter says of them; they begin anew.
    fn bury(&mut self, reason: String, now_unix_ms: i64) -> Burial {
        let tries = std::mem::take(self);
        Burial {
            reason,
            attempts: tries.count,
            // A wall clock that was set back must not make the last try the earlier one.
            first_unix_ms: tries.first_unix_ms.min(now_unix_ms),
            last_unix_ms: now_unix_ms,
        }
    }
}

/// The lease that a message stands for.
struct Held {
    id: LeaseId,
    resumed: bool,
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// A lane that posts to one destination. `rendering` bounds how many lanes hold the text of a
    /// lease in memory at a time.
    pub fn new(
        queue: Q,
        destination: D,
        channel: &str,
        config: &ChannelConfig,
        budget: Option<Budget>,
        metrics: Metrics,
        rendering: Arc<Semaphore>,
    ) -> Self {
        metrics.start_channel(channel);
        Self {
            queue,
            destination,
            channel: channel.to_owned(),
            settings: Settings {
                limit: LeaseLimit {
                    events_max: config.message_events_max.as_usize(),
                    bytes_max: config.message_bytes_max.as_usize(),
                },
                style: Style::of(config, true, Arc::default()),
                park_retry: config.park_retry(),
            },
            pace: Pace::new(config.message_interval(), budget),
            retry: Retry::new(config.retry_max()),
            state: "open",
            plain: false,
            tries: Tries::default(),
            metrics,
            rendering,
        }
    }

    /// Digests do not say how to see their members: nothing of them is kept.
    #[must_use]
    pub fn forgetting(mut self) -> Self {
        self.settings.style.names_members = false;
        self
    }

    /// Messages say what the channel's templates say.
    #[must_use]
    pub fn speaking(mut self, templates: Arc<Templates>) -> Self {
        self.settings.style.templates = templates;
        self
    }

    /// Delivers until the shutdown. A post under way is finished first.
    ///
    /// # Errors
    /// The queue's; nothing can be delivered after one.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), QueueError> {
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
                waiting = self.ready() => waiting?,
            }
            self.deliver().await?;
        }
    }

    async fn ready(&mut self) -> Result<(), QueueError> {
        self.queue.wait_waiting(&self.channel).await?;
        self.pace.ready().await;
        Ok(())
    }

    async fn deliver(&mut self) -> Result<(), QueueError> {
        let Ok(permit) = Arc::clone(&self.rendering).acquire_owned().await else {
            return Ok(());
        };
        let Some(lease) = self.queue.lease(&self.channel, self.settings.limit).await? else {
            return Ok(());
        };
        let style = self.settings.style.clone();
        let held = Held {
            id: lease.id.clone(),
            resumed: lease.resumed,
        };
        let events = lease.members.len();
        let rendered =
            tokio::task::spawn_blocking(move || (render(&lease, &style), stage_times(&lease)));
        let (mut message, stage_times_ms) = rendered.await.unwrap_or_else(|error| {
            // One event must not stop its channel for ever; that it stands for others is still said.
            tracing::error!(channel = self.channel, %error, "rendering failed, please report it");
            (unrendered(events, held.id.id), Vec::new())
        });
        drop(permit);
        if self.plain {
            message = message.plain();
        }
        self.pace.sent(Instant::now());
        self.tries.add(now_unix_ms());
        match self.destination.post(&message).await {
            Ok(receipt) => {
                tracing::debug!(channel = self.channel, ts = receipt.ts, events, "posted");
                self.accepted(&message);
                self.queue.ack(&held.id, now_unix_ms()).await?;
                self.observe_delay(&stage_times_ms);
                Ok(())
            }
            Err(error) => self.refused(error, &held).await,
        }
    }

    fn observe_delay(&self, stage_times_ms: &[i64]) {
        let now = now_unix_ms();
        for time in stage_times_ms {
            let delay_ms = (now - time).max(0);
            self.metrics
                .delivery_delay_seconds
                .observe(delay_ms as f64 / 1_000.0);
        }
    }

    fn accepted(&mut self, message: &Message) {
        self.count("accepted");
        self.metrics
            .messages
            .with_label_values(&[&self.channel, message.form])
            .inc();
        if self.state == "parked" {
            tracing::info!(channel = self.channel, "the channel takes messages again");
        }
        self.set_state("open");
        self.plain = false;
        self.tries = Tries::default();
        self.retry.reset();
    }

    async fn refused(&mut self, error: SendError, held: &Held) -> Result<(), QueueError> {
        self.count(error.as_str());
        match error {
            SendError::Later { after, reason } => {
                let delay = after.unwrap_or_else(|| self.retry.next_delay());
                if let Some(after) = after {
                    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
                    let gauge = self
                        .metrics
                        .retry_after_seconds
                        .with_label_values(&[&self.channel]);
                    gauge.set(seconds);
                }
                self.hold(delay, &reason, "not posted, will be tried again");
                self.give_back(held).await
            }
            SendError::Park { reason } => {
                self.park(&reason);
                self.give_back(held).await
            }
            // Slack's limits are partly unwritten: what it refuses with blocks may go without.
            SendError::Never { reason } if !self.plain => {
                tracing::warn!(
                    channel = self.channel,
                    reason,
                    "the message was refused for its content; its text alone is tried next"
                );
                self.plain = true;
                self.give_back(held).await
            }
            SendError::Never { reason } => {
                tracing::error!(
                    channel = self.channel,
                    message = held.id.id,
                    reason,
                    "this message can never be posted; its events are now dead letters"
                );
                self.plain = false;
                let burial = self.tries.bury(reason, now_unix_ms());
                self.queue.bury(&held.id, burial).await
            }
            SendError::Unknown { reason } => {
                let delay = self.retry.next_delay();
                self.hold(
                    delay,
                    &reason,
                    "may have been posted, will be repeated and marked so",
                );
                Ok(())
            }
        }
    }

    /// A lease that may have been posted before is kept: its members must come back together and
    /// marked, however often the repetition is put off.
    async fn give_back(&self, held: &Held) -> Result<(), QueueError> {
        if held.resumed {
            Ok(())
        } else {
            self.queue.release(&held.id).await
        }
    }

    fn hold(&mut self, delay: Duration, reason: &str, meaning: &str) {
        tracing::warn!(
            channel = self.channel,
            reason,
            hold_seconds = delay.as_secs_f64(),
            "{meaning}"
        );
        self.set_state("holding");
        self.pace.hold(delay);
    }

    /// Tells the operator once; the tries that follow are silent until something changes.
    fn park(&mut self, reason: &str) {
        if self.state != "parked" {
            tracing::error!(
                channel = self.channel,
                reason,
                retry_seconds = self.settings.park_retry.as_secs(),
                "the channel is parked: its events wait, others are not touched; mend the channel or its token"
            );
        }
        self.set_state("parked");
        self.pace.hold(self.settings.park_retry);
    }

    fn set_state(&mut self, state: &'static str) {
        self.state = state;
        self.metrics.set_lane(&self.channel, state);
    }

    fn count(&self, outcome: &str) {
        self.metrics
            .posts
            .with_label_values(&[self.channel.as_str(), outcome])
            .inc();
    }
}

/// When the lease's events happened, Unix time in milliseconds.
fn stage_times(lease: &Lease) -> Vec<i64> {
    let time = |delivery: &Delivery| match delivery {
        Delivery::Event(event) => {
            let envelope = auditrelay_audit::Envelope::parse(&event.json).ok()?;
            let time: jiff::Timestamp = envelope.stage_timestamp.parse().ok()?;
            Some(time.as_millisecond())
        }
        Delivery::Notice(_) => None,
    };
    lease
        .members
        .iter()
        .filter_map(|(_, delivery)| time(delivery))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burial_tells_every_try_since_the_last_success() {
        let mut tries = Tries::default();
        tries.add(1_000);
        tries.add(2_000);
        let burial = tries.bury("invalid_blocks".to_owned(), 2_500);
        assert_eq!(
            (burial.attempts, burial.first_unix_ms, burial.last_unix_ms),
            (2, 1_000, 2_500)
        );
        tries.add(9_000);
        assert_eq!(tries.bury(String::new(), 9_100).attempts, 1);
    }
}

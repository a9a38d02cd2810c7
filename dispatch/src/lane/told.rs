//! What metrics are told of events that a channel heard of.
//!
//! Contract: an event is observed once, when the commit that counts it as delivered is durable, with the time at
//! which its message stood in the channel: by Slack's clock where Slack says it, by this machine's where the
//! destination says nothing. Copies are left out: somebody asked for them, or another channel could not have them,
//! long after they happened.

use auditrelay_audit::Envelope;
use auditrelay_config::WATCHDOG;
use auditrelay_store::{Delivery, Lease, Queue};
use tokio::sync::OwnedSemaphorePermit;

use super::Lane;
use crate::{Destination, destination::Receipt, router::now_unix_ms};

/// What is kept of a lease after its text is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// When its events happened, Unix time in milliseconds.
    stage_times_ms: Vec<i64>,
    /// Audit IDs of the watchdog's events among them.
    heartbeats: Vec<String>,
}

/// When a message was posted, Unix time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PostedAt(i64);

impl PostedAt {
    /// As the destination says; now, if it says nothing.
    pub(super) fn at(receipt: &Receipt) -> Self {
        Self(unix_ms(&receipt.ts).unwrap_or_else(now_unix_ms))
    }
}

impl Told {
    pub(super) fn of(lease: &Lease) -> Self {
        let mut told = Self::default();
        for (_, delivery) in &lease.members {
            let Delivery::Event(event) = delivery else {
                continue;
            };
            if event.marks.replayed || event.meant_for.is_some() {
                continue;
            }
            let Ok(envelope) = Envelope::parse(&event.json) else {
                continue;
            };
            if let Ok(time) = envelope.stage_timestamp.parse::<jiff::Timestamp>() {
                told.stage_times_ms.push(time.as_millisecond());
            }
            if event.route == WATCHDOG {
                told.heartbeats.push(envelope.audit_id.to_string());
            }
        }
        told
    }

    /// The same where thousands of events do not keep others waiting; the text is given up with its permit.
    pub(super) async fn read(lease: Lease, permit: OwnedSemaphorePermit) -> Self {
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Self::of(&lease)
        });
        // Delivery does not stop for what it would have told metrics.
        read.await.unwrap_or_else(|_panicked| {
            // Without the panic's own words: they may quote an event.
            tracing::error!(
                "reading when events happened panicked: the message is posted, its delay is not measured; please report it"
            );
            Self::default()
        })
    }
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// A message was accepted, and that is durable.
    pub(super) fn observe(&self, told: &Told, posted: PostedAt) {
        let channel = &[self.channel.as_str()];
        let delay = self
            .metrics
            .delivery_delay_seconds
            .with_label_values(channel);
        for time in &told.stage_times_ms {
            // The API server's clock may be ahead.
            let delay_ms = (posted.0 - time).max(0);
            delay.observe(delay_ms as f64 / 1_000.0);
        }
        let last = self.metrics.last_delivered.with_label_values(channel);
        last.set(now_unix_ms() / 1_000);
        for audit_id in &told.heartbeats {
            self.metrics.watchdog.delivered(audit_id, now_unix_ms());
        }
    }
}

/// Slack: a message's `ts` is its Unix time in seconds, with six digits behind the point.
fn unix_ms(ts: &str) -> Option<i64> {
    let (seconds, micros) = ts.split_once('.')?;
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if micros.len() != 6 || !are_digits(seconds) || !are_digits(micros) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let micros: i64 = micros.parse().ok()?;
    seconds.checked_mul(1_000)?.checked_add(micros / 1_000)
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;

//! What the inbox holds: acknowledged, and not yet in the ledger of whoever leads.
//!
//! Contract: it is asked every few seconds, also while nobody appends, and who reads it waits for nothing. What is older than
//! [`FORGET`] is not said any more: the servers do not answer, and what they hold is not known. Whether they do is found
//! out by this question ([`super::silence`]).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_nats::jetstream::stream::Info;
use tokio::time::sleep;

use super::inbox::{Door, Inbox};

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(2);
/// When it counts as not known.
pub(super) const FORGET: Duration = Duration::from_secs(30);

/// What the inbox held when its servers last said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InboxHolds {
    /// Of all messages, as stored.
    pub bytes: u64,
    /// The most that it takes.
    pub bytes_max: u64,
    /// Batches for the most part.
    pub messages: u64,
    /// How long the oldest one had been there, by this machine's clock; zero where there was none.
    pub oldest_age: Duration,
}

impl InboxHolds {
    fn of(info: &Info, now: SystemTime) -> Self {
        let since = SystemTime::from(info.state.first_timestamp);
        let oldest_age = match info.state.messages {
            // The time is that of what was there last, or of nothing.
            0 => Duration::ZERO,
            _ => now.duration_since(since).unwrap_or_default(),
        };
        Self {
            bytes: info.state.bytes,
            bytes_max: u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX),
            messages: info.state.messages,
            oldest_age,
        }
    }
}

impl Inbox {
    /// What it holds, if the servers said so lately.
    pub fn holds(&self) -> Option<InboxHolds> {
        self.0.room.holds()
    }

    /// Asks the servers, unless that was done lately. The answer is not waited for: that there is none counts before the
    /// question is over.
    pub(super) fn ask(&self) {
        let door = &self.0;
        if door.servers.is_connected() && door.room.is_to_ask() {
            let asks = Arc::clone(door);
            drop(
                door.servers
                    .handle()
                    .spawn(async move { asks.measure().await }),
            );
        }
    }

    /// Asks the servers every few seconds, and goes to others where they do not answer, until it is dropped.
    pub async fn look_on(&self) {
        loop {
            self.ask();
            if self.0.servers.leave_if_silent().await {
                // The question went to the one that was left.
                self.0.room.tell(None);
            }
            sleep(EVERY).await;
        }
    }
}

impl Door {
    /// Asks the servers how full the inbox is.
    pub(super) async fn measure(&self) {
        let silence = self.servers.silence();
        silence.unanswered();
        let stream = self
            .servers
            .context()
            .get_stream(&*self.servers.streams().inbox)
            .await;
        let told = match &stream {
            Ok(stream) => Some(stream.cached_info()).filter(|info| silence.answered(info)),
            Err(error) => {
                tracing::debug!(%error, "how full the inbox is could not be asked");
                silence.unanswered();
                None
            }
        };
        self.room
            .tell(told.map(|info| InboxHolds::of(info, SystemTime::now())));
    }
}

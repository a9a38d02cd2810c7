//! Whether the inbox has room for another batch, as far as this replica knows.
//!
//! What is known is what the stream's servers last said, with what this replica stored since; other replicas' batches
//! come to it within about a second. So a batch that is admitted here may still be refused by the servers
//! (`QueueError::Full`), and the answer to its client is the same.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::inbox_look::{FORGET, InboxHolds};
use crate::{Admitted, Full};

/// How old what is known may be before it is asked again.
const FRESH: Duration = Duration::from_secs(1);
/// A question that was not answered is asked again after it.
const ANSWER: Duration = Duration::from_secs(6);
/// After a refusal batches are admitted again below nine tenths of the limit.
const LOW_WATER_TENTHS: u64 = 9;

#[derive(Debug, Default)]
pub(super) struct InboxRoom {
    reserved: Arc<AtomicU64>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What is stored, and at most; none while nobody said so.
    used: Option<(u64, u64)>,
    /// The servers' last answer, and when it came.
    holds: Option<(Instant, InboxHolds)>,
    told: Option<Instant>,
    asked: Option<Instant>,
    is_refusing: bool,
}

impl InboxRoom {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds this.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to ask the servers now; who is told so asks.
    pub(super) fn is_to_ask(&self) -> bool {
        let now = Instant::now();
        let mut known = self.known();
        let within = |at: Option<Instant>, time| at.is_some_and(|at| now - at < time);
        let is_to_ask = !within(known.told, FRESH) && !within(known.asked, ANSWER);
        if is_to_ask {
            known.asked = Some(now);
        }
        is_to_ask
    }

    /// The servers said what is stored, and how much may be; nothing if they could not be asked.
    pub(super) fn tell(&self, holds: Option<InboxHolds>) {
        let now = Instant::now();
        let mut known = self.known();
        known.asked = None;
        if let Some(holds) = holds {
            known.used = Some((holds.bytes, holds.bytes_max));
            known.holds = Some((now, holds));
        }
        known.told = Some(now);
    }

    /// What they said, unless that is long ago.
    pub(super) fn holds(&self) -> Option<InboxHolds> {
        let holds = self.known().holds;
        let holds = holds.filter(|(told, _)| told.elapsed() < FORGET);
        holds.map(|(_, holds)| holds)
    }

    /// So many bytes were stored.
    pub(super) fn stored(&self, bytes: u64) {
        if let Some((used, _)) = &mut self.known().used {
            *used = used.saturating_add(bytes);
        }
    }

    /// The servers refused a batch.
    pub(super) fn is_full(&self) {
        let mut known = self.known();
        if let Some((used, max)) = &mut known.used {
            *used = (*used).max(*max);
        }
    }

    /// Reserves room for a body of so many bytes.
    pub(super) fn admit(&self, bytes: u64) -> Result<Admitted, Full> {
        let mut known = self.known();
        let reserved = self.reserved.load(Relaxed);
        let Some((used, max)) = known.used else {
            return Ok(Admitted::new(Arc::clone(&self.reserved), bytes));
        };
        let lacks = |bytes: u64, tenths: u64| {
            let coming = used.saturating_add(bytes);
            (coming > max / 10 * tenths).then(|| {
                Full(format!(
                    "the inbox on JetStream holds or awaits {coming} of at most {max} bytes (queue.jetstream.inbox_bytes_max)"
                ))
            })
        };
        if known.is_refusing {
            if let Some(full) = lacks(reserved, LOW_WATER_TENTHS) {
                return Err(full);
            }
            known.is_refusing = false;
            tracing::info!("there is room in the inbox again: batches are accepted");
        }
        if let Some(full) = lacks(reserved.saturating_add(bytes), 10) {
            // A body that is too large for what is left says nothing of a smaller one.
            if lacks(reserved, LOW_WATER_TENTHS).is_some() {
                tracing::error!(
                    reason = %full,
                    "batches are refused with 429, as there is no room in the inbox: no relay leads, or the one that \
                     leads has no room itself; its log and `auditrelay status` say why"
                );
                known.is_refusing = true;
            }
            return Err(full);
        }
        Ok(Admitted::new(Arc::clone(&self.reserved), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(bytes: u64, bytes_max: u64) -> Option<InboxHolds> {
        Some(InboxHolds {
            bytes,
            bytes_max,
            ..InboxHolds::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_reserved_and_stored_counts_and_it_opens_below_the_low_water_mark() {
        let room = InboxRoom::default();
        drop(room.admit(u64::MAX).expect("nothing is known yet"));
        room.tell(full(400, 1_000));
        let first = room.admit(500).expect("900 of 1,000");
        room.admit(101).expect_err("1,001 of 1,000");
        drop(first);
        room.stored(550);
        room.admit(60).expect_err("1,010 of 1,000");
        room.tell(full(910, 1_000));
        room.admit(1).expect_err("above nine tenths");
        room.tell(full(890, 1_000));
        drop(room.admit(10).expect("900 of 1,000"));
        room.is_full();
        room.admit(1).expect_err("the servers said so");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_once_a_second_and_by_one_at_a_time() {
        let room = InboxRoom::default();
        assert!(room.is_to_ask() && !room.is_to_ask());
        room.tell(full(1, 2));
        assert!(!room.is_to_ask());
        tokio::time::advance(FRESH).await;
        assert!(room.is_to_ask() && !room.is_to_ask());
        room.tell(None);
        assert!(room.known().used.is_some() && !room.is_to_ask());
        tokio::time::advance(FRESH).await;
        assert!(room.is_to_ask());
        tokio::time::advance(ANSWER).await;
        assert!(room.is_to_ask(), "nobody answered");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_long_ago_is_not_known() {
        let room = InboxRoom::default();
        assert_eq!(room.holds(), None);
        room.tell(full(1, 2));
        room.tell(None);
        assert_eq!(room.holds(), full(1, 2));
        // What this replica stored since is for who asks for room.
        room.stored(1);
        assert_eq!(room.holds(), full(1, 2));
        tokio::time::advance(FORGET).await;
        room.tell(None);
        assert_eq!(room.holds(), None);
    }
}

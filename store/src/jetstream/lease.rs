//! The lease: which one of several relays leads.
//!
//! One key of a bucket, `<name>-lease`, whose value is written by compare-and-set of its revision:
//! * a candidate takes the lease when there is none, when it was given up, or when its revision did not change for as
//!   long as a lease lasts, counted by the candidate's own clock from after it saw that revision. Where the one who holds it
//!   and the candidate do not agree how long that is, the longer one counts: the value has the holder's;
//! * who holds it writes it anew every quarter of a lease. Its tenure lasts until [`MARGIN`] less than a lease after
//!   the instant *before* it sent the last renewal that was acknowledged.
//!
//! So a tenure is over before a candidate's wait is, whatever the time of day is anywhere: the holder sent before the
//! candidate saw. Neither counts the other's time stamps; the value has some for people to read.
//!
//! * A renewal that finds another revision ends the tenure at once; one without an answer is tried again until the
//!   tenure is over. What was written although its answer was lost is found by the tenure's random ID, and counts
//!   from the earliest of the tries that may have written it.
//! * A tenure that was over does not go on, even if nobody took the lease meanwhile.
//! * Every replica watches the key ([`watch`]), whether it wants to lead or not.
//!
//! Limits: a clock that stands still while others go on (a machine that is suspended as a whole) is not noticed until
//! the next renewal. The stream is guarded by its fence even then (`ledger_stream`).

mod keep;
mod record;
mod requests;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, oneshot, watch as channel},
    time::Instant,
};

use self::{
    keep::{Keeper, Order},
    record::{Value, Written},
    requests::Said,
    watch::Seen,
};
use super::{JetStream, JetStreamError};
use crate::Tenure;

pub use self::requests::Requests;
pub(super) use self::{record::Register, watch::LeaseWatch};

/// This part of a lease (one of so many) is not used: clocks do not run equally fast.
const MARGIN: u32 = 6;
/// How long giving the lease up may take.
const RESIGN_PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);

/// This replica leads. Dropped, it stops to, and the others find out when the lease runs out.
#[derive(Debug)]
pub struct Leadership {
    tenure: Tenure,
    others_requests: Duration,
    /// The random ID that stands in the lease.
    id: String,
    orders: Option<oneshot::Sender<Order>>,
}

impl Leadership {
    /// Whether, and for how long, this process may act outside.
    pub fn tenure(&self) -> Tenure {
        self.tenure.clone()
    }

    /// How long from now on requests of those who led before may still be under way, as they said.
    pub fn others_requests(&self) -> Duration {
        self.others_requests
    }

    /// Tells this hold of the lease from every other one.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Gives the lease up: the tenure ends now, and the others see it at once. Takes at most a few seconds; a lease that
    /// cannot be given up runs out.
    pub async fn resign(mut self) {
        let (done, resigned) = oneshot::channel();
        let orders = self.orders.take();
        if orders.is_some_and(|orders| orders.send(Order::Resign(done)).is_ok()) {
            // Its end without an answer means the same: it is over.
            let _answer = resigned.await;
        }
    }
}

impl JetStream {
    /// Waits until this replica leads, which asks nothing of anybody outside meanwhile. Servers that cannot be reached are
    /// waited for.
    ///
    /// # Errors
    /// The relay is ending.
    pub async fn lead(&self, replica: &str) -> Result<Leadership, JetStreamError> {
        self.lead_with(replica, Requests::none()).await
    }

    /// The same for one that does: whoever leads next is told of such requests.
    ///
    /// # Errors
    /// The relay is ending.
    pub async fn lead_with(
        &self,
        replica: &str,
        requests: Requests,
    ) -> Result<Leadership, JetStreamError> {
        let (won, leads) = oneshot::channel();
        let lease = self.options().lease;
        let candidate = Candidate {
            register: self.register(),
            lease,
            value: Value::new(replica, lease),
            requests: Said::new(requests),
            seen: self.lease().seen(),
            nudge: self.lease().nudge(),
            unsure_since: None,
        };
        self.handle().spawn(candidate.run(won));
        let ended = |_| JetStreamError::failed("wait for the lease", &"the relay is ending");
        leads.await.map_err(ended)
    }

    /// Who leads, as this replica saw it last; `None` where nobody does, or nobody says.
    pub fn leader(&self) -> channel::Receiver<Option<String>> {
        self.lease().leader()
    }
}

/// Who wants to lead.
struct Candidate {
    register: Register,
    lease: Duration,
    value: Value,
    requests: Said,
    seen: channel::Receiver<Seen>,
    nudge: Arc<Notify>,
    /// When a claim was sent first whose answer did not come.
    unsure_since: Option<Instant>,
}

impl Candidate {
    /// Until it leads, and while it does; or until nobody waits for it any more.
    async fn run(mut self, mut won: oneshot::Sender<Leadership>) {
        let (revision, sent, others_requests) = tokio::select! {
            claimed = self.claim() => claimed,
            () = won.closed() => return,
        };
        let until = sent + self.lease - self.lease / MARGIN;
        let (holder, tenure) = Tenure::until(until);
        let (orders, ordered) = oneshot::channel();
        let leadership = Leadership {
            tenure,
            others_requests,
            id: self.value.tenure.clone(),
            orders: Some(orders),
        };
        // Whoever does not wait any more drops it with its orders, which ends the keeper.
        let is_wanted = won.send(leadership).is_ok();
        let keeper = Keeper {
            register: self.register,
            lease: self.lease,
            value: self.value,
            requests: self.requests,
            revision,
            until,
            unsure_since: None,
        };
        if is_wanted {
            keeper.keep(holder, ordered).await;
        } else {
            drop(holder);
            keeper.release().await;
        }
    }

    /// Waits until the lease can be taken, and takes it: its revision, the instant before it was asked for, and how long
    /// requests of those before may last.
    async fn claim(&mut self) -> (u64, Instant, Duration) {
        loop {
            let seen = self.seen.borrow_and_update().clone();
            let now = Instant::now();
            let is_own = seen.is_of(&self.value);
            if let (true, Some(sent)) = (is_own, self.unsure_since)
                && now < sent + self.lease - self.lease / MARGIN
            {
                // It was written with what those before it said.
                self.requests.others_last(seen.requests());
                return (seen.revision, sent, seen.requests());
            }
            let free = seen.free_at(self.lease);
            if seen.is_known && now >= free {
                self.value.since = jiff::Timestamp::now().to_string();
                self.requests.others_last(seen.requests());
                let value = self.value.with_requests(self.requests.while_held());
                match self.register.write(&value, seen.revision).await {
                    Written::Is(revision) => return (revision, now, seen.requests()),
                    // It may be one of the earlier tries that is there.
                    Written::Not => {}
                    Written::Unknown => {
                        self.unsure_since.get_or_insert(now);
                    }
                }
                // What was seen is old: look again, but not without end at the same.
                self.nudge.notify_one();
                let _news = tokio::time::timeout(PAUSE, self.seen.changed()).await;
                continue;
            }
            tokio::select! {
                changed = self.seen.changed() => if changed.is_err() {
                    // The watch ends with the runtime that this runs on.
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep_until(free), if seen.is_known => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;

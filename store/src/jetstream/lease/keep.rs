//! Keeping the lease, and giving it up.

use std::time::Duration;

use tokio::{sync::oneshot, time::Instant};

use super::{
    MARGIN, PAUSE, RESIGN_PATIENCE,
    record::{Register, Value, Written},
    requests::Said,
};
use crate::TenureHolder;

/// What the one who leads asks of its keeper; its end without one is an order to stop.
#[derive(Debug)]
pub(super) enum Order {
    /// To give the lease up, and to say when that is done.
    Resign(oneshot::Sender<()>),
}

/// Renews the lease of one tenure.
pub(super) struct Keeper {
    pub(super) register: Register,
    pub(super) lease: Duration,
    pub(super) value: Value,
    pub(super) requests: Said,
    /// The one that it wrote last, as far as it knows.
    pub(super) revision: u64,
    /// When the tenure is over.
    pub(super) until: Instant,
    /// When a renewal was sent first whose answer did not come.
    pub(super) unsure_since: Option<Instant>,
}

/// What became of a renewal.
#[derive(Debug)]
pub(super) enum Renewal {
    Done,
    Unanswered,
    /// Somebody else has it.
    Lost,
    /// It came too late.
    Late,
}

impl Keeper {
    /// Until the tenure is over, or it is told to end it.
    pub(super) async fn keep(
        mut self,
        holder: TenureHolder,
        mut ordered: oneshot::Receiver<Order>,
    ) {
        // The claim was the first of them.
        let mut next = Instant::now() + self.lease / 4;
        let order = loop {
            tokio::select! {
                biased;
                order = &mut ordered => break order.ok(),
                () = tokio::time::sleep_until(next) => {}
            }
            let begun = Instant::now();
            let renewal = tokio::select! {
                order = &mut ordered => break order.ok(),
                renewal = self.renew(&holder) => renewal,
            };
            next = match renewal {
                Renewal::Done => begun + self.lease / 4,
                Renewal::Unanswered => Instant::now() + PAUSE.min(self.lease / 8),
                Renewal::Lost => {
                    tracing::info!("another relay has the lease; this one does not lead any more");
                    return;
                }
                Renewal::Late => {
                    drop(holder);
                    tracing::info!(
                        "the lease could not be renewed in time; this relay does not lead any more"
                    );
                    return self.release().await;
                }
            };
        };
        // The tenure is over before anybody else can know.
        drop(holder);
        if let Some(Order::Resign(done)) = order {
            self.release().await;
            // Who asked may have gone.
            let _told = done.send(());
        }
    }

    /// Once. It may be dropped at any point: it is unsure then whether it was written.
    pub(super) async fn renew(&mut self, holder: &TenureHolder) -> Renewal {
        let begun = Instant::now();
        if begun >= self.until {
            return Renewal::Late;
        }
        // Before it is sent: this is from when on a lease counts.
        let unsure_since = *self.unsure_since.get_or_insert(begun);
        let value = self.value.with_requests(self.requests.while_held());
        let sent = match self.register.write(&value, self.revision).await {
            Written::Is(revision) => {
                self.revision = revision;
                begun
            }
            Written::Not => match self.find_own().await {
                // One of the earlier tries did it.
                Some(true) => unsure_since,
                Some(false) => return Renewal::Lost,
                None => return Renewal::Unanswered,
            },
            Written::Unknown => return Renewal::Unanswered,
        };
        self.unsure_since = None;
        let until = sent + self.lease - self.lease / MARGIN;
        if Instant::now() >= self.until {
            return Renewal::Late;
        }
        if until > self.until {
            self.until = until;
            holder.extend(until);
        }
        Renewal::Done
    }

    /// Whether the key says that this one has the lease; its revision is the one to go on from then.
    async fn find_own(&mut self) -> Option<bool> {
        let (revision, held) = self.register.read().await.ok()?;
        let is_own = held.is_by(&self.value.tenure);
        if is_own {
            self.revision = revision;
        }
        Some(is_own)
    }

    /// Says that the lease is free, if it is still this one's.
    pub(super) async fn release(mut self) {
        let released = Value {
            is_released: true,
            ..self.value.with_requests(self.requests.once_released())
        };
        let give_up = async {
            loop {
                match self.register.write(&released, self.revision).await {
                    Written::Is(_) => return,
                    Written::Not => {
                        if self.find_own().await == Some(false) {
                            return;
                        }
                    }
                    Written::Unknown => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(RESIGN_PATIENCE, give_up)
            .await
            .is_err()
        {
            tracing::info!("the lease could not be given up; it runs out by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::{
        JetStream, JetStreamOptions,
        test_support::{options_of, server},
    };

    /// Whoever sees that the lease is free may act at once.
    #[tokio::test]
    async fn a_tenure_is_over_before_its_lease_is_given_up() {
        let Some(mut server) = server() else { return };
        // It does not run out meanwhile.
        let options = JetStreamOptions {
            lease: 4 * RESIGN_PATIENCE,
            ..options_of(&server)
        };
        let jetstream = JetStream::connect(&options).await.unwrap();
        let leads = jetstream.lead("one").await.unwrap();
        let tenure = leads.tenure();
        let over = tokio::spawn(async move {
            tenure.ended().await;
            Instant::now()
        });
        // Nobody answers, so that giving it up takes all of its patience.
        server.stop().unwrap();
        leads.resign().await;
        let resigned = Instant::now();
        let over = over.await.unwrap();
        assert!(over + RESIGN_PATIENCE / 2 < resigned, "it was held on to");
    }
}

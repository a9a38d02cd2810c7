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
    use tokio::time::sleep;

    use super::{super::requests::Requests, *};
    use crate::{
        Tenure,
        jetstream::{
            JetStream,
            test_support::{connect_with_lease, server},
        },
    };

    /// Whoever sees that the lease is free may act at once.
    #[tokio::test]
    async fn a_tenure_is_over_before_its_lease_is_given_up() {
        let Some(mut server) = server() else { return };
        let jetstream = connect_with_lease(&server, 20 * RESIGN_PATIENCE).await;
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

    /// Writes it, however slowly servers answer; its revision.
    async fn put(register: &Register, value: &Value, revision: u64) -> u64 {
        loop {
            match register.write(value, revision).await {
                Written::Is(revision) => return revision,
                // An earlier try did it.
                Written::Not => {
                    if let Ok((revision, _)) = register.read().await {
                        return revision;
                    }
                }
                Written::Unknown => {}
            }
        }
    }

    /// A keeper that just took the lease.
    async fn keeper(jetstream: &JetStream) -> (Keeper, TenureHolder, Tenure) {
        let register = jetstream.register();
        let lease = jetstream.options().lease;
        let value = Value::new("kept", lease);
        let (revision, _) = register.read().await.unwrap();
        let revision = put(&register, &value, revision).await;
        let until = Instant::now() + lease / 2;
        let (holder, tenure) = Tenure::until(until);
        let keeper = Keeper {
            register,
            lease,
            value,
            requests: Said::new(Requests::none()),
            revision,
            until,
            unsure_since: None,
        };
        (keeper, holder, tenure)
    }

    /// What becomes of a renewal that is tried until there is an answer, as it is kept.
    async fn renewed(keeper: &mut Keeper, holder: &TenureHolder) -> Renewal {
        loop {
            let renewal = keeper.renew(holder).await;
            if !matches!(renewal, Renewal::Unanswered) {
                return renewal;
            }
        }
    }

    #[tokio::test]
    async fn a_renewal_counts_from_before_it_was_sent() {
        let Some(mut server) = server() else { return };
        let jetstream = connect_with_lease(&server, Duration::from_secs(120)).await;
        let (mut keeper, holder, tenure) = keeper(&jetstream).await;
        let lasts = keeper.lease - keeper.lease / MARGIN;

        // The answer comes late.
        server.stop().unwrap();
        let begun = Instant::now();
        let (renewal, answers) = tokio::join!(renewed(&mut keeper, &holder), async {
            sleep(Duration::from_millis(600)).await;
            let answers = Instant::now();
            server.cont().unwrap();
            answers
        });
        assert!(matches!(renewal, Renewal::Done), "{renewal:?}");
        // It counts from before anybody could answer, and is more than there was.
        assert!((begun + lasts..answers + lasts).contains(&keeper.until));
        assert!(tenure.lasts(keeper.lease * 2 / 3) && !tenure.lasts(lasts));

        // The answer never comes: the key says that an earlier try did it.
        put(&keeper.register, &keeper.value, keeper.revision).await;
        let unsure = Instant::now();
        keeper.unsure_since = Some(unsure);
        sleep(Duration::from_millis(300)).await;
        let renewal = renewed(&mut keeper, &holder).await;
        assert!(matches!(renewal, Renewal::Done), "{renewal:?}");
        assert_eq!(keeper.until, unsure + lasts);
        let (revision, _) = keeper.register.read().await.unwrap();
        assert_eq!(keeper.revision, revision);

        // Another one has it.
        let other = Value::new("other", keeper.lease);
        let revision = put(&keeper.register, &other, keeper.revision).await;
        let renewal = renewed(&mut keeper, &holder).await;
        assert!(matches!(renewal, Renewal::Lost), "{renewal:?}");

        // It was over before it could be renewed; that nobody took it does not matter.
        keeper.revision = put(&keeper.register, &keeper.value, revision).await;
        keeper.until = Instant::now();
        let renewal = renewed(&mut keeper, &holder).await;
        assert!(matches!(renewal, Renewal::Late), "{renewal:?}");
    }
}

//! Whether this process may act outside on behalf of its queue.
//!
//! On a disk it always may: the files are its own. Of several relays only one may at a time, for as long as its
//! lease lasts. Who posts asks just before the bytes leave; what was under way when a tenure ended has an unknown
//! fate, and the next one to lead looks for it.
//!
//! Times are of tokio's clock, so that tests can pause it. A process that was stopped (SIGSTOP, a virtual machine that
//! is moved) finds its tenure over when it goes on, as the clock went on.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// For how long this process may act; clones are of the same tenure.
#[derive(Debug, Clone)]
pub struct Tenure(Option<watch::Receiver<Instant>>);

/// The other end: extends a tenure. It ends when this is dropped.
#[derive(Debug)]
pub struct TenureHolder(watch::Sender<Instant>);

impl Tenure {
    /// It never ends.
    pub fn always() -> Self {
        Self(None)
    }

    /// It lasts until an instant, and until it is extended.
    pub fn until(instant: Instant) -> (TenureHolder, Self) {
        let (holder, tenure) = watch::channel(instant);
        (TenureHolder(holder), Self(Some(tenure)))
    }

    /// Whether it lasts at least so long from now on.
    pub fn lasts(&self, at_least: Duration) -> bool {
        let Some(tenure) = &self.0 else { return true };
        let is_held = tenure.has_changed().is_ok();
        is_held && *tenure.borrow() > Instant::now() + at_least
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let Some(mut tenure) = self.0.clone() else {
            return std::future::pending().await;
        };
        loop {
            let until = *tenure.borrow_and_update();
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                changed = tenure.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl TenureHolder {
    /// It lasts until then from now on; what ended does not begin again.
    pub fn extend(&self, until: Instant) {
        self.0.send_if_modified(|held| {
            let lasts = *held > Instant::now() && until > *held;
            if lasts {
                *held = until;
            }
            lasts
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_lasts_until_its_instant_and_ends_with_its_holder() {
        let (holder, tenure) = Tenure::until(Instant::now() + 5 * SECOND);
        assert!(tenure.lasts(4 * SECOND) && !tenure.lasts(5 * SECOND));
        holder.extend(Instant::now() + 8 * SECOND);
        assert!(tenure.lasts(7 * SECOND));
        let clone = tenure.clone();
        drop(holder);
        clone.ended().await;
        assert!(!tenure.lasts(Duration::ZERO));
        assert!(Tenure::always().lasts(1_000 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_does_not_begin_again() {
        let (holder, tenure) = Tenure::until(Instant::now() + SECOND);
        let begun = Instant::now();
        tenure.ended().await;
        assert_eq!(begun.elapsed(), SECOND);
        holder.extend(Instant::now() + 5 * SECOND);
        assert!(!tenure.lasts(Duration::ZERO));
    }
}

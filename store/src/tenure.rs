//! Whether this process may act outside on behalf of its queue.
//!
//! On a disk it always may: the files are its own. Of several relays only one may at a time, for as long as its
//! lease lasts. Who posts asks just before the bytes leave; what was under way when a tenure ended has an unknown
//! fate, and the next one to lead looks for it.
//!
//! Times are of tokio's clock, so that tests can pause it. A process that was stopped (SIGSTOP) finds its tenure over
//! when it goes on, as the clock went on. On a machine that was suspended that clock may have stood still: so the wall
//! clock has to agree before anything is begun. Where it was set forward meanwhile, that only waits for the next
//! extension; nothing ends for it.

use std::time::{Duration, SystemTime};

use tokio::{sync::watch, time::Instant};

/// For how long this process may act; clones are of the same tenure.
#[derive(Debug, Clone)]
pub struct Tenure(Option<watch::Receiver<Until>>);

/// The other end: extends a tenure. It ends when this is dropped.
#[derive(Debug)]
pub struct TenureHolder(watch::Sender<Until>);

/// The same moment by both clocks.
#[derive(Debug, Clone, Copy)]
struct Until {
    instant: Instant,
    wall: SystemTime,
}

impl Until {
    fn at(instant: Instant) -> Self {
        let wall = SystemTime::now();
        let left = instant.saturating_duration_since(Instant::now());
        Self {
            instant,
            wall: wall.checked_add(left).unwrap_or(wall),
        }
    }

    /// Whether there is so much time before it, by both clocks.
    fn is_after(&self, at_least: Duration, now: Instant, wall: SystemTime) -> bool {
        let by_wall = wall
            .checked_add(at_least)
            .is_some_and(|then| self.wall > then);
        self.instant > now + at_least && by_wall
    }
}

impl Tenure {
    /// It never ends.
    pub fn always() -> Self {
        Self(None)
    }

    /// It lasts until an instant, and until it is extended.
    pub fn until(instant: Instant) -> (TenureHolder, Self) {
        let (holder, tenure) = watch::channel(Until::at(instant));
        (TenureHolder(holder), Self(Some(tenure)))
    }

    /// Whether it lasts at least so long from now on.
    pub fn lasts(&self, at_least: Duration) -> bool {
        let Some(tenure) = &self.0 else { return true };
        let is_held = tenure.has_changed().is_ok();
        let until = *tenure.borrow();
        is_held && until.is_after(at_least, Instant::now(), SystemTime::now())
    }

    /// Whether it has ended, and so does not begin again.
    pub fn has_ended(&self) -> bool {
        let Some(tenure) = &self.0 else { return false };
        tenure.has_changed().is_err() || tenure.borrow().instant <= Instant::now()
    }

    /// Waits until it lasts at least so long: for ever, where it has ended. Whoever waits for both wakes in any order, so
    /// that an end must not look like a beginning.
    pub async fn lasting(&self, at_least: Duration) {
        let Some(mut tenure) = self.0.clone() else {
            return;
        };
        loop {
            let until = tenure.borrow_and_update().instant;
            if self.lasts(at_least) {
                return;
            }
            if self.has_ended() {
                return std::future::pending().await;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                // Where its holder is gone, it has ended.
                _ = tenure.changed() => {}
            }
        }
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let Some(mut tenure) = self.0.clone() else {
            return std::future::pending().await;
        };
        loop {
            let until = tenure.borrow_and_update().instant;
            // It may have been extended just now: who is told that it has ended finds it so.
            if self.has_ended() {
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
            let lasts = held.instant > Instant::now() && until > held.instant;
            if lasts {
                *held = Until::at(until);
            }
            lasts
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall clock goes on where tokio's is paused: so long no test takes.
    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn it_lasts_until_its_instant_and_ends_with_its_holder() {
        let (holder, tenure) = Tenure::until(Instant::now() + 5 * MINUTE);
        assert!(tenure.lasts(4 * MINUTE) && !tenure.lasts(5 * MINUTE));
        holder.extend(Instant::now() + 8 * MINUTE);
        assert!(tenure.lasts(7 * MINUTE));
        let clone = tenure.clone();
        drop(holder);
        clone.ended().await;
        assert!(!tenure.lasts(Duration::ZERO));
        assert!(Tenure::always().lasts(1_000 * MINUTE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_does_not_begin_again() {
        let (holder, tenure) = Tenure::until(Instant::now() + MINUTE);
        let begun = Instant::now();
        tenure.ended().await;
        assert_eq!(begun.elapsed(), MINUTE);
        holder.extend(Instant::now() + 5 * MINUTE);
        assert!(!tenure.lasts(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_it_to_last_longer_goes_on_when_it_is_extended_and_never_after_its_end() {
        let begun = Instant::now();
        let (holder, tenure) = Tenure::until(begun + 2 * MINUTE);
        let waiting = tokio::spawn({
            let tenure = tenure.clone();
            async move { tenure.lasting(3 * MINUTE).await }
        });
        tokio::time::sleep(MINUTE).await;
        assert!(!waiting.is_finished() && !tenure.has_ended());
        holder.extend(Instant::now() + 4 * MINUTE);
        waiting.await.expect("no panic");
        assert_eq!(begun.elapsed(), MINUTE);
        let longer = tenure.lasting(9 * MINUTE);
        tokio::pin!(longer);
        let while_it_lasts = tokio::time::timeout(30 * MINUTE, &mut longer).await;
        assert!(while_it_lasts.is_err() && tenure.has_ended());
        drop(holder);
        assert!(tokio::time::timeout(MINUTE, longer).await.is_err());
        assert!(
            tokio::time::timeout(MINUTE, tenure.lasting(Duration::ZERO))
                .await
                .is_err()
        );
    }

    /// Wakes come in any order.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn its_end_is_never_taken_for_its_lasting() {
        for _ in 0..2_000 {
            let (holder, tenure) = Tenure::until(Instant::now() + 20 * MINUTE);
            let waiting = tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = tenure.ended() => false,
                    () = tenure.lasting(30 * MINUTE) => true,
                }
            });
            tokio::task::yield_now().await;
            drop(holder);
            assert!(!waiting.await.expect("no panic"));
        }
    }

    /// As on a machine that was suspended.
    #[tokio::test(start_paused = true)]
    async fn where_the_clock_stood_still_the_wall_clock_keeps_it_from_being_used() {
        let until = Until::at(Instant::now() + 5 * MINUTE);
        let (now, wall) = (Instant::now(), until.wall - 5 * MINUTE);
        assert!(until.is_after(4 * MINUTE, now, wall));
        assert!(!until.is_after(MINUTE, now, wall + 60 * MINUTE));
        assert!(!until.is_after(MINUTE, now + 4 * MINUTE, wall));
        assert!(until.is_after(MINUTE, now, wall - 60 * MINUTE), "set back");
    }
}

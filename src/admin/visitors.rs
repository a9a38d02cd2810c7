//! Who is connected to the admin port, and who gives way.
//!
//! Invariants:
//! * a newcomer never waits: when all places are taken, the one who has been here longest without a token goes;
//! * who has shown a token keeps its place, and these are never so many that nothing is left for others: a probe is
//!   answered whoever else is here;
//! * who has shown none is gone after [`STRANGER_TIMEOUT`], whatever it does or does not read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

/// Enough for every scraper and a person.
const CONNECTIONS_MAX: usize = 64;
/// Of those who have shown a token; what is left is for probes.
const KNOWN_MAX: usize = 48;
/// For all that is done without a token on one connection.
pub(super) const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Default)]
pub(super) struct Visitors(Mutex<Present>);

#[derive(Default)]
struct Present {
    next_number: u64,
    strangers: BTreeMap<u64, Arc<Notify>>,
    known: usize,
}

/// One of them, until it is dropped.
pub(super) struct Visitor {
    visitors: Arc<Visitors>,
    number: u64,
    gives_way: Arc<Notify>,
    is_known: AtomicBool,
}

impl Visitors {
    /// Lets a newcomer in.
    pub(super) fn enter(self: &Arc<Self>) -> Visitor {
        let mut present = self.present();
        while present.strangers.len() + present.known >= CONNECTIONS_MAX {
            // There is one: of the known there are fewer than places.
            let Some((_, oldest)) = present.strangers.pop_first() else {
                break;
            };
            oldest.notify_one();
        }
        let number = present.next_number;
        present.next_number += 1;
        let gives_way = Arc::new(Notify::new());
        present.strangers.insert(number, Arc::clone(&gives_way));
        Visitor {
            visitors: Arc::clone(self),
            number,
            gives_way,
            is_known: AtomicBool::new(false),
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor {
    /// It has shown a token that counts.
    pub(super) fn shows_token(&self) {
        let mut present = self.visitors.present();
        let has_room = present.known < KNOWN_MAX;
        if has_room && present.strangers.remove(&self.number).is_some() {
            present.known += 1;
            self.is_known.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Waits until it has to go.
    pub(super) async fn has_to_go(&self) {
        tokio::select! {
            () = self.gives_way.notified() => {}
            () = sleep(STRANGER_TIMEOUT) => {
                if self.is_known() {
                    std::future::pending().await
                }
            }
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut present = self.visitors.present();
        if self.is_known() {
            present.known -= 1;
        } else {
            present.strangers.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    async fn goes(visitor: &Visitor) -> bool {
        timeout(MOMENT, visitor.has_to_go()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_gives_way_and_nobody_else() {
        let visitors = Arc::new(Visitors::default());
        let mut here: Vec<_> = (0..CONNECTIONS_MAX).map(|_| visitors.enter()).collect();
        for visitor in &here {
            visitor.shows_token();
        }
        let known = here.iter().filter(|one| one.is_known()).count();
        assert_eq!(known, KNOWN_MAX, "some places are left to probes");
        for stranger in KNOWN_MAX..CONNECTIONS_MAX {
            assert!(!goes(&here[stranger]).await);
            here.push(visitors.enter());
            assert!(goes(&here[stranger]).await, "{stranger}");
        }
        assert!(!goes(here.last().expect("one")).await);
        assert!(!goes(&here[0]).await);
        drop(here);
        let present = visitors.present();
        assert_eq!((present.known, present.strangers.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_gone_in_time_and_who_has_a_token_stays() {
        let visitors = Arc::new(Visitors::default());
        let (stranger, known) = (visitors.enter(), visitors.enter());
        known.shows_token();
        let began = Instant::now();
        stranger.has_to_go().await;
        assert_eq!(began.elapsed(), STRANGER_TIMEOUT);
        let stays = timeout(STRANGER_TIMEOUT * 100, known.has_to_go()).await;
        assert!(stays.is_err());
    }
}

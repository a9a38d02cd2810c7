//! Places for connections: as many as `connections_max`, and who gives way when all are taken.
//!
//! Invariants:
//! * a newcomer never waits: it has a place at once, or there is none for it;
//! * when all are taken it gets that of the connection that has kept us waiting longest, in the order
//!   of [`Wait`]; one whose request we have whole, or whose body comes fast enough, keeps its place;
//! * those who were asked to go are bounded as well ([`LEAVING_MAX`]): each is an open file until it has.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;

use crate::clock::{Clock, Standing, Wait};

/// Connections that may be on their way out at once.
const LEAVING_MAX: usize = 512;
/// How many that would go next are remembered: a flood must not cost a look at every connection for
/// each newcomer.
const NEXT_MAX: usize = 64;

/// All places.
pub(crate) struct Places {
    places_max: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    clocks: HashMap<u64, Arc<Clock>>,
    next_number: u64,
    leaving: usize,
    /// Who goes next, the last one first.
    next: Vec<(Standing, u64)>,
}

/// A place that is taken; given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    pub(crate) fn new(places_max: usize) -> Arc<Self> {
        Arc::new(Self {
            places_max: AtomicUsize::new(places_max),
            open: Mutex::default(),
        })
    }

    /// Exchanges the number of places. Where more are taken, those who can give way do when a newcomer comes.
    pub(crate) fn set_max(&self, places_max: usize) {
        self.places_max.store(places_max, Ordering::Relaxed);
    }

    /// A place for a newcomer, if there is one or somebody gives way.
    pub(crate) fn enter(self: &Arc<Self>, clock: &Arc<Clock>) -> Option<Place> {
        let mut open = self.open();
        let places_max = self.places_max.load(Ordering::Relaxed);
        while open.clocks.len() >= places_max {
            if !open.send_one_away(Instant::now()) {
                return None;
            }
        }
        let number = open.next_number;
        open.next_number += 1;
        open.clocks.insert(number, Arc::clone(clock));
        Some(Place {
            places: Arc::clone(self),
            number,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn send_one_away(&mut self, now: Instant) -> bool {
        if self.leaving >= LEAVING_MAX {
            return false;
        }
        // Twice: what was remembered may have gone or done something since.
        for _ in 0..2 {
            while let Some((standing, number)) = self.next.pop() {
                let Some(clock) = self.clocks.get(&number) else {
                    continue;
                };
                if clock.leave(standing, now) {
                    self.clocks.remove(&number);
                    self.leaving += 1;
                    return true;
                }
            }
            self.look(now);
        }
        false
    }

    /// Finds who goes next. More than one is remembered only of those who never proved anything: of
    /// the others one goes, and the newcomer after that may find somebody less worthy in its place.
    fn look(&mut self, now: Instant) {
        let all = self.clocks.iter();
        let mut waited_for: Vec<_> = all
            .filter_map(|(number, clock)| Some((clock.standing(now)?, *number)))
            .collect();
        waited_for.sort_unstable();
        let unproven = waited_for
            .iter()
            .take_while(|(standing, _)| standing.wait == Wait::Unproven)
            .count();
        waited_for.truncate(unproven.clamp(1, NEXT_MAX));
        waited_for.reverse();
        self.next = waited_for;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        if open.clocks.remove(&self.number).is_none() {
            open.leaving -= 1;
        }
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;

//! A limiter on tokio's clock, which another one may take the place of while somebody waits for it.
//!
//! Invariant: at an exchange nothing goes earlier than the new pace alone would let it, after what went last.

use std::{
    num::NonZeroU32,
    ops::Add,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// Tokio's clock for governor, so that tests can pause it.
#[derive(Debug, Clone)]
struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(Instant);

impl Add<Nanos> for Tick {
    type Output = Self;
    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Clock for TokioClock {
    type Instant = Tick;
    fn now(&self) -> Tick {
        Tick(Instant::now())
    }
}

/// A limiter that says how much of its burst is left.
type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>;

fn limiter(interval: Duration, burst: NonZeroU32) -> Limiter {
    let quota = Quota::with_period(interval.max(Duration::from_millis(1)))
        .expect("the interval is not zero")
        .allow_burst(burst);
    RateLimiter::direct_with_clock(quota, TokioClock).with_middleware()
}

/// A limiter that another one may take the place of, also for those who wait for it.
#[derive(Debug)]
pub(crate) struct Limited {
    now: Mutex<Now>,
    exchanged: Notify,
}

#[derive(Debug)]
struct Now {
    limiter: Arc<Limiter>,
    interval: Duration,
    burst: NonZeroU32,
    /// When it last allowed something, or that happened, which may be later.
    last: Option<Instant>,
}

impl Limited {
    pub(crate) fn new(interval: Duration, burst: NonZeroU32) -> Self {
        Self {
            now: Mutex::new(Now {
                limiter: Arc::new(limiter(interval, burst)),
                interval,
                burst,
                last: None,
            }),
            exchanged: Notify::new(),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allows nothing that it would allow at once: as if all of it had been used now.
    pub(crate) fn empty(&self) {
        let mut now = self.now();
        while now.limiter.check().is_ok() {}
        now.last = Some(Instant::now());
    }

    /// Waits until it allows one more, and counts it; how many more it would allow at once.
    pub(crate) async fn ready(&self) -> u32 {
        loop {
            let mut exchanged = pin!(self.exchanged.notified());
            exchanged.as_mut().enable();
            let limiter = Arc::clone(&self.now().limiter);
            match limiter.check() {
                Ok(state) => {
                    self.now().last = Some(Instant::now());
                    return state.remaining_burst_capacity();
                }
                Err(not_yet) => {
                    let wait = not_yet.wait_time_from(TokioClock.now());
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = exchanged => {}
                    }
                }
            }
        }
    }

    /// How often it allows one, and how many at once.
    pub(crate) fn quota(&self) -> (Duration, u32) {
        let now = self.now();
        (now.interval, now.burst.get())
    }

    /// What it allowed happens only now.
    pub(crate) fn happens(&self) {
        self.now().last = Some(Instant::now());
    }

    /// Another pace from now on; `false` if it is the same. What was allowed within its interval counts as all that it allows at once: rather a
    /// little late than too early.
    pub(crate) fn exchange(&self, interval: Duration, burst: NonZeroU32) -> bool {
        let mut now = self.now();
        if (now.interval, now.burst) == (interval, burst) {
            return false;
        }
        let new = limiter(interval, burst);
        if now.last.is_some_and(|last| last.elapsed() < interval) {
            while new.check().is_ok() {}
        }
        now.limiter = Arc::new(new);
        (now.interval, now.burst) = (interval, burst);
        drop(now);
        self.exchanged.notify_waiters();
        true
    }
}

//! What a connection is doing, and since when: who keeps whom waiting.
//!
//! hyper's own `header_read_timeout` (1.12, `proto/h1/conn.rs`) also runs while a connection is idle,
//! and would close it after those few seconds. The API server keeps idle connections for 90 s and
//! loses a batch's try when it writes to one that is just being closed. So the time of a head is taken
//! here, from its first byte; that is also where a request's duration begins.
//!
//! Invariants:
//! * idle: nothing is asked of us; limited by the idle timeout;
//! * head: bytes came and made no request yet; limited by the header timeout. On HTTP/2 that is until
//!   the first request alone: later bytes may be pings, and what is dribbled there is bounded in size;
//! * busy: a request is received or worked on, or what was refused of it is read away; its own limits
//!   hold;
//! * a connection that owes an answer for a request it has whole never gives way. One that is quiet, or
//!   sends its body more slowly than it has to, does, in the order of [`Wait`];
//! * whoever resets request after request without waiting for one answer is sent away;
//! * so is whoever takes none of its answers for [`UNREAD_TIMEOUT`], whatever else it does meanwhile: what it
//!   asks behind them would wait for them without a limit of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Requests in a row that a client may take back before they are answered. An API server takes back
/// what was not answered within 30 s: a connection's worth at most, and only if the relay hangs.
pub(crate) const RESETS_IN_A_ROW_MAX: u32 = 1_000;
/// How long a peer may take no byte of what is written to it.
pub(crate) const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
    /// 0: a body may come as slowly as it likes.
    pub(crate) body_bytes_per_second_min: u64,
}

/// Why a connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing was asked for too long.
    Idle,
    /// A request's head took too long.
    Head,
    /// Its place is another's now. `is_quiet`: it was not sending anything.
    GaveWay { is_quiet: bool },
    /// Too many requests were taken back.
    Resets,
    /// Answers were not read for too long.
    Unread,
}

/// What a connection keeps us waiting for; the first gives way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    /// For anything at all: a handshake, a head, a body that comes too slowly, a request that could be
    /// answered 200.
    Unproven,
    /// For a body that comes too slowly, or for the head of another request.
    Behind,
    /// For another request.
    Idle,
}

/// What a connection keeps us waiting for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    pub(crate) wait: Wait,
    since: Instant,
}

/// What holds while no request is under way.
#[derive(Debug, Clone, Copy)]
enum Quiet {
    Idle { since: Instant },
    Head { since: Instant },
}

#[derive(Debug, Clone, Copy)]
enum Progress {
    /// At the slowest pace allowed, what has come would have taken until then.
    Receiving { paid_until: Instant },
    /// All of it is here.
    Owed,
}

struct State {
    quiet: Quiet,
    exchanges: BTreeMap<u64, Progress>,
    next_exchange: u64,
    first_byte: Option<u8>,
    is_http2: bool,
    /// A request of it was answered 200.
    is_proven: bool,
    is_leaving: bool,
    resets_in_a_row: u32,
    /// Nothing of what is written has been taken since.
    unread_since: Option<Instant>,
}

/// One connection's clock.
pub(crate) struct Clock {
    patience: Patience,
    state: Mutex<State>,
    changed: Notify,
}

impl Clock {
    pub(crate) fn start(patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            patience,
            state: Mutex::new(State {
                quiet: Quiet::Idle {
                    since: Instant::now(),
                },
                exchanges: BTreeMap::new(),
                next_exchange: 0,
                first_byte: None,
                is_http2: false,
                is_proven: false,
                is_leaving: false,
                resets_in_a_row: 0,
                unread_since: None,
            }),
            changed: Notify::new(),
        })
    }

    /// From now on HTTP/2 is spoken: whoever agreed to that has a request to send.
    pub(crate) fn speaks_http2(&self) {
        let mut state = self.state();
        state.is_http2 = true;
        state.quiet = Quiet::Head {
            since: Instant::now(),
        };
    }

    /// A request's head is complete.
    pub(crate) fn begin(self: &Arc<Self>) -> Exchange {
        let now = Instant::now();
        let mut state = self.state();
        let started = match state.quiet {
            Quiet::Head { since } if state.exchanges.is_empty() && !state.is_http2 => since,
            // When its first byte came cannot be told from other bytes.
            Quiet::Head { .. } | Quiet::Idle { .. } => now,
        };
        state.quiet = Quiet::Idle { since: now };
        let number = state.next_exchange;
        state.next_exchange += 1;
        let receiving = Progress::Receiving { paid_until: now };
        state.exchanges.insert(number, receiving);
        self.changed.notify_one();
        Exchange {
            clock: Arc::clone(self),
            number,
            started,
            is_answered: false,
        }
    }

    /// Waits until a limit is exceeded, or the place is given to another.
    pub(crate) async fn expired(&self) -> Expired {
        loop {
            let (deadline, what) = match self.due() {
                Err(expired) => return expired,
                Ok(due) => due,
            };
            let reached = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = reached => return what,
            }
        }
    }

    /// What is over already, or else what will be and when.
    fn due(&self) -> Result<(Option<Instant>, Expired), Expired> {
        let state = self.state();
        if state.is_leaving {
            let is_quiet = state.exchanges.is_empty() && matches!(state.quiet, Quiet::Idle { .. });
            return Err(Expired::GaveWay { is_quiet });
        }
        if state.resets_in_a_row > RESETS_IN_A_ROW_MAX {
            return Err(Expired::Resets);
        }
        if let Some(since) = state.unread_since {
            return Ok((Some(since + UNREAD_TIMEOUT), Expired::Unread));
        }
        let is_busy = !state.exchanges.is_empty();
        let (deadline, what) = match state.quiet {
            Quiet::Idle { since } => (since + self.patience.idle, Expired::Idle),
            Quiet::Head { since } => (since + self.patience.header, Expired::Head),
        };
        Ok(((!is_busy).then_some(deadline), what))
    }

    /// Waits until the place is given to another: all that ends a handshake beside its own time.
    pub(crate) async fn gave_way(&self) {
        while !self.state().is_leaving {
            self.changed.notified().await;
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.state().exchanges.is_empty()
    }

    /// What it keeps us waiting for; `None` if it does not, or is leaving already.
    pub(crate) fn standing(&self, now: Instant) -> Option<Standing> {
        self.state().standing(now)
    }

    /// Asks the connection to go, if it still stands as it did.
    pub(crate) fn leave(&self, standing: Standing, now: Instant) -> bool {
        let mut state = self.state();
        if state.standing(now) != Some(standing) {
            return false;
        }
        state.is_leaving = true;
        self.changed.notify_one();
        true
    }

    pub(crate) fn first_byte(&self) -> Option<u8> {
        self.state().first_byte
    }

    /// Bytes came, of which this is the first.
    pub(crate) fn bytes_came(&self, first: u8) {
        let mut state = self.state();
        state.first_byte.get_or_insert(first);
        let is_idle = matches!(state.quiet, Quiet::Idle { .. }) && state.exchanges.is_empty();
        if is_idle && !state.is_http2 {
            state.quiet = Quiet::Head {
                since: Instant::now(),
            };
            self.changed.notify_one();
        }
    }

    /// Something was to be written: whether the peer took any of it.
    pub(crate) fn wrote(&self, is_taken: bool) {
        let mut state = self.state();
        if is_taken == state.unread_since.is_some() {
            state.unread_since = (!is_taken).then(Instant::now);
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn standing(&self, now: Instant) -> Option<Standing> {
        if self.is_leaving {
            return None;
        }
        // The one that does best speaks for all requests of a connection.
        let mut best = None;
        for progress in self.exchanges.values() {
            match progress {
                Progress::Owed => return None,
                Progress::Receiving { paid_until } => best = best.max(Some(*paid_until)),
            }
        }
        let (wait, since) = match (best, self.quiet, self.is_proven) {
            (Some(paid_until), _, _) if paid_until > now => return None,
            // A head is quickly written: whoever sends nothing behind it has proven nothing.
            (Some(paid_until), _, false) => (Wait::Unproven, paid_until),
            (Some(paid_until), _, true) => (Wait::Behind, paid_until),
            (None, Quiet::Head { since } | Quiet::Idle { since }, false) => (Wait::Unproven, since),
            (None, Quiet::Head { since }, true) => (Wait::Behind, since),
            (None, Quiet::Idle { since }, true) => (Wait::Idle, since),
        };
        Some(Standing { wait, since })
    }
}

/// One request and its answer; ends when dropped.
pub(crate) struct Exchange {
    clock: Arc<Clock>,
    number: u64,
    /// When the head's first byte came, as far as that can be told.
    pub(crate) started: Instant,
    is_answered: bool,
}

impl Exchange {
    /// So much of the body came.
    pub(crate) fn received(&self, bytes: usize) {
        let pace = self.clock.patience.body_bytes_per_second_min;
        let paid = time_at(pace, bytes as u64);
        if let Some(Progress::Receiving { paid_until }) =
            self.clock.state().exchanges.get_mut(&self.number)
        {
            *paid_until += paid;
        }
    }

    /// All of the request is here.
    pub(crate) fn complete(&self) {
        let mut state = self.clock.state();
        state.exchanges.insert(self.number, Progress::Owed);
    }

    /// The answer is known. The client may still be sending.
    pub(crate) fn answered(&mut self, is_stored: bool) {
        self.is_answered = true;
        let now = Instant::now();
        let mut state = self.clock.state();
        state.resets_in_a_row = 0;
        state.is_proven |= is_stored;
        let rest = Progress::Receiving { paid_until: now };
        state.exchanges.insert(self.number, rest);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.clock.state();
        state.exchanges.remove(&self.number);
        if !self.is_answered {
            state.resets_in_a_row += 1;
        }
        if state.exchanges.is_empty() {
            state.quiet = Quiet::Idle {
                since: Instant::now(),
            };
        }
        self.clock.changed.notify_one();
    }
}

/// How long so many bytes take at a pace; no time at all without one.
pub(crate) fn time_at(bytes_per_second: u64, bytes: u64) -> Duration {
    let microseconds = bytes
        .saturating_mul(1_000_000)
        .checked_div(bytes_per_second);
    Duration::from_micros(microseconds.unwrap_or(0))
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;

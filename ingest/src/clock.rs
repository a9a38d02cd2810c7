//! What a connection is doing, and since when: seen from the bytes that come in.
//!
//! hyper's own `header_read_timeout` (1.12, `proto/h1/conn.rs`) also runs while a connection is idle,
//! and would close it after those few seconds. The API server keeps idle connections for 90 s and
//! loses a batch's try when it writes to one that is just being closed. So the time of a head is taken
//! here, from its first byte; that is also where a request's duration begins.
//!
//! Invariants:
//! * idle: no byte since the last answer (or ever); limited by the idle timeout;
//! * head: bytes came and made no request yet; limited by the header timeout;
//! * busy: a request is worked on, or what was refused of it is read away; its own limits hold.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::Instant,
};

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle { since: Instant },
    Head { since: Instant },
    Busy { exchange: u64 },
}

/// Why a connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing came for too long.
    Idle,
    /// A request's head took too long.
    Head,
}

/// One connection's clock.
pub(crate) struct Clock {
    header_timeout: Duration,
    idle_timeout: Duration,
    phase: Mutex<Phase>,
    exchanges: AtomicU64,
    changed: Notify,
}

impl Clock {
    pub(crate) fn start(header_timeout: Duration, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            header_timeout,
            idle_timeout,
            phase: Mutex::new(Phase::Idle {
                since: Instant::now(),
            }),
            exchanges: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    /// A request's head is complete.
    pub(crate) fn begin(self: &Arc<Self>) -> Exchange {
        let exchange = self.exchanges.fetch_add(1, Ordering::Relaxed);
        let before = std::mem::replace(&mut *self.phase(), Phase::Busy { exchange });
        let started = match before {
            Phase::Head { since } => since,
            // Its bytes came together with those of the request before it.
            Phase::Idle { .. } | Phase::Busy { .. } => Instant::now(),
        };
        Exchange {
            clock: Arc::clone(self),
            exchange,
            started,
        }
    }

    /// Waits until a limit is exceeded.
    pub(crate) async fn expired(&self) -> Expired {
        loop {
            let phase = *self.phase();
            let (deadline, what) = match phase {
                Phase::Idle { since } => (since + self.idle_timeout, Expired::Idle),
                Phase::Head { since } => (since + self.header_timeout, Expired::Head),
                Phase::Busy { .. } => {
                    self.changed.notified().await;
                    continue;
                }
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(deadline) => return what,
            }
        }
    }

    fn bytes_came(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle { .. }) {
            *phase = Phase::Head {
                since: Instant::now(),
            };
            self.changed.notify_one();
        }
    }

    fn end(&self, ended: u64) {
        let mut phase = self.phase();
        // A client that is quick may have begun the next one before the rest of this was dropped.
        if matches!(*phase, Phase::Busy { exchange } if exchange == ended) {
            *phase = Phase::Idle {
                since: Instant::now(),
            };
            self.changed.notify_one();
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request and its answer; ends when dropped.
pub(crate) struct Exchange {
    clock: Arc<Clock>,
    exchange: u64,
    /// When the head's first byte came.
    pub(crate) started: Instant,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.clock.end(self.exchange);
    }
}

/// A stream that tells its clock when bytes come.
pub(crate) struct Clocked {
    pub(crate) stream: TcpStream,
    pub(crate) clock: Arc<Clock>,
}

impl AsyncRead for Clocked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.clock.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Clocked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(180);

    async fn expires_after(clock: &Clock, limit: Duration, expected: Expired) {
        let begun = Instant::now();
        assert_eq!(clock.expired().await, expected);
        assert_eq!(begun.elapsed(), limit);
    }

    #[tokio::test(start_paused = true)]
    async fn idling_and_a_head_have_their_own_limits_and_work_has_none() {
        let clock = Clock::start(HEADER, IDLE);
        expires_after(&clock, IDLE, Expired::Idle).await;

        clock.bytes_came();
        let first_byte = Instant::now();
        tokio::time::advance(HEADER / 2).await;
        clock.bytes_came();
        expires_after(&clock, HEADER / 2, Expired::Head).await;

        let exchange = clock.begin();
        assert_eq!(exchange.started, first_byte);
        clock.bytes_came();
        let forever = tokio::time::timeout(IDLE * 10, clock.expired()).await;
        assert!(forever.is_err());
        drop(exchange);
        expires_after(&clock, IDLE, Expired::Idle).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_that_ends_late_does_not_end_the_next_one() {
        let clock = Clock::start(HEADER, IDLE);
        let first = clock.begin();
        let second = clock.begin();
        drop(first);
        assert!(matches!(*clock.phase(), Phase::Busy { .. }));
        drop(second);
        assert!(matches!(*clock.phase(), Phase::Idle { .. }));
    }
}

//! Reading a request's body within the memory that all of them share.
//!
//! Invariants:
//! * a byte is reserved before it is kept, and nobody waits for the budget: who finds none free is
//!   told to come again;
//! * who announces much and sends little holds little: reserved is eight times what has come
//!   ([`AHEAD`]), [`AHEAD_BYTES_MIN`] at least, and never more than was announced. Were all of it reserved
//!   at once, four slow clients that announce 64 MiB each would shut everybody out;
//! * of many large bodies that come at once some are taken whole: whoever cannot have its next step is
//!   refused when an eighth of that step has come, and frees the rest for others. Were memory reserved
//!   piece by piece, all of them would get half-way, none further, and again so at each try;
//! * one that does not announce its length (the API server never sends such) reserves each piece as it
//!   comes: it has not said what it needs;
//! * no memory is touched for what has not come;
//! * after [`PACE_GRACE`] a body has to have come at `body_bytes_per_second_min` on average;
//! * a [`Reservation`] lives as long as the bytes, or anything that still borrows from them.
//!
//! The budget counts bytes of bodies. While a body is worked on, its events stand in memory a second
//! time, redacted; [`crate::accept`] bounds how many are worked on at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use prometheus::IntGauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    clock::{Exchange, time_at},
    metrics::Metrics,
    refusal::{Reason, Refusal},
};

/// How many times of what has come is reserved.
const AHEAD: usize = 8;
/// What is reserved at least, of a body that is as long.
const AHEAD_BYTES_MIN: usize = 64 * 1024;
/// How long a body may come at any pace.
const PACE_GRACE: Duration = Duration::from_secs(5);
/// How long the rest of a refused body is read for.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory for bodies, in bytes.
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    bytes_max: AtomicUsize,
    in_use: IntGauge,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize, in_use: IntGauge) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(bytes_max)),
            bytes_max: AtomicUsize::new(bytes_max),
            in_use,
        }
    }

    /// Exchanges the bound. What is reserved beyond a smaller one is taken back as it comes free.
    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        let before = self.bytes_max.swap(bytes_max, Ordering::Relaxed);
        self.free.add_permits(bytes_max.saturating_sub(before));
        let mut too_many = before.saturating_sub(bytes_max);
        too_many -= self.free.forget_permits(too_many);
        while too_many > 0 {
            let part = u32::try_from(too_many).unwrap_or(u32::MAX);
            too_many -= part as usize;
            let free = Arc::clone(&self.free);
            tokio::spawn(async move {
                // Whoever waits has what comes free before those who only try.
                if let Ok(permits) = free.acquire_many_owned(part).await {
                    permits.forget();
                }
            });
        }
    }

    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<Reservation, Refusal> {
        let reserved = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| Arc::clone(&self.free).try_acquire_many_owned(bytes).ok());
        let Some(permit) = reserved else {
            return Err(Refusal::new(
                Reason::BytesInFlight,
                "requests hold as much memory as ingest.bytes_in_flight_max allows; send again",
            ));
        };
        self.in_use.add(bytes as i64);
        Ok(Reservation {
            permit,
            in_use: self.in_use.clone(),
        })
    }
}

/// A part of the budget; given back when dropped.
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
    in_use: IntGauge,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    pub(crate) fn grow(&mut self, budget: &Budget, bytes: usize) -> Result<(), Refusal> {
        let mut more = budget.try_reserve(bytes)?;
        // The gauge counted it once; an empty permit is what is left to drop.
        if let Some(permit) = more.permit.split(bytes) {
            self.permit.merge(permit);
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.in_use.sub(self.permit.num_permits() as i64);
    }
}

/// A whole body, and the memory it has.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reservation: Reservation,
}

/// How long, and how slowly, a body may come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    pub(crate) timeout: Duration,
    /// 0: as slowly as it likes.
    pub(crate) bytes_per_second_min: u64,
}

impl BodyLimits {
    /// Until when the next piece of a body has to come, and what is said if it does not.
    fn next_by(&self, begun: Instant, bytes: usize) -> (Instant, Refusal) {
        let deadline = begun + self.timeout;
        if self.bytes_per_second_min > 0 {
            let paid = time_at(self.bytes_per_second_min, bytes as u64);
            let paced = begun + paid.max(PACE_GRACE);
            if paced < deadline {
                return (paced, too_slow());
            }
        }
        (deadline, too_late())
    }
}

/// Reads a body to its end. Waits for the client alone, and not for long.
pub(crate) async fn read(
    body: &mut Incoming,
    limits: BodyLimits,
    budget: &Budget,
    metrics: &Metrics,
    exchange: &Exchange,
) -> Result<Received, Refusal> {
    let bytes_max = limits.bytes_max;
    let announced = match body.size_hint().exact() {
        None => None,
        Some(announced) => match usize::try_from(announced) {
            Ok(announced) if announced <= bytes_max => Some(announced),
            _ => return Err(Refusal::body_too_large(bytes_max)),
        },
    };
    let begun = Instant::now();
    let mut reservation = budget.try_reserve(ahead(announced, 0))?;
    let mut bytes = Vec::with_capacity(reservation.bytes());
    loop {
        let (deadline, refusal) = limits.next_by(begun, bytes.len());
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_elapsed) => return Err(refusal),
            Ok(None) => return Ok(Received { bytes, reservation }),
            Ok(Some(Err(_))) => return Err(broken()),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue; // Trailers say nothing here.
        };
        metrics.received_bytes.inc_by(data.len() as u64);
        exchange.received(data.len());
        let length = bytes.len() + data.len();
        if length > bytes_max {
            return Err(Refusal::body_too_large(bytes_max));
        }
        if length > reservation.bytes() {
            reservation.grow(budget, ahead(announced, length) - reservation.bytes())?;
            // Addresses, not memory: no page is touched before its bytes come.
            if announced.is_some() {
                bytes.reserve_exact(reservation.bytes() - bytes.len());
            }
        }
        bytes.extend_from_slice(&data);
    }
}

/// What has to be reserved once so much has come; never less than that.
fn ahead(announced: Option<usize>, bytes: usize) -> usize {
    match announced {
        None => bytes,
        Some(announced) => bytes
            .saturating_mul(AHEAD)
            .max(AHEAD_BYTES_MIN)
            .min(announced)
            .max(bytes),
    }
}

/// Reads the rest of a refused body and keeps none of it. The answer is on its way already: were the
/// connection closed over bytes not read, the client's kernel would drop the answer and the client
/// see a reset, without the `Retry-After`.
pub(crate) async fn discard(mut body: Incoming, exchange: Exchange) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Past the timeout the body is dropped unread, which closes the connection, or resets the request.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
    drop(exchange);
}

fn too_late() -> Refusal {
    Refusal::new(
        Reason::BodyTimeout,
        "the body took longer than ingest.body_timeout_seconds; check the network on the way",
    )
}

fn too_slow() -> Refusal {
    Refusal::new(
        Reason::BodyTooSlow,
        "the body came more slowly than ingest.body_bytes_per_second_min for over 5 s; check the network on \
         the way",
    )
}

fn broken() -> Refusal {
    Refusal::new(
        Reason::BodyBroken,
        "the connection failed before the body's end; send again",
    )
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;

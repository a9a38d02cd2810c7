//! Reading a request's body within the memory that all of them share.
//!
//! Invariants:
//! * a byte is reserved before it is kept, and nobody waits for the budget: who finds none free is
//!   told to come again;
//! * a body that announces its length reserves all of it before it is read, so that a batch which was
//!   begun is not refused for others that came later. One that does not (the API server never sends
//!   such) reserves each piece as it comes: it has not said what it needs, and reserving the largest
//!   possible would let a handful of tiny bodies shut everybody out;
//! * a [`Reservation`] lives as long as the bytes, or anything that still borrows from them.
//!
//! The budget counts bytes of bodies. While a body is worked on, its events stand in memory a second
//! time, redacted; [`crate::accept`] bounds how many are worked on at once.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    clock::Exchange,
    metrics::Metrics,
    refusal::{Reason, Refusal},
};

/// How long the rest of a refused body is read for.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory for bodies, in bytes.
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    in_use: IntGauge,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize, in_use: IntGauge) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(bytes_max)),
            in_use,
        }
    }

    fn try_reserve(&self, bytes: usize) -> Result<Reservation, Refusal> {
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
    fn grow(&mut self, budget: &Budget, bytes: usize) -> Result<(), Refusal> {
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

/// Reads a body to its end. Waits for the client alone: the caller sets a timeout.
pub(crate) async fn read(
    body: &mut Incoming,
    bytes_max: usize,
    budget: &Budget,
    metrics: &Metrics,
) -> Result<Received, Refusal> {
    let announced = body.size_hint().exact();
    let expected = usize::try_from(announced.unwrap_or(0)).unwrap_or(usize::MAX);
    if expected > bytes_max {
        return Err(Refusal::body_too_large(bytes_max));
    }
    let mut reservation = budget.try_reserve(expected)?;
    let mut bytes = Vec::with_capacity(expected);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Refusal::new(
                Reason::BodyBroken,
                "the connection failed before the body's end; send again",
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue; // Trailers say nothing here.
        };
        metrics.received_bytes.inc_by(data.len() as u64);
        if bytes.len() + data.len() > bytes_max {
            return Err(Refusal::body_too_large(bytes_max));
        }
        if announced.is_none() {
            reservation.grow(budget, data.len())?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes, reservation })
}

/// Reads the rest of a refused body and keeps none of it. The answer is on its way already: were the
/// connection closed over bytes not read, the client's kernel would drop the answer and the client
/// see a reset, without the `Retry-After`.
pub(crate) async fn discard(mut body: Incoming, exchange: Exchange) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Past the timeout the body is dropped unread, which closes the connection.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
    drop(exchange);
}

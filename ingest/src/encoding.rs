//! Bodies that were compressed on the way. The API server sends none; proxies and collectors do.
//!
//! Invariants:
//! * what comes out is bounded by `decoded_bytes_max` and by the memory that all bodies share, whatever
//!   its length was said to be: it is decompressed piece by piece, and each is reserved before it is kept;
//! * decompressing takes a processor, so it is done where bodies are worked on, never on an async worker.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use hyper::{HeaderMap, header::CONTENT_ENCODING};

use crate::{
    body::{Budget, Received},
    refusal::{Reason, Refusal},
};

/// What is decompressed at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// How a body was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// As the head says.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut encodings = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
        match (encodings.next(), encodings.next()) {
            (None, _) => Ok(Self::Identity),
            (Some(one), None) if is_gzip(one) => Ok(Self::Gzip),
            _ => Err(Refusal::new(
                Reason::Encoding,
                "the body has a Content-Encoding that is not read; post it without one, or with gzip",
            )),
        }
    }
}

fn is_gzip(name: &[u8]) -> bool {
    // The second name is as good (RFC 9110, section 8.4.1.3).
    name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip")
}

/// Decompresses a body. What it had of the budget is free afterwards.
pub(crate) fn gunzip(
    received: Received,
    decoded_bytes_max: usize,
    budget: &Budget,
) -> Result<Received, Refusal> {
    let mut decoder = MultiGzDecoder::new(&received.bytes[..]);
    let mut reservation = budget.try_reserve(0)?;
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        // Reads from memory: nothing but the data itself can be wrong.
        let length = decoder.read(&mut piece).map_err(|_| broken())?;
        if length == 0 {
            return Ok(Received { bytes, reservation });
        }
        if bytes.len() + length > decoded_bytes_max {
            return Err(too_large(decoded_bytes_max));
        }
        reservation.grow(budget, length)?;
        bytes.extend_from_slice(&piece[..length]);
    }
}

fn broken() -> Refusal {
    Refusal::new(
        Reason::MalformedGzip,
        "the body says that it is gzip and is not, or ends early; post it whole, or without a \
         Content-Encoding",
    )
}

fn too_large(decoded_bytes_max: usize) -> Refusal {
    Refusal::new(
        Reason::DecodedTooLarge,
        format!(
            "the body is longer than {decoded_bytes_max} bytes once it is decompressed; raise \
             ingest.decoded_bytes_max, or send less at once"
        ),
    )
}

#[cfg(test)]
#[path = "encoding_tests.rs"]
mod tests;

//! Blocks that are larger than a message: how they are put together, and when they are given up.
//!
//! The parts of a block are on a subject of their own, each published under the condition that the one before is the
//! last there (`Nats-Expected-Last-Subject-Sequence`). Invariants:
//! * a block is where its last part is: so it is above or below a sequence of the stream like one that came whole;
//! * a block whose parts stopped coming is given up by one more message there, under the same condition. If that is
//!   stored no part can follow, so its append fails and nobody was told that it is durable; if it is refused, a part came
//!   and is waited for. No clock decides it;
//! * nothing of a block is deleted before it is appended or given up.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::message::Part;

/// Parts come within `append_timeout` or never.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Blocks of which parts are missing.
#[derive(Debug, Default)]
pub(super) struct Parts(HashMap<String, Gathered>);

#[derive(Debug)]
struct Gathered {
    first: u64,
    last: u64,
    touched: Instant,
    parts: Vec<Option<Bytes>>,
}

impl Parts {
    /// Adds a part that was found at a sequence; the whole frame once all are there. One that does not fit the others
    /// is an error. Without those before it only the last one is: a block is where that is, and without it there is none.
    pub(super) fn add(
        &mut self,
        part: Part,
        seq: u64,
        now: Instant,
    ) -> Result<Option<Vec<u8>>, &'static str> {
        let Part {
            id,
            number,
            of,
            bytes,
        } = part;
        if number == 0 && !self.0.contains_key(&id) {
            let gathered = Gathered {
                first: seq,
                last: seq,
                touched: now,
                parts: vec![None; of.min(PARTS_MAX)],
            };
            self.0.insert(id.clone(), gathered);
        }
        let Some(gathered) = self.0.get_mut(&id) else {
            // The others were deleted, as what the block holds was appended, or as it was given up.
            return match number + 1 == of {
                true => Err("parts before it are missing"),
                false => Ok(None),
            };
        };
        if gathered.parts.len() != of {
            return Err("it is of another number of parts than the others");
        }
        gathered.last = seq;
        gathered.touched = now;
        gathered.parts[number] = Some(bytes);
        if gathered.parts.iter().any(Option::is_none) {
            return Ok(None);
        }
        let whole = self.0.remove(&id);
        let parts = whole.into_iter().flat_map(|whole| whole.parts);
        Ok(Some(parts.flatten().collect::<Vec<_>>().concat()))
    }

    pub(super) fn give_up(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// The first sequence that is still needed.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.values().map(|gathered| gathered.first).min()
    }

    /// Blocks of which no part came for long, with the sequence of the last one. Each is named again only after as long
    /// a time.
    pub(super) fn stale(&mut self, now: Instant) -> Vec<(String, u64)> {
        let stale = self.0.iter_mut();
        let stale = stale.filter(|(_, gathered)| now - gathered.touched >= PATIENCE);
        let stale = stale.map(|(id, gathered)| {
            gathered.touched = now;
            (id.clone(), gathered.last)
        });
        stale.collect()
    }
}

/// More are not made: a frame is at most 4 GiB.
const PARTS_MAX: usize = 1 << 20;

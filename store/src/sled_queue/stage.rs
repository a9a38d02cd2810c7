//! One job becomes part of a round: records for the logs, changes of the index, counters.
//!
//! Nothing here writes or answers; a round that fails after it leaves counters that are never published.

use std::collections::BTreeSet;

use auditrelay_audit::Severity;

use super::{
    job::{Delivered, Fate, Op, Seal, Slice, small},
    keys,
    owner::Owner,
    read::ReadError,
    shared::{UnroutedBlock, locked},
};
use crate::{
    DeliveryBlock, QueueError, Routed, RoutedBlock,
    codec::{self, Packed},
    frame::{self, Damaged, Kind},
};

/// One round: what will be applied, and whom it touches.
#[derive(Default)]
pub(super) struct Round {
    pub(super) batch: sled::Batch,
    pub(super) touched: BTreeSet<String>,
    pub(super) appended: Vec<UnroutedBlock>,
    /// Blocks that were routed, oldest first.
    pub(super) routed: Vec<u64>,
    /// Whether the index changes.
    pub(super) indexed: bool,
}

pub(super) enum StageError {
    Refused(QueueError),
    Failed(String),
    /// What is stored is wrong: the next start has to move it aside.
    Damaged(String),
}

impl<E: Into<ReadError>> From<E> for StageError {
    fn from(error: E) -> Self {
        let error: ReadError = error.into();
        if error.is_damage() {
            Self::Damaged(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl Owner {
    pub(super) fn stage(&mut self, op: Op, round: &mut Round) -> Result<u64, StageError> {
        match op {
            Op::Append { blocks } => {
                self.append(&blocks, round);
                return Ok(0);
            }
            Op::Route(routed) => self.route(routed, round)?,
            Op::ForgetSeen { seq } => {
                self.totals.seen_forgotten = self.totals.seen_forgotten.max(seq);
            }
            Op::Seal { channel, slices } => {
                round.indexed = true;
                return Ok(self.seal(&channel, slices, round));
            }
            Op::Settle {
                channel,
                lease,
                fate,
            } => self.settle(&channel, lease, fate, round)?,
        }
        round.indexed = true;
        Ok(0)
    }

    fn append(&mut self, blocks: &[Packed], round: &mut Round) {
        for block in blocks {
            let seq = self.next_seq();
            let log = &mut self.database.logs.events;
            let place = log.append(
                Kind::Block,
                seq,
                block.items,
                block.plain_bytes,
                &block.payload,
            );
            round.appended.push(UnroutedBlock {
                seq,
                place,
                items: block.items,
                plain_bytes: block.plain_bytes,
            });
            self.waiting += u64::from(block.items);
        }
    }

    fn route(&mut self, routed: Routed, round: &mut Round) -> Result<(), StageError> {
        for block in routed.blocks {
            self.route_block(block, round)?;
        }
        for block in routed.deliveries {
            let DeliveryBlock {
                channel,
                severity,
                deliveries,
            } = block;
            for packed in &deliveries.events {
                self.deliver(&channel, severity, Kind::Events, packed, round);
            }
            if let Some(packed) = &deliveries.notices {
                self.deliver(&channel, severity, Kind::Notices, packed, round);
            }
        }
        Ok(())
    }

    fn route_block(&mut self, block: RoutedBlock, round: &mut Round) -> Result<(), StageError> {
        let oldest = locked(&self.shared.unrouted)
            .get(round.routed.len())
            .copied();
        let fates = block.counts.total();
        let is_sound =
            oldest.is_some_and(|one| one.seq == block.seq && u64::from(one.items) == fates);
        if !is_sound {
            return Err(StageError::Failed(format!(
                "block {} was routed with {fates} fates, the oldest is {oldest:?}",
                block.seq
            )));
        }
        round.routed.push(block.seq);
        if !block.new_keys.is_empty() {
            let bytes = codec::pack_seen(block.seen_unix_ms, &block.new_keys);
            let items = block.new_keys.len() as u32;
            let log = &mut self.database.logs.seen;
            let place = log.append(Kind::Seen, block.seq, items, bytes.len() as u32, &bytes);
            self.seen_segments.insert(place.start.segment, block.seq);
        }
        for record in &block.quarantine {
            let seq = self.next_seq();
            round.batch.insert(
                keys::quarantine(seq),
                frame::single(Kind::Quarantine, seq, &codec::plain(record)),
            );
            self.totals.quarantine_entries += 1;
        }
        self.totals.counts.add(&block.counts);
        self.waiting -= block.counts.total();
        Ok(())
    }

    fn deliver(
        &mut self,
        channel: &str,
        severity: Severity,
        kind: Kind,
        packed: &Packed,
        round: &mut Round,
    ) {
        let seq = self.next_seq();
        let log = &mut self.database.logs.deliveries;
        let place = log.append(kind, seq, packed.items, packed.plain_bytes, &packed.payload);
        *self.live.entry(place.start.segment).or_default() += u64::from(place.bytes);
        let delivered = Delivered {
            place,
            items: packed.items,
            plain_bytes: packed.plain_bytes,
            notices: kind == Kind::Notices,
            settled: 0,
        };
        let key = keys::deliveries(channel, severity, seq);
        round.batch.insert(key, delivered.stored(seq));
        let (counts, notices) = self.channels.entry(channel.to_owned()).or_default();
        if kind == Kind::Notices {
            notices.queued += u64::from(packed.items);
        } else {
            counts.routed += u64::from(packed.items);
            counts.waiting += u64::from(packed.items);
        }
        round.touched.insert(channel.to_owned());
    }

    fn seal(&mut self, channel: &str, slices: Vec<Slice>, round: &mut Round) -> u64 {
        let id = self.next_seq();
        let bytes = codec::plain(&Seal { id, slices });
        round
            .batch
            .insert(keys::seal(channel), frame::single(Kind::Seal, id, &bytes));
        id
    }

    fn settle(
        &mut self,
        channel: &str,
        lease: u64,
        fate: Fate,
        round: &mut Round,
    ) -> Result<(), StageError> {
        let seal = match self.database.db.get(keys::seal(channel))? {
            Some(stored) => small::<Seal>(&stored)?,
            None => return Err(not_held(channel, lease)),
        };
        if seal.id != lease {
            return Err(not_held(channel, lease));
        }
        round.batch.remove(keys::seal(channel));
        if matches!(fate, Fate::Waits) {
            return Ok(());
        }
        for slice in &seal.slices {
            self.settle_slice(channel, slice, round)?;
            let count = u64::from(slice.to - slice.from);
            let (counts, notices) = self.channels.entry(channel.to_owned()).or_default();
            match (&fate, slice.notices) {
                (Fate::Dead(_), true) => notices.dead += count,
                (_, true) => notices.delivered += count,
                (Fate::Dead(_), false) => {
                    (counts.dead, counts.waiting) = (counts.dead + count, counts.waiting - count)
                }
                (_, false) => {
                    (counts.delivered, counts.waiting) =
                        (counts.delivered + count, counts.waiting - count)
                }
            }
        }
        if let Fate::Dead(packed) = &fate {
            round.put(Kind::Dead, lease, keys::dead(channel, lease), packed);
        }
        round.touched.insert(channel.to_owned());
        Ok(())
    }

    fn settle_slice(
        &mut self,
        channel: &str,
        slice: &Slice,
        round: &mut Round,
    ) -> Result<(), StageError> {
        let key = keys::deliveries(channel, slice.severity, slice.seq);
        let stored = self
            .database
            .db
            .get(&key)?
            .ok_or(Damaged("a leased block is missing"))?;
        let mut delivered: Delivered = small(&stored)?;
        if slice.to == slice.of {
            round.batch.remove(key);
            let live = self.live.entry(delivered.place.start.segment).or_default();
            *live = live.saturating_sub(u64::from(delivered.place.bytes));
        } else {
            delivered.settled = slice.to;
            round.batch.insert(key, delivered.stored(slice.seq));
        }
        Ok(())
    }

    fn next_seq(&mut self) -> u64 {
        let seq = self.totals.next_seq;
        self.totals.next_seq += 1;
        seq
    }
}

impl Round {
    fn put(&mut self, kind: Kind, seq: u64, key: Vec<u8>, packed: &Packed) {
        for (part, bytes) in
            frame::frames(kind, seq, packed.items, packed.plain_bytes, &packed.payload)
        {
            self.batch.insert(keys::part(key.clone(), part), bytes);
        }
    }
}

fn not_held(channel: &str, lease: u64) -> StageError {
    StageError::Refused(QueueError::NotHeld {
        channel: channel.to_owned(),
        lease,
    })
}

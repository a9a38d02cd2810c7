//! One job becomes part of a round: records for the logs, changes of the index, counters.
//!
//! Nothing here commits or answers; a round that fails after it leaves counters that are never published.
//! What settles deliveries is in [`super::settle`].

use std::collections::BTreeSet;

use auditrelay_audit::Severity;

use super::{
    db::Changes,
    holdings::{Holder, Row},
    job::{Answer, Op, Restored, RestoredDelivery},
    keys,
    owner::Owner,
    read::ReadError,
    records::{DeadRow, Held, SettledAs, Waits},
    shared::{UnroutedBlock, locked},
};
use crate::{
    ChannelCounts, DeliveryBlock, FilteredCount, InputPosition, OtherCounts, QueueError, Routed,
    RoutedBlock, SeenBlock,
    codec::{self, Class, Packed},
    frame::{self, Kind},
};

/// One round: what will be applied, and whom it touches.
#[derive(Default)]
pub(super) struct Round {
    pub(super) batch: Changes,
    pub(super) touched: BTreeSet<String>,
    pub(super) appended: Vec<UnroutedBlock>,
    /// How far appended blocks bring their inputs, with the block's sequence.
    pub(super) reached: Vec<(u64, InputPosition)>,
    /// The same of notes without a block, and inputs that are forgotten.
    pub(super) noted: Vec<(u64, InputPosition)>,
    pub(super) forgotten: Vec<String>,
    /// Mutes that began, ended, or held something back.
    pub(super) mutes_touched: BTreeSet<u64>,
    /// Whether one began or ended.
    pub(super) mutes_changed: bool,
    /// Routes that events were filtered by, or that are forgotten.
    pub(super) filtered: BTreeSet<String>,
    /// How many blocks were routed, oldest first.
    pub(super) routed: usize,
    /// Whether the index changes.
    pub(super) indexed: bool,
    /// Records that were moved and wait, and which of their deliveries.
    pub(super) moved_waiting: Vec<(u64, u32, u32)>,
    /// Dead letters that are none any more: the index still says that they are.
    pub(super) raised: BTreeSet<u64>,
    /// Channels of which a lease was settled: the index still says that its members wait.
    pub(super) settled: BTreeSet<String>,
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
    pub(super) fn stage(&mut self, op: Op, round: &mut Round) -> Result<Answer, StageError> {
        let mut answer = Answer::Done;
        match op {
            Op::Append { blocks, reached } => {
                let first = self.totals.next_seq;
                self.append(&blocks, round);
                let of = |(block, position)| (first + block as u64, position);
                round.reached.extend(reached.into_iter().map(of));
                return Ok(answer);
            }
            Op::Route(routed) => self.route(routed, round)?,
            Op::Copies(deliveries) => self.deliver_all(&deliveries, Class::Copies, round),
            Op::ForgetSeen { seq } => {
                self.totals.seen_forgotten = self.totals.seen_forgotten.max(seq);
            }
            Op::Seal {
                channel,
                slices,
                now_unix_ms,
            } => answer = self.seal(&channel, slices, now_unix_ms, round)?,
            Op::Settle {
                channel,
                lease,
                fate,
            } => answer = self.settle(&channel, lease, fate, round)?,
            Op::FallBack(copies) => answer = self.fall_back(copies, round)?,
            Op::NoteThread {
                channel,
                message,
                done,
            } => answer = self.note_thread(&channel, message, done, round),
            Op::NoteInputs(notes) => self.note_inputs(notes, round),
            Op::AddMute(job) => answer = self.add_mute(*job, round),
            Op::EndMute { id, end, tell } => answer = self.end_mute(id, end, &tell, round),
            Op::RestoreMute(mute) => self.restore_mute(*mute, round),
            Op::Redrive { messages } => answer = self.redrive(&messages, round)?,
            Op::DropDead { messages } => answer = self.drop_dead(&messages, round)?,
            Op::Restore(restored) => self.restore(restored, round),
            // The writer itself looks at it.
            Op::Finish | Op::SetLimits(_) => return Ok(answer),
        }
        round.indexed = true;
        Ok(answer)
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
                &[&block.payload],
            );
            round.appended.push(UnroutedBlock {
                seq,
                place,
                items: block.items,
                plain_bytes: block.plain_bytes,
            });
            self.waiting += u64::from(block.items);
            self.totals.received += u64::from(block.items);
        }
    }

    fn route(&mut self, routed: Routed, round: &mut Round) -> Result<(), StageError> {
        for block in routed.blocks {
            self.route_block(block, round)?;
        }
        self.deliver_all(&routed.deliveries, Class::Events, round);
        self.count_filtered(routed.filtered_by, round);
        self.count_rates(&routed.rates, round);
        self.hold_back(&routed.muted, round);
        Ok(())
    }

    fn route_block(&mut self, block: RoutedBlock, round: &mut Round) -> Result<(), StageError> {
        let oldest = locked(&self.shared.unrouted).get(round.routed).copied();
        let fates = block.counts.total();
        let is_sound =
            oldest.is_some_and(|one| one.seq == block.seq && u64::from(one.items) == fates);
        if !is_sound {
            return Err(StageError::Failed(format!(
                "block {} was routed with {fates} fates, the oldest is {oldest:?}",
                block.seq
            )));
        }
        round.routed += 1;
        self.now_unix_ms = self.now_unix_ms.max(block.seen_unix_ms);
        self.remember(&SeenBlock {
            seq: block.seq,
            seen_unix_ms: block.seen_unix_ms,
            keys: block.new_keys,
        });
        for record in &block.quarantine {
            self.quarantine(record, round);
        }
        self.route_input(block.seq, round);
        self.totals.counts.add(&block.counts);
        self.waiting -= block.counts.total();
        Ok(())
    }

    /// Keys of the dedup window.
    fn remember(&mut self, block: &SeenBlock) {
        if block.keys.is_empty() {
            return;
        }
        let bytes = codec::pack_seen(block.seen_unix_ms, &block.keys);
        let items = block.keys.len() as u32;
        let log = &mut self.database.logs.seen;
        let place = log.append(Kind::Seen, block.seq, items, bytes.len() as u32, &[&bytes]);
        self.seen_segments.insert(place.start.segment, block.seq);
    }

    fn quarantine(&mut self, record: &crate::QuarantineRecord, round: &mut Round) {
        let seq = self.next_seq();
        let stored = frame::single(Kind::Quarantine, seq, &codec::quarantined(record));
        self.totals.quarantine_entries += 1;
        self.totals.quarantine_bytes += stored.len() as u64;
        round.batch.insert(keys::quarantine(seq), stored);
    }

    fn deliver_all(&mut self, blocks: &[DeliveryBlock], events: Class, round: &mut Round) {
        for block in blocks {
            let since = block.deliveries.since_unix_ms.unwrap_or(self.now_unix_ms);
            let notices = block.deliveries.notices.iter();
            let notices = notices.map(|packed| (Class::Notices, packed));
            let all = block
                .deliveries
                .events
                .iter()
                .map(|packed| (events, packed));
            for (class, packed) in all.chain(notices) {
                self.deliver(&block.channel, block.severity, class, packed, since, round);
            }
        }
    }

    /// Lets deliveries wait for their channel, since a Unix time in milliseconds.
    pub(super) fn deliver(
        &mut self,
        channel: &str,
        severity: Severity,
        class: Class,
        packed: &Packed,
        since_unix_ms: i64,
        round: &mut Round,
    ) {
        let held = self.record(channel, severity, class, packed);
        let row = Row {
            channel,
            severity,
            seq: held.record_seq,
            waits: Waits::since(since_unix_ms),
        };
        self.wait(row, &held, round);
        let count = held.count();
        self.count(channel, class, round, |counts| match counts {
            Counter::Events(counts) => {
                counts.routed += count;
                counts.waiting += count;
            }
            Counter::Others(counts) => {
                counts.queued += count;
                counts.waiting += count;
            }
        });
    }

    /// Writes a record of deliveries to their log.
    fn record(&mut self, channel: &str, severity: Severity, class: Class, packed: &Packed) -> Held {
        let seq = self.next_seq();
        let address = codec::addressed(channel, severity, class, 0);
        let (items, plain_bytes) = (packed.items, packed.plain_bytes);
        let pieces: [&[u8]; 2] = [&address, &packed.payload];
        let log = &mut self.database.logs.deliveries;
        let place = log.append(class.kind(), seq, items, plain_bytes, &pieces);
        Held {
            place,
            record_seq: seq,
            class,
            plain_bytes,
            first: 0,
            from: 0,
            to: items,
        }
    }

    /// Puts deliveries under a key of their channel.
    pub(super) fn wait(&mut self, row: Row<'_>, held: &Held, round: &mut Round) {
        self.holdings.add(Holder::Channel(row), held);
        let key = keys::waiting(row.channel, row.severity, row.seq);
        round.batch.insert(key, held.stored(row.seq, row.waits));
    }

    /// Changes a channel's counters of a class.
    pub(super) fn count(
        &mut self,
        channel: &str,
        class: Class,
        round: &mut Round,
        change: impl FnOnce(Counter<'_>),
    ) {
        if !self.channels.contains_key(channel) {
            self.channels.insert(channel.to_owned(), Default::default());
        }
        if let Some(row) = self.channels.get_mut(channel) {
            change(match class {
                Class::Events => Counter::Events(&mut row.counts),
                Class::Copies => Counter::Others(&mut row.copies),
                Class::Notices => Counter::Others(&mut row.notices),
            });
        }
        round.touched.insert(channel.to_owned());
    }

    /// Takes in what comes from another store.
    fn restore(&mut self, restored: Restored, round: &mut Round) {
        for delivery in &restored.deliveries {
            self.restore_one(delivery, restored.counted, round);
        }
        for record in &restored.quarantine {
            self.quarantine(record, round);
        }
        for block in restored.seen {
            let seq = self.next_seq();
            self.remember(&SeenBlock { seq, ..block });
        }
        if let Some((store, done)) = &restored.salvaged {
            let done = frame::single(Kind::Salvage, self.totals.next_seq, &codec::plain(done));
            round.batch.insert(keys::salvage(store), done);
        }
        self.totals.lost = self.totals.lost.saturating_sub(restored.found);
        if let Some(counters) = restored.counters {
            self.totals.received = counters.received;
            self.totals.counts = counters.counts;
            self.totals.lost = counters.lost;
            for (name, row) in counters.channels {
                round.touched.insert(name.clone());
                self.channels.insert(name, row);
            }
            let filtered_by = counters.filtered_by.into_iter();
            let filtered_by = filtered_by.map(|(route, events)| FilteredCount { route, events });
            self.count_filtered(filtered_by.collect(), round);
        }
    }

    fn restore_one(&mut self, delivery: &RestoredDelivery, counted: bool, round: &mut Round) {
        let RestoredDelivery {
            channel,
            severity,
            class,
            packed,
            burial,
        } = delivery;
        let held = self.record(channel, *severity, *class, packed);
        let seq = held.record_seq;
        // When it was received is not known here: it waits since it came.
        let waits = Waits::since(self.now_unix_ms);
        match burial {
            None => {
                let row = Row {
                    channel,
                    severity: *severity,
                    seq,
                    waits,
                };
                self.wait(row, &held, round);
            }
            Some(burial) => {
                self.holdings.add(Holder::Dead, &held);
                let row = DeadRow {
                    held: held.clone(),
                    channel: channel.clone(),
                    severity: *severity,
                    burial: burial.clone(),
                    waits,
                };
                round.batch.insert(keys::dead(seq, 0), row.stored(seq));
                let fate = SettledAs::Dead(burial.clone());
                self.note_settled(seq, fate, &[(held.record_seq, held.from, held.to)]);
            }
        }
        if !counted {
            return;
        }
        let count = held.count();
        if *class == Class::Events {
            self.totals.received += count;
            self.totals.counts.routed += count;
        }
        let is_dead = burial.is_some();
        self.count(channel, *class, round, |counts| {
            let (all, state) = match counts {
                Counter::Events(ChannelCounts {
                    routed,
                    waiting,
                    dead,
                    ..
                }) => (routed, if is_dead { dead } else { waiting }),
                Counter::Others(OtherCounts {
                    queued,
                    waiting,
                    dead,
                    ..
                }) => (queued, if is_dead { dead } else { waiting }),
            };
            *all += count;
            *state += count;
        });
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        let seq = self.totals.next_seq;
        self.totals.next_seq += 1;
        seq
    }
}

/// The counters of a class in a channel.
pub(super) enum Counter<'a> {
    Events(&'a mut ChannelCounts),
    Others(&'a mut OtherCounts),
}

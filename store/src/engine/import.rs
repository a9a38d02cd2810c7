//! Reading what an export wrote into a queue that never held anything.
//!
//! Lines are given to the writer in their order, many before the first is stored, so that commits are few; nothing counts
//! before all of them are.

use std::{
    collections::{BTreeMap, VecDeque},
    io::BufRead,
};

use auditrelay_audit::Severity;
use tokio::sync::{mpsc, oneshot};

use super::{
    Engine,
    job::{Answer, Op, Restored, RestoredDelivery},
    records::ChannelRow,
};
use crate::{
    BatchEncoder, Burial, Content, Counts, Delivery, EncodedBatch, Hint, MoveError, Moved, Mute,
    MuteEnd, Queue, QueueError, RatesCounted, Routed, SeenBlock, codec,
    export::{BatchItem, LedgerLine, Line, LineClass, VERSION},
};

/// Lines read ahead of what is stored.
const LINES_AHEAD: usize = 16;

/// Given to the writer and not stored yet: so many lines, and so many bytes of them.
const UNDER_WAY_LINES_MAX: usize = 512;
const UNDER_WAY_BYTES_MAX: usize = 16 << 20;

/// The counters that replace a queue's own when everything else is in.
pub(super) struct Counters {
    pub(super) received: u64,
    pub(super) counts: Counts,
    pub(super) lost: u64,
    pub(super) channels: BTreeMap<String, ChannelRow>,
    pub(super) filtered_by: BTreeMap<String, u64>,
}

impl From<LedgerLine> for Counters {
    fn from(line: LedgerLine) -> Self {
        let mut channels: BTreeMap<String, ChannelRow> = BTreeMap::new();
        for (name, counts) in line.channels {
            channels.entry(name).or_default().counts = counts;
        }
        for (name, notices) in line.notices {
            channels.entry(name).or_default().notices = notices;
        }
        for (name, copies) in line.copies {
            channels.entry(name).or_default().copies = copies;
        }
        for (name, muted) in line.muted_deliveries {
            channels.entry(name).or_default().muted = muted;
        }
        Self {
            filtered_by: line.filtered_by,
            received: line.received,
            counts: line.counts,
            lost: line.lost,
            channels,
        }
    }
}

impl Engine {
    /// Reads what [`Engine::export`] wrote into this queue, which must never have held anything.
    /// `progress` is told how many lines are in.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub async fn import(
        &self,
        lines: impl BufRead + Send + 'static,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Moved, MoveError> {
        let ledger = self.ledger();
        if ledger.received > 0 || !ledger.channels.is_empty() {
            return Err(MoveError::NotEmpty);
        }
        let (sender, mut read) = mpsc::channel(LINES_AHEAD);
        let reading = tokio::task::spawn_blocking(move || {
            for line in lines.lines() {
                let line = line.map_err(MoveError::from);
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        let mut import = Import {
            queue: self,
            moved: Moved::default(),
            ledger: None,
            ended: false,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
        };
        while let Some(line) = read.recv().await {
            import.take(&line?).await?;
            progress(import.moved.lines);
        }
        drop(read);
        let read_all = reading.await;
        read_all.map_err(|_| QueueError::Closed)?;
        import.finish().await
    }
}

struct Import<'q> {
    queue: &'q Engine,
    moved: Moved,
    ledger: Option<LedgerLine>,
    ended: bool,
    /// Answers of the writer that are not there yet, and how long each line is.
    under_way: VecDeque<(oneshot::Receiver<Result<Answer, QueueError>>, usize)>,
    under_way_bytes: usize,
}

impl Import<'_> {
    fn wrong(&self, reason: impl Into<String>) -> MoveError {
        MoveError::Line {
            line: self.moved.lines,
            reason: reason.into(),
        }
    }

    async fn take(&mut self, text: &str) -> Result<(), MoveError> {
        self.moved.lines += 1;
        let line: Line = serde_json::from_str(text)
            .map_err(|error| self.wrong(format!("it is no line of an export: {error}")))?;
        if self.ended {
            return Err(self.wrong("something follows the end"));
        }
        if (self.moved.lines == 1) != matches!(line, Line::Header { .. }) {
            return Err(self.wrong("an export begins with one header"));
        }
        match line {
            Line::Header { version, .. } if version > VERSION => {
                let reason = format!("version {version} of an export, at most {VERSION} is known");
                return Err(self.wrong(reason));
            }
            Line::Header { .. } => {}
            Line::Ledger(ledger) => self.ledger = Some(ledger),
            Line::End { lines } if lines + 1 != self.moved.lines => {
                return Err(self.wrong(format!("{lines} lines were written before it")));
            }
            Line::End { .. } => self.ended = true,
            Line::Mute(mute) => {
                mute.check()
                    .map_err(|error| self.wrong(error.to_string()))?;
                let mute = Mute {
                    ended: mute.ended.map(MuteEnd::bounded),
                    ..mute
                };
                self.give(Op::RestoreMute(Box::new(mute)), text.len())
                    .await?;
            }
            content => {
                if let Some(op) = self.op(content) {
                    self.give(op, text.len()).await?;
                }
            }
        }
        Ok(())
    }

    /// Gives the writer a line, and waits for the oldest ones where many are under way.
    async fn give(&mut self, op: Op, bytes: usize) -> Result<(), MoveError> {
        self.under_way.push_back((self.queue.send(op)?, bytes));
        self.under_way_bytes += bytes;
        while self.under_way.len() > UNDER_WAY_LINES_MAX
            || self.under_way_bytes > UNDER_WAY_BYTES_MAX
        {
            self.stored().await?;
        }
        Ok(())
    }

    /// Waits until the oldest line under way is stored.
    async fn stored(&mut self) -> Result<(), MoveError> {
        if let Some((answer, bytes)) = self.under_way.pop_front() {
            self.under_way_bytes -= bytes;
            answer.await.map_err(|_| QueueError::Closed)??;
        }
        Ok(())
    }

    /// What puts a line's content into the queue.
    fn op(&mut self, line: Line) -> Option<Op> {
        let op = match line {
            Line::Header { .. } | Line::Ledger(_) | Line::Mute(_) | Line::End { .. } => {
                return None;
            }
            Line::Batch {
                cluster,
                received_unix_ms,
                items,
            } => {
                self.moved.unrouted_events += items.len() as u64;
                let blocks = batch(&cluster, received_unix_ms, items).blocks;
                let reached = Vec::new();
                Op::Append { blocks, reached }
            }
            Line::Waiting {
                channel,
                severity,
                class,
                deliveries,
            } => {
                self.moved.waiting_events += deliveries.len() as u64;
                deliveries_op(&channel, severity, class, None, deliveries)
            }
            Line::Dead {
                channel,
                severity,
                class,
                burial,
                deliveries,
            } => {
                self.moved.dead_events += deliveries.len() as u64;
                deliveries_op(&channel, severity, class, Some(burial), deliveries)
            }
            Line::Rates { counts } => Op::Route(Routed {
                rates: RatesCounted {
                    counts,
                    is_all: false,
                },
                ..Routed::default()
            }),
            Line::Input(position) => Op::NoteInputs(vec![position]),
            Line::Quarantine(record) => Op::Restore(Restored {
                quarantine: vec![record],
                ..Restored::default()
            }),
            Line::Seen { seen_unix_ms, keys } => {
                self.moved.keys += keys.len() as u64;
                let block = SeenBlock {
                    seq: 0,
                    seen_unix_ms,
                    keys: keys.into_iter().map(|key| key.0).collect(),
                };
                Op::Restore(Restored {
                    seen: vec![block],
                    ..Restored::default()
                })
            }
        };
        Some(op)
    }

    /// The counters come last, and have to agree with what came before them.
    async fn finish(mut self) -> Result<Moved, MoveError> {
        while !self.under_way.is_empty() {
            self.stored().await?;
        }
        let Some(ledger) = self.ledger.clone().filter(|_| self.ended) else {
            return Err(self.wrong("the export ends early"));
        };
        let counters = Some(Box::new(Counters::from(ledger)));
        let restored = Restored {
            counters,
            ..Restored::default()
        };
        self.queue.write(Op::Restore(restored)).await?;
        if let Err(reason) = self.queue.verify().await {
            return Err(self.wrong(reason));
        }
        if !self.queue.ledger().is_balanced() {
            return Err(self.wrong("its ledger does not balance"));
        }
        Ok(self.moved)
    }
}

fn batch(cluster: &str, received_unix_ms: i64, items: Vec<BatchItem>) -> EncodedBatch {
    let mut batch = BatchEncoder::new(cluster, received_unix_ms, 0, 0);
    for item in items {
        let content = match (item.json, item.unreadable) {
            (Some(json), _) => Content::Event {
                json: json.into(),
                body_unreadable: item.body_unreadable,
            },
            (None, Some(unreadable)) => Content::Unreadable(unreadable),
            (None, None) => {
                batch.push_unwanted(&item.key.0, None);
                continue;
            }
        };
        batch.push(&item.key.0, &content, Hint::default());
    }
    batch.finish()
}

fn deliveries_op(
    channel: &str,
    severity: Severity,
    class: LineClass,
    burial: Option<Burial>,
    deliveries: Vec<Delivery>,
) -> Op {
    let delivery = |packed| RestoredDelivery {
        channel: channel.to_owned(),
        severity,
        class: class.into(),
        packed,
        burial: burial.clone(),
    };
    let records = codec::repack(deliveries, |marks| marks);
    Op::Restore(Restored {
        deliveries: records.into_iter().map(delivery).collect(),
        ..Restored::default()
    })
}

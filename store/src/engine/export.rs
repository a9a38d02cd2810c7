//! Writing all that a queue holds as JSON lines. For a queue at rest: nothing is locked meanwhile.

use std::{io::Write, sync::Arc};

use super::{
    Engine, Inner, keys, locked, look, rates,
    read::{self, ReadError},
    records::DeadRow,
};
use crate::{
    Block, Delivery, InputPosition, ItemKind, Marks, Members, MoveError, Moved, QueueError,
    codec::Class,
    export::{
        BatchItem, Key, LedgerLine, Line, LineClass, VERSION, VERSION_WITHOUT_INPUTS,
        VERSION_WITHOUT_RATES,
    },
    jetstream::INBOX_INPUT,
    log::Reader,
};

const RATES_PER_LINE: usize = 1_000;

impl From<Class> for LineClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Events => Self::Events,
            Class::Copies => Self::Copies,
            Class::Notices => Self::Notices,
        }
    }
}

impl From<LineClass> for Class {
    fn from(class: LineClass) -> Self {
        match class {
            LineClass::Events => Self::Events,
            LineClass::Copies => Self::Copies,
            LineClass::Notices => Self::Notices,
        }
    }
}

impl From<ReadError> for MoveError {
    fn from(error: ReadError) -> Self {
        Self::Queue(QueueError::Unreadable(error.to_string().into()))
    }
}

impl Engine {
    /// Writes everything that a queue at rest holds as JSON lines. `progress` is told how many of how
    /// many records are done.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub async fn export(
        &self,
        out: impl Write + Send + 'static,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<Moved, MoveError> {
        let inner = Arc::clone(&self.0);
        let exported = tokio::task::spawn_blocking(move || {
            let total = total(&inner)?;
            let mut export = Export {
                out,
                progress,
                done: 0,
                total,
                moved: Moved::default(),
            };
            export.all(&inner)?;
            Ok(export.moved)
        });
        exported.await.map_err(|_| QueueError::Closed)?
    }
}

fn total(inner: &Inner) -> Result<u64, MoveError> {
    let held = inner.index.db().scan_prefix(keys::HELD).count();
    Ok((held + locked(&inner.shared.unrouted).len()) as u64)
}

struct Export<W, P> {
    out: W,
    progress: P,
    done: u64,
    total: u64,
    moved: Moved,
}

impl<W: Write, P: Fn(u64, u64)> Export<W, P> {
    fn all(&mut self, inner: &Inner) -> Result<(), MoveError> {
        let mut inputs = locked(&inner.shared.inputs).clone();
        // Sequences of one stream mean nothing elsewhere.
        inputs.remove(INBOX_INPUT);
        let mutes = locked(&inner.shared.mutes).clone();
        let rates = rates::all(&inner.index.db())?;
        let ledger = LedgerLine::from(locked(&inner.shared.ledger).clone());
        // The lowest that knows all of it, so that earlier relays can read it.
        let is_plain = rates.is_empty() && mutes.is_empty() && ledger.is_plain();
        let version = match (is_plain, inputs.is_empty()) {
            (true, true) => VERSION_WITHOUT_INPUTS,
            (true, false) => VERSION_WITHOUT_RATES,
            (false, _) => VERSION,
        };
        self.line(&Line::Header {
            version,
            relay_version: env!("CARGO_PKG_VERSION").to_owned(),
        })?;
        // Before what is routed after them, so that their sequences are lower there too.
        for block in read::seen(&inner.index.db(), &inner.logs.seen)? {
            self.moved.keys += block.keys.len() as u64;
            self.line(&Line::Seen {
                seen_unix_ms: block.seen_unix_ms,
                keys: block.keys.into_iter().map(Key).collect(),
            })?;
        }
        let places: Vec<_> = locked(&inner.shared.unrouted).iter().copied().collect();
        for place in places {
            for block in read::blocks(&inner.logs.events, &[place])? {
                self.block(&block)?;
            }
        }
        self.deliveries(inner)?;
        for row in inner.index.db().scan_prefix(keys::QUARANTINE) {
            let record = look::quarantined_row(&row.map_err(ReadError::from)?.1)?;
            self.line(&Line::Quarantine(record))?;
        }
        for (input, (_, state)) in inputs {
            self.line(&Line::Input(InputPosition { input, state }))?;
        }
        for mute in mutes.into_values() {
            self.line(&Line::Mute(mute))?;
        }
        for some in rates.chunks(RATES_PER_LINE) {
            let counts = some.to_vec();
            self.line(&Line::Rates { counts })?;
        }
        self.line(&Line::Ledger(ledger))?;
        let lines = self.moved.lines;
        self.line(&Line::End { lines })?;
        Ok(self.out.flush()?)
    }

    fn line(&mut self, line: &Line) -> Result<(), MoveError> {
        serde_json::to_writer(&mut self.out, line).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        self.moved.lines += 1;
        Ok(())
    }

    fn step(&mut self) {
        self.done += 1;
        (self.progress)(self.done.min(self.total), self.total);
    }

    fn block(&mut self, block: &Block) -> Result<(), MoveError> {
        let texts = block.texts().map_err(|error| {
            QueueError::Unreadable(format!("block {}: {error}", block.seq).into())
        })?;
        let item = |(number, item): (usize, &crate::BlockItem)| {
            let mut line = BatchItem {
                key: Key(item.key),
                json: None,
                body_unreadable: false,
                unreadable: None,
            };
            match &item.kind {
                ItemKind::Event {
                    body_unreadable, ..
                } => {
                    line.json = Some(texts.get(number).to_owned());
                    line.body_unreadable = *body_unreadable;
                }
                ItemKind::Unwanted { .. } => {}
                ItemKind::Unreadable(unreadable) => line.unreadable = Some((**unreadable).clone()),
            }
            line
        };
        self.moved.unrouted_events += block.items.len() as u64;
        self.line(&Line::Batch {
            cluster: block.cluster.clone(),
            received_unix_ms: block.received_unix_ms,
            items: block.items.iter().enumerate().map(item).collect(),
        })?;
        self.step();
        Ok(())
    }

    fn deliveries(&mut self, inner: &Inner) -> Result<(), MoveError> {
        let mut reader = Reader::new(inner.logs.deliveries.clone());
        let db = inner.index.db();
        for row in db.scan_prefix(keys::HELD) {
            let (key, stored) = row.map_err(ReadError::from)?;
            self.step();
            if key.starts_with(keys::TOLD) {
                continue;
            }
            let Some((held, record)) = read::record(&inner.index, &mut reader, &key)? else {
                continue;
            };
            let mut members = Members::new();
            if key.starts_with(keys::DEAD) {
                let row = DeadRow::read(&stored).map_err(ReadError::from)?;
                read::unpack(&held, &record, row.severity, &mut members)?;
                self.moved.dead_events += held.count();
                self.line(&Line::Dead {
                    channel: row.channel,
                    severity: row.severity,
                    class: held.class.into(),
                    burial: row.burial,
                    deliveries: members.into_iter().map(|(_, one)| one).collect(),
                })?;
            } else if let Some((channel, severity, seq)) = keys::read_waiting(&key) {
                read::unpack(&held, &record, severity, &mut members)?;
                self.moved.waiting_events += held.count();
                let leased = leased(inner, channel, seq)?;
                let mark = |(number, delivery)| mark(delivery, number < leased);
                let numbers = held.from..held.to;
                let deliveries = members.into_iter().map(|(_, one)| one);
                self.line(&Line::Waiting {
                    channel: channel.to_owned(),
                    severity,
                    class: held.class.into(),
                    deliveries: numbers.zip(deliveries).map(mark).collect(),
                })?;
            }
        }
        Ok(())
    }
}

/// Deliveries of a record before this number are leased, and may have been posted.
fn leased(inner: &Inner, channel: &str, seq: u64) -> Result<u32, ReadError> {
    let seal = read::seal(&inner.index.db(), channel)?;
    let slices = seal.map(|seal| seal.slices).unwrap_or_default();
    let own = slices.iter().find(|slice| slice.seq == seq);
    Ok(own.map_or(0, |slice| slice.to))
}

fn mark(delivery: Delivery, is_leased: bool) -> Delivery {
    match delivery {
        Delivery::Event(event) if is_leased => Delivery::Event(crate::EventDelivery {
            marks: Marks {
                possibly_repeated: true,
                ..event.marks
            },
            ..event
        }),
        other => other,
    }
}

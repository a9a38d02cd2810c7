//! What the pump does with what it read: blocks into the engine, notes beside them, questions answered; see
//! [`super::pump`] for the contract.

use std::collections::HashMap;

use async_nats::jetstream::message::StreamMessage;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    message::{self, Read},
    pump::{Failed, INPUT, Pump, REST, servers},
};
use crate::{
    BatchEncoder, Content, EncodedBatch, Engine, Hint, InputPosition, Queue, Unreadable,
    codec::{self, Packed},
    inputs::offset_of,
};

impl Pump<'_> {
    /// Takes messages into the engine.
    pub(super) async fn take(
        &mut self,
        messages: Vec<StreamMessage>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Failed> {
        let subject = self.door.servers.streams().inbox_subject.clone();
        let mut blocks: Vec<(u64, Packed)> = Vec::new();
        let mut next = self.next;
        for message in messages {
            let (seq, length) = (message.sequence, message.payload.len());
            let is_new = seq > self.done;
            let time = message.time.unix_timestamp_nanos();
            let position = self.position(seq, time);
            if self.mark.is_none_or(|(known, _)| known <= seq) {
                self.mark = Some((seq, time));
            }
            let block = match message::read(message, &subject) {
                Read::Block(block) => Ok(Some(block)),
                Read::Part(part) => match self.parts.add(part, seq, Instant::now()) {
                    Ok(Some(frame)) => message::unframed(&frame).map(Some).map_err(|error| error.0),
                    Ok(None) => Ok(None),
                    Err(why) => Err(why),
                },
                Read::Broken(why) => Err(why),
                Read::GivenUp { id } => {
                    self.parts.give_up(&id);
                    Ok(None)
                }
                Read::Notes(notes) if is_new => {
                    self.append(std::mem::take(&mut blocks), stop).await?;
                    self.note(notes, seq, position.clone()).await?;
                    Ok(None)
                }
                Read::Question { reply } => {
                    self.append(std::mem::take(&mut blocks), stop).await?;
                    self.answer(&reply).await?;
                    Ok(None)
                }
                Read::Notes(_) => Ok(None),
                Read::Later => {
                    self.append(blocks, stop).await?;
                    self.next = seq;
                    // Nothing behind it is taken for now: what is before it must not fill the inbox.
                    self.look().await?;
                    self.purge().await?;
                    return Err(Failed::Servers(format!(
                        "message {seq} was written by a later version of the relay; let one of that version lead"
                    )));
                }
            };
            if is_new {
                match block.and_then(|block| placed(block, &position)) {
                    Ok(block) => blocks.extend(block.map(|block| (seq, block))),
                    Err(why) => blocks.push((seq, self.unreadable(why, seq, length, &position)?)),
                }
            }
            next = seq + 1;
        }
        self.append(blocks, stop).await?;
        self.next = next;
        Ok(())
    }

    fn position(&self, seq: u64, time: i128) -> InputPosition {
        InputPosition {
            input: INPUT.to_owned(),
            state: format!("{}/{seq}/{time}", self.created),
        }
    }

    /// What cannot be read is put into quarantine, so that nothing disappears silently.
    fn unreadable(
        &self,
        why: &str,
        seq: u64,
        length: usize,
        position: &InputPosition,
    ) -> Result<Packed, Failed> {
        tracing::error!(
            seq,
            why,
            "a message of the inbox cannot be read and goes to quarantine; only relays may publish to its subject"
        );
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&seq.to_be_bytes());
        let key = auditrelay_audit::EventKey {
            identity: self.created as u64,
            fingerprint,
        };
        let record = Unreadable {
            reason: format!("message {seq} of the inbox on JetStream: {why}"),
            offset_bytes: 0,
            length_bytes: length as u64,
            sealed: None,
            source: None,
        };
        let received_unix_ms = i64::try_from(self.created / 1_000_000).unwrap_or_default();
        let mut batch = BatchEncoder::new("unknown", received_unix_ms, 0, 0);
        batch.push(&key, &Content::Unreadable(record), Hint::default());
        let block = batch.finish().blocks.pop();
        let block = block.and_then(|block| codec::with_reached(block, position));
        block.ok_or_else(|| servers("a record for the quarantine could not be made"))
    }

    /// Appends blocks, as many at a time as there is room for.
    async fn append(
        &mut self,
        blocks: Vec<(u64, Packed)>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Failed> {
        let mut blocks = self.without_repeated(blocks);
        while !blocks.is_empty() {
            let mut some = blocks.len();
            let admitted = loop {
                let bytes: usize = blocks[..some]
                    .iter()
                    .map(|(_, one)| one.payload.len())
                    .sum();
                match self.engine.admit(bytes as u64) {
                    Ok(admitted) => break admitted,
                    Err(_) if some > 1 => some /= 2,
                    // The engine has said why.
                    Err(_) => tokio::select! {
                        () = sleep(REST) => {}
                        _ = stop.wait_for(|stop| *stop) => return Err(Failed::Ended(None)),
                    },
                }
            };
            let later = blocks.split_off(some);
            let last = blocks.last().map_or(self.done, |(seq, _)| *seq);
            let batch = blocks.into_iter().map(|(_, block)| block).collect();
            Queue::append(self.engine, EncodedBatch::of_blocks(batch)).await?;
            drop(admitted);
            self.done = last;
            blocks = later;
        }
        Ok(())
    }

    /// Leaves out blocks of log files that the engine has: they were stored though their append failed.
    fn without_repeated(&self, blocks: Vec<(u64, Packed)>) -> Vec<(u64, Packed)> {
        let mut marks: Option<HashMap<String, u64>> = None;
        let mut is_new = |block: &Packed| {
            let positions = codec::reached(block.items, &block.payload);
            let of_files = positions.iter().filter(|one| one.input != INPUT);
            let mut is_new = true;
            for (position, offset) in of_files.filter_map(|one| Some((one, one.offset()?))) {
                let marks = marks.get_or_insert_with(|| marks_of(self.engine));
                let known = marks.get(&position.input);
                is_new &= known.is_none_or(|known| offset > *known);
                if is_new {
                    marks.insert(position.input.clone(), offset);
                }
            }
            is_new
        };
        let mut blocks = blocks;
        blocks.retain(|(_, block)| is_new(block));
        blocks
    }

    /// Notes positions without a block, but for those that are known to be further, and where they were found.
    async fn note(
        &mut self,
        notes: Vec<InputPosition>,
        seq: u64,
        position: InputPosition,
    ) -> Result<(), Failed> {
        let marks = marks_of(self.engine);
        let is_behind = |note: &InputPosition| {
            let known = marks.get(&note.input);
            note.input == INPUT || note.offset().is_some_and(|offset| known > Some(&offset))
        };
        let mut notes: Vec<_> = notes.into_iter().filter(|note| !is_behind(note)).collect();
        notes.push(position);
        self.engine.note_inputs(notes).await?;
        self.done = seq;
        Ok(())
    }

    /// Tells who asked how far inputs were read.
    async fn answer(&self, reply: &str) -> Result<(), Failed> {
        let mut inputs = self.engine.inputs();
        inputs.retain(|one| one.input != INPUT);
        let frame = message::positions_framed(&inputs);
        let at_most = self.door.piece_bytes_max();
        let (id, of) = (nuid::next(), frame.len().div_ceil(at_most));
        let client = self.door.servers.client();
        for number in 0..of {
            let start = number * at_most;
            let piece = frame.slice(start..frame.len().min(start + at_most));
            let headers = message::piece(&id, number, of);
            let sent = client.publish_with_headers(reply.to_owned(), headers, piece);
            sent.await.map_err(servers)?;
        }
        client.flush().await.map_err(servers)
    }
}

/// A block that says where it is.
fn placed(block: Option<Packed>, position: &InputPosition) -> Result<Option<Packed>, &'static str> {
    let Some(block) = block else { return Ok(None) };
    let placed = codec::with_reached(block, position);
    placed.ok_or("it is no block").map(Some)
}

/// How far log files were read.
fn marks_of(engine: &Engine) -> HashMap<String, u64> {
    let inputs = engine.inputs().into_iter();
    let marks = inputs.filter_map(|one| Some((offset_of(&one.state)?, one.input)));
    marks.map(|(offset, input)| (input, offset)).collect()
}

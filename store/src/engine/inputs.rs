//! How far inputs were read: in the block that brought it, and once that is routed in the index.
//!
//! Invariants:
//! * the newest word on an input counts, by its sequence: that of its block, or of the note without a block;
//! * what others are told is durable;
//! * a position never outlives its block but by standing in the index, in the commit that routes the block.

use std::collections::BTreeMap;

use super::{
    db::Db,
    keys,
    owner::Owner,
    recover::Unsound,
    shared::{Shared, locked},
    stage::Round,
};
use crate::{
    INPUTS_MAX, InputPosition, codec,
    frame::{self, Kind},
};

/// The sequence of the newest word on each input, and what it says.
pub(super) type Told = BTreeMap<String, (u64, String)>;

/// What the writer knows of inputs.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// What the index says of which input, by sequence.
    indexed: BTreeMap<String, u64>,
    /// The newest word on each input in blocks that are not routed. An older one is not needed any more: whoever
    /// opens the queue finds the newer one in the log.
    unrouted: Told,
}

/// What the index says.
pub(super) fn all(db: &Db) -> Result<Told, Unsound> {
    let mut told = Told::new();
    for row in db.scan_prefix(keys::INPUTS) {
        let (_, stored) = row?;
        let (header, payload) = frame::decode(&stored)?;
        let InputPosition { input, state } = codec::from_plain(payload)?;
        told.insert(input, (header.seq, state));
    }
    Ok(told)
}

impl Inputs {
    /// From the index and the blocks that are not routed; tells everybody.
    pub(super) fn new(indexed: Told, unrouted: Told, shared: &Shared) -> Self {
        let seqs = indexed
            .iter()
            .map(|(input, (seq, _))| (input.clone(), *seq));
        let seqs = seqs.collect();
        let mut told = locked(&shared.inputs);
        *told = indexed;
        for (input, (seq, state)) in &unrouted {
            newest(&mut told, *seq, input, state);
        }
        Self {
            indexed: seqs,
            unrouted,
        }
    }
}

/// A newer word replaces an older one.
pub(super) fn newest(told: &mut Told, seq: u64, input: &str, state: &str) {
    if told.get(input).is_none_or(|(known, _)| *known < seq) {
        told.insert(input.to_owned(), (seq, state.to_owned()));
    }
}

fn newest_of(told: &mut Told, reached: &[(u64, InputPosition)]) {
    for (seq, position) in reached {
        newest(told, *seq, &position.input, &position.state);
    }
}

impl Owner {
    /// The blocks of a round are durable.
    pub(super) fn publish_reached(&mut self, round: &mut Round) {
        newest_of(&mut locked(&self.shared.inputs), &round.reached);
        newest_of(&mut self.inputs.unrouted, &round.reached);
        round.reached.clear();
    }

    /// Blocks up to this one are routed: from now on the index says how far they brought their inputs.
    pub(super) fn route_input(&mut self, block: u64, round: &mut Round) {
        let is_routed = |_: &String, (seq, _): &mut (u64, String)| *seq <= block;
        let routed: Vec<_> = self.inputs.unrouted.extract_if(.., is_routed).collect();
        for (input, (seq, state)) in routed {
            self.index_input(seq, &InputPosition { input, state }, round);
        }
    }

    pub(super) fn note_inputs(&mut self, positions: Vec<InputPosition>, round: &mut Round) {
        for position in positions {
            let seq = self.next_seq();
            self.index_input(seq, &position, round);
            round.noted.push((seq, position));
        }
    }

    fn index_input(&mut self, seq: u64, position: &InputPosition, round: &mut Round) {
        let indexed = &mut self.inputs.indexed;
        if indexed
            .get(&position.input)
            .is_some_and(|known| *known > seq)
        {
            return;
        }
        indexed.insert(position.input.clone(), seq);
        let stored = frame::single(Kind::Input, seq, &codec::plain(position));
        round.batch.insert(keys::input(&position.input), stored);
        if self.inputs.indexed.len() > INPUTS_MAX {
            let oldest = self.inputs.indexed.iter().min_by_key(|(_, seq)| **seq);
            let oldest = oldest.map(|(input, _)| input.clone());
            if let Some(input) = oldest {
                self.forget_input(&input, round);
            }
        }
    }

    fn forget_input(&mut self, input: &str, round: &mut Round) {
        self.inputs.indexed.remove(input);
        round.batch.remove(keys::input(input));
        round.forgotten.push(input.to_owned());
    }

    /// What was noted in the index is durable.
    pub(super) fn publish_noted(&self, round: &mut Round) {
        let mut told = locked(&self.shared.inputs);
        newest_of(&mut told, &round.noted);
        round.noted.clear();
        for input in round.forgotten.drain(..) {
            let is_back = self.inputs.indexed.contains_key(&input)
                || self.inputs.unrouted.contains_key(&input);
            if !is_back {
                told.remove(&input);
            }
        }
    }
}

//! How far inputs other than the webhook have been read.
//!
//! Contract: a position that came with a batch ([`crate::BatchEncoder::finish_at`]) is durable exactly when the
//! batch is. Who reads on from [`crate::Queue::inputs`] after any crash neither leaves out nor repeats what
//! was in a batch. What a position says is its reader's business; it must not hold text of events.
//!
//! A reader whose state is a JSON object with a number `offset` says by it how far it is, and never goes back in an
//! input of the same name. Where a batch may have been stored though its append failed (on JetStream), its repetition
//! is known by that.

use serde::{Deserialize, Serialize};

/// So many inputs are remembered; of more, what was read longest ago is forgotten.
pub const INPUTS_MAX: usize = 4_096;
/// Longest name and state together, in bytes: a position fits a record of the index.
pub const INPUT_BYTES_MAX: usize = 4 * 1024;

/// How far one input was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPosition {
    /// Which input.
    pub input: String,
    /// Where its reader goes on, in its reader's words.
    pub state: String,
}

impl InputPosition {
    /// A position that can be stored.
    ///
    /// # Errors
    /// Name and state are longer than [`INPUT_BYTES_MAX`] together.
    pub fn new(input: String, state: String) -> Result<Self, TooLong> {
        match input.len() + state.len() {
            0..=INPUT_BYTES_MAX => Ok(Self { input, state }),
            bytes => Err(TooLong(bytes)),
        }
    }

    /// How far it is, if its state says so.
    pub(crate) fn offset(&self) -> Option<u64> {
        offset_of(&self.state)
    }
}

/// How far a state is, if it says so.
pub(crate) fn offset_of(state: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Offset {
        offset: u64,
    }
    serde_json::from_str(state)
        .ok()
        .map(|Offset { offset }| offset)
}

/// A position that cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error("a position of {0} bytes, more than {INPUT_BYTES_MAX}")]
pub struct TooLong(usize);

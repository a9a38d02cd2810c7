//! Messages of which details are still to be posted, and under which name of the destination.
//!
//! They are few, so the writer has all of them in memory too: what it decides within a round is there, while
//! the index still is as it was before the round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    db::{Db, Row},
    job::Answer,
    keys,
    owner::Owner,
    read::ReadError,
    records::small,
    recover::Unsound,
    stage::Round,
};
use crate::{
    Thread, codec,
    frame::{self, Kind},
};

/// By channel and message.
pub(super) type Threads = BTreeMap<String, BTreeMap<u64, Thread>>;

/// With the channel's name, so that it can be read without its key.
#[derive(Serialize, Deserialize)]
struct ThreadRow {
    channel: String,
    thread: Thread,
}

/// All that are noted in an index.
pub(super) fn all(db: &Db) -> Result<Threads, Unsound> {
    let mut threads = Threads::new();
    for row in db.scan_prefix(keys::THREADS) {
        let ThreadRow { channel, thread } = small(&row?.1)?;
        let of_channel = threads.entry(channel).or_default();
        of_channel.insert(thread.message, thread);
    }
    Ok(threads)
}

/// Those of a channel, oldest first.
pub(super) fn of(db: &Db, channel: &str) -> Result<Vec<Thread>, ReadError> {
    let rows = db.scan_prefix(keys::threads_of(channel));
    let thread = |row: Row| {
        let ThreadRow { thread, .. } = small(&row?.1)?;
        Ok(thread)
    };
    rows.map(thread).collect()
}

impl Owner {
    /// Notes that details of a message follow; returns the message that has to give way to it.
    pub(super) fn begin_thread(
        &mut self,
        channel: &str,
        message: u64,
        thread: String,
        round: &mut Round,
    ) -> Option<u64> {
        if thread.len() > Thread::BYTES_MAX {
            tracing::warn!(
                channel,
                message_id = message,
                "a thread's name is too long to be noted: the digest's details are not posted, \
                 `auditrelay events --message` lists them"
            );
            return None;
        }
        let of_channel = self.threads.entry(channel.to_owned()).or_default();
        let is_full = of_channel.len() >= Thread::PER_CHANNEL_MAX;
        let gave_way = if is_full {
            of_channel.pop_first()
        } else {
            None
        };
        let gave_way = gave_way.map(|(oldest, _)| oldest);
        if let Some(oldest) = gave_way {
            round.batch.remove(keys::thread(channel, oldest));
        }
        let thread = Thread {
            message,
            thread,
            done: 0,
        };
        round
            .batch
            .insert(keys::thread(channel, message), stored(channel, &thread));
        of_channel.insert(message, thread);
        gave_way
    }

    /// Notes how much of it is posted, if it is noted at all; with `None` it is forgotten.
    pub(super) fn note_thread(
        &mut self,
        channel: &str,
        message: u64,
        done: Option<u32>,
        round: &mut Round,
    ) -> Answer {
        let Some(of_channel) = self.threads.get_mut(channel) else {
            return Answer::Noted(false);
        };
        let key = keys::thread(channel, message);
        let was_noted = match done {
            None => {
                round.batch.remove(key);
                of_channel.remove(&message).is_some()
            }
            Some(done) => match of_channel.get_mut(&message) {
                None => false,
                Some(thread) => {
                    thread.done = done;
                    round.batch.insert(key, stored(channel, thread));
                    true
                }
            },
        };
        Answer::Noted(was_noted)
    }
}

fn stored(channel: &str, thread: &Thread) -> Vec<u8> {
    let row = ThreadRow {
        channel: channel.to_owned(),
        thread: thread.clone(),
    };
    frame::single(Kind::Thread, thread.message, &codec::plain(&row))
}

//! Takes lines of a log file into the queue: for a command that has the store, and in the running relay for one
//! that has not.
//!
//! Invariants:
//! * lines are taken only behind what was taken before: who sends them says how far the file was read, and that
//!   has to be how far the queue knows it was read. So two imports of one file cannot take a line twice;
//! * what is taken is durable before anybody is told how far the file is: the work is never left in the middle;
//! * a line counts as taken when its block is durable, and how far the file is read is in that block.

use std::{cmp::Reverse, path::Path};

use auditrelay_audit::HashKey;
use auditrelay_ingest::{
    InForce,
    log_file::{Chunk, FirstLine, InUse, LinesInBatch, Mark, Place},
};
use auditrelay_store::{Engine, Queue};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// What an import asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Which file begins like this, and how far was it read?
    Known {
        head: FirstLine,
        place: Place,
        /// It is to be read from its beginning, whatever was read before.
        again: bool,
    },
    /// Are these the last bytes before the place that this input was read to?
    Same {
        input: String,
        offset: u64,
        tail: Vec<u8>,
    },
    /// Take these lines; their text follows the request's first line.
    Take(Box<Take>),
}

/// Lines to take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Take {
    /// The cluster that wrote them; the relay's own if it is left out.
    pub(crate) cluster: Option<String>,
    pub(crate) path: String,
    pub(crate) place: Place,
    pub(crate) input: String,
    /// Nobody is told of them.
    pub(crate) quiet: bool,
    /// How far the file was read before, as the queue has to know it: bytes, and the last of them.
    pub(crate) offset_before: u64,
    pub(crate) tail_before: Vec<u8>,
    /// Without its text.
    pub(crate) chunk: Chunk,
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Said {
    /// Files that begin so, the one that is in its place first; and a name for one that is none of them.
    Known {
        marks: Vec<(String, Mark)>,
        new_input: String,
    },
    Same(bool),
    Taken(Taken),
    /// Lines behind these were taken meanwhile: by an import that was killed while it sent them, or by another one.
    Moved(Box<Mark>),
    /// There is no room in the queue now.
    Full(String),
    /// It cannot be done.
    Refused(String),
}

/// What lines became.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Taken {
    pub(crate) events: u64,
    pub(crate) unreadable: u64,
    pub(crate) legacy: u64,
    pub(crate) blank: u64,
    pub(crate) noted: Vec<Noted>,
}

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noted {
    pub(crate) line: u64,
    pub(crate) reason: String,
}

const FOLLOWED: &str = "the relay follows this file, and reads it without an import";

/// Takes lines.
pub(crate) struct Importer {
    queue: Engine,
    preparation: InForce,
    /// The same for what nobody is told of.
    quiet: InForce,
    key: HashKey,
    in_use: InUse,
    cluster: String,
    one_at_a_time: Mutex<()>,
}

impl Importer {
    pub(crate) fn new(
        queue: Engine,
        (preparation, quiet): (InForce, InForce),
        key: HashKey,
        in_use: InUse,
        cluster: String,
    ) -> Self {
        Self {
            queue,
            preparation,
            quiet,
            key,
            in_use,
            cluster,
            one_at_a_time: Mutex::new(()),
        }
    }

    /// Answers; `text` is that of the lines.
    pub(crate) async fn answer(&self, ask: Ask, text: Vec<u8>, now_unix_ms: i64) -> Said {
        match ask {
            Ask::Known { head, place, again } => {
                self.known(&head, place, again.then_some(now_unix_ms))
            }
            Ask::Same {
                input,
                offset,
                tail,
            } => self.same(&input, offset, &tail),
            Ask::Take(mut take) => {
                take.chunk.text = text;
                self.take(*take, now_unix_ms).await
            }
        }
    }

    fn known(&self, head: &FirstLine, place: Place, again_at: Option<i64>) -> Said {
        let mut marks = Mark::all(&self.queue.inputs());
        marks.retain(|(_, mark)| mark.has_head(&self.key, head));
        let is_elsewhere =
            |mark: &Mark| (mark.place.device, mark.place.inode) != (place.device, place.inode);
        if self
            .in_use
            .has(place, marks.iter().map(|(input, _)| input.as_str()))
        {
            return Said::Refused(FOLLOWED.to_owned());
        }
        // The newest: an import from the beginning (--again) that was interrupted is what goes on. Of those that
        // are as new, the furthest leaves least to be told twice.
        marks.sort_by_key(|(_, mark)| {
            (
                Reverse(mark.read_unix_ms),
                is_elsewhere(mark),
                Reverse(mark.offset),
            )
        });
        Said::Known {
            marks,
            new_input: Mark::new_input(&self.key, place, head, again_at),
        }
    }

    fn same(&self, input: &str, offset: u64, tail: &[u8]) -> Said {
        let marks = Mark::all(&self.queue.inputs());
        let mut known = marks.iter().filter(|(known, _)| known == input);
        // Where lines were taken meanwhile, taking the next ones compares.
        Said::Same(known.any(|(_, mark)| mark.offset != offset || mark.has_tail(&self.key, tail)))
    }

    async fn take(&self, take: Take, now_unix_ms: i64) -> Said {
        let _only = self.one_at_a_time.lock().await;
        // Until they are durable: a follower that begins meanwhile would take them too.
        let Some(_importing) = self.in_use.import(take.place, &take.input) else {
            return Said::Refused(FOLLOWED.to_owned());
        };
        let mark = Mark::all(&self.queue.inputs())
            .into_iter()
            .find(|(input, _)| *input == take.input)
            .map(|(_, mark)| mark);
        let goes_on = match &mark {
            None => take.offset_before == 0,
            Some(mark) => {
                mark.offset == take.offset_before && mark.has_tail(&self.key, &take.tail_before)
            }
        };
        if let Some(mark) = mark
            && mark.offset > take.offset_before
        {
            return Said::Moved(Box::new(mark));
        }
        if !goes_on {
            return Said::Refused(
                "the file is not as it was when it was read before, or something else reads it now"
                    .to_owned(),
            );
        }
        let admitted = match self.queue.admit(take.chunk.bytes) {
            Ok(admitted) => admitted,
            Err(full) => return Said::Full(full.0.to_string()),
        };
        let Some(made) = self.prepare(take, now_unix_ms).await else {
            return Said::Refused("the relay failed on these lines".to_owned());
        };
        if let Some(batch) = made.batch
            && let Err(error) = self.queue.append(batch).await
        {
            return Said::Refused(error.to_string());
        }
        drop(admitted);
        let noted = made.noted.into_iter();
        Said::Taken(Taken {
            events: made.stored.events,
            unreadable: made.stored.unreadable,
            legacy: made.legacy,
            blank: made.blank,
            noted: noted
                .map(|noted| Noted {
                    line: noted.line,
                    reason: noted.reason.to_owned(),
                })
                .collect(),
        })
    }

    async fn prepare(&self, take: Take, now_unix_ms: i64) -> Option<LinesInBatch> {
        let preparation = match take.quiet {
            true => self.quiet.load(),
            false => self.preparation.load(),
        };
        let key = self.key.clone();
        let cluster = take.cluster.unwrap_or_else(|| self.cluster.clone());
        let made = tokio::task::spawn_blocking(move || {
            let path = Path::new(&take.path);
            let mark = Mark::new(&key, path, take.place, &take.chunk.end, now_unix_ms);
            let position = mark.position(&take.input).ok()?;
            Some(preparation.lines(&cluster, now_unix_ms, path, &take.chunk, position))
        });
        made.await.ok().flatten()
    }
}

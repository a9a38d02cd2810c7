//! An import into a queue on JetStream: whole, or as if it had never been.
//!
//! Contract:
//! * it goes into a queue that was never used, as on a disk. Batches that wait in the inbox do not count as use: they
//!   are routed after the import, when everything that it brings is known;
//! * from its beginning to its end there is a mark on the ledger stream, under which no relay opens the queue
//!   ([`JetStream::open`]): nobody routes or posts of half an import, whatever became of who made it;
//! * an import that finds the mark begins anew: what is there is of one that was cut short, and is deleted first;
//! * the mark is deleted when all of it is stored and counted. Each import has a mark of its own and deletes no other,
//!   so one that was paused and goes on does not end another one.
//!
//! Who imports should hold the lease, so that relays wait for it instead of trying in vain.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{JetStream, ledger_stream::LedgerStream, pump};
use crate::{Engine, MoveError, Moved, OpenError, Queue, StreamOptions};

/// The subject of marks.
pub(crate) const MARK: &str = "importing";
/// How long deleting a mark is tried.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(200);

/// An import that was begun: no relay opens the queue until it is complete.
#[derive(Debug)]
pub struct Importing {
    jetstream: JetStream,
    engine: Engine,
    /// The sequence of its mark.
    mark: u64,
}

impl JetStream {
    /// Begins an import.
    ///
    /// # Errors
    /// [`MoveError::NotEmpty`] where the queue was used; or it cannot be opened.
    pub async fn begin_import(&self, options: StreamOptions) -> Result<Importing, MoveError> {
        let jetstream = self.clone();
        let begun = tokio::task::spawn_blocking(move || begin(&jetstream, &options));
        let (engine, mark) = begun.await.map_err(io::Error::other)??;
        Ok(Importing {
            jetstream: self.clone(),
            engine,
            mark,
        })
    }
}

fn begin(jetstream: &JetStream, options: &StreamOptions) -> Result<(Engine, u64), MoveError> {
    let away = |error| OpenError::Unreachable {
        stream: jetstream.streams().ledger.clone(),
        error,
    };
    let tenure = options.tenure.clone();
    let may = move || tenure.lasts(Duration::ZERO);
    let taken = LedgerStream::take_over_while(jetstream, may.clone()).map_err(away)?;
    let entries = taken.list().map_err(away)?;
    let taken = if entries.iter().any(|entry| &*entry.subject == MARK) {
        taken
    } else {
        // Whether it was used is the engine's to say.
        let engine = Engine::open_on_stream(taken, options)?;
        if is_used(&engine) {
            return Err(MoveError::NotEmpty);
        }
        drop(engine);
        LedgerStream::take_over_while(jetstream, may).map_err(away)?
    };
    let mark = taken.append(MARK, 0, &[]).map_err(away)?;
    let mark = mark.first().map_or(0, |mark| mark.seq);
    let entries = taken.list().map_err(away)?;
    let subjects: BTreeSet<_> = entries.into_iter().map(|entry| entry.subject).collect();
    for subject in subjects {
        let below = (&*subject == MARK).then_some(mark);
        taken.purge(&subject, below).map_err(away)?;
    }
    Ok((Engine::open_to_import(taken, options)?, mark))
}

/// Where the inbox was read to is no use: it is read again.
fn is_used(engine: &Engine) -> bool {
    let ledger = engine.ledger();
    let inputs = engine.inputs();
    ledger.received > 0
        || !ledger.channels.is_empty()
        || !engine.mutes().is_empty()
        || inputs.iter().any(|one| one.input != pump::INPUT)
}

impl Importing {
    /// Reads what [`Engine::export`] wrote; see [`Engine::import`]. With an error the mark stays.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub async fn run(
        self,
        lines: impl BufRead + Send + 'static,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Moved, MoveError> {
        let moved = self.engine.import(lines, progress).await?;
        self.end().await?;
        Ok(moved)
    }

    /// Gives it up before anything was read: the queue is as if it had never been used.
    ///
    /// # Errors
    /// The mark cannot be deleted.
    pub async fn give_up(self) -> Result<(), MoveError> {
        self.end().await
    }

    /// Closes the queue and deletes the mark.
    async fn end(self) -> Result<(), MoveError> {
        let Self {
            jetstream,
            engine,
            mark,
        } = self;
        engine.check()?;
        // All that was asked of it is done; what it may still tidy up ends with the fence of who leads next.
        tokio::task::spawn_blocking(move || drop(engine))
            .await
            .map_err(io::Error::other)?;
        let streams = jetstream.streams();
        let subject = format!("{}{MARK}", streams.ledger_prefix);
        let until = Instant::now() + PATIENCE;
        loop {
            let deleted = async {
                let stream = jetstream.context().get_stream_no_info(&streams.ledger);
                let stream = stream.await.map_err(io::Error::other)?;
                let purge = stream.purge().filter(&subject).sequence(mark + 1);
                purge.await.map_err(io::Error::other)
            };
            match deleted.await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => {
                    return Err(MoveError::Open(OpenError::Unreachable {
                        stream: streams.ledger.clone(),
                        error,
                    }));
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

//! The ledger stream: what the files of a relay are on a disk. One relay writes, whoever leads; it reads what others
//! wrote before it.
//!
//! Contract of [`LedgerStream`], whose calls block and are for plain threads:
//! * [`LedgerStream::take_over_while`] writes a fence. Nobody who wrote before can write after it: each message is published
//!   under the condition that the last one of the stream is its writer's own (`Nats-Expected-Last-Sequence`, which the
//!   servers check where they store). Neither clocks nor leases matter for that;
//! * [`LedgerStream::append`] returns once all of it is acknowledged, in order. Its errors are sticky: what became of a
//!   message without an acknowledgement is unknown, so whoever wrote has to take over and read anew;
//! * what is read is complete: the stream's leader says what the last message is, and reading ends there. A server that
//!   lags is waited for, or another one asked;
//! * whoever opens it asks before each question whether it still may, so that an opening that was given up ends soon;
//! * what is purged is never anything that was written after this writer's own last message, so that a writer that was
//!   paused and goes on cannot take away what its successor wrote. Fences apart, which nobody reads: those that were there
//!   make room for the next one where the stream is full, so that it is taken over all the same.
//!
//! Errors of kind `NotFound`, `InvalidData` and `UnexpectedEof` mean that something is damaged. All others mean that
//! the stream cannot be used now: `ResourceBusy` that another relay took over, `StorageFull` that there is no room.

mod entry;
mod list;
mod publish;
mod read;

use std::{
    fmt, io,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    HeaderMap,
    datetime::DateTime,
    jetstream::{
        Context,
        message::StreamMessage,
        stream::{RawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use tokio::time::Instant;

use self::{
    entry::Said,
    publish::{Outgoing, Refusal, publish},
    read::Attempt,
};
use super::JetStream;
use crate::locked;

pub(crate) use self::entry::{Chunk, Entry, whole};

/// The longest part: servers replicate messages of this size well, and it is below the default `max_payload` of 1 MiB.
const CHUNK_BYTES_MAX: usize = 512 << 10;
/// What headers of a message may come to, besides its part.
const HEADER_BYTES_MAX: usize = 4 << 10;
/// How long one question waits for its answer before it is asked again.
const TRY: Duration = Duration::from_secs(2);
/// How long an append tries. NATS: a stream whose leader was killed has a new one after 4 to 9 s.
const APPEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long anything else tries, for the same reason.
const PATIENCE: Duration = Duration::from_secs(12);
/// How often a fence is written again when somebody wrote in between.
const FENCES_MAX: usize = 50;
/// What a fence holds for nothing but its room: of a stream that is full, room for the next fence and a few commits.
const BALLAST_BYTES: usize = 64 << 10;
/// The subject of fences.
const FENCE: &str = "fence";

/// One writer's hold of the ledger stream.
pub(crate) struct LedgerStream {
    jetstream: JetStream,
    context: Context,
    stream: Stream<()>,
    /// What all subjects begin with, with its dot.
    prefix: String,
    /// What IDs of this writer's messages begin with.
    writer: String,
    chunk_bytes: usize,
    /// Its fence.
    fence: u64,
    /// The last message of this writer that was acknowledged.
    last: AtomicU64,
    /// Held while an append is under way; why nothing can be appended any more.
    ended: Mutex<Option<Refusal>>,
    /// Whether who opens it still may, until it is open.
    may: Mutex<Option<Box<May>>>,
}

type May = dyn Fn() -> bool + Send + Sync;

impl fmt::Debug for LedgerStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "LedgerStream({})", self.name())
    }
}

impl LedgerStream {
    /// The stream's name.
    pub(crate) fn name(&self) -> &str {
        &self.jetstream.streams().ledger
    }

    /// Writes a fence: from here on nobody else can write, until somebody takes over from this one. Asks before each try
    /// whether it may: one that was delayed for long must not end the term of who leads by then. Until
    /// [`LedgerStream::opened`] it asks so before whatever else it does, too.
    ///
    /// # Errors
    /// The stream cannot be reached, others take over all the time, or it may not any more.
    pub(crate) fn take_over_while(
        jetstream: &JetStream,
        may: impl Fn() -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let streams = jetstream.streams();
        let mut context = jetstream.context().clone();
        context.set_timeout(TRY);
        let stream = jetstream
            .block_on(context.get_stream_no_info(&streams.ledger))
            .map_err(io::Error::other)?;
        let room = jetstream.max_payload().saturating_sub(HEADER_BYTES_MAX);
        let mut ledger = Self {
            prefix: streams.ledger_prefix.clone(),
            jetstream: jetstream.clone(),
            context,
            stream,
            writer: nuid::next().to_string(),
            chunk_bytes: room.clamp(1, CHUNK_BYTES_MAX),
            fence: 0,
            last: AtomicU64::new(0),
            ended: Mutex::new(None),
            may: Mutex::new(Some(Box::new(may))),
        };
        ledger.fence = ledger.jetstream.block_on(ledger.write_fence())?;
        ledger.last.store(ledger.fence, Ordering::Release);
        // Who fenced before is fenced off by the last fence alone.
        ledger.purge(FENCE, Some(ledger.fence))?;
        Ok(ledger)
    }

    /// It is open: nobody waits for that any more.
    pub(crate) fn opened(&self) {
        *locked(&self.may) = None;
    }

    fn may(&self) -> io::Result<()> {
        match &*locked(&self.may) {
            Some(may) if !may() => Err(io::Error::other(
                "the opening was given up, as this replica is not to lead any more",
            )),
            _ => Ok(()),
        }
    }

    async fn write_fence(&self) -> io::Result<u64> {
        let mut fenced = 0;
        let mut ballast = Bytes::from(vec![0; BALLAST_BYTES.min(self.chunk_bytes)]);
        for _ in 0..FENCES_MAX {
            let after = self.info().await?.state.last_sequence;
            // After it was seen: what a next leader writes then comes after it, and this fence is refused.
            self.may()?;
            let said = Said::whole(0, ballast.len() as u64);
            let fence = self.outgoing(FENCE, after, said, ballast.clone());
            let until = Instant::now() + APPEND_PATIENCE;
            match publish(&self.context, &self.stream, &[fence], until).await {
                Ok(()) => return Ok(after + 1),
                // Somebody wrote in between.
                Err(Refusal::Fenced(seq)) => fenced = seq,
                Err(Refusal::Full(_)) if !ballast.is_empty() => {
                    self.purge_below(FENCE, after + 1).await?;
                    ballast.clear();
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(Refusal::Fenced(fenced).into())
    }

    /// Appends a payload that begins at an offset of its subject; its parts are returned once they are durable.
    ///
    /// # Errors
    /// The stream did not take it; no later append is tried.
    pub(crate) fn append(
        &self,
        subject: &str,
        offset: u64,
        payload: &[u8],
    ) -> io::Result<Vec<Chunk>> {
        self.append_bytes(subject, offset, Bytes::copy_from_slice(payload))
    }

    /// The same of a payload that is not copied for it.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn append_bytes(
        &self,
        subject: &str,
        offset: u64,
        payload: Bytes,
    ) -> io::Result<Vec<Chunk>> {
        let mut ended = self.ended();
        if let Some(refusal) = &*ended {
            return Err(refusal.clone().into());
        }
        let first = self.last() + 1;
        let messages = self.parts(subject, offset, payload, first);
        let until = Instant::now() + APPEND_PATIENCE;
        let published =
            self.jetstream
                .block_on(publish(&self.context, &self.stream, &messages, until));
        if let Err(refusal) = published {
            *ended = Some(refusal.clone());
            return Err(refusal.into());
        }
        let mut chunks = Vec::with_capacity(messages.len());
        let mut begin = offset;
        for message in &messages {
            let bytes = message.payload.len() as u64;
            chunks.push(Chunk {
                seq: message.after + 1,
                offset: begin,
                bytes,
            });
            begin += bytes;
        }
        self.last
            .store(self.last() + chunks.len() as u64, Ordering::Release);
        Ok(chunks)
    }

    /// The messages of an append; an empty payload is one as well.
    fn parts(&self, subject: &str, offset: u64, payload: Bytes, first: u64) -> Vec<Outgoing> {
        let parts = payload.len().div_ceil(self.chunk_bytes).max(1);
        let part = |index: usize| {
            let begin = index * self.chunk_bytes;
            let end = payload.len().min(begin + self.chunk_bytes);
            let said = Said {
                offset: offset + begin as u64,
                part: index as u32 + 1,
                parts: parts as u32,
                bytes: (end - begin) as u64,
            };
            let after = first - 1 + index as u64;
            self.outgoing(subject, after, said, payload.slice(begin..end))
        };
        (0..parts).map(part).collect()
    }

    fn outgoing(&self, subject: &str, after: u64, said: Said, payload: Bytes) -> Outgoing {
        let mut headers = HeaderMap::new();
        said.write(&mut headers);
        Outgoing {
            subject: format!("{}{subject}", self.prefix),
            // A writer has one message after each sequence: it ends with the first that is not stored there.
            id: format!("{}-{after}", self.writer),
            after,
            headers,
            payload,
        }
    }

    /// The payload of a message, as the stream's leader has it.
    ///
    /// # Errors
    /// `NotFound` where there is none of that sequence, `InvalidData` where it is not as long as it says.
    pub(crate) fn get(&self, seq: u64) -> io::Result<Vec<u8>> {
        let found = self.jetstream.block_on(self.get_async(seq))?;
        let said = Said::read(&found.headers).ok_or_else(|| {
            let text = format!("message {seq} of the ledger stream is not a relay's");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        said.check(seq, &found.payload)?;
        Ok(found.payload.into())
    }

    async fn get_async(&self, seq: u64) -> io::Result<StreamMessage> {
        let what = || format!("message {seq} of the ledger stream");
        let ask = async || match self.stream.get_raw_message(seq).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Attempt::again(error)),
        };
        // What is there is right, whoever says so.
        if let Ok(Some(found)) = ask().await {
            return Ok(found);
        }
        self.consistent(what, ask).await?.ok_or_else(|| {
            let text = format!("message {seq} of the ledger stream is gone");
            io::Error::new(io::ErrorKind::NotFound, text)
        })
    }

    /// An answer of a leader that has everything: one that was just elected may not have it yet.
    async fn consistent<T>(
        &self,
        what: impl Fn() -> String,
        ask: impl AsyncFn() -> Result<T, Attempt>,
    ) -> io::Result<T> {
        self.patiently(what, async || {
            let before = self.current_leader().await?;
            let answer = ask().await?;
            if self.current_leader().await? == before {
                Ok(answer)
            } else {
                Err(Attempt::again("the stream's leader changed"))
            }
        })
        .await
    }

    /// Who leads the stream, with all that this writer wrote, and since when.
    async fn current_leader(&self) -> Result<Option<(Option<String>, Option<DateTime>)>, Attempt> {
        let info = self.stream.get_info().await.map_err(Attempt::again)?;
        if info.state.last_sequence < self.last() {
            return Err(Attempt::again("the stream's leader is behind"));
        }
        Ok(info
            .cluster
            .map(|cluster| (cluster.leader, cluster.leader_since)))
    }

    /// Deletes messages of a subject: all of them, or those below a sequence. Doing it twice does it once; an error
    /// here is not sticky.
    ///
    /// # Errors
    /// The stream cannot be reached, or another relay took over.
    pub(crate) fn purge(&self, subject: &str, below_seq: Option<u64>) -> io::Result<()> {
        if let Some(refusal) = &*self.ended() {
            return Err(refusal.clone().into());
        }
        let below = below_seq.unwrap_or(u64::MAX).min(self.last() + 1);
        self.jetstream.block_on(self.purge_below(subject, below))
    }

    async fn purge_below(&self, subject: &str, below: u64) -> io::Result<()> {
        let what = || format!("purging {subject} of the ledger stream");
        self.patiently(what, async || {
            let purge = self.stream.purge();
            let subject = format!("{}{subject}", self.prefix);
            let purged = purge.filter(subject).sequence(below).await;
            purged.map(drop).map_err(Attempt::again)
        })
        .await
    }

    async fn info(&self) -> io::Result<async_nats::jetstream::stream::Info> {
        let what = || "the state of the ledger stream".to_owned();
        self.patiently(what, async || {
            self.stream.get_info().await.map_err(Attempt::again)
        })
        .await
    }

    fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    fn ended(&self) -> MutexGuard<'_, Option<Refusal>> {
        locked(&self.ended)
    }
}

#[cfg(test)]
mod tests;

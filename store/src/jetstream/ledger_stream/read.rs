//! Reading much of the ledger stream: by consumers, of which the server that has them may lag or die.
//!
//! Invariants:
//! * the end is what the stream's leader says it is, and everything up to it was seen, or there is an error;
//! * the server numbers what a consumer delivers. After a number that is missing, a consumer that is gone or one that
//!   has nothing to say, another one goes on where the last one was.

use std::{io, sync::Arc, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull},
    stream::RawMessageErrorKind,
};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout};

use super::{Entry, LedgerStream, PATIENCE, entry::Said};

/// Messages asked for at once where their payloads come.
const PAYLOADS_AT_ONCE: usize = 1_000;
/// The same, in bytes: below what a server holds for one connection.
const BYTES_AT_ONCE: usize = 8 << 20;
/// How long a consumer has nothing to say before another one is tried.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// Why one attempt came to nothing.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It may come to something later.
    Again(String),
    /// It never will.
    Over(io::Error),
}

impl Attempt {
    pub(super) fn again(why: impl ToString) -> Self {
        Self::Again(why.to_string())
    }
}

/// What is read, by how many messages at once.
pub(super) struct Plan {
    pub(super) subject: String,
    pub(super) is_headers_only: bool,
    pub(super) at_once: usize,
}

impl LedgerStream {
    /// Tries until it comes to something, for as long as patience lasts.
    pub(super) async fn patiently<T>(
        &self,
        what: impl Fn() -> String,
        mut attempt: impl AsyncFnMut() -> Result<T, Attempt>,
    ) -> io::Result<T> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            self.may()?;
            let why = match attempt().await {
                Ok(done) => return Ok(done),
                Err(Attempt::Over(error)) => return Err(error),
                Err(Attempt::Again(why)) => why,
            };
            if Instant::now() + pause >= until {
                let text = format!("{} cannot be had: {why}", what());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// All messages of a subject from a sequence on, with their payloads, up to a sequence, whose message is there unless
    /// it is told that it went meanwhile: then what was read until then.
    ///
    /// # Errors
    /// The stream cannot be reached; `InvalidData` where a payload is not as long as it says.
    pub(crate) fn read_some(
        &self,
        subject: &str,
        from_seq: u64,
        to_seq: u64,
        is_there: impl Fn() -> bool,
    ) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        self.read(subject, from_seq, async || Ok(is_there().then_some(to_seq)))
    }

    /// The same up to an end that is asked for.
    pub(super) fn read(
        &self,
        subject: &str,
        from_seq: u64,
        end: impl AsyncFn() -> io::Result<Option<u64>>,
    ) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let plan = Plan {
            subject: format!("{}{subject}", self.prefix),
            is_headers_only: false,
            at_once: PAYLOADS_AT_ONCE,
        };
        let name: Arc<str> = subject.into();
        let mut read = Vec::new();
        self.jetstream
            .block_on(self.scan(&plan, from_seq, end, |message| {
                let Some(entry) = entry(message, name.clone()) else {
                    return Ok(());
                };
                said(message).map_or(Ok(()), |said| said.check(entry.seq, &message.payload))?;
                read.push((entry, message.payload.to_vec()));
                Ok(())
            }))?;
        Ok(read)
    }

    /// The last message of a subject, or of all that match, as the stream's leader says.
    pub(super) async fn last_of(&self, subject: &str) -> io::Result<Option<u64>> {
        let what = || format!("the last message of {subject}");
        self.consistent(what, async || {
            match self.stream.get_last_raw_message_by_subject(subject).await {
                Ok(last) => Ok(Some(last.sequence)),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(Attempt::again(error)),
            }
        })
        .await
    }

    /// Takes every message of a plan, in order, up to its end; the end is asked for again whenever a consumer does
    /// not come to it, as what was the last message may be purged.
    pub(super) async fn scan(
        &self,
        plan: &Plan,
        from_seq: u64,
        end: impl AsyncFn() -> io::Result<Option<u64>>,
        mut take: impl FnMut(&Message) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut next = from_seq.max(1);
        let mut until = Instant::now() + PATIENCE;
        while let Some(end) = end().await?
            && next <= end
        {
            self.may()?;
            let before = next;
            let why = match self.scan_some(plan, &mut next, end, &mut take).await {
                Ok(()) => return Ok(()),
                Err(Attempt::Over(error)) => return Err(error),
                Err(Attempt::Again(why)) => why,
            };
            if next > before {
                until = Instant::now() + PATIENCE;
            } else if Instant::now() >= until {
                let text = format!("{} cannot be read to its end: {why}", plan.subject);
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The same by one consumer, for as long as it delivers.
    async fn scan_some(
        &self,
        plan: &Plan,
        next: &mut u64,
        end: u64,
        take: &mut impl FnMut(&Message) -> io::Result<()>,
    ) -> Result<(), Attempt> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: *next,
            },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            filter_subject: plan.subject.clone(),
            headers_only: plan.is_headers_only,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await;
        let consumer = consumer.map_err(Attempt::again)?;
        let name = consumer.cached_info().name.clone();
        let mut delivered = 0;
        let outcome = loop {
            if let Err(error) = self.may() {
                break Err(Attempt::Over(error));
            }
            let batch = consumer.batch().max_messages(plan.at_once);
            let batch = batch.max_bytes(BYTES_AT_ONCE).expires(SILENCE);
            let mut batch = match batch.messages().await {
                Ok(batch) => batch,
                Err(error) => break Err(Attempt::again(error)),
            };
            let before = delivered;
            let taken = loop {
                let Ok(message) = timeout(SILENCE * 2, batch.next()).await else {
                    break Err(Attempt::again("its server does not answer"));
                };
                let message = match message {
                    Some(Ok(message)) => message,
                    Some(Err(error)) => break Err(Attempt::again(error)),
                    None => break Ok(()),
                };
                if let Err(error) = take_next(&message, next, &mut delivered, take) {
                    break Err(error);
                }
                if *next > end {
                    break Ok(());
                }
            };
            match taken {
                Ok(()) if *next > end => break Ok(()),
                Ok(()) if delivered > before => {}
                Ok(()) => break Err(Attempt::again("its server has nothing more")),
                Err(error) => break Err(error),
            }
        };
        // Otherwise the server removes it after a while.
        let _removed = self.stream.delete_consumer(&name).await;
        outcome
    }

    pub(super) fn suffix<'m>(&self, message: &'m Message) -> &'m str {
        self.strip(message.subject.as_str())
    }

    pub(super) fn strip<'s>(&self, subject: &'s str) -> &'s str {
        subject.strip_prefix(&self.prefix).unwrap_or(subject)
    }
}

pub(super) fn take_next(
    message: &Message,
    next: &mut u64,
    delivered: &mut u64,
    take: &mut impl FnMut(&Message) -> io::Result<()>,
) -> Result<(), Attempt> {
    let info = message.info().map_err(Attempt::again)?;
    if info.consumer_sequence != *delivered + 1 || info.stream_sequence < *next {
        return Err(Attempt::again("a message was lost on the way"));
    }
    take(message).map_err(Attempt::Over)?;
    *delivered += 1;
    *next = info.stream_sequence + 1;
    Ok(())
}

fn said(message: &Message) -> Option<Said> {
    Said::read(message.headers.as_ref()?)
}

pub(super) fn entry(message: &Message, subject: Arc<str>) -> Option<Entry> {
    let said = said(message)?;
    let info = message.info().ok()?;
    Some(Entry {
        seq: info.stream_sequence,
        subject,
        offset: said.offset,
        part: said.part,
        parts: said.parts,
        bytes: said.bytes,
        stored_unix_ms: (info.published.unix_timestamp_nanos() / 1_000_000) as i64,
    })
}

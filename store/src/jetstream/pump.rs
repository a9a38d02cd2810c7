//! The pump: takes what is in the inbox into the engine of the replica that leads, each block once and in order.
//!
//! Contract:
//! * with each block the engine stores its sequence in the stream, in the same commit ([`INPUT`]). A block at or below
//!   the sequence that is stored is never appended, one above it is never passed over: after a kill at any point, and
//!   from whichever leader to the next;
//! * nothing is deleted from the stream before it is durable in the engine;
//! * an engine without room makes it rest; then the inbox fills, and appends are refused with 429.
//!
//! # Why there is no consumer
//! A consumer keeps its own account of what was delivered and acknowledged, beside that of the engine, and the two would
//! have to be brought together: what a dead leader held comes back after a timeout and out of order, where a sequence that
//! is compared would take it for old. Here the engine's account is the only one. Messages are read by their sequence
//! from the stream's leader (`STREAM.MSG.GET`), so that a gap is known for one only when something behind it is there, and
//! what is done is deleted up to a sequence (`STREAM.PURGE`). A new leader goes on at once.
//!
//! # What the sequence belongs to
//! It is stored with the time at which the stream was created, and the one at which the message was stored. If the stream
//! is another one, or lost its end (servers that lost what they had acknowledged, a backup that was restored), it is read
//! from its beginning: what is taken twice the router knows, what would be passed over nobody would. Relays fill what lost
//! its end again, so that it may end behind what was taken of it all the same. Then another message is where the last one
//! was, with another time: that is looked at before anything is read or deleted, and a message may be missing there only
//! as it was done. Times are not compared but for being the same, so nothing rests on the servers' clocks. A server that
//! was just elected may say less than there is, so that is believed only when it is said for [`DOUBT`].

use std::time::Duration;

use async_nats::jetstream::{
    message::{PublishMessage, StreamMessage},
    stream::{Info, LastRawMessageErrorKind, Stream},
};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    inbox::{Door, Inbox},
    message,
    parts::Parts,
    publish::publish,
};
use crate::{Engine, Queue, QueueError};

/// The name under which the engine knows the inbox; not one of a log file, and nobody is told of it.
pub(crate) const INPUT: &str = "jetstream-inbox";

/// Messages of one round, and bytes after which it ends.
const ROUND_MESSAGES: u64 = 256;
const ROUND_BYTES: usize = 8 << 20;
/// Messages asked for at once.
const AT_ONCE: usize = 16;
/// How long it waits for word of a new batch before it looks by itself.
const LOOK: Duration = Duration::from_millis(250);
/// How soon an engine without room, or servers that fail, are asked again.
pub(super) const REST: Duration = Duration::from_millis(250);
/// How often what is done is deleted while there is more to do.
const PURGE: Duration = Duration::from_secs(1);

/// How long a stream that ends before what was taken of it is asked again.
const DOUBT: Duration = Duration::from_secs(15);

/// Why a round ended early.
pub(super) enum Failed {
    /// The servers did not do something; it is tried again.
    Servers(String),
    /// The engine failed, or it is to stop.
    Ended(Option<QueueError>),
}

impl From<QueueError> for Failed {
    fn from(error: QueueError) -> Self {
        Self::Ended(Some(error))
    }
}

impl Inbox {
    /// Feeds an engine from the inbox until `stop` says so. One replica does this at a time: the one whose engine it is.
    ///
    /// # Errors
    /// The engine's; servers that cannot be reached are waited for.
    pub async fn pump(
        &self,
        engine: Engine,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), QueueError> {
        let _leading = self.0.lead(engine.clone());
        let mut wakes = self.0.servers.client().subscribe(self.0.wakes()).await.ok();
        let mut pump: Option<Pump<'_>> = None;
        let mut is_said = false;
        let mut behind_since = None;
        while !*stop.borrow() {
            let turned = match &mut pump {
                Some(pump) => pump.turn(&mut stop).await,
                None => match Pump::begin(&self.0, &engine, &mut behind_since).await {
                    Ok(begun) => {
                        behind_since = None;
                        pump = Some(begun);
                        Ok(true)
                    }
                    Err(failed) => Err(failed),
                },
            };
            let pause = match turned {
                Ok(has_more) => {
                    if std::mem::take(&mut is_said) {
                        tracing::info!("the inbox is read on");
                    }
                    (!has_more).then_some(LOOK)
                }
                Err(Failed::Ended(None)) => break,
                Err(Failed::Ended(Some(error))) => return Err(error),
                Err(Failed::Servers(reason)) => {
                    // What it had gathered is read again.
                    pump = None;
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::warn!(
                            reason,
                            "the inbox cannot be read; what is in it stays there, and it is tried again"
                        );
                    }
                    Some(REST)
                }
            };
            if let Some(pause) = pause {
                let word = async {
                    let heard = match &mut wakes {
                        Some(wakes) => wakes.next().await,
                        None => None,
                    };
                    if heard.is_none() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = word, if !is_said => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                // One look answers all of them.
                while let Some(wakes) = &mut wakes
                    && wakes.next().now_or_never().flatten().is_some()
                {}
            }
        }
        Ok(())
    }
}

pub(super) struct Pump<'d> {
    pub(super) door: &'d Door,
    pub(super) engine: &'d Engine,
    stream: Stream<()>,
    /// When the stream was created, Unix time in nanoseconds.
    pub(super) created: i128,
    /// The engine has all blocks up to here.
    pub(super) done: u64,
    /// The next sequence to look at.
    pub(super) next: u64,
    pub(super) parts: Parts,
    /// The last message that was read or taken, whichever is further, and when it was stored.
    pub(super) mark: Option<(u64, i128)>,
    /// Deleted up to here, and when that was.
    purged: u64,
    purged_at: Instant,
}

pub(super) fn servers(error: impl std::fmt::Display) -> Failed {
    Failed::Servers(error.to_string())
}

impl<'d> Pump<'d> {
    /// `behind_since` is when the stream was first found to end before what was taken of it.
    pub(super) async fn begin(
        door: &'d Door,
        engine: &'d Engine,
        behind_since: &mut Option<Instant>,
    ) -> Result<Self, Failed> {
        let context = door.servers.context();
        let inbox = &door.servers.streams().inbox;
        let stream = context.get_stream_no_info(inbox).await.map_err(servers)?;
        let info = stream.get_info().await.map_err(servers)?;
        let created = info.created.unix_timestamp_nanos();
        let last = info.state.last_sequence;
        let taken = taken(engine);
        if taken.is_some_and(|taken| taken.of == created && taken.seq > last)
            && behind_since.get_or_insert_with(Instant::now).elapsed() < DOUBT
        {
            return Err(servers("it ends before what was taken of it"));
        }
        let known = match taken {
            Some(taken) if taken.of == created && taken.seq <= last => {
                is_same(&stream, taken.mark()).await?.then_some(taken)
            }
            _ => None,
        };
        if let (Some(Taken { seq, .. }), None) = (taken, known) {
            tracing::error!(
                taken = seq,
                last,
                "the inbox is another one than before, or lost what it had acknowledged: it is read from its beginning, and \
                 what comes a second time is recognised within the dedup window"
            );
        }
        Ok(Self {
            door,
            engine,
            stream,
            created,
            done: known.map_or(0, |known| known.seq),
            mark: known.and_then(|known| known.mark()),
            next: 1,
            parts: Parts::default(),
            purged: 0,
            purged_at: Instant::now(),
        })
    }

    /// One round; whether there may be more at once.
    pub(super) async fn turn(&mut self, stop: &mut watch::Receiver<bool>) -> Result<bool, Failed> {
        let info = self.look().await?;
        let is_due = self.purged_at.elapsed() >= PURGE;
        if is_due || info.state.last_sequence < self.next {
            self.purge().await?;
        }
        let messages = self.read(&info).await?;
        let has_some = !messages.is_empty();
        self.take(messages, stop).await?;
        self.give_up_stale(Instant::now()).await;
        Ok(has_some)
    }

    /// What the stream holds, if it is as it was.
    pub(super) async fn look(&self) -> Result<Info, Failed> {
        let info = self.stream.get_info().await.map_err(servers)?;
        // What was deleted need not be looked for, and what is there last is known by the stream's own word.
        let (state, end) = (
            &info.state,
            info.state.last_timestamp.unix_timestamp_nanos(),
        );
        let mark = self
            .mark
            .filter(|mark| mark.0 >= state.first_sequence && *mark != (state.last_sequence, end));
        if !self.is_still(&info) || !is_same(&self.stream, mark).await? {
            return Err(servers("it is not as it was"));
        }
        Ok(info)
    }

    fn is_still(&self, info: &Info) -> bool {
        info.created.unix_timestamp_nanos() == self.created
            && info.state.last_sequence + 1 >= self.next
            && info.state.last_sequence >= self.done
    }

    /// The next messages, in order.
    async fn read(&self, info: &Info) -> Result<Vec<StreamMessage>, Failed> {
        let from = self.next.max(info.state.first_sequence);
        let to = info.state.last_sequence.min(from + ROUND_MESSAGES - 1);
        let mut asked = stream::iter(from..=to)
            .map(|seq| self.stream.get_raw_message(seq))
            .buffered(AT_ONCE);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let mut expected = from;
        while bytes < ROUND_BYTES
            && let Some(message) = asked.next().await
        {
            let message = match message {
                Ok(message) => message,
                // Deleted, or not there yet where a server that fell behind leads the stream now.
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    messages.extend(self.behind(expected).await?);
                    break;
                }
                Err(error) => return Err(servers(error)),
            };
            expected = message.sequence + 1;
            bytes += message.payload.len();
            messages.push(message);
        }
        Ok(messages)
    }

    /// The first message from a sequence on, whichever it is.
    async fn behind(&self, seq: u64) -> Result<Option<StreamMessage>, Failed> {
        let first = self.stream.get_first_raw_message_by_subject(">", seq);
        match first.await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(servers(error)),
        }
    }

    /// Deletes what is done. Where parts are waited for, only what is no part: the inbox must not fill with it.
    pub(super) async fn purge(&mut self) -> Result<(), Failed> {
        let done = self.next - 1;
        self.purged_at = Instant::now();
        if done <= self.purged {
            return Ok(());
        }
        let whole = self.parts.first().map_or(done, |first| done.min(first - 1));
        let purge = self.stream.purge().sequence(whole + 1);
        purge.await.map_err(servers)?;
        if whole < done {
            let subject = &self.door.servers.streams().inbox_subject;
            let purge = self.stream.purge().sequence(done + 1).filter(subject);
            purge.await.map_err(servers)?;
        }
        self.purged = whole;
        Ok(())
    }

    async fn give_up_stale(&mut self, now: Instant) {
        for (id, last) in self.parts.stale(now) {
            let servers = &self.door.servers;
            let subject = format!("{}.{id}", servers.streams().inbox_subject);
            let word: PublishMessage = message::given_up()
                .message_id(format!("{id}.given-up.{last}"))
                .expected_last_subject_sequence(last);
            let deadline = Instant::now() + servers.options().append_timeout;
            // Refused: a part came after all. Not stored: it is tried again in a while.
            if let Err(error) = publish(servers, &subject, word, deadline).await {
                tracing::debug!(%error, "a block of which parts are missing is not given up yet");
            }
        }
    }
}

/// Whether a message is the one that was stored there at that time, or is not there any more.
async fn is_same(stream: &Stream<()>, mark: Option<(u64, i128)>) -> Result<bool, Failed> {
    let Some((seq, time)) = mark else {
        return Ok(true);
    };
    match stream.get_raw_message(seq).await {
        Ok(message) => Ok(message.time.unix_timestamp_nanos() == time),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(true),
        Err(error) => Err(servers(error)),
    }
}

/// What the engine has taken.
#[derive(Clone, Copy)]
struct Taken {
    /// When the stream was created.
    of: i128,
    /// The last message, and when it was stored; older versions did not say that.
    seq: u64,
    time: Option<i128>,
}

impl Taken {
    fn mark(&self) -> Option<(u64, i128)> {
        self.time.map(|time| (self.seq, time))
    }
}

fn taken(engine: &Engine) -> Option<Taken> {
    let inputs = engine.inputs();
    let position = inputs.iter().find(|one| one.input == INPUT)?;
    let mut numbers = position.state.split('/');
    Some(Taken {
        of: numbers.next()?.parse().ok()?,
        seq: numbers.next()?.parse().ok()?,
        time: numbers.next().and_then(|time| time.parse().ok()),
    })
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;

//! The inbox: the way into the queue for any replica, leading or not.
//!
//! Contract:
//! * [`Inbox::append`](Intake::append) returns `Ok` only when JetStream acknowledged every block of the batch. After an
//!   error some of them may be stored: the API server sends them again, and the router knows them;
//! * a block is published under an ID of its own, so a try that is repeated within an append is stored once;
//! * a batch of the webhook has [`super::JetStreamOptions::append_timeout`] in all; each block of a log file has as long,
//!   one after the other, as a later one must not be stored without those before it (below);
//! * without a connection, or an answer on it, an append fails at once, and nothing is refused for want of room: 503, not
//!   429.
//!
//! # Log files
//! The position that came with a block stays in it, and comes to the leader's engine with it. Who appended a block and
//! was not told whether it is stored appends the same block again, with the same position. Its blocks come to the stream
//! in order, so the leader ([`super::pump`]) knows a repetition by [`InputPosition::offset`], and each line is taken once.
//!
//! What was read before a replica began stands in the leader's engine, or in the inbox before it. So a follower asks
//! through the inbox itself ([`Intake::learn_inputs`]): the leader answers when it has come to the question, and all that
//! was stored before is in the answer. From then on a replica adds what it appends.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::{JetStream, inbox_room::InboxRoom, message, publish::publish, pump};
use crate::{
    Admitted, EncodedBatch, Engine, Full, INPUTS_MAX, InputPosition, Intake, Queue, QueueError,
    codec::Packed, inputs::offset_of,
};

/// Blocks of one batch that are on their way at once.
const BLOCKS_AT_ONCE: usize = 64;
/// How long it is tried to say that something is stored.
const WAKE_WAIT: Duration = Duration::from_millis(20);
/// How long a question waits for its answer before its asker is told so. It may be asked for again, which waits on.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// After so long a question is asked anew: its answer was lost, or is not to be had as nobody leads.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The way into the queue; clones are one.
#[derive(Clone)]
pub struct Inbox(pub(super) Arc<Door>);

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.0.servers.streams().inbox_subject;
        f.debug_tuple("Inbox").field(subject).finish()
    }
}

/// What all clones share.
pub(super) struct Door {
    pub(super) servers: JetStream,
    pub(super) room: InboxRoom,
    known: Mutex<Known>,
    asking: tokio::sync::Mutex<Option<Asking>>,
    /// The engine that is fed from the inbox here.
    leading: Mutex<Option<Engine>>,
}

/// Positions of inputs, as far as this replica knows; the number says which was changed last.
#[derive(Default)]
struct Known {
    is_learned: bool,
    positions: BTreeMap<String, (u64, String)>,
    changes: u64,
}

/// A question that is not answered yet.
struct Asking {
    answers: async_nats::Subscriber,
    asked: Instant,
    /// Pieces of the answer.
    id: String,
    pieces: Vec<Option<Bytes>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn away(why: impl fmt::Display) -> QueueError {
    QueueError::Unavailable(why.to_string().into())
}

impl JetStream {
    /// The way into the queue. One of these is cloned by all who append: what they reserve is counted together.
    pub fn inbox(&self) -> Inbox {
        Inbox(Arc::new(Door {
            servers: self.clone(),
            room: InboxRoom::default(),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            leading: Mutex::default(),
        }))
    }
}

impl Intake for Inbox {
    async fn append(&self, batch: EncodedBatch) -> Result<(), QueueError> {
        self.0.connected()?;
        let door = Arc::clone(&self.0);
        self.0.own(async move { door.append(batch).await }).await
    }

    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full> {
        let door = &self.0;
        self.ask();
        if !door.servers.is_connected() || door.servers.silence().is_silent() {
            // Whether there is room is not known, and what there is none of is an answer: append says so.
            return Ok(Admitted::new(Arc::default(), body_bytes));
        }
        door.room.admit(body_bytes)
    }

    async fn learn_inputs(&self) -> Result<(), QueueError> {
        self.0.connected()?;
        let door = Arc::clone(&self.0);
        self.0.own(async move { door.learn().await }).await
    }

    fn inputs(&self) -> Vec<InputPosition> {
        let mut all: BTreeMap<String, String> = {
            let known = locked(&self.0.known);
            let positions = known.positions.iter();
            positions
                .map(|(input, (_, state))| (input.clone(), state.clone()))
                .collect()
        };
        // What an import took on this machine is known to the engine alone.
        let leading = locked(&self.0.leading).clone();
        for position in leading.iter().flat_map(Queue::inputs) {
            let known = all.get(&position.input).map(|state| offset_of(state));
            if position.input != pump::INPUT && known.is_none_or(|known| position.offset() > known)
            {
                all.insert(position.input, position.state);
            }
        }
        all.into_iter()
            .map(|(input, state)| InputPosition { input, state })
            .collect()
    }

    async fn note_inputs(&self, positions: Vec<InputPosition>) -> Result<(), QueueError> {
        self.0.connected()?;
        let door = Arc::clone(&self.0);
        self.0.own(async move { door.note(positions).await }).await
    }
}

impl Door {
    fn connected(&self) -> Result<(), QueueError> {
        self.servers.promises().map_err(away)
    }

    /// Does it on the connection's own runtime, to its end whatever becomes of who waits for it.
    async fn own<F>(&self, work: F) -> Result<(), QueueError>
    where
        F: Future<Output = Result<(), QueueError>> + Send + 'static,
    {
        match self.servers.handle().spawn(work).await {
            Ok(done) => done,
            Err(_) => Err(away("the connection to NATS is closed")),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.servers.options().append_timeout
    }

    /// The largest piece of a block that is one message.
    pub(super) fn piece_bytes_max(&self) -> usize {
        let max_payload = self.servers.max_payload();
        max_payload
            .saturating_sub(message::HEADERS_BYTES_MAX)
            .max(message::HEADERS_BYTES_MAX)
    }

    async fn append(&self, batch: EncodedBatch) -> Result<(), QueueError> {
        let EncodedBatch { blocks, reached } = batch;
        if reached.is_empty() {
            let deadline = self.deadline();
            let stored = stream::iter(blocks).map(|block| self.block(block, deadline));
            let stored = stored.buffer_unordered(BLOCKS_AT_ONCE);
            stored.try_collect::<()>().await?;
        } else {
            for (number, block) in blocks.into_iter().enumerate() {
                self.block(block, self.deadline()).await?;
                let of_it = reached.iter().filter(|(of, _)| *of == number);
                let mut known = locked(&self.known);
                of_it.for_each(|(_, position)| known.note(position));
            }
        }
        self.wake().await;
        Ok(())
    }

    /// Says that something was stored. Who misses it looks by itself after a while.
    async fn wake(&self) {
        let said = self.servers.client().publish(self.wakes(), Bytes::new());
        // A connection that is busy is not waited for: what is stored is stored.
        let said = tokio::time::timeout(WAKE_WAIT, said).await;
        if !matches!(said, Ok(Ok(()))) {
            tracing::debug!("the leader was not told of a batch and finds it a little later");
        }
    }

    pub(super) fn wakes(&self) -> String {
        format!("{}-wakes", self.servers.streams().inbox_subject)
    }

    async fn block(&self, block: Packed, deadline: Instant) -> Result<(), QueueError> {
        let subject = &self.servers.streams().inbox_subject;
        let frame = message::framed(&block);
        drop(block);
        let (bytes, at_most) = (frame.len(), self.piece_bytes_max());
        let id = nuid::next();
        let stored = if bytes <= at_most {
            let whole = message::block(frame).message_id(&*id);
            publish(&self.servers, subject, whole, deadline)
                .await
                .map(drop)
        } else {
            self.parts(&format!("{subject}.{id}"), &id, &frame, at_most, deadline)
                .await
        };
        match &stored {
            Ok(()) => self.room.stored(bytes as u64),
            Err(QueueError::Full(_)) => self.room.is_full(),
            Err(_) => {}
        }
        stored
    }

    /// Publishes a block piece by piece; see [`super::parts`] for why none overtakes another.
    async fn parts(
        &self,
        subject: &str,
        id: &str,
        frame: &Bytes,
        at_most: usize,
        deadline: Instant,
    ) -> Result<(), QueueError> {
        let of = frame.len().div_ceil(at_most);
        let mut last = 0;
        for number in 0..of {
            let start = number * at_most;
            let piece = frame.slice(start..frame.len().min(start + at_most));
            let part = message::part(number, of, piece)
                .message_id(format!("{id}.{number}"))
                .expected_last_subject_sequence(last);
            last = publish(&self.servers, subject, part, deadline).await?;
        }
        Ok(())
    }

    async fn note(&self, positions: Vec<InputPosition>) -> Result<(), QueueError> {
        let subject = &self.servers.streams().inbox_subject;
        let notes = message::notes(&positions).message_id(&*nuid::next());
        publish(&self.servers, subject, notes, self.deadline()).await?;
        self.know(&positions);
        self.wake().await;
        Ok(())
    }

    fn know(&self, positions: &[InputPosition]) {
        let mut known = locked(&self.known);
        positions.iter().for_each(|position| known.note(position));
    }

    /// Asks the leader, and waits a while for its answer.
    async fn learn(&self) -> Result<(), QueueError> {
        let until = Instant::now() + ANSWER_WAIT;
        let mut asking = self.asking.lock().await;
        if locked(&self.known).is_learned {
            return Ok(());
        }
        if asking
            .as_ref()
            .is_none_or(|one| one.asked.elapsed() > ASK_AGAIN)
        {
            *asking = Some(self.ask().await?);
        }
        let Some(question) = asking.as_mut() else {
            return Err(away("nothing was asked"));
        };
        let answered = timeout_at(until, question.answered()).await;
        let Ok(Some(positions)) = answered else {
            return Err(away(
                "no relay that leads has said yet how far log files were read",
            ));
        };
        *asking = None;
        let mut known = locked(&self.known);
        positions.iter().for_each(|position| known.note(position));
        known.is_learned = true;
        Ok(())
    }

    async fn ask(&self) -> Result<Asking, QueueError> {
        let client = self.servers.client();
        let reply = client.new_inbox();
        let answers = client.subscribe(reply.clone()).await.map_err(away)?;
        let subject = &self.servers.streams().inbox_subject;
        let question = message::question(&reply).message_id(&*nuid::next());
        publish(&self.servers, subject, question, self.deadline()).await?;
        self.wake().await;
        Ok(Asking {
            answers,
            asked: Instant::now(),
            id: String::new(),
            pieces: Vec::new(),
        })
    }

    /// While the guard lives, this engine is fed here.
    pub(super) fn lead(self: &Arc<Self>, engine: Engine) -> Leading {
        *locked(&self.leading) = Some(engine);
        Leading(Arc::clone(self))
    }
}

/// See [`Door::lead`].
pub(super) struct Leading(Arc<Door>);

impl Drop for Leading {
    fn drop(&mut self) {
        *locked(&self.0.leading) = None;
    }
}

impl Known {
    fn note(&mut self, position: &InputPosition) {
        self.changes += 1;
        let newest = (self.changes, position.state.clone());
        self.positions.insert(position.input.clone(), newest);
        if self.positions.len() > INPUTS_MAX {
            let oldest = self.positions.iter().min_by_key(|(_, (change, _))| *change);
            let oldest = oldest.map(|(input, _)| input.clone());
            oldest.map(|input| self.positions.remove(&input));
        }
    }
}

impl Asking {
    /// The answer, once all its pieces are there; `None` once no more can come.
    async fn answered(&mut self) -> Option<Vec<InputPosition>> {
        loop {
            let Some(piece) = message::read_piece(self.answers.next().await?) else {
                continue;
            };
            if piece.id != self.id {
                // Another leader began to answer.
                self.id = piece.id;
                self.pieces = vec![None; piece.of];
            }
            if let Some(place) = self.pieces.get_mut(piece.number) {
                *place = Some(piece.bytes);
            }
            let whole: Option<Vec<Bytes>> = self.pieces.iter().cloned().collect();
            let Some(whole) = whole else { continue };
            match message::positions_unframed(&whole.concat()) {
                Ok(positions) => return Some(positions),
                Err(error) => {
                    tracing::warn!(%error, "an answer about log files was not whole; it is asked for again");
                    self.pieces.fill(None);
                }
            }
        }
    }
}

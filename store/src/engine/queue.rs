//! The contract, put together of what the writer does and what is read beside it.

use tokio::sync::watch;

use super::{
    Engine, Inner,
    job::{Answer, Fate, NewMuteJob, Op},
    locked, look, rates, read,
    records::Slice,
    threads,
};
use crate::{
    Accepted, Admitted, Backlog, Block, Burial, Cursor, DeadFilter, DeadLetter, DeliveryBlock,
    EncodedBatch, FellBack, Full, InputPosition, Lease, LeaseId, LeaseLimit, Ledger, Members, Mute,
    MuteEnd, NewMute, Quarantined, Queue, QueueError, RateCount, Retained, Routed, SeenBlock,
    Space, Thread, Told, frame::Damaged,
};

impl Queue for Engine {
    async fn append(&self, batch: EncodedBatch) -> Result<(), QueueError> {
        self.write(Op::Append {
            blocks: batch.blocks,
            reached: batch.reached,
        })
        .await
        .map(drop)
    }

    async fn unrouted(&self, blocks_max: usize) -> Result<Vec<Block>, QueueError> {
        loop {
            self.0.shared.check()?;
            let places: Vec<_> = {
                let unrouted = locked(&self.0.shared.unrouted);
                let some = read::some_of(&unrouted, blocks_max);
                unrouted.iter().take(some).copied().collect()
            };
            if !places.is_empty() {
                return self
                    .read(move |inner| read::blocks(&inner.logs.events, &places))
                    .await;
            }
            self.0.shared.appended.notified().await;
        }
    }

    async fn route(&self, routed: Routed) -> Result<(), QueueError> {
        self.write(Op::Route(routed)).await.map(drop)
    }

    async fn seen(&self) -> Result<Vec<SeenBlock>, QueueError> {
        self.0.shared.check()?;
        let at_open = locked(&self.0.shared.seen_at_open).take();
        if let Some(seen) = at_open {
            return Ok(seen);
        }
        self.read(|inner| read::seen(&inner.index.db(), &inner.logs.seen))
            .await
    }

    async fn forget_seen(&self, seq: u64) -> Result<(), QueueError> {
        self.write(Op::ForgetSeen { seq }).await.map(drop)
    }

    async fn rates(&self) -> Result<Vec<RateCount>, QueueError> {
        self.read(|inner| rates::all(&inner.index.db())).await
    }

    async fn wait_waiting(&self, channel: &str) -> Result<(), QueueError> {
        let notify = self.0.shared.channel(channel);
        loop {
            self.0.shared.check()?;
            let waits = {
                let ledger = locked(&self.0.shared.ledger);
                let events = ledger.channels.get(channel).map(|counts| counts.waiting);
                let others = [&ledger.notices, &ledger.copies];
                let others = others.map(|of| of.get(channel).map(|counts| counts.waiting));
                events > Some(0) || others.iter().any(|waiting| *waiting > Some(0))
            };
            if waits {
                return Ok(());
            }
            notify.notified().await;
        }
    }

    async fn lease(
        &self,
        channel: &str,
        limit: LeaseLimit,
        now_unix_ms: i64,
    ) -> Result<Option<Lease>, QueueError> {
        loop {
            let name = channel.to_owned();
            let found = self
                .read(move |inner| find_lease(inner, &name, limit))
                .await?;
            // What was about to be leased was dropped for its channel's quota: look again.
            let Some((held, slices, members)) = found else {
                continue;
            };
            if members.is_empty() {
                return Ok(None);
            }
            let (id, sealed_unix_ms) = match held {
                Some(held) => held,
                None => {
                    let seal = Op::Seal {
                        channel: channel.to_owned(),
                        slices,
                        now_unix_ms,
                    };
                    match self.write(seal).await? {
                        Answer::Leased(id) => (id, now_unix_ms),
                        _ => continue,
                    }
                }
            };
            return Ok(Some(Lease {
                id: LeaseId {
                    channel: channel.to_owned(),
                    id,
                },
                members,
                resumed: held.is_some(),
                sealed_unix_ms,
            }));
        }
    }

    async fn ack(&self, lease: &LeaseId, accepted: Accepted) -> Result<Option<u64>, QueueError> {
        match self.settle(lease, Fate::Delivered(accepted)).await? {
            Answer::GaveWay(message) => Ok(message),
            _ => Ok(None),
        }
    }

    async fn release(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.settle(lease, Fate::Waits).await.map(drop)
    }

    async fn bury(&self, lease: &LeaseId, burial: Burial) -> Result<(), QueueError> {
        self.settle(lease, Fate::Dead(burial)).await.map(drop)
    }

    async fn deliver_copies(&self, deliveries: Vec<DeliveryBlock>) -> Result<(), QueueError> {
        self.write(Op::Copies(deliveries)).await.map(drop)
    }

    async fn fall_back(&self, from: &str, to: &str) -> Result<FellBack, QueueError> {
        self.copy_to_fallback(from, to).await
    }

    async fn threads(&self, channel: &str) -> Result<Vec<Thread>, QueueError> {
        let channel = channel.to_owned();
        self.look(move |inner| threads::of(&inner.index.db(), &channel))
            .await
    }

    async fn note_thread(
        &self,
        channel: &str,
        message: u64,
        done: Option<u32>,
    ) -> Result<bool, QueueError> {
        let note = Op::NoteThread {
            channel: channel.to_owned(),
            message,
            done,
        };
        Ok(matches!(self.write(note).await?, Answer::Noted(true)))
    }

    async fn dead(
        &self,
        filter: DeadFilter,
        after: u64,
        max: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        self.look(move |inner| look::dead(inner, &filter, after, max))
            .await
    }

    async fn dead_members(&self, id: u64) -> Result<Option<Members>, QueueError> {
        self.look(move |inner| look::dead_members(inner, id)).await
    }

    async fn redrive(&self, messages: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        self.messages(Op::Redrive { messages }).await
    }

    async fn drop_dead(&self, messages: Vec<u64>) -> Result<Vec<u64>, QueueError> {
        self.messages(Op::DropDead { messages }).await
    }

    async fn told(&self, id: u64) -> Result<Option<Told>, QueueError> {
        self.look(move |inner| look::told(inner, id)).await
    }

    async fn quarantined(&self, after: u64, max: usize) -> Result<Vec<Quarantined>, QueueError> {
        self.look(move |inner| look::quarantined(inner, after, max))
            .await
    }

    async fn retained(&self, from: Cursor) -> Result<Retained, QueueError> {
        self.look(move |inner| look::retained(inner, from)).await
    }

    fn inputs(&self) -> Vec<InputPosition> {
        let told = locked(&self.0.shared.inputs);
        let position = |(input, (_, state)): (&String, &(u64, String))| InputPosition {
            input: input.clone(),
            state: state.clone(),
        };
        told.iter().map(position).collect()
    }

    async fn note_inputs(&self, notes: Vec<InputPosition>) -> Result<(), QueueError> {
        self.write(Op::NoteInputs(notes)).await.map(drop)
    }

    async fn add_mute(
        &self,
        mute: NewMute,
        announcement: String,
        tell: Vec<String>,
    ) -> Result<Option<Mute>, QueueError> {
        if let Err(too_long) = mute.check() {
            return Err(QueueError::Unreadable(too_long.to_string().into()));
        }
        self.mute(Op::AddMute(Box::new(NewMuteJob {
            mute,
            announcement,
            tell,
        })))
        .await
    }

    async fn end_mute(
        &self,
        id: u64,
        end: MuteEnd,
        tell: Vec<String>,
    ) -> Result<Option<Mute>, QueueError> {
        self.mute(Op::EndMute { id, end, tell }).await
    }

    fn mutes(&self) -> Vec<Mute> {
        locked(&self.0.shared.mutes).values().cloned().collect()
    }

    fn mutes_changes(&self) -> watch::Receiver<u64> {
        self.0.shared.mutes_changes.subscribe()
    }

    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full> {
        self.0.shared.room.admit(body_bytes)
    }

    fn space(&self) -> Space {
        let room = &self.0.shared.room;
        Space {
            used_bytes: room.used(),
            disk_free_bytes: room.disk_free(),
            refusing: room.refusing(),
            ..locked(&self.0.shared.space).clone()
        }
    }

    fn backlog(&self) -> Vec<Backlog> {
        self.0.shared.backlog()
    }

    fn ledger(&self) -> Ledger {
        locked(&self.0.shared.ledger).clone()
    }

    async fn failed(&self) -> QueueError {
        let mut failure = self.0.shared.failure.subscribe();
        loop {
            if let Err(error) = self.0.shared.check() {
                return error;
            }
            if failure.changed().await.is_err() {
                return QueueError::Closed;
            }
        }
    }
}

/// A lease's ID and when it was sealed if it is held, what it stands for and that in words.
type Found = (Option<(u64, i64)>, Vec<Slice>, Members);

/// The lease that is held, or what the next one would stand for; `None` if that changed meanwhile.
fn find_lease(
    inner: &Inner,
    channel: &str,
    limit: LeaseLimit,
) -> Result<Option<Found>, read::ReadError> {
    let db = inner.index.db();
    let sealed = read::seal(&db, channel)?;
    let slices = match &sealed {
        Some(seal) => seal.slices.clone(),
        None => read::next_slices(&db, channel, limit)?,
    };
    let held = sealed.map(|seal| (seal.id, seal.sealed_unix_ms));
    match read::members(&inner.index, &inner.logs.deliveries, channel, &slices)? {
        Some(members) => Ok(Some((held, slices, members))),
        None if held.is_some() => Err(Damaged("a leased block is missing").into()),
        None => Ok(None),
    }
}

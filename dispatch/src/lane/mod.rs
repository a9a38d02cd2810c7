//! Steps 7 to 9 of an event's way: one lane a channel.
//!
//! A lane waits until something is there, then until its pace allows a message, and only *then* leases,
//! so that a storm becomes a digest by itself (promise P5). It posts one message at a time and does
//! what the answer says (`outcome.rs`). A lease that may have been posted before, by this process or by
//! one that ended, is looked for in the channel before it is repeated (promise P2); where that cannot be
//! found out, it is repeated and says so. Whatever happens to one lane, no other is touched (promise P6).
//! It ends with its term (`term.rs`), and from then on changes nothing, here or in the queue.

mod details;
mod file;
mod look;
mod memory;
mod outcome;
mod ready;
mod stop;
mod told;
mod tries;

use std::{sync::Arc, time::Duration};

use auditrelay_audit::HashKey;
use auditrelay_config::{ChannelConfig, DigestDetails};
use auditrelay_store::{Accepted, Lease, LeaseId, LeaseLimit, Posted, Queue, QueueError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::{
    Destination, Message, Metrics, SendError, Term, Workspace,
    board::{Entry, LaneState, WaitsFor},
    destination::Receipt,
    message,
    pace::{Pace, Place},
    render::{Style, render, unrendered},
    retry::Retry,
    router::now_unix_ms,
};
use details::Details;
use look::Looked;
pub use memory::Memory;
use stop::{Stop, unless_stopped};
use told::{PostedAt, Told};
use tries::{Search, Tries};

/// What a lane is made of, besides the place that it posts to.
pub struct Setup<'a, Q> {
    /// Where events wait.
    pub queue: Q,
    /// The channel's name in the configuration.
    pub channel: &'a str,
    /// Its settings.
    pub config: &'a ChannelConfig,
    /// How its messages look.
    pub style: Style,
    /// The pace of the place that it posts to.
    pub place: Place,
    /// What it shares with the other lanes of its token; `None` where nothing counts its calls.
    pub workspace: Option<Workspace>,
    /// Keys the IDs of messages.
    pub key: HashKey,
    /// What it tells Prometheus.
    pub metrics: Metrics,
    /// Bounds how many lanes hold the text of a lease in memory at a time.
    pub rendering: Arc<Semaphore>,
    /// For how long it may post.
    pub term: Term,
}

/// A channel's lane.
pub struct Lane<Q, D> {
    queue: Q,
    destination: D,
    channel: String,
    settings: Settings,
    key: HashKey,
    pace: Pace,
    workspace: Option<Workspace>,
    retry: Retry,
    state: LaneState,
    /// The last message was refused for its content: the next one goes without blocks.
    plain: bool,
    /// It was its metadata that was refused: the next one goes without.
    without_id: bool,
    search: Search,
    tries: Tries,
    /// Answers in a row that left the fate of the same message open.
    unknown: Option<Unknown>,
    /// It is parked for that.
    stuck: bool,
    /// Since when a message is looked for in vain.
    looking_since: Option<Instant>,
    /// The lease that it began with may have been posted somewhere else.
    moved: bool,
    /// Dead letters in a row, with nothing accepted between.
    buried: u32,
    /// How often the channel was tried in vain since it is parked.
    parked_tries: u32,
    fallback_is_full: bool,
    /// The line about a hold whose end is to be told too.
    hold_told: bool,
    /// When such a line was written last.
    hold_told_at: Option<Instant>,
    details: Details,
    metrics: Metrics,
    /// Where people see what it does.
    board: Entry,
    rendering: Arc<Semaphore>,
    term: Term,
    /// The last lease that this lane posted.
    posted: Option<u64>,
}

#[derive(Debug, Clone)]
struct Settings {
    limit: LeaseLimit,
    style: Style,
    park_retry: Duration,
    retry_max: Duration,
    fallback: Option<String>,
    thread_replies_max: usize,
}

/// A run of answers that left it open whether a message was posted.
#[derive(Debug, Clone, Copy)]
struct Unknown {
    tries: u32,
    /// Messages that the token's lanes had posted when it began: whether Slack takes any at all.
    accepted: u64,
}

/// The lease that a message stands for.
#[derive(Debug, Clone)]
struct Held {
    id: LeaseId,
    events: usize,
    /// It was handed out before: it may have been posted, and its members stay together.
    resumed: bool,
    /// It may have been posted before, and that cannot be found out.
    possibly_repeated: bool,
}

/// A message, and what metrics want to know of its events.
struct Prepared {
    message: Message,
    told: Told,
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// A lane that posts to one destination.
    pub fn new(setup: Setup<'_, Q>, destination: D) -> Self {
        let config = setup.config;
        setup.metrics.start_channel(setup.channel);
        Self {
            queue: setup.queue,
            destination,
            channel: setup.channel.to_owned(),
            settings: Settings {
                limit: LeaseLimit {
                    events_max: config.message_events_max.as_usize(),
                    bytes_max: config.message_bytes_max.as_usize(),
                },
                style: setup.style,
                park_retry: config.park_retry(),
                retry_max: config.retry_max(),
                fallback: config.fallback.as_ref().map(ToString::to_string),
                thread_replies_max: config.thread_replies_max.as_usize(),
            },
            key: setup.key,
            pace: Pace::new(config.message_interval(), setup.place),
            workspace: setup.workspace,
            retry: Retry::new(config.retry_max()),
            state: LaneState::Open,
            plain: false,
            without_id: false,
            search: Search::default(),
            tries: Tries::default(),
            unknown: None,
            stuck: false,
            looking_since: None,
            moved: false,
            buried: 0,
            parked_tries: 0,
            fallback_is_full: false,
            hold_told: false,
            hold_told_at: None,
            details: Details::new(Retry::new(config.retry_max())),
            board: setup.metrics.board.lane(setup.channel),
            metrics: setup.metrics,
            rendering: setup.rendering,
            term: setup.term,
            posted: None,
        }
    }

    /// Delivers until it is told to stop, or its term is over. A post under way is finished first, within the term; what
    /// waits for its turn is not.
    ///
    /// # Errors
    /// The queue's; nothing can be delivered after one. Where the term is over the queue refuses whatever is left to be
    /// done, which is none.
    pub async fn run(mut self, shutdown: watch::Receiver<bool>) -> Result<Memory, QueueError> {
        let stop = Stop::new(shutdown, self.term.clone());
        match self.serve(stop).await {
            Err(error) if !self.term.is_over() => Err(error),
            _ => Ok(self.into_memory()),
        }
    }

    async fn serve(&mut self, mut stop: Stop) -> Result<(), QueueError> {
        // Another lane may have written there before this one.
        self.board.is(self.state);
        self.show_hold();
        self.begin_details().await?;
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Ok(()),
                ready = self.ready() => ready?,
            }
            // What nobody has heard of yet goes before the details of what was told.
            if !self.deliver(&mut stop).await? {
                self.post_details(&mut stop).await?;
            }
        }
    }

    /// Posts the next message; `false` if there is nothing to tell.
    async fn deliver(&mut self, stop: &mut Stop) -> Result<bool, QueueError> {
        self.board.waits_for(WaitsFor::Rendering);
        let mut begun = Instant::now();
        let Some((lease, permit)) = self.lease().await? else {
            return Ok(false);
        };
        let mut held = Held::new(&lease);
        let (lease, permit) = if held.resumed {
            // The text of a lease is not kept while Slack is asked.
            let (id, since_unix_ms) = (message::id_of(&self.key, &lease), lease.sealed_unix_ms);
            let told = Told::read(lease, permit).await;
            // Whatever was posted without its ID cannot be found by it.
            let looked = match self.without_id {
                true => Looked::Unknowable,
                false => self.look(id, since_unix_ms, &held, &told, stop).await?,
            };
            match looked {
                Looked::Done => return Ok(true),
                Looked::Absent => {}
                Looked::Unknowable => held.possibly_repeated = true,
            }
            begun = Instant::now();
            match self.lease().await? {
                Some(again) => again,
                None => return Ok(false),
            }
        } else {
            self.moved = false;
            (lease, permit)
        };
        held.possibly_repeated |= self.search.repeats();
        let mut prepared = self.prepare(lease, held.possibly_repeated, permit).await;
        if self.plain {
            prepared.message = prepared.message.plain();
        }
        if self.without_id {
            prepared.message.id.clear();
        }
        self.pace.prepared(begun.elapsed());
        if unless_stopped(stop, self.may_post()).await.is_none() {
            self.give_back(&held).await?;
            return Ok(true);
        }
        self.tries.add(now_unix_ms());
        self.note_post();
        self.posted = Some(held.id.id);
        let post = self.destination.post(&prepared.message);
        match self.within_term(post).await {
            // Its lease is kept, for whoever leads next.
            None => {}
            Some(Err(SendError::Withheld)) => self.give_back(&held).await?,
            Some(Ok(receipt)) => {
                tracing::debug!(
                    channel = self.channel,
                    ts = receipt.ts,
                    events = held.events,
                    "posted"
                );
                self.accepted(prepared.message.form);
                self.board.delivered(held.events);
                let is_digest = prepared.message.form == "digest";
                let posted = PostedAt::at(&receipt);
                self.ack(&held, receipt, is_digest).await?;
                self.observe(&prepared.told, posted);
            }
            Some(Err(error)) => {
                self.count(error.as_str());
                let had_blocks = !prepared.message.blocks.is_empty();
                self.refused(error, &held, had_blocks).await?;
            }
        }
        Ok(true)
    }

    /// What gathered, and the permit to hold its text in memory.
    async fn lease(&self) -> Result<Option<(Lease, OwnedSemaphorePermit)>, QueueError> {
        let Ok(permit) = Arc::clone(&self.rendering).acquire_owned().await else {
            return Ok(None);
        };
        let limit = LeaseLimit {
            events_max: self.search.limit(self.settings.limit.events_max),
            ..self.settings.limit
        };
        let lease = self
            .queue
            .lease(&self.channel, limit, now_unix_ms())
            .await?;
        Ok(lease.map(|lease| (lease, permit)))
    }

    async fn prepare(
        &self,
        mut lease: Lease,
        possibly_repeated: bool,
        permit: OwnedSemaphorePermit,
    ) -> Prepared {
        let (style, key) = (self.settings.style.clone(), &self.key);
        let (events, id) = (lease.members.len(), lease.id.id);
        let message_id = message::id_of(key, &lease);
        let rendered = tokio::task::spawn_blocking(move || {
            lease.resumed = possibly_repeated;
            Prepared {
                message: render(&lease, &style, now_unix_ms()),
                told: Told::of(&lease),
            }
        });
        let mut prepared = rendered.await.unwrap_or_else(|_panicked| {
            // Without the panic's own words: they may quote an event. One event must not stop its channel for ever; that it stands for others is still said.
            tracing::error!(
                channel = self.channel,
                "rendering a message panicked: its events are posted in plain words instead; please report it"
            );
            Prepared {
                message: unrendered(events, id),
                told: Told::default(),
            }
        });
        drop(permit);
        prepared.message.id = message_id;
        prepared
    }

    async fn ack(
        &mut self,
        held: &Held,
        receipt: Receipt,
        is_digest: bool,
    ) -> Result<(), QueueError> {
        self.search.accepted(held.events);
        let details = self.settings.style.details != DigestDetails::Command;
        let ts = (!receipt.ts.is_empty()).then_some(receipt.ts);
        let thread = ts.clone().filter(|_| is_digest && details);
        let has_details = thread.is_some();
        let posted = self.destination.place().zip(ts);
        let accepted = Accepted {
            now_unix_ms: now_unix_ms(),
            thread,
            posted: posted.map(|(place, ts)| Posted { place, ts }),
        };
        let gave_way = self.queue.ack(&held.id, accepted).await?;
        if let Some(message) = gave_way {
            tracing::warn!(
                channel = self.channel,
                message_id = message,
                "details of a digest are not posted, as too many others came after it; \
                 `auditrelay events --message` lists them"
            );
            self.count_given_up();
        }
        if has_details {
            self.load_details().await?;
        }
        Ok(())
    }
}

impl Held {
    fn new(lease: &Lease) -> Self {
        Self {
            id: lease.id.clone(),
            events: lease.members.len(),
            resumed: lease.resumed,
            possibly_repeated: false,
        }
    }
}

//! The state all connections share, and its clock.
//!
//! Invariants: decision, time stamp, record and announcement happen under one lock,
//! so the posts, the attempts and what subscribers see agree in order; nothing waits
//! while the lock is held. Time stamps grow strictly over the whole local Slack,
//! whatever the wall clock does, which makes them unique per channel as Slack's are.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::directory::{Channel, Directory, Token};
use super::duplicates::{self, Duplicate};
use super::fault::{Fault, FaultQueue};
use super::files::{File, Files};
use super::options::Options;
use super::pace::Pace;
use super::rates::Rates;
use super::record::{Attempt, Log, Outcome, Post, Recorded, TEXT_START_CHARS};

/// How far a subscriber may fall behind before it loses messages.
const SUBSCRIBER_BACKLOG: usize = 4096;
/// Beyond this many channels the look-up longest ago is forgotten.
const LOOK_UPS_MAX: usize = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The state all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    started: Instant,
    pub(super) subscribers: broadcast::Sender<Post>,
    inner: Mutex<Inner>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pace: Pace,
    pub(super) rates: Rates,
    pub(super) faults: FaultQueue,
    pub(super) log: Log,
    pub(super) directory: Directory,
    pub(super) files: Files,
    /// When each channel's history was last read, in ticks.
    looked_up: HashMap<String, u64>,
    ticks: u64,
    last_ts_us: u64,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) elapsed_ms: u64,
    pub(super) unix_us: u64,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        let inner = Inner {
            pace: Pace::new(options.scaled(options.message_interval)),
            rates: Rates::new(options.scaled(MINUTE)),
            faults: FaultQueue::default(),
            log: Log::new(options.keep),
            directory: Directory::new(&options.tokens, options.channels.as_deref()),
            files: Files::default(),
            looked_up: HashMap::new(),
            ticks: 0,
            last_ts_us: 0,
        };
        Self {
            options,
            started: Instant::now(),
            subscribers: broadcast::Sender::new(SUBSCRIBER_BACKLOG),
            inner: Mutex::new(inner),
        }
    }

    /// Does something with the state, at one moment.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Inner, Moment) -> R) -> R {
        let mut inner = self.lock();
        let moment = self.moment();
        work(&mut inner, moment)
    }

    /// Records a request that came to its end before there was anything to decide on.
    pub(super) fn note(&self, method: &str, channel: Option<&str>, text: &str, outcome: Outcome) {
        let channel = channel.map(str::to_owned);
        self.with(|inner, moment| {
            inner.attempt(moment, method, channel, text_start(text), outcome);
        });
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        self.lock().log.posts.to_vec()
    }

    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.lock().log.attempts.to_vec()
    }

    pub(super) fn recorded(&self) -> Recorded {
        self.lock().log.recorded()
    }

    pub(super) fn duplicates(&self) -> Vec<Duplicate> {
        duplicates::duplicates(self.lock().log.posts.iter())
    }

    pub(super) fn files(&self) -> Vec<File> {
        self.lock().files.all()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Post> {
        self.subscribers.subscribe()
    }

    pub(super) fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    pub(super) fn change_channel(&self, id: &str, change: impl FnOnce(&mut Channel)) {
        change(self.lock().directory.channel_mut(id));
    }

    pub(super) fn change_token(&self, token: &str, change: impl FnOnce(&mut Token)) {
        change(self.lock().directory.token_mut(token));
    }

    pub(super) fn set_webhook(&self, channel: &str, error: Option<String>) {
        self.lock().directory.set_hook(channel, error);
    }

    /// Forgets what happened; the directory stays.
    pub(super) fn reset(&self) {
        let mut inner = self.lock();
        inner.pace = Pace::new(self.options.scaled(self.options.message_interval));
        inner.rates = Rates::new(self.options.scaled(MINUTE));
        inner.faults = FaultQueue::default();
        inner.log = Log::new(self.options.keep);
        inner.files = Files::default();
        inner.looked_up = HashMap::new();
    }

    fn moment(&self) -> Moment {
        let now = Instant::now();
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            now,
            elapsed_ms: whole_milliseconds(now - self.started),
            unix_us: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// A panic elsewhere cannot leave the state half changed in a way that matters
    /// to a test tool; the next request goes on with it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(super) fn next_ts(&mut self, moment: Moment) -> String {
        self.last_ts_us = moment.unix_us.max(self.last_ts_us + 1);
        format!(
            "{}.{:06}",
            self.last_ts_us / 1_000_000,
            self.last_ts_us % 1_000_000
        )
    }

    /// A number greater than any before, to tell what came first.
    pub(super) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// The channel's history was read and the reader is told.
    pub(super) fn looked_up(&mut self, channel: &str) {
        let tick = self.tick();
        self.looked_up.insert(channel.to_owned(), tick);
        if self.looked_up.len() > LOOK_UPS_MAX {
            let oldest = self.looked_up.iter().min_by_key(|(_, tick)| **tick);
            if let Some(channel) = oldest.map(|(channel, _)| channel.clone()) {
                self.looked_up.remove(&channel);
            }
        }
    }

    /// Whether the channel's history was read after that tick.
    pub(super) fn looked_up_since(&self, channel: &str, tick: u64) -> bool {
        self.looked_up.get(channel).is_some_and(|last| *last > tick)
    }

    pub(super) fn attempt(
        &mut self,
        moment: Moment,
        method: &str,
        channel: Option<String>,
        text_start: String,
        outcome: Outcome,
    ) {
        self.log.attempts.push(Attempt {
            method: method.to_owned(),
            channel,
            text_start,
            outcome,
            received_unix_ms: moment.unix_us / 1000,
            elapsed_ms: moment.elapsed_ms,
        });
    }
}

/// As much of a text as an attempt repeats.
pub(super) fn text_start(text: &str) -> String {
    text.chars().take(TEXT_START_CHARS).collect()
}

pub(super) fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! The one place where it is decided what becomes of a message.
//!
//! Invariants: decision, time stamp, record and announcement happen under one lock,
//! so the posts, the attempts and what subscribers see agree in order; nothing waits
//! while the lock is held. Time stamps grow strictly over the whole local Slack,
//! whatever the wall clock does, which makes them unique per channel as Slack's are.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::Options;
use super::fault::{Effect, Fault, FaultQueue};
use super::message::{Refusal, channel_name};
use super::pace::{Pace, Standing, retry_after_seconds};
use super::record::{Attempt, Log, Outcome, Post, Recorded, TEXT_START_CHARS, Via};

/// How far a subscriber may fall behind before it loses messages.
const SUBSCRIBER_BACKLOG: usize = 4096;

/// A message for a channel that exists, from a caller who may post.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) via: Via,
    pub(super) channel: String,
    pub(super) body: Map<String, Value>,
    /// The start of the text as sent.
    pub(super) text_start: String,
    /// The text Slack would keep, or why it refuses the content.
    pub(super) content: Result<String, Refusal>,
}

/// What the caller is to be told.
#[derive(Debug)]
pub(super) enum Verdict {
    Accepted { post: Post, delay: Duration },
    RateLimited { retry_after_seconds: u64 },
    Refused(Refusal),
    HttpStatus(StatusCode),
    Close,
}

/// The state all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    started: Instant,
    subscribers: broadcast::Sender<Post>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    pace: Pace,
    faults: FaultQueue,
    log: Log,
    last_ts_us: u64,
}

/// One moment on both clocks.
#[derive(Clone, Copy)]
struct Moment {
    now: Instant,
    elapsed_ms: u64,
    unix_us: u64,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        let inner = Inner {
            pace: Pace::new(options.message_interval),
            faults: FaultQueue::default(),
            log: Log::new(options.keep),
            last_ts_us: 0,
        };
        Self {
            options,
            started: Instant::now(),
            subscribers: broadcast::Sender::new(SUBSCRIBER_BACKLOG),
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn channel_exists(&self, channel: &str) -> bool {
        !channel.is_empty()
            && self
                .options
                .channels
                .as_ref()
                .is_none_or(|channels| channels.iter().any(|known| channel_name(known) == channel))
    }

    /// Decides on a message, records the attempt and, if accepted, the post.
    pub(super) fn submit(&self, submission: Submission) -> Verdict {
        let mut inner = self.lock();
        let moment = self.moment();
        let method = submission.via.to_string();
        let channel = submission.channel.clone();
        let text_start = submission.text_start.clone();
        let (outcome, verdict) = self.decide(&mut inner, moment, submission);
        inner
            .log
            .attempts
            .push(moment.attempt(method, Some(channel), text_start, outcome));
        verdict
    }

    /// Records a request that came to its end before there was a message to decide on.
    pub(super) fn note(&self, method: &str, channel: Option<&str>, text: &str, outcome: Outcome) {
        let mut inner = self.lock();
        let (method, channel) = (method.to_owned(), channel.map(str::to_owned));
        let attempt = self
            .moment()
            .attempt(method, channel, text_start(text), outcome);
        inner.log.attempts.push(attempt);
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

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Post> {
        self.subscribers.subscribe()
    }

    pub(super) fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    pub(super) fn reset(&self) {
        let mut inner = self.lock();
        inner.pace = Pace::new(self.options.message_interval);
        inner.faults = FaultQueue::default();
        inner.log = Log::new(self.options.keep);
    }

    fn decide(
        &self,
        inner: &mut Inner,
        moment: Moment,
        submission: Submission,
    ) -> (Outcome, Verdict) {
        let over_pace = match inner.pace.standing(&submission.channel, moment.now) {
            Standing::Free => false,
            Standing::Early { .. } if !self.options.strict_pace => true,
            Standing::Early { wait } | Standing::Blocked { wait } => {
                return rate_limited(retry_after_seconds(wait));
            }
        };
        let text = match submission.content {
            Ok(text) => text,
            Err(refusal) => return refused(refusal),
        };
        let effect = inner.faults.take(&submission.channel);
        let (close, delay) = match effect {
            None => (false, Duration::ZERO),
            Some(Effect::CloseAfterStoring) => (true, Duration::ZERO),
            Some(Effect::Delay { milliseconds }) => {
                (false, Duration::from_millis(u64::from(milliseconds)))
            }
            Some(Effect::CloseBeforeStoring) => {
                return (Outcome::ClosedBeforeStoring, Verdict::Close);
            }
            Some(Effect::Error { code }) => {
                return refused(Refusal {
                    code: Cow::Owned(code),
                    details: Vec::new(),
                });
            }
            Some(Effect::HttpStatus { status }) => {
                let outcome = Outcome::HttpStatus {
                    status: status.as_u16(),
                };
                return (outcome, Verdict::HttpStatus(status));
            }
            Some(Effect::RetryAfter { seconds }) => {
                let seconds = u64::from(seconds.max(1));
                inner.pace.block(
                    &submission.channel,
                    moment.now,
                    Duration::from_secs(seconds),
                );
                return rate_limited(seconds);
            }
        };
        let post = Post {
            channel: submission.channel,
            ts: inner.next_ts(moment),
            text,
            body: Value::Object(submission.body),
            received_unix_ms: moment.unix_us / 1000,
            elapsed_ms: moment.elapsed_ms,
            via: submission.via,
        };
        self.store(inner, moment, post.clone());
        if close {
            return (Outcome::ClosedAfterStoring { ts: post.ts }, Verdict::Close);
        }
        let delay_ms = whole_milliseconds(delay);
        let outcome = Outcome::Accepted {
            ts: post.ts.clone(),
            over_pace,
            delay_ms,
        };
        (outcome, Verdict::Accepted { post, delay })
    }

    fn store(&self, inner: &mut Inner, moment: Moment, post: Post) {
        inner.pace.accepted(&post.channel, moment.now);
        inner.log.posts.push(post.clone());
        // An error means only that nobody is subscribed.
        let _receivers = self.subscribers.send(post);
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
    fn next_ts(&mut self, moment: Moment) -> String {
        self.last_ts_us = moment.unix_us.max(self.last_ts_us + 1);
        format!(
            "{}.{:06}",
            self.last_ts_us / 1_000_000,
            self.last_ts_us % 1_000_000
        )
    }
}

impl Moment {
    fn attempt(
        self,
        method: String,
        channel: Option<String>,
        text_start: String,
        outcome: Outcome,
    ) -> Attempt {
        Attempt {
            method,
            channel,
            text_start,
            outcome,
            received_unix_ms: self.unix_us / 1000,
            elapsed_ms: self.elapsed_ms,
        }
    }
}

/// As much of a text as an attempt repeats.
pub(super) fn text_start(text: &str) -> String {
    text.chars().take(TEXT_START_CHARS).collect()
}

fn rate_limited(retry_after_seconds: u64) -> (Outcome, Verdict) {
    (
        Outcome::RateLimited {
            retry_after_seconds,
        },
        Verdict::RateLimited {
            retry_after_seconds,
        },
    )
}

fn refused(refusal: Refusal) -> (Outcome, Verdict) {
    (
        Outcome::Refused {
            error: refusal.code.to_string(),
        },
        Verdict::Refused(refusal),
    )
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

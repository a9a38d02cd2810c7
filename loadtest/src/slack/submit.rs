//! The one place where it is decided what becomes of a message.
//!
//! Contract: the order is block and pace, content, fault; what is refused by one
//! changes nothing that a later one would have. A message stored late is as if it had
//! been on its way all the time: it counts for the pace when it comes in.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::audit;
use super::fault::{Answering, Limited, Storing};
use super::message::Refusal;
use super::options::BlockScope;
use super::pace::{Standing, retry_after_seconds};
use super::rates::Wait;
use super::record::{Late, Outcome, Post, Via};
use super::state::{Inner, Moment, Shared, whole_milliseconds};

/// How the method that posts is counted and blocked.
pub(super) const POST: &str = "chat.postMessage";

/// A message for a channel that takes it, from a caller who may post.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    pub(super) via: Via,
    pub(super) team: String,
    /// Its ID.
    pub(super) channel: String,
    /// What else a fault may call the channel.
    pub(super) name: String,
    pub(super) body: Map<String, Value>,
    pub(super) thread_ts: Option<String>,
    /// The start of the text as sent.
    pub(super) text_start: String,
    /// The text Slack would keep, or why it refuses the content.
    pub(super) content: Result<String, Refusal>,
}

/// What the caller is to be told.
#[derive(Debug)]
pub(super) enum Verdict<T> {
    Accepted { answer: T, delay: Duration },
    RateLimited { retry_after_seconds: Option<u64> },
    Refused(Refusal),
    Failed(Failure),
}

/// An answer that is none.
#[derive(Debug)]
pub(super) enum Failure {
    /// Close the connection, so much later.
    Close(Duration),
    Page(StatusCode),
    Truncated,
}

impl Submission {
    /// Where its pace is kept: Slack's is per workspace and channel.
    fn pace_key(&self) -> String {
        format!("{}/{}", self.team, self.channel)
    }

    fn post(self, inner: &mut Inner, moment: Moment, late: Option<Late>) -> Post {
        Post {
            team: self.team,
            channel: self.channel,
            ts: inner.next_ts(moment),
            text: self.content.unwrap_or_default(),
            audit: audit::findings(&self.body),
            body: Value::Object(self.body),
            received_unix_ms: moment.unix_us / 1000,
            elapsed_ms: moment.elapsed_ms,
            via: self.via,
            thread_ts: self.thread_ts,
            late,
            updates: Vec::new(),
        }
    }
}

impl Shared {
    /// Decides on a message, records the attempt and, if accepted, the post.
    pub(super) fn submit(self: &Arc<Self>, submission: Submission) -> Verdict<Box<Post>> {
        self.with(|inner, moment| {
            let method = submission.via.to_string();
            let channel = submission.channel.clone();
            let text_start = submission.text_start.clone();
            let (outcome, verdict) = self.decide(inner, moment, submission);
            inner.attempt(moment, &method, Some(channel), text_start, outcome);
            verdict
        })
    }

    fn decide(
        self: &Arc<Self>,
        inner: &mut Inner,
        moment: Moment,
        submission: Submission,
    ) -> (Outcome, Verdict<Box<Post>>) {
        let over_pace = match self.paced(inner, moment, &submission) {
            Ok(over_pace) => over_pace,
            Err(seconds) => return rate_limited(Some(seconds)),
        };
        if let Err(refusal) = &submission.content {
            return refused(refusal.clone());
        }
        let method = submission.via.to_string();
        let names = [submission.channel.as_str(), submission.name.as_str()];
        let effect = inner.faults.take(&method, &names);
        let (storing, answering) = effect.map_or(
            (Storing::Now, Answering::Late(Duration::ZERO)),
            super::fault::Effect::course,
        );
        if let Answering::RateLimited(limited) = answering {
            return self.limited_by_fault(inner, moment, &submission, limited);
        }
        match storing {
            Storing::Never => not_stored(answering),
            Storing::Later(delay) => {
                self.store_later(inner.tick(), submission, delay);
                let delay_ms = whole_milliseconds(delay);
                let (_, verdict) = not_stored(answering);
                (Outcome::WillBeStoredLate { delay_ms }, verdict)
            }
            Storing::Now => {
                let post = self.store(inner, moment, submission, None);
                stored(post, answering, over_pace)
            }
        }
    }

    /// Whether the message comes too early and is let through; the seconds to wait if
    /// it is not.
    fn paced(
        &self,
        inner: &mut Inner,
        moment: Moment,
        submission: &Submission,
    ) -> Result<bool, u64> {
        let limit = self.options.limits.messages;
        // A webhook is no call of the method, so neither its count nor its block hold.
        let of_method = if submission.via == Via::Webhook {
            None
        } else {
            inner.rates.wait(&submission.team, POST, limit, moment.now)
        };
        let counted = match of_method {
            Some(Wait::Blocked(wait)) => return Err(retry_after_seconds(wait)),
            Some(Wait::Counted(wait)) => Some(wait),
            None => None,
        };
        let early = match inner.pace.standing(&submission.pace_key(), moment.now) {
            Standing::Blocked { wait } => return Err(retry_after_seconds(wait)),
            Standing::Early { wait } => Some(wait),
            Standing::Free => None,
        };
        let Some(wait) = counted.max(early) else {
            return Ok(false);
        };
        if !self.options.strict_pace {
            return Ok(true);
        }
        let seconds = retry_after_seconds(wait);
        let method = self.options.block_scope == BlockScope::Method;
        if self.options.strict_blocks || method {
            self.block(inner, moment, submission, seconds, method);
        }
        Err(seconds)
    }

    fn block(
        &self,
        inner: &mut Inner,
        moment: Moment,
        submission: &Submission,
        seconds: u64,
        method: bool,
    ) {
        let length = Duration::from_secs(seconds);
        if method && submission.via != Via::Webhook {
            inner
                .rates
                .block(&submission.team, POST, moment.now, length);
        } else {
            inner.pace.block(&submission.pace_key(), moment.now, length);
        }
    }

    fn limited_by_fault(
        &self,
        inner: &mut Inner,
        moment: Moment,
        submission: &Submission,
        limited: Limited,
    ) -> (Outcome, Verdict<Box<Post>>) {
        let (seconds, method) = match limited {
            Limited::WithoutHeader => return rate_limited(None),
            Limited::Method { seconds } => (seconds, true),
            Limited::AsConfigured { seconds } => {
                (seconds, self.options.block_scope == BlockScope::Method)
            }
        };
        self.block(inner, moment, submission, seconds, method);
        rate_limited(Some(seconds))
    }

    fn store(
        &self,
        inner: &mut Inner,
        moment: Moment,
        submission: Submission,
        late: Option<Late>,
    ) -> Post {
        inner.pace.accepted(&submission.pace_key(), moment.now);
        if submission.via != Via::Webhook {
            inner.rates.count(&submission.team, POST, moment.now);
        }
        let post = submission.post(inner, moment, late);
        self.announce(inner, post.clone());
        post
    }

    /// Keeps a post and tells the subscribers.
    pub(super) fn announce(&self, inner: &mut Inner, post: Post) {
        inner.log.posts.push(post.clone());
        // An error means only that nobody is subscribed.
        let _receivers = self.subscribers.send(post);
    }

    /// Stores the message after `delay`, unless the local Slack is gone by then.
    fn store_later(self: &Arc<Self>, asked: u64, submission: Submission, delay: Duration) {
        let shared: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(delay).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            shared.with(|inner, moment| {
                let after_look_up = inner.looked_up_since(&submission.channel, asked);
                let late = Late { after_look_up };
                shared.store(inner, moment, submission, Some(late));
            });
        });
    }
}

/// What a fault that stores nothing (or not yet) answers.
pub(super) fn not_stored<T>(answering: Answering) -> (Outcome, Verdict<T>) {
    match answering {
        // A delay always stores; were there one that did not, silence is the truth.
        Answering::Late(after) | Answering::Close(after) => (
            Outcome::ClosedBeforeStoring,
            Verdict::Failed(Failure::Close(after)),
        ),
        Answering::Page(status) => {
            let outcome = Outcome::HttpStatus {
                status: status.as_u16(),
            };
            (outcome, Verdict::Failed(Failure::Page(status)))
        }
        Answering::Error(code) => refused(Refusal::with(code)),
        Answering::Truncated => (
            Outcome::TruncatedBeforeStoring,
            Verdict::Failed(Failure::Truncated),
        ),
        Answering::RateLimited(_) => rate_limited(None),
    }
}

/// What a failure after the work answers: the outcome, given the message's time stamp.
pub(super) fn failed_after<T>(ts: String, answering: Answering) -> (Outcome, Verdict<T>) {
    let after = |answer: String| Outcome::FailedAfterStoring {
        ts: ts.clone(),
        answer,
    };
    match answering {
        Answering::Close(after) => (
            Outcome::ClosedAfterStoring { ts },
            Verdict::Failed(Failure::Close(after)),
        ),
        Answering::Page(status) => (
            after(status.as_u16().to_string()),
            Verdict::Failed(Failure::Page(status)),
        ),
        Answering::Error(code) => (after(code.clone()), Verdict::Refused(Refusal::with(code))),
        Answering::Truncated | Answering::Late(_) | Answering::RateLimited(_) => (
            after("truncated".to_owned()),
            Verdict::Failed(Failure::Truncated),
        ),
    }
}

fn stored(post: Post, answering: Answering, over_pace: bool) -> (Outcome, Verdict<Box<Post>>) {
    let Answering::Late(delay) = answering else {
        return failed_after(post.ts, answering);
    };
    let outcome = Outcome::Accepted {
        ts: post.ts.clone(),
        over_pace,
        delay_ms: whole_milliseconds(delay),
    };
    let answer = Box::new(post);
    (outcome, Verdict::Accepted { answer, delay })
}

pub(super) fn rate_limited<T>(retry_after_seconds: Option<u64>) -> (Outcome, Verdict<T>) {
    (
        Outcome::RateLimited {
            retry_after_seconds: retry_after_seconds.unwrap_or_default(),
        },
        Verdict::RateLimited {
            retry_after_seconds,
        },
    )
}

pub(super) fn refused<T>(refusal: Refusal) -> (Outcome, Verdict<T>) {
    (
        Outcome::Refused {
            error: refusal.code.to_string(),
        },
        Verdict::Refused(refusal),
    )
}

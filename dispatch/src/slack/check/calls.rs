//! Calls of the check: one after another, no faster than Slack and the lanes leave room, and until a deadline.
//!
//! `Retry-After` is obeyed where it ends before the deadline. A call that broke is tried once more: it
//! only reads.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    escape::clean,
    limiter::Limited as Pacer,
    slack::{
        answers::advice,
        channel::LIST,
        http::Broken,
        web_api::{CallError, Reply, WebApi},
    },
    workspace::{WINDOW, Workspace},
};

const AUTH_TEST: &str = "auth.test";
const INFO: &str = "conversations.info";
const HISTORY: &str = "conversations.history";
/// Slack: methods of tier 2 take 20 calls a minute.
const LIST_PER_MINUTE: u64 = 20;
/// Tries of one call that meets rate limits.
const TRIES_MAX: usize = 5;
const PAUSE_WITHOUT_HEADER: Duration = Duration::from_secs(5);
const PAUSE_AFTER_BREAK: Duration = Duration::from_secs(1);

/// Why a call came to nothing.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// Slack's answer, or none.
    Call(CallError),
    /// The deadline has passed.
    TimeUp,
    /// Slack asks to wait for longer than there is time, or again and again.
    Limited,
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Trouble {
    /// Slack's word for why it refused.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Call(CallError::Refused { code, .. }) => Some(code),
            _ => None,
        }
    }

    /// What happened, and what to do about it.
    pub(super) fn told(self) -> (String, Option<&'static str>) {
        const NOT_SLACK: &str = "correct slack.api_url, or look at proxies";
        const LATER: Option<&str> =
            Some("check again in a few minutes, or give it more time (--within)");
        match self {
            Self::TimeUp => (
                "the time for the check is up".into(),
                Some("give it more time (--within)"),
            ),
            Self::Limited => (
                "Slack asks to wait for longer than the check may take".into(),
                LATER,
            ),
            Self::Call(CallError::Unreadable) => (
                "the answer is not the JSON that Slack sends".into(),
                Some(NOT_SLACK),
            ),
            Self::Call(CallError::Broken(Broken { reason, .. })) => (
                reason,
                Some("look at the network, slack.proxy and slack.api_url"),
            ),
            Self::Call(CallError::Status { status, .. }) => {
                let what_to_do = (status < 500).then_some(NOT_SLACK);
                (format!("the answer is HTTP status {status}"), what_to_do)
            }
            Self::Call(CallError::Limited { .. }) => ("Slack asks to wait".into(), LATER),
            Self::Call(CallError::Refused { code, needed, .. }) => {
                let needed = needed.map_or(String::new(), |scope| format!(" (needs {scope})"));
                let text = clean(&format!("{code}{needed}"), 100);
                (format!("Slack answers {text}"), advice(&code))
            }
        }
    }
}

/// The calls of one token.
pub(super) struct Calls {
    api: WebApi,
    turns: Turns,
    deadline: Instant,
}

/// Whose turns the calls take.
enum Turns {
    /// The lanes', one at a time, in the order of asking.
    Lanes(Workspace),
    /// Nobody else calls from this process: half of a minute's calls at once, the other half by and by.
    Own(HashMap<&'static str, Pacer>),
}

impl Turns {
    fn own(per_minute: u64) -> Self {
        let of = |per_minute: u64| {
            let half = per_minute.div_ceil(2).max(1);
            let burst = NonZeroU32::new(u32::try_from(half).unwrap_or(u32::MAX));
            Pacer::new(
                WINDOW.div_f64(half as f64),
                burst.unwrap_or(NonZeroU32::MIN),
            )
        };
        Self::Own(HashMap::from([
            (INFO, of(per_minute)),
            (HISTORY, of(per_minute)),
            (LIST, of(per_minute.min(LIST_PER_MINUTE))),
        ]))
    }

    async fn one(&self, method: &'static str) {
        match self {
            // Slack allows hundreds of this one.
            _ if method == AUTH_TEST => {}
            Self::Lanes(workspace) => workspace.turn_to_look(method).await,
            Self::Own(limiters) => {
                if let Some(limiter) = limiters.get(method) {
                    limiter.ready().await;
                }
            }
        }
    }
}

impl Calls {
    /// `lanes` is the budget that the token's lanes share, where there are any.
    pub(super) fn new(
        api: WebApi,
        lanes: Option<Workspace>,
        per_minute: u64,
        deadline: Instant,
    ) -> Self {
        let turns = lanes.map_or_else(|| Turns::own(per_minute), Turns::Lanes);
        Self {
            api,
            turns,
            deadline,
        }
    }

    pub(super) async fn auth_test(&self) -> Result<Reply, Trouble> {
        self.read(AUTH_TEST, &[]).await
    }

    pub(super) async fn info(&self, channel: &str) -> Result<Reply, Trouble> {
        self.read(INFO, &[("channel", channel)]).await
    }

    /// Whether a look-up would be answered.
    pub(super) async fn history(&self, channel: &str) -> Result<Reply, Trouble> {
        self.read(HISTORY, &[("channel", channel), ("limit", "1")])
            .await
    }

    pub(super) async fn read(
        &self,
        method: &'static str,
        arguments: &[(&str, &str)],
    ) -> Result<Reply, Trouble> {
        let mut broke = false;
        for _ in 0..TRIES_MAX {
            self.in_time(self.turns.one(method)).await?;
            let error = match self.in_time(self.api.read(method, arguments)).await? {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let pause = match limited(&error) {
                Some(pause) => pause,
                None if passes(&error) && !broke => {
                    broke = true;
                    PAUSE_AFTER_BREAK
                }
                None => return Err(error.into()),
            };
            if pause >= self.left() {
                return Err(limited(&error).map_or(error.into(), |_| Trouble::Limited));
            }
            sleep(pause).await;
        }
        Err(Trouble::Limited)
    }

    /// How much time is left.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn in_time<T>(&self, what: impl Future<Output = T>) -> Result<T, Trouble> {
        if Instant::now() >= self.deadline {
            return Err(Trouble::TimeUp);
        }
        let done = timeout_at(self.deadline, what).await;
        done.map_err(|_| Trouble::TimeUp)
    }
}

/// How long Slack asks to wait.
fn limited(error: &CallError) -> Option<Duration> {
    match error {
        CallError::Limited { retry_after } => {
            let seconds = retry_after
                .as_ref()
                .and_then(|text| text.trim().parse().ok());
            Some(seconds.map_or(PAUSE_WITHOUT_HEADER, Duration::from_secs))
        }
        CallError::Refused { code, .. } if matches!(&**code, "ratelimited" | "rate_limited") => {
            Some(PAUSE_WITHOUT_HEADER)
        }
        _ => None,
    }
}

/// Whether the same call may be answered a moment later.
fn passes(error: &CallError) -> bool {
    match error {
        CallError::Broken(_) => true,
        CallError::Status { status, .. } => *status >= 500,
        CallError::Refused { code, .. } => {
            matches!(
                &**code,
                "internal_error" | "fatal_error" | "service_unavailable"
            )
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_of_a_method_than_are_allowed() {
        let turns = Turns::own(50);
        let mut calls = Vec::new();
        for _ in 0..120 {
            turns.one(INFO).await;
            calls.push(Instant::now());
        }
        assert_eq!(calls[0], calls[24], "half of them at once");
        for minute in calls.windows(51) {
            let took = minute[50] - minute[0];
            assert!(took >= WINDOW, "51 calls in {took:?}");
        }
        let start = Instant::now();
        turns.one(HISTORY).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "another method waits too");
    }
}

//! Faults a test asks for, and their queue.
//!
//! Contract: a fault is spent on a request that would otherwise have been accepted,
//! of the method it names (`chat.postMessage` and webhooks, if it names none), on its
//! channel (or on any, if it names none); each request spends at most one, the first
//! in the queue that fits; a fault with count *n* is spent *n* times before the next
//! one that fits has its turn. On other methods than those two "stored" means that
//! the method did what it was asked, and only the caller is known to be good.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::message::channel_name;

/// One fault, for one channel or any, once or several times.
///
/// As JSON: `{"channel":"audit","count":2,"effect":{"kind":"retry_after","seconds":3}}`;
/// `method` (both doors for messages), `channel` (any) and `count` (1) may be left out.
/// A misspelt field is refused rather than taken for "any channel".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The method it waits for (`webhook` for webhooks, `upload` for a file's bytes); `None`: both doors for messages.
    #[serde(default)]
    pub method: Option<String>,
    /// The channel it waits for; `None`: whichever comes first.
    #[serde(default)]
    pub channel: Option<String>,
    /// Text that the message's body holds, as JSON has it; `None`: any.
    #[serde(default)]
    pub containing: Option<String>,
    /// How often it strikes.
    #[serde(default = "once")]
    pub count: u32,
    /// What it does.
    pub effect: Effect,
}

/// What a fault does to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Answer 429 with this `Retry-After` and keep blocked for as long what
    /// [`super::Options::block_scope`] says. Zero counts as one: Slack's header is at
    /// least 1.
    RetryAfter {
        /// The header, and the length of the block.
        seconds: u32,
    },
    /// The same, but the block is the whole method's, for every channel.
    RetryAfterMethod {
        /// The header, and the length of the block.
        seconds: u32,
    },
    /// Answer 429 without a `Retry-After`; block nothing.
    RetryAfterMissing,
    /// Answer with this HTTP status and an HTML page; store nothing. Meant for the
    /// 5xx; a 200 makes the non-JSON success some proxies produce.
    HttpStatus {
        /// 200 to 599.
        #[serde(with = "status_number")]
        status: StatusCode,
    },
    /// Store the message, then answer with this HTTP status and an HTML page.
    HttpStatusAfterStoring {
        /// 200 to 599.
        #[serde(with = "status_number")]
        status: StatusCode,
    },
    /// Refuse with this application error, such as `is_archived`; store nothing.
    Error {
        /// Slack's code, as chat.postMessage names it.
        code: String,
    },
    /// Store the message, then answer with this application error, such as
    /// `internal_error`: "some aspect of the operation" succeeded.
    ErrorAfterStoring {
        /// Slack's code, as chat.postMessage names it.
        code: String,
    },
    /// Store the message, then close the connection without an answer.
    CloseAfterStoring,
    /// Close the connection without an answer; store nothing.
    CloseBeforeStoring,
    /// Store the message, then announce an answer, send its beginning and close.
    TruncateAfterStoring,
    /// The same, but nothing is stored.
    TruncateBeforeStoring,
    /// Store the message at once and answer this much later: past the client's
    /// timeout the message is there although the client saw it fail.
    Delay {
        /// How late the answer is.
        milliseconds: u32,
    },
    /// Store nothing and close the connection this much later, without an answer.
    HangBeforeStoring {
        /// How long the client is kept waiting.
        milliseconds: u32,
    },
    /// Give no answer, and store the message this much later: a look-up in between
    /// does not find it.
    StoreLate {
        /// How late it is stored.
        milliseconds: u32,
        /// False: the connection is closed at once. True: it is held open, so that the
        /// client runs into its timeout.
        #[serde(default)]
        hang: bool,
    },
}

/// When a request's work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storing {
    Now,
    Never,
    Later(Duration),
}

/// What the client is told, once the work is done or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    /// The usual, so much later.
    Late(Duration),
    /// Nothing; the connection is closed so much later.
    Close(Duration),
    Page(StatusCode),
    Error(String),
    Truncated,
    RateLimited(Limited),
}

/// A 429 of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    AsConfigured { seconds: u64 },
    Method { seconds: u64 },
    WithoutHeader,
}

impl Limited {
    /// What `Retry-After` says.
    pub(super) fn seconds(self) -> Option<u64> {
        match self {
            Self::AsConfigured { seconds } | Self::Method { seconds } => Some(seconds),
            Self::WithoutHeader => None,
        }
    }
}

/// How long a connection is held open for a client that is to give up by itself.
const HANG: Duration = Duration::from_secs(300);

impl Effect {
    /// [`Effect::Delay`] from a duration, cut to whole milliseconds.
    pub fn delay(duration: Duration) -> Self {
        Effect::Delay {
            milliseconds: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// The effect in its two halves.
    pub(super) fn course(self) -> (Storing, Answering) {
        let after = |milliseconds: u32| Duration::from_millis(u64::from(milliseconds));
        let seconds = |seconds: u32| u64::from(seconds.max(1));
        let limited = |limited| (Storing::Never, Answering::RateLimited(limited));
        match self {
            Effect::RetryAfter { seconds: told } => limited(Limited::AsConfigured {
                seconds: seconds(told),
            }),
            Effect::RetryAfterMethod { seconds: told } => limited(Limited::Method {
                seconds: seconds(told),
            }),
            Effect::RetryAfterMissing => limited(Limited::WithoutHeader),
            Effect::HttpStatus { status } => (Storing::Never, Answering::Page(status)),
            Effect::HttpStatusAfterStoring { status } => (Storing::Now, Answering::Page(status)),
            Effect::Error { code } => (Storing::Never, Answering::Error(code)),
            Effect::ErrorAfterStoring { code } => (Storing::Now, Answering::Error(code)),
            Effect::CloseAfterStoring => (Storing::Now, Answering::Close(Duration::ZERO)),
            Effect::CloseBeforeStoring => (Storing::Never, Answering::Close(Duration::ZERO)),
            Effect::TruncateAfterStoring => (Storing::Now, Answering::Truncated),
            Effect::TruncateBeforeStoring => (Storing::Never, Answering::Truncated),
            Effect::Delay { milliseconds } => (Storing::Now, Answering::Late(after(milliseconds))),
            Effect::HangBeforeStoring { milliseconds } => {
                (Storing::Never, Answering::Close(after(milliseconds)))
            }
            Effect::StoreLate { milliseconds, hang } => {
                let held = if hang { HANG } else { Duration::ZERO };
                (Storing::Later(after(milliseconds)), Answering::Close(held))
            }
        }
    }
}

impl Fault {
    /// This effect, once, on whichever message comes first.
    pub fn new(effect: Effect) -> Self {
        Self {
            method: None,
            channel: None,
            containing: None,
            count: once(),
            effect,
        }
    }

    /// The same, for this Web API method only.
    pub fn of(self, method: impl Into<String>) -> Self {
        Self {
            method: Some(method.into()),
            ..self
        }
    }

    /// The same, for this channel only.
    pub fn on(self, channel: impl Into<String>) -> Self {
        Self {
            channel: Some(channel.into()),
            ..self
        }
    }

    /// The same, for messages that hold this text only (other methods are not looked into).
    pub fn containing(self, text: impl Into<String>) -> Self {
        Self {
            containing: Some(text.into()),
            ..self
        }
    }

    /// The same, `count` times.
    pub fn times(self, count: u32) -> Self {
        Self { count, ..self }
    }
}

fn once() -> u32 {
    1
}

/// Faults waiting for their message.
#[derive(Debug, Default)]
pub(super) struct FaultQueue {
    waiting: VecDeque<Fault>,
}

impl FaultQueue {
    pub(super) fn push(&mut self, fault: Fault) {
        if fault.count > 0 {
            self.waiting.push_back(fault);
        }
    }

    /// Spends one strike of the first fault that fits the method and one of the names
    /// of the channel (its ID, or what the caller called it). `holds` says it of a text in the body.
    pub(super) fn take(
        &mut self,
        method: &str,
        channel: &[&str],
        holds: impl Fn(&str) -> bool,
    ) -> Option<Effect> {
        let fits = |fault: &Fault| {
            let method = match fault.method.as_deref() {
                None => matches!(method, "chat.postMessage" | "webhook"),
                Some(wanted) => wanted == method,
            };
            let wanted = fault.channel.as_deref().map(channel_name);
            method
                && wanted.is_none_or(|wanted| channel.contains(&wanted))
                && fault.containing.as_deref().is_none_or(&holds)
        };
        let position = self.waiting.iter().position(fits)?;
        let fault = self.waiting.get_mut(position)?;
        fault.count -= 1;
        if fault.count > 0 {
            return Some(fault.effect.clone());
        }
        self.waiting.remove(position).map(|fault| fault.effect)
    }
}

/// A status as its number; only those an HTTP/1 server may give as a final answer.
mod status_number {
    use hyper::StatusCode;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        status: &StatusCode,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(status.as_u16())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<StatusCode, D::Error> {
        let number = u16::deserialize(deserializer)?;
        if !(200..600).contains(&number) {
            return Err(D::Error::custom(format!(
                "status {number} is not between 200 and 599"
            )));
        }
        StatusCode::from_u16(number).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> Effect {
        Effect::Error {
            code: code.to_owned(),
        }
    }

    #[test]
    fn faults_are_spent_in_order_on_the_channel_they_name() {
        let mut queue = FaultQueue::default();
        queue.push(Fault::new(error("first")).on("#a").times(2));
        queue.push(Fault::new(error("any")));
        queue.push(Fault::new(error("never")).times(0));
        let mut take = |channel| queue.take("webhook", &[channel], |_| false);
        assert_eq!(take("a"), Some(error("first")));
        assert_eq!(take("b"), Some(error("any")));
        assert_eq!(take("b"), None);
        assert_eq!(take("a"), Some(error("first")));
        assert_eq!(take("a"), None);
    }

    #[test]
    fn a_fault_waits_for_the_method_it_names() {
        let mut queue = FaultQueue::default();
        queue.push(Fault::new(error("history")).of("conversations.history"));
        queue.push(Fault::new(error("message")));
        assert_eq!(queue.take("chat.update", &["a"], |_| false), None);
        assert_eq!(
            queue.take("chat.postMessage", &["a"], |_| false),
            Some(error("message"))
        );
        assert_eq!(
            queue.take("conversations.history", &["a"], |_| false),
            Some(error("history"))
        );
    }

    #[test]
    fn a_fault_waits_for_the_text_it_names() {
        let mut queue = FaultQueue::default();
        queue.push(Fault::new(error("poison")).containing("x-7"));
        let mut take = |body: &str| queue.take("webhook", &["a"], |text| body.contains(text));
        assert_eq!(take("x-6"), None);
        assert_eq!(take("x-7"), Some(error("poison")));
    }

    #[test]
    fn json_is_read_strictly() {
        let read = |json: &str| serde_json::from_str::<Fault>(json);
        let fault = read(r#"{"effect":{"kind":"http_status","status":503}}"#).unwrap();
        assert_eq!(
            fault,
            Fault::new(Effect::HttpStatus {
                status: StatusCode::SERVICE_UNAVAILABLE
            })
        );
        assert_eq!(
            read(&serde_json::to_string(&fault).unwrap()).unwrap(),
            fault
        );
        for wrong in [
            r#"{"effect":{"kind":"http_status","status":101}}"#,
            r#"{"effect":{"kind":"close_after_storing"},"chanel":"a"}"#,
            r#"{"effect":{"kind":"delay","seconds":1}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

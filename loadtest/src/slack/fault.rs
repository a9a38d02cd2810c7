//! Faults a test asks for, and their queue.
//!
//! Contract: a fault is spent on a message that would otherwise have been accepted
//! on its channel (or on any, if it names none); each message spends at most one, the
//! first in the queue that fits; a fault with count *n* is spent *n* times before the
//! next one that fits has its turn.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::message::channel_name;

/// One fault, for one channel or any, once or several times.
///
/// As JSON: `{"channel":"audit","count":2,"effect":{"kind":"retry_after","seconds":3}}`;
/// `channel` (any) and `count` (1) may be left out. A misspelt field is refused rather
/// than taken for "any channel".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The channel it waits for; `None`: whichever comes first.
    #[serde(default)]
    pub channel: Option<String>,
    /// How often it strikes.
    #[serde(default = "once")]
    pub count: u32,
    /// What it does.
    pub effect: Effect,
}

/// What a fault does to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Answer 429 with this `Retry-After` and keep the message's channel blocked for
    /// as long. Zero counts as one: Slack's header is at least 1.
    RetryAfter {
        /// The header, and the length of the block.
        seconds: u32,
    },
    /// Answer with this HTTP status and an HTML page; store nothing. Meant for the
    /// 5xx; a 200 makes the non-JSON success some proxies produce.
    HttpStatus {
        /// 200 to 599.
        #[serde(with = "status_number")]
        status: StatusCode,
    },
    /// Refuse with this application error, such as `is_archived`; store nothing.
    Error {
        /// Slack's code, as chat.postMessage names it.
        code: String,
    },
    /// Store the message, then close the connection without an answer.
    CloseAfterStoring,
    /// Close the connection without an answer; store nothing.
    CloseBeforeStoring,
    /// Store the message at once and answer this much later: past the client's
    /// timeout the message is there although the client saw it fail.
    Delay {
        /// How late the answer is.
        milliseconds: u32,
    },
}

impl Effect {
    /// [`Effect::Delay`] from a duration, cut to whole milliseconds.
    pub fn delay(duration: Duration) -> Self {
        Effect::Delay {
            milliseconds: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

impl Fault {
    /// This effect, once, on whichever channel comes first.
    pub fn new(effect: Effect) -> Self {
        Self {
            channel: None,
            count: once(),
            effect,
        }
    }

    /// The same, for this channel only.
    pub fn on(self, channel: impl Into<String>) -> Self {
        Self {
            channel: Some(channel.into()),
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

    /// Spends one strike of the first fault that fits `channel`.
    pub(super) fn take(&mut self, channel: &str) -> Option<Effect> {
        let fits = |fault: &Fault| {
            fault
                .channel
                .as_deref()
                .is_none_or(|wanted| channel_name(wanted) == channel)
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
        assert_eq!(queue.take("a"), Some(error("first")));
        assert_eq!(queue.take("b"), Some(error("any")));
        assert_eq!(queue.take("b"), None);
        assert_eq!(queue.take("a"), Some(error("first")));
        assert_eq!(queue.take("a"), None);
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

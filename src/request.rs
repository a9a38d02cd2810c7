//! What operators may ask of a queue, and what they are told: the words that a command and a running relay
//! exchange, as JSON. A command on a relay that is stopped uses the same, without a wire between.
//!
//! A request is answered by [`Line`]s: what is found, progress, and last either a result or an error.
//! Times are Unix time in milliseconds.

use auditrelay_audit::Severity;
use auditrelay_dispatch::Replayed;
use auditrelay_store::{DeadFilter, DeadLetter, Delivery, Marks, Salvaged};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Which dead letters there are.
    DeadList { filter: DeadFilter },
    /// How many dead letters there are.
    DeadCount { filter: DeadFilter },
    /// A dead letter with what it stands for.
    DeadShow { id: u64 },
    /// Let dead letters wait for their channels again.
    Redrive { which: Which },
    /// Give dead letters up for good.
    DropDead { which: Which },
    /// What a delivered message stood for.
    Events { message: u64 },
    /// Send what was received in a time through today's routes again.
    Replay {
        since_unix_ms: i64,
        until_unix_ms: i64,
        route: Option<String>,
        dry_run: bool,
    },
    /// Bring what is whole in a moved-aside store back; its folder's name, inside the data directory.
    Salvage { folder: String },
}

impl Request {
    /// Whether it may change something. Those are done one at a time.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::DeadList { .. }
            | Self::DeadCount { .. }
            | Self::DeadShow { .. }
            | Self::Events { .. } => false,
            Self::Replay { dry_run, .. } => !dry_run,
            Self::Redrive { .. } | Self::DropDead { .. } | Self::Salvage { .. } => true,
        }
    }

    /// Its name, for the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::DeadList { .. } => "dead list",
            Self::DeadCount { .. } => "dead count",
            Self::DeadShow { .. } => "dead show",
            Self::Redrive { .. } => "dead redrive",
            Self::DropDead { .. } => "dead drop",
            Self::Events { .. } => "events",
            Self::Replay { .. } => "replay",
            Self::Salvage { .. } => "salvage",
        }
    }
}

/// Which dead letters to settle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Which {
    /// These.
    Ids(Vec<u64>),
    /// Those that match, up to the one that was counted last: what dies again meanwhile has a higher ID and
    /// is not taken twice.
    Matching { filter: DeadFilter, last_id: u64 },
}

/// One line of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// How far it is; the unit is the work's own.
    Progress { done: u64, total: u64 },
    /// A dead letter.
    Letter(DeadLetter),
    /// What a message or a dead letter stands for.
    Member(Box<Member>),
    /// It is done.
    Result(Outcome),
    /// It is not, or not all of it.
    Error(String),
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Everything was listed.
    Listed,
    /// There is nothing of that ID.
    Unknown,
    /// So many dead letters, standing for so many events, and the last one's ID.
    Counted {
        letters: u64,
        events: u64,
        last_id: u64,
    },
    /// So many dead letters were settled, and which were asked for and not there.
    Settled {
        letters: u64,
        events: u64,
        gone: Vec<u64>,
    },
    /// The message's channel and time; its members were listed.
    Told { channel: String, told_unix_ms: i64 },
    /// A replay, or what it would be.
    Replayed(Replayed),
    /// A salvage.
    Salvaged(Salvaged),
}

/// An event, or a notice of the relay's own, as it was queued to a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) severity: Severity,
    /// Where it came from.
    pub(crate) cluster: String,
    /// The route that sent it to the channel; empty for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<String>,
    /// What else was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) marks: Option<Marks>,
    /// The event, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<Box<RawValue>>,
    /// The notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
    /// How many events the notice is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<u64>,
}

impl Member {
    pub(crate) fn new(severity: Severity, delivery: Delivery) -> Self {
        match delivery {
            Delivery::Event(event) => Self {
                severity,
                cluster: event.cluster,
                route: Some(event.route),
                marks: Some(event.marks),
                // What is no JSON any more is shown as text.
                event: RawValue::from_string(event.json.clone())
                    .or_else(|_| to_raw_value(&event.json))
                    .ok(),
                notice: None,
                events: None,
            },
            Delivery::Notice(notice) => Self {
                severity,
                cluster: notice.cluster,
                route: None,
                marks: None,
                event: None,
                notice: Some(notice.text),
                events: Some(notice.events),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_store::{Burial, EventDelivery, Notice};

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let letter = DeadLetter {
            id: 7,
            channel: "ops".into(),
            severity: Severity::Warning,
            events: 3,
            burial: Burial {
                reason: "invalid_blocks".into(),
                attempts: 2,
                first_unix_ms: 1,
                last_unix_ms: 2,
            },
        };
        let event = EventDelivery {
            cluster: "prod".into(),
            route: String::new(),
            json: r#"{"a": 1.0}"#.into(),
            marks: Marks::default(),
            meant_for: None,
        };
        let notice = Notice {
            text: "could not be read".into(),
            events: 2,
            cluster: "prod".into(),
        };
        let member = |delivery| Line::Member(Box::new(Member::new(Severity::Critical, delivery)));
        for line in [
            Line::Letter(letter),
            member(Delivery::Event(event)),
            member(Delivery::Notice(notice)),
            Line::Progress { done: 1, total: 9 },
            Line::Result(Outcome::Replayed(Replayed::default())),
        ] {
            let text = serde_json::to_string(&line).expect("JSON");
            let again: Line = serde_json::from_str(&text).expect("its own words");
            assert_eq!(serde_json::to_string(&again).expect("JSON"), text);
        }
    }

    #[test]
    fn what_is_no_json_is_shown_as_text() {
        let event = EventDelivery {
            cluster: String::new(),
            route: String::new(),
            json: "{".into(),
            marks: Marks::default(),
            meant_for: None,
        };
        let member = Member::new(Severity::Info, Delivery::Event(event));
        assert_eq!(member.event.expect("something").get(), "\"{\"");
    }

    #[test]
    fn a_request_with_words_that_are_not_known_is_none() {
        let known = r#"{"redrive":{"which":{"ids":[1]}}}"#;
        assert!(serde_json::from_str::<Request>(known).is_ok());
        for text in [
            r#"{"redrive":{"which":{"ids":[1]},"also":1}}"#,
            r#"{"dead_list":{"filter":{"chanel":"ops"}}}"#,
            r#"{"format":{}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}

//! What operators may ask of a queue, and what they are told: the words that a command and a running relay
//! exchange, as JSON. A command on a relay that is stopped uses the same, without a wire between.
//!
//! A request is answered by [`Line`]s: what is found, progress, and last either a result or an error.
//! Times are Unix time in milliseconds.

use auditrelay_audit::Severity;
use auditrelay_dispatch::Replayed;
use auditrelay_store::{
    DeadFilter, DeadLetter, Delivery, Marks, Mute, Posted, Quarantined, Salvaged, Source,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    logs::LogFilter,
    quarantine::hex,
    trace::{Searched, Traced},
};

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
    /// Which items are in quarantine.
    QuarantineList {},
    /// One of them, with what is kept of it.
    QuarantineShow { id: u64 },
    /// Hold some events back for a while.
    MuteAdd { mute: AskedMute },
    /// Which mutes are active, and which ended last.
    MuteList {},
    /// End a mute before its time.
    MuteExpire {
        id: u64,
        author: String,
        reason: String,
    },
    /// What a delivered message stood for.
    Events { message: u64 },
    /// What became of the events of an audit ID.
    Trace {
        audit_id: String,
        cluster: Option<String>,
    },
    /// Send what was received in a time through today's routes again.
    Replay {
        since_unix_ms: i64,
        until_unix_ms: i64,
        route: Option<String>,
        dry_run: bool,
    },
    /// Which lines of the log are written.
    LogFilterShow {},
    /// Write others, for a while or until the next start; none: those of the configuration again.
    LogFilterSet {
        filter: Option<String>,
        lasts_ms: Option<i64>,
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
            | Self::QuarantineList {}
            | Self::QuarantineShow { .. }
            | Self::MuteList {}
            // Nothing that is stored; and who looks into a long command needs it while that goes on.
            | Self::LogFilterShow {}
            | Self::LogFilterSet { .. }
            | Self::Events { .. }
            | Self::Trace { .. } => false,
            Self::Replay { dry_run, .. } => !dry_run,
            Self::MuteAdd { .. }
            | Self::MuteExpire { .. }
            | Self::Redrive { .. }
            | Self::DropDead { .. }
            | Self::Salvage { .. } => true,
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
            Self::QuarantineList {} => "quarantine list",
            Self::QuarantineShow { .. } => "quarantine show",
            Self::MuteAdd { .. } => "mute add",
            Self::MuteList {} => "mute list",
            Self::MuteExpire { .. } => "mute expire",
            Self::Events { .. } => "events",
            Self::Trace { .. } => "trace",
            Self::Replay { .. } => "replay",
            Self::LogFilterShow {} | Self::LogFilterSet { .. } => "log-filter",
            Self::Salvage { .. } => "salvage",
        }
    }
}

/// A mute as a command asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedMute {
    pub(crate) author: String,
    pub(crate) reason: String,
    /// The keys of a match, as YAML or JSON.
    pub(crate) matches: String,
    /// It may be about every event.
    pub(crate) all_events: bool,
    pub(crate) channels: Vec<String>,
    pub(crate) routes: Vec<String>,
    /// By the clock of whoever does it, so that clocks need not agree.
    pub(crate) lasts_ms: i64,
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
    /// An item in quarantine.
    Aside(Box<Aside>),
    /// A mute.
    Mute(Box<Mute>),
    /// What a message or a dead letter stands for.
    Member(Box<Member>),
    /// What became of an event.
    Traced(Box<Traced>),
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
    Told {
        channel: String,
        told_unix_ms: i64,
        /// Where the destination has it.
        #[serde(default)]
        posted: Option<Posted>,
    },
    /// Events were told, if any; how far back that reaches.
    Traced { searched: Searched },
    /// A replay, or what it would be.
    Replayed(Replayed),
    /// A salvage.
    Salvaged(Salvaged),
    /// Which lines of the log are written now.
    LogFilter(LogFilter),
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

/// An item in quarantine. Bytes are in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aside {
    pub(crate) id: u64,
    pub(crate) received_unix_ms: i64,
    pub(crate) cluster: String,
    pub(crate) reason: String,
    /// Where it began in the body, or in its line.
    pub(crate) offset_bytes: u64,
    pub(crate) length_bytes: u64,
    /// Keyed hash of its bytes.
    pub(crate) fingerprint: String,
    /// Of a line of a log file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
    /// How the key begins that its first bytes are sealed to, if they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed_to: Option<String>,
    /// The sealed box; only where one item was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<String>,
}

impl Aside {
    pub(crate) fn new(item: Quarantined, with_box: bool) -> Self {
        let record = item.record;
        let unreadable = record.unreadable;
        let sealed = unreadable.sealed;
        Self {
            id: item.id,
            received_unix_ms: record.received_unix_ms,
            cluster: record.cluster,
            reason: unreadable.reason,
            offset_bytes: unreadable.offset_bytes,
            length_bytes: unreadable.length_bytes,
            fingerprint: hex(&record.fingerprint),
            source: unreadable.source,
            sealed_to: sealed
                .as_ref()
                .map(|sealed| format!("x25519:{}", hex(&sealed.to))),
            sealed: sealed.filter(|_| with_box).map(|sealed| hex(&sealed.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_store::{Burial, EventDelivery, Notice, QuarantineRecord, Sealed, Unreadable};

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
        let aside = |with_box| {
            let item = Quarantined {
                id: 3,
                record: QuarantineRecord {
                    cluster: "prod".into(),
                    received_unix_ms: 5,
                    fingerprint: [7; 16],
                    unreadable: Unreadable {
                        reason: "not an object".into(),
                        offset_bytes: 1,
                        length_bytes: 2,
                        sealed: Some(Sealed {
                            to: [8; 8],
                            bytes: vec![9; 50],
                        }),
                        source: Some(Source {
                            file: "audit.log".into(),
                            line: 4,
                        }),
                    },
                },
            };
            Line::Aside(Box::new(Aside::new(item, with_box)))
        };
        for line in [
            aside(true),
            aside(false),
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

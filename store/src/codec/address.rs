//! What a record of deliveries begins with: to whom they go.
//!
//! The index knows it too. It stands here so that a record that was carved out of a damaged store can
//! be delivered.

use std::borrow::Cow;

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize};

use super::plain;
use crate::frame::{Damaged, Kind};

/// What deliveries are, and so under what they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Class {
    /// Routed events.
    Events,
    /// Events that were routed before, told again by a replay or for another channel.
    Copies,
    /// The relay's own words.
    Notices,
}

impl Class {
    /// The kind of their record.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Events | Self::Copies => Kind::Events,
            Self::Notices => Kind::Notices,
        }
    }
}

/// To whom deliveries go, and what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address<'a> {
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
    pub(crate) severity: Severity,
    pub(crate) class: Class,
    /// The number of the record's first delivery: more than 0 when those before it were settled and the
    /// rest was moved.
    pub(crate) first: u32,
}

/// The bytes that go before a record's own.
pub(crate) fn addressed(channel: &str, severity: Severity, class: Class, first: u32) -> Vec<u8> {
    let channel = Cow::Borrowed(channel);
    plain(&Address {
        channel,
        severity,
        class,
        first,
    })
}

/// Splits a record into its address and its own bytes.
pub(crate) fn take_address(payload: &[u8]) -> Result<(Address<'_>, &[u8]), Damaged> {
    postcard::take_from_bytes(payload).map_err(|_| Damaged("it says not to whom it goes"))
}

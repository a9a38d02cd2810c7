//! What the next lane of a channel goes on with, when a reload exchanges one.
//!
//! Invariants:
//! * whatever Slack asked to wait for is waited for, whichever lane was asked;
//! * a channel that is parked stays so until it takes a message, and what may have been posted before is still marked;
//! * where the way to Slack is another one (token, address, proxy), it is tried at once: it may be mended;
//! * where it posts somewhere else, what may have been posted before, there, is marked: it cannot be looked for here.

use std::time::Duration;

use auditrelay_store::Queue;
use tokio::time::Instant;

use super::{Lane, Unknown, tries::Search, tries::Tries};
use crate::{Destination, board::LaneState, pace::Rest, retry::Retry};

/// Taken from a lane that has ended.
#[derive(Debug)]
pub struct Memory {
    state: LaneState,
    rest: Rest,
    retry: Retry,
    retry_max: Duration,
    plain: bool,
    without_id: bool,
    search: Search,
    tries: Tries,
    unknown: Option<Unknown>,
    stuck: bool,
    looking_since: Option<Instant>,
    buried: u32,
    parked_tries: u32,
    fallback_is_full: bool,
    /// Of details of digests.
    details_rest: Option<Instant>,
    moved: bool,
}

impl Memory {
    /// The channel posts somewhere else from now on. It may be the same place by another name, so that a hold that
    /// Slack asked for stays; `elsewhere` where it certainly is not.
    pub fn moved(&mut self, elsewhere: bool) {
        self.was_away();
        self.try_at_once();
        self.rest.moved(elsewhere);
        self.state = LaneState::Open;
        self.without_id = false;
        self.buried = 0;
        self.moved = true;
    }

    /// Nothing was posted for a while, and what waits may be something else by now.
    pub fn was_away(&mut self) {
        self.plain = false;
        self.tries = Tries::default();
        self.unknown = None;
        self.looking_since = None;
    }

    /// The way to Slack is another one: only what Slack asked for is waited for.
    pub fn try_at_once(&mut self) {
        self.rest.shorten();
        self.parked_tries = 0;
        self.unknown = None;
        self.stuck = false;
    }

    /// Whether a lane that begins without it may post too early.
    pub fn holds(&self) -> bool {
        self.rest.left().is_some()
    }
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// Goes on as the channel's lane before.
    #[must_use]
    pub fn resuming(mut self, memory: Memory) -> Self {
        self.pace.resume(memory.rest);
        if memory.retry_max == self.settings.retry_max {
            self.retry = memory.retry;
        }
        self.plain = memory.plain;
        self.without_id = memory.without_id;
        self.search = memory.search;
        self.tries = memory.tries;
        self.unknown = memory.unknown;
        self.stuck = memory.stuck;
        self.looking_since = memory.looking_since;
        self.buried = memory.buried;
        self.parked_tries = memory.parked_tries;
        self.fallback_is_full = memory.fallback_is_full;
        self.details.rest_until(memory.details_rest);
        self.moved = memory.moved;
        self.set_state(memory.state);
        self
    }

    /// Shows what holds it before it has met anything itself.
    pub(super) fn show_hold(&mut self) {
        if let Some(left) = self.pace.held() {
            if self.state == LaneState::Open {
                self.set_state(LaneState::Holding);
            }
            self.board.rests(left);
        }
    }

    pub(super) fn into_memory(self) -> Memory {
        Memory {
            state: self.state,
            rest: self.pace.rest(),
            retry: self.retry,
            retry_max: self.settings.retry_max,
            plain: self.plain,
            without_id: self.without_id,
            search: self.search,
            tries: self.tries,
            unknown: self.unknown,
            stuck: self.stuck,
            looking_since: self.looking_since,
            buried: self.buried,
            parked_tries: self.parked_tries,
            fallback_is_full: self.fallback_is_full,
            details_rest: self.details.rests_until(),
            moved: self.moved,
        }
    }
}

//! What each lane last did and what went wrong lately, for people to look at.
//!
//! Contract: nothing decides anything by what stands here. Writing is a few stores under a lock that nobody holds
//! for longer than a copy. What is held is bounded: one entry for each channel's name, [`INCIDENTS_MAX`] incidents, no text
//! longer than [`TEXT_CHARS_MAX`]. Texts are cleaned of what could act on a terminal, and come from reasons,
//! which never hold a secret.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{escape::clean, router::now_unix_ms, slack::table::code_in};

/// Incidents that are remembered.
pub const INCIDENTS_MAX: usize = 20;
/// How many of them may be of one channel, or of one part without a channel: one that fails all the time must not
/// hide what happened to others.
const INCIDENTS_OF_ONE_MAX: usize = 6;
/// Characters of a text.
pub const TEXT_CHARS_MAX: usize = 300;

/// Where lanes write what they do; clones are the same board.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lanes: Mutex<BTreeMap<String, Arc<Mutex<LaneView>>>>,
    incidents: Mutex<VecDeque<Incident>>,
}

/// What one lane last did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneView {
    /// Whether it posts.
    pub state: LaneState,
    /// Since when it is in that state, Unix time in milliseconds.
    pub since_unix_ms: i64,
    /// What it waits for.
    pub waits_for: WaitsFor,
    /// What was wrong with the last message that was not accepted, or the last look-up that failed. It stays after the
    /// channel takes messages again.
    pub last_error: Option<LaneError>,
    /// While it is holding or parked: when it tries next, Unix time in milliseconds.
    pub next_try_unix_ms: Option<i64>,
    /// Until when Slack asked it to wait (`Retry-After`), Unix time in milliseconds.
    pub retry_after_until_unix_ms: Option<i64>,
    /// When its channel last took a message, Unix time in milliseconds.
    pub last_delivered_unix_ms: Option<i64>,
    /// Events, notices and copies that were delivered since the start.
    pub delivered: u64,
    /// Messages that were accepted since the start, details of digests included.
    pub messages: u64,
    /// Calls that were made to post one since the start.
    pub posts: u64,
}

/// Whether a lane posts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// It does.
    #[default]
    Open,
    /// It waits, and tries again by itself.
    Holding,
    /// Its channel or token is broken: a person has to mend it.
    Parked,
}

impl LaneState {
    /// Its name, as metrics have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Holding => "holding",
            Self::Parked => "parked",
        }
    }
}

/// What a lane waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// That there is something to tell.
    #[default]
    Work,
    /// The channel's own pace.
    Pace,
    /// Its turn among the lanes of its token.
    Budget,
    /// The end of a hold.
    Hold,
    /// The next try of a parked channel.
    Park,
    /// The queue, or the message's text.
    Rendering,
    /// Slack's answer.
    Answer,
}

impl WaitsFor {
    /// In words, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Work => "idle",
            Self::Pace => "waits for its pace",
            Self::Budget => "waits for its turn",
            Self::Hold => "holds",
            Self::Park => "is parked",
            Self::Rendering => "writes a message",
            Self::Answer => "waits for Slack",
        }
    }
}

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneError {
    /// When, Unix time in milliseconds.
    pub at_unix_ms: i64,
    /// What the lane does about it: `later`, `park`, `never` or `unknown`, as `auditrelay_posts_total` has it.
    pub outcome: String,
    /// Slack's word for it, where the reason holds one that is known.
    pub code: Option<String>,
    /// In words.
    pub reason: String,
}

/// Something that went wrong, or went well again after it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it last happened, Unix time in milliseconds.
    pub at_unix_ms: i64,
    /// When it first happened, Unix time in milliseconds.
    pub first_unix_ms: i64,
    /// How often.
    pub times: u64,
    /// Which part of the relay says so, such as `delivery`.
    pub part: String,
    /// Which channel it is about, if it is about one.
    pub channel: Option<String>,
    /// In words.
    pub text: String,
}

impl Board {
    /// What the lane of a channel writes to. A lane that takes another's place goes on with its counts.
    #[must_use]
    pub fn lane(&self, channel: &str) -> Entry {
        let new = || {
            Arc::new(Mutex::new(LaneView {
                since_unix_ms: now_unix_ms(),
                ..LaneView::default()
            }))
        };
        let mut lanes = locked(&self.0.lanes);
        let view = lanes.entry(channel.to_owned()).or_insert_with(new);
        Entry {
            channel: channel.to_owned(),
            view: Arc::clone(view),
            board: self.clone(),
        }
    }

    /// Every lane's last state by channel.
    #[must_use]
    pub fn lanes(&self) -> BTreeMap<String, LaneView> {
        let lanes = locked(&self.0.lanes);
        let copy =
            |(name, view): (&String, &Arc<Mutex<LaneView>>)| (name.clone(), locked(view).clone());
        lanes.iter().map(copy).collect()
    }

    /// No lane writes to it any more: what they last did says nothing of now. What went wrong stays.
    pub fn no_lanes(&self) {
        locked(&self.0.lanes).clear();
    }

    /// Remembers something that went wrong: `part` is the part of the relay that says so.
    pub fn incident(&self, part: &str, channel: Option<&str>, text: &str) {
        self.incident_at(now_unix_ms(), part, channel, text);
    }

    fn incident_at(&self, now_unix_ms: i64, part: &str, channel: Option<&str>, text: &str) {
        let text = clean(text, TEXT_CHARS_MAX);
        let mut incidents = locked(&self.0.incidents);
        let is_of = |one: &Incident| one.part == part && one.channel.as_deref() == channel;
        let known = incidents
            .iter()
            .position(|one| is_of(one) && one.text == text);
        let before = known.and_then(|index| incidents.remove(index));
        let of_one = incidents.iter().filter(|one| is_of(one)).count();
        if of_one >= INCIDENTS_OF_ONE_MAX
            && let Some(oldest) = incidents.iter().position(is_of)
        {
            incidents.remove(oldest);
        }
        if incidents.len() >= INCIDENTS_MAX {
            incidents.pop_front();
        }
        incidents.push_back(Incident {
            at_unix_ms: now_unix_ms,
            first_unix_ms: before.as_ref().map_or(now_unix_ms, |one| one.first_unix_ms),
            times: before.map_or(1, |one| one.times.saturating_add(1)),
            part: part.to_owned(),
            channel: channel.map(str::to_owned),
            text,
        });
    }

    /// What went wrong lately, the latest first.
    #[must_use]
    pub fn incidents(&self) -> Vec<Incident> {
        locked(&self.0.incidents).iter().rev().cloned().collect()
    }
}

/// One lane's place on the board.
#[derive(Debug, Clone)]
pub struct Entry {
    channel: String,
    view: Arc<Mutex<LaneView>>,
    board: Board,
}

impl Entry {
    pub(crate) fn waits_for(&self, what: WaitsFor) {
        locked(&self.view).waits_for = what;
    }

    pub(crate) fn is(&self, state: LaneState) {
        let mut view = locked(&self.view);
        if view.state != state {
            view.state = state;
            view.since_unix_ms = now_unix_ms();
        }
        if state == LaneState::Open {
            view.next_try_unix_ms = None;
            view.retry_after_until_unix_ms = None;
        }
    }

    pub(crate) fn posts(&self) {
        let mut view = locked(&self.view);
        view.posts += 1;
        view.waits_for = WaitsFor::Answer;
    }

    pub(crate) fn accepted(&self) {
        let mut view = locked(&self.view);
        view.messages += 1;
        view.last_delivered_unix_ms = Some(now_unix_ms());
    }

    pub(crate) fn delivered(&self, members: usize) {
        locked(&self.view).delivered += members as u64;
    }

    pub(crate) fn failed(&self, outcome: &str, reason: &str) {
        let reason = clean(reason, TEXT_CHARS_MAX);
        let error = LaneError {
            at_unix_ms: now_unix_ms(),
            outcome: outcome.to_owned(),
            code: code_in(&reason).map(str::to_owned),
            reason,
        };
        locked(&self.view).last_error = Some(error);
    }

    pub(crate) fn rests(&self, delay: Duration) {
        let until = after(delay);
        let next = &mut locked(&self.view).next_try_unix_ms;
        // As `Pace::hold`: it is never shortened.
        *next = Some(next.map_or(until, |earlier| earlier.max(until)));
    }

    pub(crate) fn retry_after(&self, delay: Duration) {
        locked(&self.view).retry_after_until_unix_ms = Some(after(delay));
    }

    pub(crate) fn incident(&self, text: &str) {
        self.board.incident("delivery", Some(&self.channel), text);
    }
}

fn after(delay: Duration) -> i64 {
    let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    now_unix_ms().saturating_add(delay_ms)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

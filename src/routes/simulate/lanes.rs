//! The lanes of a configuration in simulated time: when each posts, and what is in its messages.
//!
//! Contract, as `dispatch::lane` and the queue have it: a lane waits until something is there, then for its pace, then
//! for its token's turn, given in the order of asking, and takes what waits only then: the most severe first, within
//! its limits of events, bytes and stored blocks. Places and tokens are shared as `lanes.rs` shares them. More events
//! than `sentences_max` make a digest. Slack takes each message at once and refuses none.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use auditrelay_config::{ChannelConfig, Config, Destination};
use auditrelay_store::{BLOCK_ITEMS_MAX, BLOCK_PLAIN_BYTES, SLICES_MAX};
use secrecy::ExposeSecret;

use super::{
    figures::Figures,
    pace::{Limit, Micros},
};
use crate::lanes::{place_of, workspace_of};

/// More sentences than this fit no message.
const SENTENCES_MAX: usize = 20;

/// An event for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    /// When it happened, Unix time in milliseconds.
    pub(super) at_ms: i64,
    /// When it comes to the relay, Unix time in milliseconds.
    pub(super) arrives_ms: i64,
    pub(super) bytes: u32,
    /// The channel's number.
    pub(super) lane: u16,
    /// 0 is critical, 2 info.
    pub(super) severity: u8,
}

/// Events of one severity that were stored together.
#[derive(Debug)]
struct Block {
    times_ms: VecDeque<i64>,
    bytes: usize,
}

#[derive(Debug)]
struct Lane {
    waiting: [VecDeque<Block>; 3],
    waiting_events: u64,
    is_busy: bool,
    /// When its pace lets it ask again.
    next: Micros,
    interval: Micros,
    events_max: usize,
    bytes_max: usize,
    sentences_max: usize,
    place: usize,
    workspace: Option<usize>,
    /// What is on its way.
    message: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Ask,
    Lease,
    Post { next: Micros },
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    places: Vec<Limit>,
    workspaces: Vec<Limit>,
    /// What happens next: when, in the order of its being asked for, to which lane.
    steps: BinaryHeap<Reverse<(Micros, u64, usize, Step)>>,
    asked: u64,
    now: Micros,
    pub(super) figures: Vec<Figures>,
}

/// What channels share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// By the channel's number: that of its place.
    pub(super) places: Vec<usize>,
    /// The same of its token; a preview has none.
    pub(super) workspaces: Vec<Option<usize>>,
}

impl Lanes {
    pub(super) fn new(config: &Config) -> (Self, Shared) {
        let mut lanes = Self {
            lanes: Vec::new(),
            places: Vec::new(),
            workspaces: Vec::new(),
            steps: BinaryHeap::new(),
            asked: 0,
            now: Micros::MIN,
            figures: Vec::new(),
        };
        let mut shared = Shared::default();
        let (mut places, mut workspaces) = (HashMap::new(), HashMap::new());
        for (name, channel) in &config.channels {
            let (who, to, counted) = match channel.destination(&config.slack) {
                Destination::SlackApi { channel, token } => {
                    let token = token.expose_secret();
                    (token.to_owned(), channel, Some(token.to_owned()))
                }
                Destination::Webhook { url } => {
                    let of = workspace_of(url);
                    (url.expose_secret().to_owned(), "webhook", Some(of))
                }
                Destination::PlainWebhook { url } => {
                    (url.expose_secret().to_owned(), name.as_str(), None)
                }
                // It is shown here for want of a token, and will be posted with one.
                Destination::Preview => match &channel.slack_channel {
                    Some(id) => (String::new(), id.as_str(), Some(String::new())),
                    None => ("preview".to_owned(), name.as_str(), None),
                },
            };
            let place = *places.entry(place_of(&who, to)).or_insert_with(|| {
                let limit = Limit::new(channel.message_interval(), channel.message_burst.get());
                lanes.places.push(limit);
                lanes.places.len() - 1
            });
            let workspace = counted.map(|who| {
                *workspaces.entry(who).or_insert_with(|| {
                    let limit = Limit::per_minute(config.slack.messages_per_minute.get());
                    lanes.workspaces.push(limit);
                    lanes.workspaces.len() - 1
                })
            });
            lanes.lanes.push(Lane::new(channel, place, workspace));
            lanes.figures.push(Figures::default());
            shared.places.push(place);
            shared.workspaces.push(workspace);
        }
        (lanes, shared)
    }

    /// Whether nothing waits or is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many events wait for a channel.
    pub(super) fn waiting(&self, lane: usize) -> u64 {
        self.lanes.get(lane).map_or(0, |lane| lane.waiting_events)
    }

    /// Deliveries that arrive together, after all that happens before. They are sorted by nothing else than arrival.
    pub(super) fn arrive(&mut self, deliveries: &[Delivery]) {
        let Some(first) = deliveries.first() else {
            return;
        };
        let at = first.arrives_ms.saturating_mul(1_000);
        self.run_until(at);
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let mut came = false;
            for severity in 0..3_u8 {
                let of_it = deliveries
                    .iter()
                    .filter(|one| usize::from(one.lane) == number && one.severity == severity);
                let before = lane.waiting_events;
                came |= lane.store(severity, of_it);
                let stored = lane.waiting_events - before;
                self.figures[number].by_severity[usize::from(severity)] += stored;
            }
            self.figures[number].note_backlog(lane.waiting_events, at);
            if came && !lane.is_busy {
                lane.is_busy = true;
                let ask = at.max(lane.next);
                self.asked += 1;
                self.steps
                    .push(Reverse((ask, self.asked, number, Step::Ask)));
            }
        }
    }

    /// Lets happen what does until then, then included.
    pub(super) fn run_until(&mut self, until: Micros) {
        while let Some(Reverse((at, ..))) = self.steps.peek()
            && *at <= until
        {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Lets everything happen that is left; when the last message was posted.
    pub(super) fn run_out(&mut self) {
        while self.step() {}
    }

    /// Of simulated time.
    pub(super) fn now(&self) -> Micros {
        self.now
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((at, _, number, step))) = self.steps.pop() else {
            return false;
        };
        self.now = self.now.max(at);
        let lane = &mut self.lanes[number];
        let next = match step {
            Step::Ask => {
                let turn = lane.workspace.map(|one| self.workspaces[one].take(at).0);
                Some((turn.unwrap_or(at), Step::Lease))
            }
            Step::Lease => {
                lane.message = lane.lease();
                let (ready, left) = self.places[lane.place].take(at);
                let next = if left == 0 {
                    ready + lane.interval
                } else {
                    ready
                };
                Some((ready, Step::Post { next }))
            }
            Step::Post { next } => {
                let times = std::mem::take(&mut lane.message);
                let is_digest = times.len() > lane.sentences_max;
                self.figures[number].note_message(at, &times, is_digest);
                lane.next = next;
                lane.is_busy = lane.waiting_events > 0;
                lane.is_busy.then(|| (at.max(next), Step::Ask))
            }
        };
        if let Some((at, step)) = next {
            self.asked += 1;
            self.steps.push(Reverse((at, self.asked, number, step)));
        }
        true
    }
}

impl Lane {
    fn new(channel: &ChannelConfig, place: usize, workspace: Option<usize>) -> Self {
        let micros = |duration: Duration| Micros::try_from(duration.as_micros());
        Self {
            waiting: Default::default(),
            waiting_events: 0,
            is_busy: false,
            next: Micros::MIN,
            interval: micros(channel.message_interval()).unwrap_or(Micros::MAX / 64),
            events_max: channel.message_events_max.as_usize(),
            bytes_max: channel.message_bytes_max.as_usize(),
            sentences_max: channel.sentences_max.as_usize().min(SENTENCES_MAX),
            place,
            workspace,
            message: Vec::new(),
        }
    }

    /// Stores events of one severity, in blocks; whether there were any.
    fn store<'a>(&mut self, severity: u8, of_it: impl Iterator<Item = &'a Delivery>) -> bool {
        let blocks = &mut self.waiting[usize::from(severity)];
        let mut open: Option<Block> = None;
        let mut came = false;
        for delivery in of_it {
            came = true;
            self.waiting_events += 1;
            let block = open.get_or_insert_with(|| Block {
                times_ms: VecDeque::new(),
                bytes: 0,
            });
            block.times_ms.push_back(delivery.at_ms);
            block.bytes += delivery.bytes as usize;
            let is_full =
                block.bytes >= BLOCK_PLAIN_BYTES || block.times_ms.len() == BLOCK_ITEMS_MAX;
            if is_full {
                blocks.extend(open.take());
            }
        }
        blocks.extend(open);
        came
    }

    /// What the next message stands for.
    fn lease(&mut self) -> Vec<i64> {
        let (mut events_left, mut bytes_left) = (self.events_max, self.bytes_max);
        let mut taken = Vec::new();
        let mut slices = 0;
        'all: for blocks in &mut self.waiting {
            while let Some(block) = blocks.front_mut() {
                let is_full = events_left == 0 || slices == SLICES_MAX;
                if is_full || (slices > 0 && block.bytes > bytes_left) {
                    break 'all;
                }
                let events = block.times_ms.len().min(events_left);
                taken.extend(block.times_ms.drain(..events));
                events_left -= events;
                bytes_left = bytes_left.saturating_sub(block.bytes);
                slices += 1;
                if block.times_ms.is_empty() {
                    blocks.pop_front();
                }
            }
        }
        self.waiting_events -= taken.len() as u64;
        taken
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;

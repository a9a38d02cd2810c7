//! How a local Slack behaves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::directory::{Channel, Token};

/// How a [`super::LocalSlack`] behaves; [`Options::default`] is Slack's published
/// behaviour in a workspace where every channel exists and every bot token is good.
#[derive(Clone, Debug)]
pub struct Options {
    /// One message per workspace and channel in this time, burst 1, whichever door it
    /// comes through. Slack: one message per second per channel. Zero: no limit.
    pub message_interval: Duration,
    /// The accepted bot tokens; empty: every token that starts with `xoxb-`, with
    /// every scope.
    pub tokens: Vec<Token>,
    /// The channels that exist; `None`: all of them, public, the app a member, and
    /// their ID is the name given.
    pub channels: Option<Vec<Channel>>,
    /// True: a message that comes too early is answered 429. False: it is accepted
    /// and its attempt says `over_pace`, to measure a client without steering it.
    pub strict_pace: bool,
    /// True: after any 429 the channel stays blocked for the whole `Retry-After` it
    /// was told. False: only for the time that was left, which may be shorter, since
    /// the header is rounded up to seconds. A fault's block always lasts its length.
    pub strict_blocks: bool,
    /// What a 429 on `chat.postMessage` blocks. Slack does not say.
    pub block_scope: BlockScope,
    /// Calls per minute.
    pub limits: Limits,
    /// So much faster do intervals and minutes pass (50: a second is 20 ms).
    /// `Retry-After` stays in whole real seconds, as do the lengths faults name.
    pub time_scale: u32,
    /// Sizes Slack does not publish.
    pub content: ContentLimits,
    /// How many posts, and how many attempts, are kept. Older ones are dropped.
    pub keep: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            message_interval: Duration::from_secs(1),
            tokens: Vec::new(),
            channels: None,
            strict_pace: true,
            strict_blocks: false,
            block_scope: BlockScope::Channel,
            limits: Limits::default(),
            time_scale: 1,
            content: ContentLimits::default(),
            keep: 100_000,
        }
    }
}

impl Options {
    /// A duration of Slack's as it is here.
    pub(super) fn scaled(&self, duration: Duration) -> Duration {
        duration / self.time_scale.max(1)
    }
}

/// What a 429 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockScope {
    /// The channel it was answered for.
    Channel,
    /// `chat.postMessage` for every channel of the workspace, for the whole
    /// `Retry-After`. Webhooks are no method: theirs stays with the channel.
    Method,
}

/// Calls per minute, method and workspace; zero is no limit. The minute begins with
/// the first call in it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `chat.postMessage`, accepted messages only: Slack says "several hundred".
    pub messages: u32,
    /// Methods of tier 2: `conversations.list`.
    pub tier_2: u32,
    /// Methods of tier 3: `chat.update` and the other `conversations` methods.
    pub tier_3: u32,
    /// Methods of tier 4: `files`.
    pub tier_4: u32,
    /// `auth.test`: Slack says "hundreds".
    pub special: u32,
    /// Methods with a limit of their own, by name.
    pub methods: BTreeMap<String, u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages: 300,
            tier_2: 20,
            tier_3: 50,
            tier_4: 100,
            special: 300,
            methods: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// None at all, for tests of everything else.
    pub fn none() -> Self {
        Self {
            messages: 0,
            tier_2: 0,
            tier_3: 0,
            tier_4: 0,
            special: 0,
            methods: BTreeMap::new(),
        }
    }
}

/// Limits Slack has but does not publish; the defaults are the strictest known.
#[derive(Clone, Debug)]
pub struct ContentLimits {
    /// The text of all blocks together, in bytes of escaped UTF-8.
    pub blocks_text_bytes: usize,
    /// A message's metadata as JSON.
    pub metadata_bytes: usize,
    /// The text of a `chat.update`, in bytes of escaped UTF-8.
    pub update_text_bytes: usize,
}

impl Default for ContentLimits {
    fn default() -> Self {
        Self {
            blocks_text_bytes: 12_000,
            metadata_bytes: 8_000,
            update_text_bytes: 4_000,
        }
    }
}

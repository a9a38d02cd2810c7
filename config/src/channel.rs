//! Channels: places messages go to, each with its own pace.
//!
//! Contract: [`fault`] is `None` for a channel with exactly one destination, which is what
//! [`ChannelConfig::destination`] relies on. A Slack channel no token is known for is previewed, so
//! that a first run without a token shows what would be posted.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::model::{GIB, KIB, MIB, SlackConfig};
use crate::names::{ChannelName, SlackChannel};
use crate::secret::{SlackToken, WebhookUrl};
use crate::text;

/// A place messages go to. Exactly one of `slack_channel`, `webhook_url` (or its file) and
/// `preview` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default = "ChannelConfig::undirected", deny_unknown_fields)]
pub struct ChannelConfig {
    /// Post to this Slack channel through the Web API.
    pub slack_channel: Option<SlackChannel>,
    /// The token for `slack_channel` instead of `slack.token`. Read from `token_file` if that is set.
    pub token: Option<SlackToken>,
    /// The file `token` is read from.
    #[serde(deserialize_with = "text::read_option")]
    pub token_file: Option<PathBuf>,
    /// Post to this incoming webhook. Read from `webhook_url_file` if that is set.
    pub webhook_url: Option<WebhookUrl>,
    /// The file `webhook_url` is read from.
    #[serde(deserialize_with = "text::read_option")]
    pub webhook_url_file: Option<PathBuf>,
    /// Show messages in the terminal instead of posting them.
    pub preview: bool,
    /// Post plain JSON to this URL: the channel that `watchdog.url` makes, and no other, has one.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub plain_url: Option<WebhookUrl>,
    /// The channel that critical events go to as well while this one is parked.
    pub fallback: Option<ChannelName>,
    /// The time from one message to the next.
    pub message_interval_milliseconds: Bounded<100, 3_600_000>,
    /// Messages that may follow each other at once after a pause.
    pub message_burst: Bounded<1, 20>,
    /// Events in one message.
    pub message_events_max: Bounded<1, 100_000>,
    /// Raw event bytes leased for one message.
    pub message_bytes_max: Bounded<{ 64 * KIB }, GIB>,
    /// Sentences in one message; more events than this become a digest.
    pub sentences_max: Bounded<1, 20>,
    /// Groups that a digest lists; it counts the rest.
    pub digest_groups_max: Bounded<1, 40>,
    /// Where a digest's complete list is.
    pub digest_details: DigestDetails,
    /// Replies in a digest's thread.
    pub thread_replies_max: Bounded<1, 100>,
    /// A template in place of the sentence that an event is told in.
    pub sentence: Option<String>,
    /// More to say of each event that is told in a sentence.
    pub fields: Vec<FieldConfig>,
    /// How long a channel that Slack refuses for good (archived, say) rests before the next try.
    pub park_retry_seconds: Bounded<1, 86_400>,
    /// The longest wait between two tries of one message.
    pub retry_max_seconds: Bounded<1, 3_600>,
}

impl ChannelConfig {
    /// The defaults; not a valid channel, as it has no destination yet.
    fn undirected() -> Self {
        Self {
            slack_channel: None,
            token: None,
            token_file: None,
            webhook_url: None,
            webhook_url_file: None,
            preview: false,
            plain_url: None,
            fallback: None,
            message_interval_milliseconds: const { Bounded::preset(1_000) },
            message_burst: const { Bounded::preset(1) },
            message_events_max: const { Bounded::preset(10_000) },
            message_bytes_max: const { Bounded::preset(16 * MIB) },
            sentences_max: const { Bounded::preset(8) },
            digest_groups_max: const { Bounded::preset(40) },
            digest_details: DigestDetails::Command,
            thread_replies_max: const { Bounded::preset(10) },
            sentence: None,
            fields: Vec::new(),
            park_retry_seconds: const { Bounded::preset(60) },
            retry_max_seconds: const { Bounded::preset(60) },
        }
    }

    /// The channel that a dead man's switch makes for its URL. One that came back is told soon: its
    /// alarm is on for as long as it is not.
    pub(crate) fn of_switch(url: WebhookUrl) -> Self {
        Self {
            plain_url: Some(url),
            park_retry_seconds: const { Bounded::preset(20) },
            ..Self::undirected()
        }
    }

    /// Where messages go: the channel's own token is preferred to the one in `slack`.
    #[must_use]
    pub fn destination<'a>(&'a self, slack: &'a SlackConfig) -> Destination<'a> {
        if let Some(url) = &self.plain_url {
            return Destination::PlainWebhook {
                url: url.as_secret(),
            };
        }
        if let Some(url) = &self.webhook_url {
            return Destination::Webhook {
                url: url.as_secret(),
            };
        }
        let token = self.token.as_ref().or(slack.token.as_ref());
        match (&self.slack_channel, token) {
            (Some(channel), Some(token)) => Destination::SlackApi {
                channel: channel.as_str(),
                token: token.as_secret(),
            },
            _ => Destination::Preview,
        }
    }

    /// What tells the place that messages go to from those of other channels; `None` for a preview.
    pub(crate) fn place(&self) -> Option<(Option<&SlackToken>, &str)> {
        if let Some(url) = &self.webhook_url {
            return Some((None, url.as_secret().expose_secret()));
        }
        let channel = self.slack_channel.as_ref()?;
        Some((
            self.token.as_ref(),
            channel.as_str().trim_start_matches('#'),
        ))
    }

    /// `message_interval_milliseconds` as a duration.
    #[must_use]
    pub fn message_interval(&self) -> Duration {
        Duration::from_millis(self.message_interval_milliseconds.get())
    }

    /// `park_retry_seconds` as a duration.
    #[must_use]
    pub fn park_retry(&self) -> Duration {
        Duration::from_secs(self.park_retry_seconds.get())
    }

    /// `retry_max_seconds` as a duration.
    #[must_use]
    pub fn retry_max(&self) -> Duration {
        Duration::from_secs(self.retry_max_seconds.get())
    }
}

/// Where the complete list of a digest's events is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestDetails {
    /// `auditrelay events --message ID` shows it, and the digest says so.
    Command,
    /// In replies to the digest, up to `thread_replies_max`.
    Thread,
    /// In a file that is shared as a reply to the digest.
    File,
}

/// Something more to say of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldConfig {
    /// What it is called.
    pub title: String,
    /// A template; where it comes out empty nothing is said.
    pub text: String,
}

/// Where a channel's messages go. Its `Debug` form holds no secret.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// `chat.postMessage` of the Web API.
    SlackApi {
        /// The channel as Slack knows it.
        channel: &'a str,
        /// The token to post with.
        token: &'a SecretString,
    },
    /// An incoming webhook.
    Webhook {
        /// Its URL, which is all it takes to post.
        url: &'a SecretString,
    },
    /// Something that takes any POST for a sign of life.
    PlainWebhook {
        /// Its URL, which is all it takes to post.
        url: &'a SecretString,
    },
    /// The terminal.
    Preview,
}

/// What is wrong with a channel as a whole: the key within it (empty: the channel), and the problem.
pub(crate) fn fault(channel: &ChannelConfig) -> Option<(&'static str, String)> {
    let slack_channel = channel.slack_channel.is_some();
    let webhook = channel.webhook_url.is_some() || channel.webhook_url_file.is_some();
    let destinations: Vec<&str> = [
        (slack_channel, "slack_channel"),
        (webhook, "webhook_url"),
        (channel.preview, "preview: true"),
    ]
    .into_iter()
    .filter_map(|(is_set, name)| is_set.then_some(name))
    .collect();
    if destinations.len() != 1 {
        let found = if destinations.is_empty() {
            "no destination".to_owned()
        } else {
            destinations.join(" and ")
        };
        let problem = format!(
            "found {found}, expected exactly one of slack_channel, webhook_url, webhook_url_file \
             and preview: true"
        );
        return Some(("", problem));
    }
    if slack_channel {
        return None;
    }
    if channel.digest_details != DigestDetails::Command {
        let problem = "expected command: replies and files need slack_channel";
        return Some(("digest_details", problem.to_owned()));
    }
    let problem = "a token is of use with slack_channel only".to_owned();
    if channel.token.is_some() {
        return Some(("token", problem));
    }
    channel
        .token_file
        .is_some()
        .then_some(("token_file", problem))
}

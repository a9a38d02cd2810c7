//! The configuration as the rest of the program sees it.
//!
//! Contract: a [`Config`] comes from [`crate::load`] only, and is valid: every number within its
//! bounds, every name well formed, every route's channel present, every secret read. Every field
//! names its unit. It can be shown: it serializes with its secrets masked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::bounded::Bounded;
use crate::channel::{ChannelConfig, Destination};
use crate::door::{ClientConfig, TlsConfig};
use crate::inputs::InputsConfig;
use crate::names::{ChannelName, ClusterName};
use crate::observe::{LogConfig, MetricsConfig, WatchdogConfig};
use crate::proxy::Proxy;
use crate::queue::QueueConfig;
use crate::redaction::RedactionConfig;
use crate::route::RouteConfig;
use crate::route_tests::RouteTest;
use crate::secret::SlackToken;
use crate::text;

/// One KiB, in bytes.
pub(crate) const KIB: u64 = 1 << 10;
/// One MiB, in bytes.
pub(crate) const MIB: u64 = 1 << 20;
/// One GiB, in bytes.
pub(crate) const GIB: u64 = 1 << 30;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Where audit events are received.
    pub listen: SocketAddr,
    /// Whether to receive events unencrypted from other machines.
    pub allow_plain_http: bool,
    /// What the webhook is encrypted with.
    pub tls: TlsConfig,
    /// Who may post; nobody is asked if it is empty.
    pub clients: Vec<ClientConfig>,
    /// Whether to receive encrypted events from other machines without asking who they are.
    pub allow_anonymous: bool,
    /// Where health, metrics and the like are served.
    pub admin_listen: SocketAddr,
    /// The file of the bearer tokens that are asked for there; set if others than this machine can reach it.
    pub admin_token_file: Option<PathBuf>,
    /// The folder of the queue and of what else must outlive the process.
    pub data_dir: PathBuf,
    /// The cluster that posts to plain `/webhook`.
    pub cluster: ClusterName,
    /// Where every event goes if there are no routes, and the relay's own notices. One of `channels`.
    pub default_channel: ChannelName,
    /// Receiving events.
    pub ingest: IngestConfig,
    /// Events from elsewhere than the webhook.
    pub inputs: InputsConfig,
    /// What never reaches the disk.
    pub redaction: RedactionConfig,
    /// Keeping events until they are posted.
    pub queue: QueueConfig,
    /// Recognising events received before.
    pub dedup: DedupConfig,
    /// Posting to Slack, as far as all channels share it.
    pub slack: SlackConfig,
    /// The places messages go to. Never empty.
    pub channels: BTreeMap<ChannelName, ChannelConfig>,
    /// Which events go where; the first route that matches decides. The starter routes are the last of them.
    pub routes: Vec<RouteConfig>,
    /// Where the starter routes go; none: there are none.
    pub starter_routes: Option<ChannelName>,
    /// Events, and who is to hear of them.
    pub tests: Vec<RouteTest>,
    /// What metrics tell apart.
    pub metrics: MetricsConfig,
    /// The dead man's switch.
    pub watchdog: WatchdogConfig,
    /// The log.
    pub log: LogConfig,
}

impl Config {
    /// Where messages of `channel` go; `None` if there is no such channel.
    #[must_use]
    pub fn destination(&self, channel: &ChannelName) -> Option<Destination<'_>> {
        self.channels
            .get(channel)
            .map(|channel| channel.destination(&self.slack))
    }

    /// The file of the key that dedup hashes with.
    #[must_use]
    pub fn dedup_key_file(&self) -> PathBuf {
        self.dedup
            .key_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join("dedup.key"))
    }
}

/// Receiving events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Longest request body.
    pub body_bytes_max: Bounded<KIB, GIB>,
    /// Longest body after decompression.
    pub decoded_bytes_max: Bounded<KIB, GIB>,
    /// Request bodies held in memory at once, all together; at least `body_bytes_max`.
    pub bytes_in_flight_max: Bounded<KIB, { 64 * GIB }>,
    /// Connections open at once.
    pub connections_max: Bounded<1, 100_000>,
    /// Events in one request.
    pub events_per_list_max: Bounded<1, 1_000_000>,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams_max: Bounded<1, 10_000>,
    /// How long a TLS handshake may take.
    pub handshake_timeout_seconds: Bounded<1, 29>,
    /// How long a request's header may take.
    pub header_timeout_seconds: Bounded<1, 29>,
    /// How long a request's body may take.
    pub body_timeout_seconds: Bounded<1, 29>,
    /// How fast a request's body has to come, once it has taken five seconds.
    pub body_bytes_per_second_min: Bounded<0, MIB>,
    /// How long making a request durable may take before it is refused.
    pub ack_timeout_milliseconds: Bounded<100, 29_000>,
    /// How long requests under way may take once the process is told to stop.
    pub shutdown_seconds: Bounded<1, 9>,
}

impl IngestConfig {
    /// `handshake_timeout_seconds` as a duration.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.handshake_timeout_seconds.get())
    }

    /// `header_timeout_seconds` as a duration.
    #[must_use]
    pub fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_timeout_seconds.get())
    }

    /// `body_timeout_seconds` as a duration.
    #[must_use]
    pub fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_seconds.get())
    }

    /// `ack_timeout_milliseconds` as a duration.
    #[must_use]
    pub fn ack_timeout(&self) -> Duration {
        Duration::from_millis(self.ack_timeout_milliseconds.get())
    }

    /// `shutdown_seconds` as a duration.
    #[must_use]
    pub fn shutdown(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds.get())
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: const { Bounded::preset(64 * MIB) },
            decoded_bytes_max: const { Bounded::preset(64 * MIB) },
            bytes_in_flight_max: const { Bounded::preset(256 * MIB) },
            connections_max: const { Bounded::preset(2_000) },
            events_per_list_max: const { Bounded::preset(100_000) },
            http2_streams_max: const { Bounded::preset(250) },
            handshake_timeout_seconds: const { Bounded::preset(10) },
            header_timeout_seconds: const { Bounded::preset(10) },
            body_timeout_seconds: const { Bounded::preset(25) },
            body_bytes_per_second_min: const { Bounded::preset(4096) },
            ack_timeout_milliseconds: const { Bounded::preset(900) },
            shutdown_seconds: const { Bounded::preset(8) },
        }
    }
}

/// Recognising events received before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupConfig {
    /// How long an event is remembered. The API server's retries end by 245 s.
    pub window_seconds: Bounded<300, 604_800>,
    /// Events remembered at most.
    pub entries_max: Bounded<1_000, 100_000_000>,
    /// The file of the key events are hashed with; see [`Config::dedup_key_file`].
    #[serde(deserialize_with = "text::read_option")]
    pub key_file: Option<PathBuf>,
}

impl DedupConfig {
    /// `window_seconds` as a duration.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds.get())
    }
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            window_seconds: const { Bounded::preset(900) },
            entries_max: const { Bounded::preset(3_600_000) },
            key_file: None,
        }
    }
}

/// Posting to Slack, as far as all channels share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlackConfig {
    /// The base of the Web API; its path ends with a slash.
    #[serde(deserialize_with = "read_api_url")]
    pub api_url: Url,
    /// The token of channels without one of their own. Read from `token_file` if that is set.
    pub token: Option<SlackToken>,
    /// The file `token` is read from.
    #[serde(deserialize_with = "text::read_option")]
    pub token_file: Option<PathBuf>,
    /// Messages posted per minute and token, all of its channels together.
    pub messages_per_minute: Bounded<1, 6_000>,
    /// Calls of one reading method (`conversations.history`) per minute and token.
    pub lookups_per_minute: Bounded<1, 600>,
    /// The proxy that Slack is reached through; none, whatever the environment says.
    #[serde(deserialize_with = "text::read_option")]
    pub proxy: Option<Proxy>,
    /// How long one request to Slack may take.
    pub timeout_seconds: Bounded<1, 60>,
}

impl SlackConfig {
    /// `timeout_seconds` as a duration.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.get())
    }
}

impl Default for SlackConfig {
    fn default() -> Self {
        Self {
            api_url: default_api_url(),
            token: None,
            token_file: None,
            messages_per_minute: const { Bounded::preset(240) },
            lookups_per_minute: const { Bounded::preset(50) },
            proxy: None,
            timeout_seconds: const { Bounded::preset(10) },
        }
    }
}

fn default_api_url() -> Url {
    Url::parse("https://slack.com/api/").expect("the literal is a URL")
}

fn read_api_url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    text::read::<text::ApiUrl, D>(deserializer).map(|url| url.0)
}

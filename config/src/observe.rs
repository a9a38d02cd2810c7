//! What is seen of the relay from outside: its log, what metrics tell apart, and its dead man's switch.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::names::{ChannelName, ClusterName};
use crate::secret::WebhookUrl;
use crate::text;

/// The log on standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Which lines are written, by level and part; `RUST_LOG` counts where it is left out.
    pub filter: Option<String>,
}

/// What metrics tell apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Clusters with series of their own, beside those that the configuration names elsewhere.
    pub clusters: Vec<ClusterName>,
}

/// The synthetic event that goes the whole way, so that its absence tells that the way is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchdogConfig {
    /// How often.
    pub interval_seconds: Bounded<10, 3600>,
    /// The channel that hears of it; not together with `url`.
    pub channel: Option<ChannelName>,
    /// What is posted to instead of a channel. Read from `url_file` if that is set.
    pub url: Option<WebhookUrl>,
    /// The file `url` is read from.
    #[serde(deserialize_with = "text::read_option")]
    pub url_file: Option<PathBuf>,
}

/// What the watchdog's route is called, and the channel that its URL makes.
pub const WATCHDOG: &str = "watchdog";

impl WatchdogConfig {
    /// The name of the channel that hears of it; none where there is no watchdog.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        match (&self.channel, &self.url) {
            (Some(channel), _) => Some(channel.as_str()),
            (None, Some(_)) => Some(WATCHDOG),
            (None, None) => None,
        }
    }

    /// `interval_seconds` as a duration.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds.get())
    }
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self {
            interval_seconds: const { Bounded::preset(300) },
            channel: None,
            url: None,
            url_file: None,
        }
    }
}

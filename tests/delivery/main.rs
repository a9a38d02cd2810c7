//! Delivery to Slack under faults and load, with the real binary, over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod bad_message;
mod heads;
mod lost_answers;
mod pace;
mod parked;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use auditrelay_loadtest::slack::{LocalSlack, Options};
use support::Running;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A local Slack on a free port.
pub(crate) async fn started(options: Options) -> LocalSlack {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    LocalSlack::start(free, options).await.expect("a free port")
}

/// A relay with this configuration, in which `API_URL` stands for the local Slack's.
pub(crate) fn relay(folder: &Path, slack: &LocalSlack, config: &str) -> Running {
    let config = config.replace("API_URL", &slack.api_url());
    fs::write(folder.join("c.yaml"), config).expect("written");
    Running::start(folder, &[], &["--config", "c.yaml"])
}

/// A number from the environment, for a longer run.
pub(crate) fn from_env(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

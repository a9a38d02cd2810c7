//! Delivery to Slack under faults and load, with the real binary, over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod bad_message;
mod budget;
mod details;
mod emulate;
mod files;
mod heads;
mod lost_answers;
mod pace;
mod parked;
mod rates;
mod tls;
mod transport;
mod webhooks;
mod wire;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use auditrelay_loadtest::slack::{LocalSlack, Options};
use serde_json::Value;
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

/// Shown with `--no-capture`.
#[expect(clippy::print_stdout, reason = "who measures wants to see the figures")]
pub(crate) fn measured(figures: &str) {
    println!("{figures}");
}

/// A number from the environment, for a longer run.
pub(crate) fn from_env(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Waits until it is so; only a broken relay is waited for in vain.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a metric says so, and returns all of them: what a lane counts after its queue has is not there with the
/// ledger.
pub(crate) async fn metrics_once(relay: &Running, series: &str, value: f64) -> String {
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    loop {
        let metrics = relay.get("/metrics").await.1;
        if support::metric(&metrics, series) == value {
            return metrics;
        }
        let in_time = tokio::time::Instant::now() < deadline;
        assert!(in_time, "never {value}: {series} in\n{metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An `EventList` of deletions of pods with these names, which are their audit IDs as well.
pub(crate) fn deletions(names: &[String]) -> String {
    let lists = names.iter().map(|name| {
        let list = support::list("alice", "delete", [name.clone()]);
        let mut list: Value = serde_json::from_str(&list).expect("JSON");
        list["items"][0]["objectRef"]["name"] = name.as_str().into();
        list["items"][0].take()
    });
    let items: Vec<Value> = lists.collect();
    let mut list: Value = serde_json::from_str(&support::list("", "", [])).expect("JSON");
    list["items"] = items.into();
    list.to_string()
}

/// Names of which none begins another.
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n:05}")).collect()
}

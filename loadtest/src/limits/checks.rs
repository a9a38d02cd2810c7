//! What the relay must reach besides its ratios to the limits, each measured in a run of its own.
//!
//! Contract: a check tells what it measured and what the bound is; it holds no opinion otherwise. Bounds
//! that are ratios compare two runs that follow each other.

use std::{path::Path, time::Duration};

use anyhow::Context;
use serde::Serialize;
use tokio::time::Instant;

use super::{Kind, Programs, Setup, Subject, measure, put_under_load};
use crate::{
    events::Shape,
    slack::{Attempt, Outcome},
    storm::{self, Load},
};

/// A figure and its bound.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was measured, with its unit.
    pub what: String,
    /// The figure.
    pub figure: f64,
    /// It holds if the figure is at most this, or, if `at_least` is set, at least this.
    pub bound: f64,
    /// Which way the bound goes.
    pub at_least: bool,
}

impl Check {
    fn at_most(what: impl Into<String>, figure: f64, bound: f64) -> Self {
        Self {
            what: what.into(),
            figure,
            bound,
            at_least: false,
        }
    }

    fn at_least(what: impl Into<String>, figure: f64, bound: f64) -> Self {
        Self {
            at_least: true,
            ..Self::at_most(what, figure, bound)
        }
    }

    /// Whether the bound holds.
    pub fn holds(&self) -> bool {
        if self.at_least {
            self.figure >= self.bound
        } else {
            self.figure <= self.bound
        }
    }
}

/// How long the checks take and how much they pile up.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Of one measurement.
    pub seconds: u64,
    /// Of the sustained storm.
    pub sustained_seconds: u64,
    /// How many events wait in the large backlog.
    pub backlog_events: u64,
}

const MB: f64 = 1e6;
/// Not counted against memory: what the dedup window may use for each event that it remembers.
const BYTES_PER_REMEMBERED: f64 = 32.0;
/// The default of `dedup.entries_max`, which every long storm reaches.
const REMEMBERED_MAX: f64 = 3.6e6;

/// One suite of checks by name.
pub type Suite = (&'static str, &'static str);

/// All suites, with what they are about.
pub const SUITES: [Suite; 7] = [
    (
        "start",
        "how long an empty relay takes to be ready, and how large its binary is",
    ),
    ("steady", "4,000 events a second, one API server's ceiling"),
    ("sustained", "a storm that lasts, with routing keeping pace"),
    ("bodies", "events with both bodies"),
    ("backlog", "ingest with a large backlog behind it"),
    ("routes", "hundreds of routes and channels"),
    ("slack", "how much of Slack's pace is used with a backlog"),
];

/// Runs a suite.
///
/// # Errors
/// The relay does not start, breaks a connection, or ends.
pub async fn run(
    suite: &str,
    programs: &Programs,
    folder: &Path,
    scale: Scale,
) -> anyhow::Result<Vec<Check>> {
    let bench = Bench {
        programs,
        folder,
        scale,
    };
    match suite {
        "start" => bench.start().await,
        "steady" => bench.steady().await,
        "sustained" => bench.sustained().await,
        "bodies" => bench.bodies().await,
        "backlog" => bench.backlog().await,
        "routes" => bench.routes().await,
        "slack" => bench.slack().await,
        other => anyhow::bail!("there is no suite called {other}"),
    }
}

struct Bench<'a> {
    programs: &'a Programs,
    folder: &'a Path,
    scale: Scale,
}

impl Bench<'_> {
    async fn relay(&self, setup: &Setup) -> anyhow::Result<Subject> {
        // It may not be there yet.
        let _absent = std::fs::remove_dir_all(self.folder);
        Subject::relay(self.programs, self.folder, setup).await
    }

    fn load(&self) -> Load {
        Load {
            connections: 32,
            events_per_batch: 400,
            shape: Shape::Metadata,
            duration: Duration::from_secs(self.scale.seconds),
            batches_per_second: None,
        }
    }

    async fn start(&self) -> anyhow::Result<Vec<Check>> {
        let mut starts = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            let mut relay = self.relay(&Setup::careful()).await?;
            starts.push(begun.elapsed());
            relay.stop().await?;
        }
        starts.sort_unstable();
        let binary = std::fs::metadata(&self.programs.relay)?.len();
        Ok(vec![
            Check::at_most(
                "ready on an empty queue, median of 5 starts, ms",
                starts[starts.len() / 2].as_secs_f64() * 1e3,
                100.0,
            ),
            Check::at_most("binary, MB", binary as f64 / MB, 20.0),
        ])
    }

    async fn steady(&self) -> anyhow::Result<Vec<Check>> {
        let load = Load {
            batches_per_second: Some(10.0),
            duration: Duration::from_secs(self.scale.seconds * 4),
            ..self.load()
        };
        let plain = measure(Kind::Plain, self.programs, self.folder, load).await?;
        let mut checks = Vec::new();
        for kind in [Kind::Relay, Kind::RelayAllRouted] {
            let title = kind.title();
            let relay = measure(kind, self.programs, self.folder, load).await?;
            let remembered = relay.events_per_second * self.scale.seconds as f64 * 4.0;
            let memory = relay.resident_bytes_max as f64 - remembered * BYTES_PER_REMEMBERED;
            checks.extend([
                Check::at_most(
                    format!("{title}: ack p99 over that of append and sync alone"),
                    relay.p99_ms / plain.p99_ms,
                    3.0,
                ),
                Check::at_most(format!("{title}: slowest ack, ms"), relay.max_ms, 1_000.0),
                Check::at_most(format!("{title}: memory, MB"), memory / MB, 160.0),
                Check::at_most(
                    format!("{title}: bytes written per byte received"),
                    relay.written_per_received,
                    0.15,
                ),
            ]);
        }
        Ok(checks)
    }

    async fn sustained(&self) -> anyhow::Result<Vec<Check>> {
        let mut checks = Vec::new();
        for (setup, title) in [
            (Setup::careful(), "few events routed"),
            (Setup::all_routed(), "every event routed"),
        ] {
            let mut relay = self.relay(&setup).await?;
            let early = Load {
                duration: Duration::from_secs(10),
                ..self.load()
            };
            let first = put_under_load(&relay, early).await?;
            let rest = Load {
                duration: Duration::from_secs(self.scale.sustained_seconds),
                ..early
            };
            let last = put_under_load(&relay, rest).await?;
            relay.stop().await?;
            let window = REMEMBERED_MAX;
            let memory = last.resident_bytes_max as f64 - window * BYTES_PER_REMEMBERED;
            let grown = last.unrouted.unwrap_or_default() as f64
                - first.unrouted.unwrap_or_default() as f64;
            checks.extend([
                Check::at_least(
                    format!("{title}: events/s over those of the first 10 s"),
                    last.events_per_second / first.events_per_second,
                    0.9,
                ),
                Check::at_most(
                    format!("{title}: seconds of ingest not yet routed, more than after 10 s"),
                    grown / last.events_per_second,
                    0.5,
                ),
                Check::at_most(format!("{title}: slowest ack, ms"), last.max_ms, 1_000.0),
                Check::at_most(
                    format!("{title}: processor seconds per million events"),
                    last.cpu_seconds_per_million,
                    5.0,
                ),
                Check::at_most(
                    format!("{title}: memory without the dedup window, MB"),
                    memory / MB,
                    256.0,
                ),
                Check::at_most(
                    format!("{title}: bytes written per byte received"),
                    last.written_per_received,
                    0.15,
                ),
            ]);
        }
        Ok(checks)
    }

    async fn bodies(&self) -> anyhow::Result<Vec<Check>> {
        let mut relay = self.relay(&Setup::all_routed()).await?;
        let load = Load {
            connections: 8,
            events_per_batch: 40,
            shape: Shape::RequestResponse,
            ..self.load()
        };
        let figures = put_under_load(&relay, load).await?;
        relay.stop().await?;
        Ok(vec![
            Check::at_most(
                "RequestResponse: bytes written per byte received",
                figures.written_per_received,
                0.5,
            ),
            Check::at_most("RequestResponse: slowest ack, ms", figures.max_ms, 1_000.0),
        ])
    }

    async fn backlog(&self) -> anyhow::Result<Vec<Check>> {
        let setup = Setup {
            dead_slack: true,
            ..Setup::all_routed()
        };
        let mut relay = self.relay(&setup).await?;
        let small = put_under_load(&relay, self.load()).await?;
        loop {
            let waiting = waiting(&relay).await?;
            if waiting >= self.scale.backlog_events {
                break;
            }
            let pile = Load {
                duration: Duration::from_secs(2),
                ..self.load()
            };
            storm::run(pile, &relay.target).await?;
        }
        let large = put_under_load(&relay, self.load()).await?;
        relay.stop().await?;
        let millions = self.scale.backlog_events as f64 / 1e6;
        let window = REMEMBERED_MAX;
        let memory = large.resident_bytes_max as f64 - window * BYTES_PER_REMEMBERED;
        Ok(vec![
            Check::at_least(
                format!("events/s with {millions} million waiting over those of an empty queue"),
                large.events_per_second / small.events_per_second,
                0.9,
            ),
            Check::at_most(
                format!("memory with {millions} million waiting, without the dedup window, MB"),
                memory / MB,
                256.0,
            ),
        ])
    }

    async fn routes(&self) -> anyhow::Result<Vec<Check>> {
        let mut cost = Vec::new();
        for setup in [
            Setup::unmatched(10),
            Setup::unmatched(500),
            Setup::by_namespace(2),
            Setup::by_namespace(200),
        ] {
            let mut relay = self.relay(&setup).await?;
            let figures = put_under_load(&relay, self.load()).await?;
            relay.stop().await?;
            cost.push(figures.cpu_seconds_per_million);
        }
        Ok(vec![
            Check::at_most(
                "processor time with 500 routes over 10",
                cost[1] / cost[0],
                2.0,
            ),
            Check::at_most(
                "processor time with 200 channels over 2",
                cost[3] / cost[2],
                1.5,
            ),
        ])
    }

    async fn slack(&self) -> anyhow::Result<Vec<Check>> {
        let mut relay = self.relay(&Setup::all_routed()).await?;
        let pile = Load {
            duration: Duration::from_secs(5),
            ..self.load()
        };
        // Enough for every message of the time that follows.
        storm::run(pile, &relay.target).await?;
        let slack = relay.slack().context("this relay has a local Slack")?;
        let before = slack.posts().len();
        tokio::time::sleep(Duration::from_secs(self.scale.seconds.max(20))).await;
        let posts = slack.posts().split_off(before);
        let (first, last) = posts
            .first()
            .zip(posts.last())
            .context("nothing was posted")?;
        let took_ms = last.received_unix_ms - first.received_unix_ms;
        let allowed = took_ms as f64 / 1_000.0;
        let is_limited = |one: &Attempt| matches!(one.outcome, Outcome::RateLimited { .. });
        let refused = slack
            .attempts()
            .iter()
            .filter(|one| is_limited(one))
            .count();
        let waited = waiting(&relay).await?;
        relay.stop().await?;
        anyhow::ensure!(waited > 0, "the backlog was gone before the time was over");
        Ok(vec![
            Check::at_least(
                "messages posted over those that Slack's pace allows",
                (posts.len() - 1) as f64 / allowed,
                0.98,
            ),
            Check::at_most("answers 429 provoked", refused as f64, 0.0),
        ])
    }
}

/// Events that wait for any channel.
async fn waiting(relay: &Subject) -> anyhow::Result<u64> {
    let ledger = relay.ledger().await?.context("a relay has a ledger")?;
    let channels = ledger["channels"]
        .as_object()
        .context("the ledger has channels")?;
    let waiting = |counts: &serde_json::Value| counts["waiting"].as_u64().unwrap_or_default();
    Ok(channels.values().map(waiting).sum())
}
